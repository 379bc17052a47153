"""The store in trouble: damage, full disk, killed writers, folders that cannot be written. Nothing lost, nothing wrong used."""

import errno
import os
import shutil
import signal
import subprocess

import pandas as pd
import pytest
from example_runs import Outer, Square, Walk, square

from sgdscope.runs import Damaged, StoreError, checkpoint, collect, get
from sgdscope.runs import files as run_files
from sgdscope.runs import store as stores

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")


def file_of(config):
    return stores.local_file(square, square.key(config))


def arrays_of(config):
    (arrays,) = file_of(config).parent.glob(f"{square.key(config)}.*.safetensors")
    return arrays


def truncate(file):
    file.write_bytes(file.read_bytes()[:-200])


def flip_in_data(file):
    content = bytearray(file.read_bytes())
    content[content.index(b"\x10\x40")] ^= 8  # in the page that holds the 4.0 = 0x4010000000000000: another number, no other sign of it
    file.write_bytes(content)


def text(file):
    file.write_text("seed,value\n2,4\n")


def foreign(file):
    get(Square(3))
    shutil.copy(file_of(Square(3)), file)


def of_another_function(file):
    get(Walk(3))
    (other,) = (file.parents[1] / "example_runs.walk").glob("*.parquet")
    shutil.copy(other, file)


def without_arrays(file):
    arrays_of(Square(2)).unlink()


def other_arrays(file):
    arrays_of(Square(2)).write_bytes(b"\0" * 100)


@pytest.mark.parametrize("damage", [truncate, flip_in_data, text, foreign, of_another_function, without_arrays, other_arrays])
def test_damage_is_set_aside_and_computed_again(store, calls, capfd, damage):
    good = get(Square(2))
    file = file_of(Square(2))
    damage(file)
    bad = file.read_bytes()
    before = calls().count("square-2")

    again = get(Square(2))
    pd.testing.assert_frame_equal(again.table, good.table)
    assert again.arrays["weights"].tolist() == good.arrays["weights"].tolist()
    assert calls().count("square-2") == before + 1
    (aside,) = (store / "aside").iterdir()
    assert aside.read_bytes() == bad
    assert f"sgdscope: set aside {file.name}" in capfd.readouterr().err

    get(Square(2))
    assert calls().count("square-2") == before + 1


def test_damage_that_another_process_has_set_aside(store, calls, monkeypatch):
    """Between our reading it and our moving it: no error, nothing said, computed once more."""
    get(Square(2))
    truncate(file_of(Square(2)))
    monkeypatch.setattr(stores, "say", lambda message: pytest.fail(message))
    really = stores.set_aside

    def second(file, damage):
        file.unlink()
        really(file, damage)

    monkeypatch.setattr(stores, "set_aside", second)
    assert get(Square(2)).table["value"][0] == 4


def test_arrays_replaced_while_they_are_read_are_no_damage(store, calls, monkeypatch):
    """Another process may store the same run of newer source between our reading of table and arrays."""
    get(Square(2))
    really, times = run_files.read, []

    def read(path):
        times.append(path)
        if len(times) == 1:
            raise Damaged("k.safetensors, the arrays of k.parquet, is missing.")
        return really(path)

    monkeypatch.setattr(run_files, "read", read)
    get(Square(2))
    assert calls() == ["square-2"] and not (store / "aside").exists()


def test_damage_in_committed_results_is_an_error(store, calls, checkout):
    get(Square(2))
    folder = checkout / "results" / "example_runs.square"
    folder.parent.mkdir()
    shutil.move(file_of(Square(2)).parent, folder)
    assert get(Square(2)).table["value"][0] == 4
    truncate(folder / f"{square.key(Square(2))}.parquet")
    with pytest.raises(Damaged, match="is not a stored run: .*It is committed: restore it with git"):
        get(Square(2))
    assert not (store / "aside").exists()
    get(Square(3))
    shutil.copy(file_of(Square(3)), folder / f"{square.key(Square(2))}.parquet")
    shutil.copy(arrays_of(Square(3)), folder)
    with pytest.raises(Damaged, match="holds another run .*restore it with git"):
        get(Square(2))


@pytest.mark.parametrize("failing", ["_rename", "os.fsync", "pq.write_table"])
def test_a_full_disk_leaves_nothing_half_written(store, calls, monkeypatch, failing):
    get(Square(1))

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"sgdscope.runs.files.{failing}", full)
        with pytest.raises(StoreError, match="could not store .*: the disk is full. Runs stored so far are safe; make room"):
            get(Square(2))
    assert sorted(file.name for file in file_of(Square(1)).parent.glob("*.parquet")) == [file_of(Square(1)).name]
    assert not list(store.rglob("*.tmp"))
    get(Square(1)), get(Square(2))
    assert calls() == ["square-1", "square-2", "square-2"]


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    """A store on a file system of 200 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    monkeypatch.setenv("SGDSCOPE_STORE", str(folder))
    yield folder
    subprocess.run(["umount", folder], check=True)


@root_only
def test_a_disk_that_is_really_full(store, calls, small_disk):
    get(Square(1))
    fill = small_disk / "fill"
    with pytest.raises(OSError), fill.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    with pytest.raises(StoreError, match="disk is full|No space left"):
        get(Square(2))
    assert not list(small_disk.rglob("*.tmp"))
    assert get(Square(1)).table["value"][0] == 1
    fill.unlink()
    assert get(Square(2)).table["value"][0] == 4
    with pytest.raises(StoreError, match="the disk is full"):
        get(Square(100_000))  # its arrays alone are larger than the disk
    assert not list(small_disk.rglob("*.tmp"))
    assert calls().count("square-1") == 1


@root_only
def test_a_store_that_can_only_be_read(store, calls, small_disk):
    get(Square(1)), get(Square(2))
    truncate(file_of(Square(2)))
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert get(Square(1)).table["value"][0] == 1
    with pytest.raises(StoreError, match="cannot write to the store .*Read-only file system.*set SGDSCOPE_STORE to another folder"):
        get(Square(3))
    with pytest.raises(StoreError, match="cannot be set aside: .*Read-only.*Set SGDSCOPE_STORE"):
        get(Square(2))
    assert "square-3" not in calls()


def test_a_store_that_is_no_folder(store, calls):
    store.write_text("a file")
    with pytest.raises(StoreError, match="cannot write to the store"):
        get(Square(1))
    assert calls() == []  # not computed in vain
    with pytest.raises(StoreError, match="could not store"):
        run_files.write(store / "runs" / "k.parquet", square(Square(1)), {})


KILLED_AT = {
    "during the temporary file of the arrays": """
really = files.Path.write_bytes
def half(path, data):
    really(path, data[:10])
    die()
files.Path.write_bytes = half
""",
    "between arrays and table": """
files.pq.write_table = lambda *a, **k: die()
""",
    "during the temporary file of the table": """
def half(table, path):
    open(path, "wb").write(b"PAR1 and no more")
    die()
files.pq.write_table = half
""",
    "before the table gets its name": """
really = files._rename
files._rename = lambda temporary, path: die() if path.suffix == ".parquet" else really(temporary, path)
""",
}


@pytest.mark.parametrize("moment", KILLED_AT)
def test_killed_during_a_write(child, store, calls, moment):
    code = "import os, signal\nfrom sgdscope.runs import files\ndie = lambda: os.kill(os.getpid(), signal.SIGKILL)\nget(Square(1))"
    process = child(f"{code}\n{KILLED_AT[moment]}\nget(Square(2))")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert calls() == ["square-1", "square-2"]
    folder = file_of(Square(1)).parent
    assert len(list(folder.glob("*.parquet"))) == 1 and len(list(folder.iterdir()) + list(folder.glob(".*"))) > 2  # left-overs

    table = collect([Square(1), Square(2)])
    assert table["value"].dropna().tolist() == [1, 4]
    assert calls() == ["square-1", "square-2", "square-2"]
    assert sorted(file.name.split(".")[0] for file in folder.iterdir()) == sorted(2 * [square.key(Square(1)), square.key(Square(2))])


def test_killed_while_it_computes_what_it_asked_for(child, store, calls):
    process = child("""
import example_runs, os, signal
really = example_runs.note
example_runs.note = lambda text: (really(text), text == "square-2" and os.kill(os.getpid(), signal.SIGKILL))
get(Outer((1, 2)))
""")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert get(Outer((1, 2))).table["total"][0] == 6
    assert calls() == ["outer", "square-1", "square-2", "outer", "square-2"]


def test_another_source_is_computed_again_and_replaces_it(store, calls, monkeypatch):
    get(Square(2))
    monkeypatch.setattr("sgdscope.runs.source.fingerprint", lambda module: "of an edited library")
    assert collect([Square(2)]).attrs["sources"].origins == {"computed": 1}
    assert collect([Square(2)]).attrs["sources"].origins == {"store": 1}
    assert calls() == ["square-2", "square-2"]
    assert not (store / "aside").exists()


def test_about_reads_metadata_only(store, calls):
    assert stores.about(square, Square(2)) is None
    get(Square(2))
    assert stores.about(square, Square(2))["config"] == {"seed": 2, "factor": 1.0}
    text(file_of(Square(2)))
    assert stores.about(square, Square(2)) is None
    assert file_of(Square(2)).exists()  # planning moves nothing


def test_the_place_of_a_checkpoint_depends_on_configuration_and_source(store, calls, monkeypatch):
    first = checkpoint(Square(1))
    assert first.is_relative_to(store) and first.suffix == ".safetensors"
    assert checkpoint(Square(1)) == first != checkpoint(Square(2))
    monkeypatch.setattr("sgdscope.runs.source.fingerprint", lambda module: "another")
    assert checkpoint(Square(1)) != first


def test_storing_a_run_removes_its_checkpoints(store, calls):
    mine, older, other = checkpoint(Square(1)), checkpoint(Square(1)).with_suffix(".older.safetensors"), checkpoint(Square(2))
    for file in (mine, older, other):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    collect([Square(1)])
    assert not mine.exists() and not older.exists() and other.exists()
