"""The cache of decoded images: used when whole, remade when damaged, never in the way."""

import errno
import os
import subprocess
import sys
import time
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

from sgdscope.data import cache, decode, load_dataset


@pytest.fixture
def counted(monkeypatch):
    """Counts the calls that decode images."""
    calls = []
    original = decode.read_images
    monkeypatch.setattr(decode, "read_images", lambda *a, **k: calls.append(1) or original(*a, **k))
    return calls


@pytest.fixture(autouse=True)
def not_yet_warned(monkeypatch):
    monkeypatch.setattr(cache, "_warned", False)


def entries(tmp_path):
    return sorted((tmp_path / "store" / "data").iterdir())


def test_the_second_load_decodes_nothing_and_gives_the_same(mnist, counted, tmp_path):
    first = load_dataset("mnist")
    second = load_dataset("mnist", num_examples=10)
    assert len(counted) == 1
    assert torch.equal(second.x, first.x[second.index]) and first.fingerprint == load_dataset("mnist").fingerprint
    (entry,) = entries(tmp_path)
    assert entry.name.startswith("mnist-train-") and entry.suffix == ".safetensors"


def test_cache_false_neither_reads_nor_writes(mnist, counted, tmp_path):
    load_dataset("mnist", cache=False)
    load_dataset("mnist", cache=False)
    assert len(counted) == 2 and not (tmp_path / "store").exists()


def test_a_changed_source_is_decoded_again(mnist, counted):
    _, _, paths = mnist
    load_dataset("mnist")
    stat = paths[0].stat()
    os.utime(paths[0], ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    load_dataset("mnist")
    assert len(counted) == 2


@pytest.mark.parametrize("position", [0, 200, 20_000, -1])
def test_a_flipped_byte_is_found_and_mended(mnist, counted, tmp_path, position):
    first = load_dataset("mnist")
    (entry,) = entries(tmp_path)
    content = bytearray(entry.read_bytes())
    content[position] ^= 1
    entry.write_bytes(content)
    assert torch.equal(load_dataset("mnist").x, first.x) and len(counted) == 2
    assert torch.equal(load_dataset("mnist").x, first.x) and len(counted) == 2  # whole again


@pytest.mark.parametrize("content", [b"", b"half", b"\x80\x04\x95 a pickle"])
def test_a_truncated_or_foreign_entry_is_remade(mnist, counted, tmp_path, content):
    first = load_dataset("mnist")
    (entry,) = entries(tmp_path)
    whole = entry.read_bytes()
    entry.write_bytes(content if content != b"half" else whole[: len(whole) // 2])
    assert torch.equal(load_dataset("mnist").x, first.x) and len(counted) == 2


def test_swapped_tensors_are_found(mnist, counted, tmp_path):
    """A well-formed file with other numbers: only the checksum can tell."""
    first = load_dataset("mnist")
    (entry,) = entries(tmp_path)
    tensors = load_file(entry)
    save_file({**tensors, "labels": tensors["labels"].flip(0)}, entry)
    assert torch.equal(load_dataset("mnist").y, first.y) and len(counted) == 2


def test_left_by_a_killed_process(mnist, tmp_path):
    folder = tmp_path / "store" / "data"
    folder.mkdir(parents=True)
    old, fresh = folder / ".mnist-train-0.1.tmp", folder / ".mnist-train-0.2.tmp"
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    assert len(load_dataset("mnist")) == 50
    assert not old.exists() and fresh.exists()  # another process may be writing the fresh one


def test_a_place_that_cannot_be_written_warns_once(mnist, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("SGDSCOPE_STORE", str(tmp_path / "file"))
    with pytest.warns(RuntimeWarning, match="decoded data sets are not cached .*set SGDSCOPE_STORE to a folder that can be written"):
        assert len(load_dataset("mnist")) == 50
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_dataset("mnist")) == 50


def test_a_full_disk(mnist, tmp_path, monkeypatch):
    def full(tensors, path, metadata):
        path.write_bytes(b"the part that still fitted")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "save_file", full)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        assert len(load_dataset("mnist")) == 50
    assert entries(tmp_path) == []


def test_a_write_that_the_system_cuts_off(tmp_path):
    """A real limit on the size of files, in a process of its own."""
    code = """
import resource
from sgdscope.data import load_dataset
import torch, safetensors.torch
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
print(load_dataset("fashion_mnist_small", split="test").fingerprint)
"""
    environment = {**os.environ, "SGDSCOPE_STORE": str(tmp_path / "limited"), "PYTHONWARNINGS": "default"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == load_dataset("fashion_mnist_small", split="test").fingerprint
    assert "decoded data sets are not cached" in done.stderr
    assert list((tmp_path / "limited" / "data").iterdir()) == []


def test_imagenet_entries_depend_on_size_and_rows(maker, encode, counted):
    pixels, labels = maker.images((30, 30, 3), 4, num_classes=4)
    maker.write("imagenet", "train", {"image": [encode(p) for p in pixels], "label": labels})
    for size, count, seed in ((8, None, 0), (16, None, 0), (8, 2, 0), (8, 2, 1)):
        first = load_dataset("imagenet", image_size=size, num_examples=count, seed=seed)
        assert torch.equal(first.x, load_dataset("imagenet", image_size=size, num_examples=count, seed=seed).x)
    assert len(counted) == 4
