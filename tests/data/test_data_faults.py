"""Missing and damaged data: each message says where, what was expected, what came and what to do."""

import subprocess
import sys
import time
import types

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sgdscope.data import hub, load_dataset
from sgdscope.data.locate import datasets_cache
from sgdscope.errors import InvalidInput, NotFound


def test_no_data_says_where_it_looked_and_the_three_ways(tmp_path):
    pytest.importorskip("huggingface_hub")
    start = time.monotonic()
    with pytest.raises(NotFound) as caught:
        load_dataset("cifar10")
    assert time.monotonic() - start < 10
    message = str(caught.value)
    for part in (
        "no data for 'cifar10', split 'train'",
        "SGDSCOPE_DATA: not set",
        f"datasets cache: {tmp_path / 'hf' / 'datasets'} has no uoft-cs/cifar10 (plain_text)",
        f"hub cache: {tmp_path / 'hf' / 'hub'} has no uoft-cs/cifar10",
        "hub: no connection within 3 s",
        "1. set SGDSCOPE_DATA to a folder that holds cifar10/train-00000-of-00001.parquet",
        "2. fill the datasets cache on a machine with a network",
        "3. with a network, let the hub be used: pip install sgdscope[hub]",
        "Always there without a network: fashion_mnist_small, digits, gaussian, random_features.",
    ):
        assert part in message


def test_a_silent_network_costs_less_than_ten_seconds(tmp_path):
    """192.0.2.1 is reserved for documentation: with a network nothing answers there, without one the call fails."""
    pytest.importorskip("huggingface_hub")
    code = """
import time
from sgdscope.data import load_dataset
start = time.monotonic()
try:
    load_dataset("cifar10")
except LookupError as error:
    print(error)
print("seconds:", time.monotonic() - start)
"""
    environment = {"PATH": "", "HF_HOME": str(tmp_path), "SGDSCOPE_STORE": str(tmp_path), "HF_ENDPOINT": "http://192.0.2.1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert "hub: no connection within 3 s" in done.stdout, done.stderr
    assert float(done.stdout.split("seconds:")[1]) < 10


def test_slow_name_resolution_is_cut_off(monkeypatch):
    def stuck(*_, **__):
        time.sleep(5)
        raise TimeoutError

    monkeypatch.setattr("socket.create_connection", stuck)
    start = time.monotonic()
    assert not hub.reachable("http://127.0.0.1", timeout=0.2)
    assert time.monotonic() - start < 2


def test_the_probe_finds_a_server_and_asks_the_proxy(monkeypatch):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert hub.reachable(address)
        assert not hub.reachable("http://127.0.0.1:9")
        monkeypatch.setenv("http_proxy", address)
        monkeypatch.setenv("no_proxy", "")
        assert hub.reachable("http://127.0.0.1:9")


def test_offline_variable_is_honoured(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(hub, "reachable", lambda *_: pytest.fail("the network was tried"))
    with pytest.raises(NotFound, match="hub: not tried, HF_HUB_OFFLINE is set"):
        load_dataset("mnist")


def test_without_the_extra(monkeypatch):
    monkeypatch.setattr(hub, "reachable", lambda *_: True)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(NotFound, match=r"'datasets' is not installed \(pip install sgdscope\[hub\]\)"):
        load_dataset("mnist")


def fake_datasets(monkeypatch, load):
    pytest.importorskip("huggingface_hub")
    module = types.ModuleType("datasets")
    module.load_dataset = load
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.setattr(hub, "reachable", lambda *_: True)


def test_the_hub_refuses(monkeypatch):
    def load(*_, **__):
        raise PermissionError("gated: ask its owners\nmore lines")

    fake_datasets(monkeypatch, load)
    with pytest.raises(NotFound, match="hub: ILSVRC/imagenet-1k failed with PermissionError: gated: ask its owners\n"):
        load_dataset("imagenet", num_examples=1)


def test_what_the_hub_gives_is_read(monkeypatch, maker, encode, tmp_path):
    pixels, labels = maker.images((28, 28), 12)
    table = maker.table({"image": [encode(p) for p in pixels], "label": labels})

    def load(repository, configuration, *, split):
        assert (repository, configuration, split) == ("ylecun/mnist", "mnist", "test")
        with pa.OSFile(str(tmp_path / "mnist-test.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=5)
        return types.SimpleNamespace(cache_files=[{"filename": str(tmp_path / "mnist-test.arrow")}])

    fake_datasets(monkeypatch, load)
    data = load_dataset("mnist", split="test")
    assert np.array_equal((data.x[:, 0] * 255).round().numpy(), pixels) and data.y.tolist() == labels
    assert data.source.startswith("hub: ")


@pytest.mark.parametrize("max_shard_size", ["500MB", "5KB"])
def test_the_cache_that_datasets_fills_is_read_without_it(monkeypatch, maker, encode, max_shard_size):
    """The library itself lays out the cache, as after a download from the hub; reading it must not import the library."""
    module = pytest.importorskip("datasets.packaged_modules.parquet.parquet")
    pixels, labels = maker.images((32, 32, 3), 12)
    (path,) = maker.write("source", "train", {"img": [encode(p) for p in pixels], "label": labels}, row_group_size=3)
    builder = module.Parquet(cache_dir=str(datasets_cache()), dataset_name="cifar10", hash="0123", data_files={"train": [str(path)]})
    builder.repo_id, builder.config_id = "uoft-cs/cifar10", "plain_text"
    builder._cache_dir = builder._output_dir = builder._build_cache_dir()
    builder.download_and_prepare(max_shard_size=max_shard_size)
    assert len(list(datasets_cache().rglob("*.arrow"))) == (1 if max_shard_size == "500MB" else 4)
    monkeypatch.setitem(sys.modules, "datasets", None)
    data = load_dataset("cifar10")
    assert data.source.startswith("datasets cache: ") and data.y.tolist() == labels
    assert np.array_equal((data.x * 255).round().numpy(), pixels.transpose(0, 3, 1, 2))


def test_the_hub_cache_is_read(maker, encode, tmp_path):
    pixels, labels = maker.images((28, 28), 4)
    snapshot = tmp_path / "hf" / "hub" / "datasets--ylecun--mnist" / "snapshots" / "abc" / "mnist"
    (path,) = maker.write("x", "train", {"image": [encode(p) for p in pixels], "label": labels})
    snapshot.mkdir(parents=True)
    path.rename(snapshot / path.name)
    assert load_dataset("mnist").source == f"hub cache: {snapshot}"


def test_the_folder_goes_before_the_caches(mnist, tmp_path):
    folder = tmp_path / "hf" / "hub" / "datasets--ylecun--mnist" / "snapshots" / "abc" / "mnist"
    folder.mkdir(parents=True)
    (folder / "train-00000-of-00001.parquet").write_bytes(b"never read")
    assert len(load_dataset("mnist")) == 50


def test_folder_that_does_not_exist(monkeypatch, tmp_path):
    monkeypatch.setenv("SGDSCOPE_DATA", str(tmp_path / "nothing"))
    with pytest.raises(NotFound, match=f"SGDSCOPE_DATA: {tmp_path / 'nothing'} is no folder"):
        load_dataset("mnist")


def test_folder_without_the_name_or_the_split(mnist, maker):
    with pytest.raises(NotFound, match=r"SGDSCOPE_DATA: .* has no folder 'cifar10' \(it has: mnist\)"):
        load_dataset("cifar10")
    with pytest.raises(NotFound, match=r"mnist has no test-\*-of-\*.parquet \(it has: train-00000-of-00003.parquet, "):
        load_dataset("mnist", split="test")


def test_avila_names_the_only_way():
    with pytest.raises(NotFound, match="hub: avila is not there\nTo provide it:\n  1. set SGDSCOPE_DATA") as caught:
        load_dataset("avila")
    assert "2." not in str(caught.value).split("To provide it:")[1]


def test_a_missing_shard(mnist):
    _, _, paths = mnist
    paths[1].unlink()
    with pytest.raises(InvalidInput, match="mnist: expected all shards of train, missing number 1. Add the missing files"):
        load_dataset("mnist")


def test_two_sets_of_shards(mnist, maker, encode):
    maker.write("mnist", "train", {"image": [encode(np.zeros((28, 28), np.uint8))], "label": [0]})
    with pytest.raises(InvalidInput, match="expected one set of shards, found two sets mixed: train-00000-of-00001.parquet, "):
        load_dataset("mnist")


@pytest.mark.parametrize("damage", ["truncated", "foreign", "empty"])
def test_a_damaged_file(mnist, damage):
    _, _, paths = mnist
    whole = paths[1].read_bytes()
    paths[1].write_bytes({"truncated": whole[: len(whole) // 2], "foreign": b"<html>not found</html>", "empty": b""}[damage])
    with pytest.raises(InvalidInput, match=f"{paths[1]}: expected a complete parquet file, found: .*Replace the file"):
        load_dataset("mnist")


def test_a_flipped_byte_in_a_png_is_never_a_wrong_pixel(maker, encode):
    file = encode(A_PICTURE)
    refused = 0
    for position in range(0, len(file), 13):
        broken = bytearray(file)
        broken[position] ^= 0x55
        maker.write("mnist", "train", {"image": [bytes(broken)], "label": [0]})
        try:
            data = load_dataset("mnist", cache=False)
        except InvalidInput:
            refused += 1
        else:  # for example in a length that nothing reads
            assert np.array_equal((data.x[0, 0] * 255).round().numpy(), A_PICTURE)
    assert refused > 50


AN_IMAGE = np.zeros((28, 28), np.uint8)
A_PICTURE = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda e: {"img": [e(AN_IMAGE)], "label": [0]}, "expected columns image, found: columns img, label"),
        (lambda e: {"image": [e(AN_IMAGE)], "target": [0]}, "expected columns label, found: columns image, target"),
        (lambda e: {"image": [1.5], "label": [0]}, "expected a struct with a field 'bytes' in column 'image', found: type double"),
        (lambda e: {"image": [e(AN_IMAGE)], "label": ["zero"]}, "expected integer labels in column 'label', found: type string"),
        (lambda e: {"image": [e(AN_IMAGE)], "label": [10]}, "expected labels from 0 to 9 in column 'label', found: label 10"),
        (lambda e: {"image": [e(AN_IMAGE)], "label": [-1]}, "expected labels from 0 to 9 in column 'label', found: label -1"),
        (lambda e: {"image": [e(AN_IMAGE)] * 2, "label": [0, None]}, "expected a label in every row of column 'label', found: 1 empty"),
        (lambda e: {"image": [e(AN_IMAGE), b"junk"], "label": [0, 1]}, "expected a PNG, WebP or JPEG image in row 1, found: cannot"),
        (lambda e: {"image": [e(A_PICTURE)[:300]], "label": [0]}, "expected a PNG, WebP or JPEG image in row 0"),
        (lambda e: {"image": [e(AN_IMAGE[:20])], "label": [0]}, "an image of 28 x 28 pixels, mode L, in row 0, found: 28 x 20, mode L"),
        (lambda e: {"image": [e(np.stack([AN_IMAGE] * 3, 2))], "label": [0]}, "28 x 28 pixels, mode L, in row 0, found: 28 x 28, mode RGB"),
    ],
)
def test_a_wrong_schema_or_cell(maker, encode, make, message):
    (path,) = maker.write("mnist", "train", make(encode))
    with pytest.raises(InvalidInput, match=f"{path}: .*{message}"):
        load_dataset("mnist")


def test_no_rows(maker, encode):
    (path,) = maker.write("mnist", "train", {"image": [encode(AN_IMAGE)], "label": [0]})
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(InvalidInput, match="expected at least one row, found: no rows"):
        load_dataset("mnist")


def test_numbers_that_are_none(maker):
    from sgdscope.data.registry import get

    columns = {name: [0.0, 1.0] for name in get("avila").inputs} | {"label": [0, 1]}
    maker.write("avila", "train", columns | {"weight": [0.0, float("nan")]})
    with pytest.raises(InvalidInput, match="expected finite numbers, found: nan in row 1, column 'weight'"):
        load_dataset("avila")
    maker.write("avila", "train", columns | {"weight": ["a", "b"]})
    with pytest.raises(InvalidInput, match="expected numbers in column 'weight', found: type string"):
        load_dataset("avila")


def test_texts_that_are_none(maker):
    maker.write("imdb", "train", {"text": ["a", None], "label": [0, 1]})
    with pytest.raises(InvalidInput, match="expected a text in every row of column 'text', found: 1 empty"):
        load_dataset("imdb")
    maker.write("imdb", "train", {"text": [1, 2], "label": [0, 1]})
    with pytest.raises(InvalidInput, match="expected text in column 'text', found: type int64"):
        load_dataset("imdb")
