"""A stored run on disk: the same when read, and never used when anything about it was altered."""

import json

import numpy as np
import pandas as pd
import pytest

from sgdscope.errors import InvalidInput
from sgdscope.runs import Damaged, Result
from sgdscope.runs.files import read, read_about, write

TABLES = {
    "numbers": pd.DataFrame({"a": [1, 2], "b": [0.1, -0.0], "c": [True, False]}),
    "not finite": pd.DataFrame({"a": [np.nan, np.inf, -np.inf, 1e-320]}),
    "text": pd.DataFrame({"a": ["x", "", "ü\n<b>"], "b": [None, "y", None]}),
    "narrow": pd.DataFrame({"a": np.array([1.1, 2], dtype=np.float32), "b": np.array([1, 2], dtype=np.int8)}),
    "no rows": pd.DataFrame({"a": np.array([], dtype=float), "b": np.array([], dtype=np.int64)}),
    "nothing": pd.DataFrame(),
    "integer names": pd.DataFrame({0: [1.0], 1: [2.0]}),
    "another index": pd.DataFrame({"a": [1, 2]}, index=[5, 7]),
}
ARRAYS = {
    "float64": np.array([[0.1, np.nan], [np.inf, -0.0]]),
    "float32": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "float16": np.array([1, 2], dtype=np.float16),
    "int64": np.array([-(2**62)]),
    "uint8": np.array([255], dtype=np.uint8),
    "bool": np.array([True, False]),
    "scalar": np.array(3.5),
    "empty": np.zeros((0, 3)),
}
ABOUT = {"function": "f", "provenance": {"seconds": 1.5}}


@pytest.mark.parametrize("name", TABLES)
def test_tables_come_back(tmp_path, name):
    table = TABLES[name]
    write(tmp_path / "k.parquet", Result(table), ABOUT)
    result, about = read(tmp_path / "k.parquet")
    expected = table.reset_index(drop=True).rename(columns=str)
    pd.testing.assert_frame_equal(result.table, expected, check_column_type=False)
    for column in expected.select_dtypes("float"):
        assert result.table[column].to_numpy().tobytes() == expected[column].to_numpy().tobytes()  # -0.0 too
    assert (result.status, result.diverged_at, result.arrays) == ("finished", None, {})
    assert about["function"] == "f" and about["provenance"] == {"seconds": 1.5}


def test_arrays_come_back(tmp_path):
    write(tmp_path / "k.parquet", Result(TABLES["numbers"], ARRAYS, "diverged", 7), ABOUT)
    result, _ = read(tmp_path / "k.parquet")
    assert (result.status, result.diverged_at) == ("diverged", 7)
    assert sorted(result.arrays) == sorted(ARRAYS)
    for name, array in ARRAYS.items():
        got = result.arrays[name]
        assert (got.dtype, got.shape, got.tobytes()) == (array.dtype, array.shape, np.asarray(array, order="C").tobytes()), name


def test_what_was_collected_on_the_way_is_no_part_of_the_result(tmp_path):
    table = TABLES["numbers"].copy()
    table.attrs["sources"] = object()
    write(tmp_path / "k.parquet", Result(table), ABOUT)
    assert read(tmp_path / "k.parquet")[0].table.attrs == {}
    assert table.attrs  # the caller's own


def test_only_the_run_is_left_in_the_folder(tmp_path):
    """Old arrays go when new ones are written, and left-overs of killed processes go too."""
    (tmp_path / ".k.123.tmp").write_bytes(b"half")
    (tmp_path / "k.0123456789ab.safetensors").write_bytes(b"of a run that was killed before its table")
    (tmp_path / ".other.123.tmp").write_bytes(b"of a run that may be being written now")
    write(tmp_path / "k.parquet", Result(TABLES["numbers"], {"a": np.ones(1)}), ABOUT)
    write(tmp_path / "k.parquet", Result(TABLES["numbers"], {"a": np.ones(2)}), ABOUT)
    arrays = read_about(tmp_path / "k.parquet")["arrays"]
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([".other.123.tmp", "k.parquet", arrays])
    write(tmp_path / "k.parquet", Result(TABLES["numbers"]), ABOUT)
    assert sorted(file.name for file in tmp_path.iterdir()) == [".other.123.tmp", "k.parquet"]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda: Result([1, 2]), "table must be a pandas DataFrame, got list"),
        (lambda: Result(pd.DataFrame(), status="failed"), "status is one of finished, diverged; got 'failed'"),
    ],
)
def test_results_that_are_none(result, message):
    with pytest.raises(InvalidInput, match=message):
        result()


@pytest.mark.parametrize(
    "result",
    [
        Result(pd.DataFrame({"a": [1, "b"]})),
        Result(pd.DataFrame([[1, 2]], columns=["a", "a"])),
        Result(pd.DataFrame(), {"a": np.array(["text"])}),
        Result(pd.DataFrame(), {"a": np.array([object()])}),
    ],
    ids=["mixed column", "one name twice", "text array", "object array"],
)
def test_what_cannot_be_stored_is_refused(tmp_path, result):
    with pytest.raises(InvalidInput, match="a result cannot be stored: .*columns of one type each"):
        write(tmp_path / "k.parquet", result, ABOUT)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def stored(tmp_path):
    file = tmp_path / "k.parquet"
    table = pd.DataFrame({"step": range(20), "loss": np.linspace(1, 0.1, 20), "name": [f"layer {i}" for i in range(20)]})
    write(file, Result(table, {"weights": np.arange(5.0)}), ABOUT)
    return file


def test_every_flipped_bit_is_found_or_harmless(stored):
    """A byte altered anywhere: refused, or nothing that anybody reads has changed."""
    good, (expected, about) = stored.read_bytes(), read(stored)
    refused = 0
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 1 << position % 8
        stored.write_bytes(bad)
        try:
            result, said = read(stored)
        except Damaged:
            refused += 1
            continue
        pd.testing.assert_frame_equal(result.table, expected.table)
        assert said == about
    assert refused > len(good) / 2  # the rest: statistics and the like, which nothing here reads


@pytest.mark.parametrize("length", [0, 3, 4, 100, -300, -8, -1])
def test_truncated_files_are_refused(stored, length):
    stored.write_bytes(stored.read_bytes()[:length])
    with pytest.raises(Damaged, match="k.parquet is not a stored run"):
        read(stored)


@pytest.mark.parametrize("content", [b"", b"seed,loss\n0,1.5\n", b"PAR1", b"PAR1 not quite PAR1"])
def test_other_files_are_refused(stored, content):
    stored.write_bytes(content)
    for function in (read, read_about):
        with pytest.raises(Damaged, match="k.parquet is not a stored run"):
            function(stored)


@pytest.mark.parametrize("metadata", [None, {b"other": b"{}"}, {b"sgdscope": b"{"}, {b"sgdscope": b"[]"}, {b"sgdscope": b'{"format": 99}'}])
def test_parquet_of_others_is_refused(stored, metadata):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata(metadata), stored)
    with pytest.raises(Damaged, match="k.parquet is not a stored run"):
        read(stored)


def test_a_table_with_the_words_of_another_is_refused(stored):
    """The checksum binds table and metadata: neither can be exchanged alone."""
    import pyarrow.parquet as pq

    table = pq.read_table(stored)
    about = json.loads(table.schema.metadata[b"sgdscope"])
    about["provenance"]["seconds"] = 0.1
    pq.write_table(table.replace_schema_metadata({b"sgdscope": json.dumps(about)}), stored)
    with pytest.raises(Damaged, match="does not match its checksum"):
        read(stored)


def test_arrays_must_be_there_and_unaltered(stored):
    (arrays,) = stored.parent.glob("*.safetensors")
    content = arrays.read_bytes()
    for damaged in (content[:-1], content[:-1] + bytes([content[-1] ^ 1]), b""):
        arrays.write_bytes(damaged)
        with pytest.raises(Damaged, match=r"safetensors does not match its checksum"):
            read(stored)
    arrays.unlink()
    with pytest.raises(Damaged, match=r"k\.[0-9a-f]{12}\.safetensors, the arrays of k.parquet, is missing"):
        read(stored)
