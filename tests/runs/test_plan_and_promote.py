"""What runs will cost, and the way of stored runs into the repository."""

import shutil
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from example_runs import Descent, Square, square

from sgdscope.errors import InvalidInput, NotFound
from sgdscope.runs import Damaged, Result, collect, get, promote, run
from sgdscope.runs import store as stores
from sgdscope.runs.plan import plan
from sgdscope.runs.provenance import Provenance

FIRST = Square(1)


def put(config, *, seconds=1.0, peak=100.0, commit="0123456789ab", result=None, resumed=False, device="cpu", function=square):
    """A stored run with a provenance of our choice."""
    provenance = Provenance(
        fingerprint=function.fingerprint(), commit=commit, seconds=seconds, peak_mib=peak, resumed=resumed, device=device
    )
    stores.save(function, config, result or function(config), provenance)


# Plan


def test_nothing_known(store, calls, checkout):
    (row,) = plan([Square(1), Square(2)])
    assert (row.function, row.present, row.expected, row.seconds, row.peak_mib) == ("example_runs.square", 0, 2, None, None)
    assert row.basis == "no run like them yet"


def test_nothing_to_do(store, calls, checkout):
    put(FIRST)
    (row,) = plan([FIRST])
    assert (row.present, row.expected, row.seconds, row.basis) == (1, 1, 0.0, "nothing to do")


def test_from_runs_at_other_seeds(store, calls, checkout):
    put(Square(1), seconds=2.0, peak=100)
    put(Square(2), seconds=4.0, peak=300)
    put(Square(1, factor=9.0), seconds=1000.0, peak=9000)
    (row,) = plan([Square(i) for i in (1, 2, 3, 4)])
    assert (row.present, row.expected, row.seconds, row.peak_mib) == (2, 4, 6.0, 300)  # two more at a mean of 3 s
    assert row.basis == "runs at other seeds"


def test_interrupted_runs_count_only_where_there_are_no_others(store, calls, checkout):
    put(Square(1), seconds=2.0, resumed=True)
    assert plan([FIRST, Square(3)])[0].seconds == 2.0
    put(Square(2), seconds=6.0)
    assert plan([FIRST, Square(3)])[0].seconds == 6.0


def test_runs_of_a_gpu_count_only_where_there_are_no_others_or_one_is_here(store, calls, checkout, monkeypatch):
    monkeypatch.setattr("sgdscope.runs.plan.gpu_here", lambda: False)
    put(Square(1), seconds=2.0, device="NVIDIA H100")
    put(Square(2, factor=2.0), seconds=100.0)
    (row,) = plan([FIRST, Square(3)])  # a GPU's time of the same run tells more than a CPU's of another
    assert (row.seconds, row.basis) == (2.0, "runs at other seeds, on a GPU")
    put(Square(2), seconds=6.0)
    (row,) = plan([FIRST, Square(3)])
    assert (row.seconds, row.basis) == (6.0, "runs at other seeds")
    monkeypatch.setattr("sgdscope.runs.plan.gpu_here", lambda: True)
    assert plan([FIRST, Square(3)])[0].seconds == 4.0


def test_rough_from_other_settings(store, calls, checkout):
    put(Square(1), seconds=2.0)
    put(Square(1, factor=2.0), seconds=4.0, peak=200)
    (row,) = plan([Square(1, factor=3.0), Square(2)])
    assert (row.seconds, row.peak_mib, row.basis) == (3.0 + 2.0, 200, "rough: other settings")


@dataclass(frozen=True)
class Sized:
    seed: int
    num_steps: int = 100
    widths: tuple[int, ...] = (10, 10)
    num_examples: int | None = None
    rate: float = 0.1
    name: str = "a"
    draws_seed: int | None = None


@run(version=1)
def sized(config: Sized) -> Result:
    return Result(pd.DataFrame({"step": [config.num_steps]}))


def test_the_nearest_runs_tell(store, calls, checkout):
    put(Sized(1, num_steps=150, rate=0.3, name="b"), seconds=50.0, function=sized)
    put(Sized(1, num_steps=150, name="b"), seconds=7.0, function=sized)
    put(Sized(2, rate=0.3, name="b"), seconds=9.0, function=sized)
    (row,) = plan([Sized(3)])
    assert (row.seconds, row.basis) == (8.0, "rough: other settings")  # two fields apart, not three; not scaled with the steps
    put(Sized(2, draws_seed=7), seconds=1.0, function=sized)
    assert plan([Sized(3)])[0].seconds == 1.0 and plan([Sized(3)])[0].basis == "runs at other seeds"


@pytest.mark.parametrize(
    "changes", [{"num_steps": 201}, {"num_steps": 49}, {"widths": (40, 1)}, {"widths": (9,)}, {"num_examples": 10}], ids=str
)
def test_runs_of_another_size_tell_nothing(store, calls, checkout, changes):
    put(Sized(1), seconds=2.0, function=sized)
    (row,) = plan([Sized(1, **changes)])
    assert (row.seconds, row.peak_mib, row.basis) == (None, None, "no run like them yet")
    (row,) = plan([Sized(1, **changes), Sized(2)])
    assert (row.seconds, row.peak_mib, row.basis) == (None, None, "no run like 1 of them yet")


@pytest.mark.parametrize("changes", [{"num_steps": 200}, {"num_steps": 50}, {"widths": (40,)}], ids=str)
def test_twice_the_size_is_near_enough(store, calls, checkout, changes):
    put(Sized(1), seconds=2.0, function=sized)
    assert plan([Sized(1, **changes)])[0].seconds == 2.0


def test_one_row_a_function(store, calls, checkout):
    put(FIRST)
    rows = plan([FIRST, Descent(0.1), Square(2)])
    assert [(row.function, row.present, row.expected) for row in rows] == [("example_runs.square", 1, 2), ("example_runs.descend", 0, 1)]


def test_runs_of_other_source_are_missing_but_known(store, calls, checkout, monkeypatch):
    put(FIRST, seconds=2.0)
    monkeypatch.setattr("sgdscope.runs.source.fingerprint", lambda module: "of an edited library")
    (row,) = plan([FIRST])
    assert (row.present, row.seconds, row.basis) == (0, 2.0, "runs at other seeds")


def test_damaged_runs_are_missing_and_no_basis(store, calls, checkout):
    put(FIRST)
    stores.local_file(square, square.key(FIRST)).write_text("not a run")
    (row,) = plan([FIRST])
    assert (row.present, row.seconds) == (0, None)


def test_planning_outside_a_checkout(store, calls, monkeypatch):
    def nowhere():
        raise NotFound("no checkout")

    put(FIRST)
    monkeypatch.setattr("sgdscope.paths.repository", nowhere)
    assert plan([FIRST])[0].present == 1


# Promotion


def test_promoted_runs_are_served(store, calls, checkout, monkeypatch):
    put(FIRST, seconds=3.0)
    added = promote.add([FIRST])
    assert sorted(file.suffix for file in added) == [".parquet", ".safetensors"]
    assert {file.parent for file in added} == {checkout / "results" / "example_runs.square"}
    shutil.rmtree(store)
    before = calls()

    table = collect([FIRST])
    assert table.attrs["sources"].origins == {"results": 1} and table.attrs["sources"].commits == ("0123456789ab",)
    assert get(FIRST).arrays["weights"].tolist() == [0, 1]
    monkeypatch.setattr("sgdscope.runs.source.fingerprint", lambda module: "of an edited library")
    assert collect([FIRST]).attrs["sources"].origins == {"results, of an older source": 1}
    assert calls() == before
    ((file, about),) = promote.committed()
    assert file in added and about["provenance"]["seconds"] == 3.0


def test_the_local_run_of_present_source_goes_first(store, calls, checkout):
    put(FIRST)
    promote.add([FIRST])
    assert collect([FIRST]).attrs["sources"].origins == {"store": 1}


def test_what_is_committed_already_is_passed_over(store, calls, checkout):
    put(FIRST)
    promote.add([FIRST])
    shutil.rmtree(store)
    put(Square(2))
    added = promote.add([FIRST, Square(2)])
    assert {file.name.split(".")[0] for file in added} == {square.key(Square(2))}


def test_new_arrays_replace_old_ones(store, calls, checkout):
    for arrays in ({"a": np.ones(1)}, {"a": np.zeros(1)}, {}):
        put(FIRST, result=Result(pd.DataFrame({"value": [1]}), arrays))
        added = promote.add([FIRST])
        assert sorted(added) == sorted((checkout / "results" / "example_runs.square").iterdir())


@pytest.mark.parametrize("commit", ["0123456789ab+", ""])
def test_runs_of_no_commit_are_refused(store, calls, checkout, commit):
    put(FIRST)
    put(Square(2), commit=commit)
    with pytest.raises(
        InvalidInput, match=r"was computed at (0123456789ab\+|no commit), with uncommitted changes: commit them, delete .*parquet"
    ):
        promote.add([FIRST, Square(2)])
    assert not (checkout / "results").exists()  # nothing is copied then


def test_missing_runs_are_refused(store, calls, checkout):
    put(FIRST)
    with pytest.raises(InvalidInput, match=r"square\(Square\(seed=2, factor=1.0\)\) is not in the local store: compute it first"):
        promote.add([FIRST, Square(2)])
    assert not (checkout / "results").exists()


@pytest.mark.parametrize(
    "result",
    [
        Result(pd.DataFrame({"value": np.random.default_rng(0).normal(size=140_000)})),
        Result(pd.DataFrame({"value": [1]}), {"weights": np.zeros(140_000)}),
    ],
    ids=["table", "arrays"],
)
def test_large_files_are_refused(store, calls, checkout, result):
    put(FIRST, result=result)
    with pytest.raises(
        InvalidInput, match=r"takes files up to 1,000,000 bytes; too large: \w+\.(parquet|\w+\.safetensors) \(1,\d{3},\d{3} bytes\)"
    ):
        promote.add([FIRST])
    assert not (checkout / "results").exists()


def test_a_damaged_committed_file_is_named(store, calls, checkout):
    put(FIRST)
    parquet = promote.add([FIRST])[0]
    parquet.write_text("merge conflict")
    with pytest.raises(Damaged, match=parquet.name):
        list(promote.committed())


def test_a_field_added_since_leaves_committed_runs_usable(store, calls, checkout, monkeypatch):
    """Its key is the same, so the file must be taken for what it is."""
    put(FIRST)
    promote.add([FIRST])
    shutil.rmtree(store)
    really = stores.canonical
    monkeypatch.setattr("sgdscope.runs.configuration.canonical", lambda config: {**really(config), "momentum": 0.0})
    monkeypatch.setattr("sgdscope.runs.configuration.differing", lambda config: {"seed": config.seed})
    assert stores.load(square, FIRST).origin == "results"
    monkeypatch.setattr("sgdscope.runs.configuration.differing", lambda config: {"seed": config.seed, "momentum": 0.0})
    monkeypatch.setattr(type(square), "key", lambda self, config: parquet_key)
    parquet_key = next((checkout / "results").glob("*/*.parquet")).stem
    with pytest.raises(Damaged, match="holds another run"):
        stores.load(square, FIRST)
