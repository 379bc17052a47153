"""Committed runs of older source, a sample of them computed again."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from example_runs import Slow, Square, Timed, Walk, square, walk

from sgdscope.errors import InvalidInput
from sgdscope.runs import Result, collect, promote, rechecked
from sgdscope.runs import store as stores
from sgdscope.runs.provenance import Provenance
from sgdscope.runs.recheck import difference, recheck
from sgdscope.runs.run import run_of

OLD = "sourceofold00000"


@pytest.fixture(autouse=True)
def at_a_commit(monkeypatch):
    monkeypatch.setattr("sgdscope.runs.recheck.present_commit", lambda: "0123456789ab")


def commit_older(config, *, seconds=1.0, result=None, device="cpu"):
    """A committed run of older source: computed now, with another fingerprint."""
    run = run_of(config)
    provenance = Provenance(fingerprint=run.fingerprint(), commit="0123456789ab", cpu_seconds=seconds, device=device)
    stores.save(run, config, result or run(config), provenance)
    promote.add([config])
    file = stores.results_file(run, run.key(config))
    found, about = stores.files.read(file)
    stores.files.write(file, found, {**about, "provenance": {**about["provenance"], "fingerprint": OLD}})
    stores.local_file(run, run.key(config)).unlink()


def test_runs_that_agree(store, calls, checkout):
    for seed in (1, 2, 3):
        commit_older(Square(seed))
    before = len(calls())
    (found,) = recheck([Square(1), Square(2), Square(3)])
    assert (found.function, found.old, found.new) == ("example_runs.square", OLD, square.fingerprint())
    assert (found.runs, found.sample, found.agree, found.difference, found.commit) == (3, 3, 3, 0.0, "0123456789ab")
    assert len(calls()) == before + 3 and not list((store / "runs").rglob("*.parquet"))  # computed, and not stored


def test_a_run_that_differs(store, calls, checkout):
    commit_older(Square(1))
    commit_older(Square(2), result=Result(pd.DataFrame({"step": [0, 1], "value": [4.0 + 1e-3, np.nan]}), {"weights": np.arange(3)}))
    (found,) = recheck([Square(1), Square(2)])
    assert (found.sample, found.agree) == (2, 1) and found.difference == pytest.approx(1e-3 / 4.001)
    assert str(found) == "of this function and source 2 were computed again: 1 agree, largest relative difference 2e-04"


def test_the_cheapest_runs_within_the_budget_and_at_least_one(store, calls, checkout):
    for seed, seconds in ((1, 30.0), (2, 10.0), (3, 20.0)):
        commit_older(Square(seed), seconds=seconds)
    configs = [Square(1), Square(2), Square(3)]
    before = len(calls())
    assert [found.sample for found in recheck(configs, seconds=30.0)] == [2] and calls()[before:] == ["square-2", "square-3"]
    assert [found.sample for found in recheck(configs, seconds=1.0)] == [1]


def test_runs_of_a_batch_are_taken_together(store, calls, checkout):
    for seed in (0, 1, 2):
        commit_older(Walk(seed))
    before = len(calls())
    (found,) = recheck([Walk(seed) for seed in (0, 1, 2)])
    assert (found.function, found.sample, found.agree) == (walk.name, 3, 3) and calls()[before:] == ["batch-0-1-2"]


def test_functions_apart_and_present_source_passed_over(store, calls, checkout):
    commit_older(Square(1))
    commit_older(Slow(0))
    collect([Square(5)])
    assert sorted(found.function for found in recheck([Square(1), Square(5), Square(9), Slow(0)])) == [
        "example_runs.slow",
        "example_runs.square",
    ]
    assert list(recheck([Square(5), Square(9)])) == []


def test_a_recheck_leaves_no_checkpoint(store, calls, checkout):
    commit_older(Square(1))
    kept = stores.checkpoint(Square(1))
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text("where the run stood")
    assert [found.agree for found in recheck([Square(1)])] == [1] and not kept.exists()


def test_runs_that_measure_time_are_passed_over(store, calls, checkout):
    commit_older(Timed(1))
    commit_older(Square(1))
    before = len(calls())
    assert [found.function for found in recheck([Timed(1), Square(1)])] == ["example_runs.square"] and calls()[before:] == ["square-1"]


def test_runs_of_a_gpu_are_passed_over(store, calls, checkout):
    commit_older(Square(1), device="NVIDIA H100")
    commit_older(Square(2))
    before = len(calls())
    (found,) = recheck([Square(1), Square(2)])
    assert (found.runs, found.sample) == (1, 1) and calls()[before:] == ["square-2"]


def test_what_was_found_is_said_where_the_runs_are_used(store, calls, checkout):
    commit_older(Square(1))
    assert collect([Square(1)]).attrs["sources"].origins == {"results, of an older source": 1}
    rechecked.record(recheck([Square(1)]))
    told = {"results, of an older source (of this function and source 1 were computed again: all agree)": 1}
    assert collect([Square(1)]).attrs["sources"].origins == told
    assert stores.load(square, Square(1)).of_older_source


def test_a_recheck_of_other_source_says_nothing(store, calls, checkout, monkeypatch):
    commit_older(Square(1))
    rechecked.record(recheck([Square(1)]))
    monkeypatch.setattr("sgdscope.runs.source.fingerprint", lambda module: "edited once more")
    assert collect([Square(1)]).attrs["sources"].origins == {"results, of an older source": 1}


def test_the_last_recheck_stands(store, calls, checkout):
    commit_older(Square(1))
    commit_older(Slow(0))
    first = recheck([Square(1), Slow(0)])
    rechecked.record(first)
    commit_older(Square(2))
    again = recheck([Square(1), Square(2)])
    rechecked.record(again)
    entries = json.loads(rechecked.place().read_text())
    assert [(entry["function"], entry["runs"]) for entry in entries] == [("example_runs.slow", 1), ("example_runs.square", 2)]


def test_nothing_on_record_outside_a_checkout_or_without_the_file(store, calls, checkout, monkeypatch):
    assert rechecked.recorded() == ()
    commit_older(Square(1))
    rechecked.record(recheck([Square(1)]))
    shutil.rmtree(rechecked.place().parent)
    assert rechecked.recorded() == ()


@pytest.mark.parametrize("commit", ["", "0123456789ab+"])
def test_uncommitted_source_is_refused(store, calls, checkout, monkeypatch, commit):
    monkeypatch.setattr("sgdscope.runs.recheck.present_commit", lambda: commit)
    with pytest.raises(InvalidInput, match="uncommitted changes: commit them"):
        next(recheck([Square(1)]))


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_budget_must_be_positive(store, calls, checkout, seconds):
    with pytest.raises(InvalidInput, match="seconds must be positive"):
        next(recheck([Square(1)], seconds=seconds))


TABLE = pd.DataFrame({"name": ["a", "b"], "value": [1.0, np.nan], "count": [3, 4], "flag": [True, False]})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, 0.0),
        ({"value": [1.0, np.nan]}, 0.0),
        ({"value": [1.5, np.nan]}, 0.5),
        ({"value": [1.0, 2.0]}, np.inf),
        ({"value": [np.inf, np.nan]}, np.inf),
        ({"count": [3, 5]}, 0.25),
        ({"name": ["a", "c"]}, np.inf),
        ({"name": ["a", None]}, np.inf),
        ({"flag": [True, True]}, np.inf),
        ({"more": [0, 0]}, np.inf),
    ],
)
def test_differences_of_tables(change, expected):
    assert difference(Result(TABLE), Result(TABLE.assign(**change))) == expected


def test_differences_of_arrays_and_outcomes():
    one = Result(TABLE, {"a": np.array([2.0, np.inf, -4.0])})
    assert difference(one, Result(TABLE, {"a": np.array([2.0, np.inf, -4.0])})) == 0
    assert difference(one, Result(TABLE, {"a": np.array([2.0, np.inf, -5.0])})) == 0.25
    assert difference(one, Result(TABLE, {"a": np.array([2.0, 1.0, -4.0])})) == np.inf
    assert difference(one, Result(TABLE, {"a": np.zeros(2)})) == difference(one, Result(TABLE)) == np.inf
    assert difference(Result(TABLE), Result(TABLE, status="diverged", diverged_at=3)) == np.inf
    assert difference(Result(TABLE.iloc[:1]), Result(TABLE)) == np.inf
    zeros = Result(TABLE, {"a": np.zeros(2)})
    assert (difference(zeros, zeros), difference(zeros, Result(TABLE, {"a": np.ones(2)}))) == (0.0, np.inf)
