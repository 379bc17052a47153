"""Collecting: one tidy table, what is missing computed once, also by two processes, nested and in batches."""

import signal
import time

import numpy as np
import pandas as pd
import pytest
from example_runs import Descent, Outer, Selfish, Slow, Square, Walk, Wrong, square, walk

from sgdscope.errors import InvalidInput
from sgdscope.runs import MissingRun, collect, get, groups, run, run_of
from sgdscope.runs import store as stores
from sgdscope.runs.collect import collected


def test_one_tidy_table(store, calls):
    table = collect([Square(2), Square(3, factor=0.5)])
    expected = pd.DataFrame(
        {
            "seed": [2, 2, 3, 3],
            "factor": [1.0, 1.0, 0.5, 0.5],
            "status": ["finished"] * 4,
            "step": [0, 1, 0, 1],
            "value": [4, np.nan, 4.5, np.nan],
        }
    )
    pd.testing.assert_frame_equal(pd.DataFrame(table), expected, check_column_type=False)
    sources = table.attrs["sources"]
    assert (sources.expected, sources.missing, sources.diverged, sources.origins) == (2, 0, 0, {"computed": 2})
    assert sources.functions == ("example_runs.square",) and sources.devices == ("cpu",)

    again = collect([Square(2), Square(3, factor=0.5)])
    pd.testing.assert_frame_equal(again, table)
    assert again.attrs["sources"].origins == {"store": 2}
    assert again.attrs["sources"].seconds == sources.seconds
    assert calls() == ["square-2", "square-3"]
    assert collected == [sources, again.attrs["sources"]]


def test_computed_and_loaded_results_are_the_same(store, calls):
    computed, loaded = get(Square(2)), get(Square(2))
    pd.testing.assert_frame_equal(computed.table, loaded.table)
    assert computed.arrays["weights"].tobytes() == loaded.arrays["weights"].tobytes()


def test_one_configuration_asked_for_twice(store, calls):
    assert len(collect([Square(2), Square(2)])) == 4
    assert len(collect([Walk(2), Walk(2), Walk(3)])) == 9
    assert calls() == ["square-2", "batch-2-3"]


def test_tuples_stand_in_the_table_as_text(store, calls):
    table = collect([Outer((1, 2))])
    assert table["seeds"].tolist() == ["1, 2"]


def test_nothing_to_collect(store):
    with pytest.raises(InvalidInput, match="collect needs at least one configuration, got none"):
        collect([])


def test_a_configuration_of_no_run(store):
    with pytest.raises(InvalidInput, match=r"no @run function takes a int; known: .*Square.*"):
        get(3)


def test_registration_is_checked():
    def bare(config):
        return None

    with pytest.raises(InvalidInput, match="bare: annotate its first parameter with the configuration's frozen dataclass"):
        run(version=1)(bare)

    def loose(config: dict):
        return None

    with pytest.raises(InvalidInput, match="must be a frozen dataclass, got <class 'dict'>"):
        run(version=1)(loose)

    def other(config: Square):
        return None

    with pytest.raises(InvalidInput, match="Square configures example_runs.square already: give .*other a configuration of its own"):
        run(version=1)(other)
    with pytest.raises(InvalidInput, match=r"together names \['sed'\], which Square does not have"):
        run(version=1, batch=lambda configs: [], together=("sed",))(other)


def test_calling_a_run_goes_past_the_store(store, calls):
    assert square(Square(2)).table["value"][0] == 4
    assert run_of(Square(2)) is square
    assert not store.exists()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no result", "example_runs.wrong must return a Result for each configuration, got DataFrame"),
        ("clash", r"example_runs.wrong returns columns \['what'\], which are fields of its configuration too"),
        ("types", "a result cannot be stored: .*columns of one type each"),
        ("arrays", "a result cannot be stored: .*arrays take numbers"),
    ],
)
def test_runs_that_give_something_else(store, what, message):
    with pytest.raises(InvalidInput, match=message):
        collect([Wrong(what)])


def test_diverged_runs_are_shown_and_counted(store):
    for _ in ("computed", "loaded"):
        table = collect([Descent(0.1), Descent(3.0), Descent(5.0)])
        assert table["status"].tolist() == ["finished", "finished", "diverged", "diverged"]
        assert np.isinf(table["loss"][2])
        assert table.attrs["sources"].diverged == 2
    assert get(Descent(3.0)).diverged_at == 7


@pytest.mark.parametrize(("rate", "error"), [(99, ZeroDivisionError), (77, KeyboardInterrupt)])
def test_finished_runs_survive_what_a_run_raises(store, rate, error):
    with pytest.raises(error):
        collect([Descent(0.1), Descent(rate), Descent(0.2)])
    assert stores.load(run_of(Descent(0.1)), Descent(0.1)) is not None
    assert stores.load(run_of(Descent(0.2)), Descent(0.2)) is None
    assert collect([Descent(0.1), Descent(0.2)]).attrs["sources"].origins == {"store": 1, "computed": 1}


# Never computing


def test_missing_runs_stay_missing(store, calls, monkeypatch):
    get(Square(1))
    monkeypatch.setenv("SGDSCOPE_COMPUTE", "never")
    table = collect([Square(1), Square(2)])
    assert table["seed"].unique().tolist() == [1]
    sources = table.attrs["sources"]
    assert (sources.expected, sources.missing, sources.origins) == (2, 1, {"store": 1})
    empty = collect([Square(2), Square(3)])
    assert empty.empty and {"seed", "factor", "status"} <= set(empty.columns) and empty.attrs["sources"].missing == 2
    with pytest.raises(MissingRun, match=r"example_runs.square\(Square\(seed=2, factor=1.0\)\) is not stored, and SGDSCOPE_COMPUTE=never"):
        get(Square(2))
    assert calls() == ["square-1"]


def test_what_a_page_shows_of_missing_runs(store, calls, monkeypatch):
    """Evidence says what lacks, the figure is a box; neither function is called."""
    from sgdscope import claims, figures

    monkeypatch.setenv("SGDSCOPE_COMPUTE", "never")
    table = collect([Square(1), Square(2)])
    assert claims.evidence(lambda table: pytest.fail("called"))(table).not_run == "2 of 2 runs are missing"
    assert figures.figure(lambda table: pytest.fail("called"))(table) == figures.Missing(2, 2)


# Two processes, and locks


def test_two_processes_ask_for_one_run(child, store, calls):
    processes = [child("print(get(Slow(4)).table['value'][0])") for _ in range(3)]
    assert [process.communicate()[0].strip() for process in processes] == ["4"] * 3
    assert calls() == ["slow-4"]


def test_two_processes_share_many_runs(child, store, calls):
    """Each run once; the second takes what the first has not begun."""
    processes = [child("print(sorted(collect([Slow(i) for i in range(4)])['value']))") for _ in range(2)]
    assert [process.communicate()[0].strip() for process in processes] == ["[0, 1, 2, 3]"] * 2
    assert sorted(calls()) == ["slow-0", "slow-1", "slow-2", "slow-3"]


def test_a_batch_leaves_out_what_another_process_computes(child, store, calls):
    process = child("""
from sgdscope.runs import store as stores
from sgdscope.runs.provenance import Provenance
with stores.lock(walk.key(Walk(2))):
    print("held", flush=True)
    time.sleep(0.6)
    stores.save(walk, Walk(2), walk(Walk(2)), Provenance(fingerprint=walk.fingerprint()))
""")
    process.stdout.readline()
    table = collect([Walk(1), Walk(2), Walk(3)])
    assert process.wait() == 0
    assert calls() == ["batch-1-3", "single-2"]
    assert table["position"].tolist() == [1, 2, 3, 2, 4, 6, 3, 6, 9]
    assert table.attrs["sources"].origins == {"computed": 2, "store": 1}


def test_stale_lock_files_mean_nothing(store, calls):
    (store / "locks").mkdir(parents=True)
    (store / "locks" / f"{square.key(Square(2))}.lock").write_text("12345")
    get(Square(2))
    assert calls() == ["square-2"]


def test_a_killed_holder_releases(child, store, calls):
    process = child("""
import example_runs, signal
example_runs.time.sleep = lambda seconds: (print("in", flush=True), signal.pause())
get(Slow(4))
""")
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    start = time.perf_counter()
    assert get(Slow(4)).table["value"][0] == 4
    assert time.perf_counter() - start < 5
    assert calls() == ["slow-4", "slow-4"]


def test_a_waiting_process_computes_what_the_holder_failed_to(child, store, calls):
    process = child("""
import example_runs
def fail(seconds):
    print("in", flush=True)
    time_sleep(0.5)
    raise ZeroDivisionError
time_sleep, example_runs.time.sleep = example_runs.time.sleep, fail
get(Slow(4))
""")
    process.stdout.readline()
    assert get(Slow(4)).table["value"][0] == 4
    assert process.wait() == 1
    assert calls() == ["slow-4", "slow-4"]


# Runs that ask for runs


def test_nested_runs_are_computed_once(store, calls):
    assert get(Outer((1, 2))).table["total"][0] == 6
    assert calls() == ["outer", "square-1", "square-2"]
    collect([Outer((1, 2)), Outer((2, 3))])
    assert calls() == ["outer", "square-1", "square-2", "outer", "square-3"]


def test_a_page_collects_what_it_asked_for_itself(store, calls):
    """Not what its runs asked for: the card would say one thing when they are computed and another when they are loaded."""
    for origin in ("computed", "store"):
        get(Outer((1, 2)))
        assert [source.functions for source in collected] == [("example_runs.outer",)]
        assert collected.pop().origins == {origin: 1}


def test_nested_in_two_processes(child, store, calls):
    processes = [child(f"print(get(Outer({seeds})).table['total'][0])") for seeds in ((1, 2), (2, 1), (1, 2))]
    assert [process.communicate()[0].strip() for process in processes] == ["6.0", "9.0", "6.0"]
    assert sorted(calls()) == ["outer", "outer", "square-1", "square-2"]


def test_a_run_that_asks_for_itself(store):
    with pytest.raises(InvalidInput, match="example_runs.selfish asks for a run that is being computed in the same call"):
        get(Selfish())
    with pytest.raises(InvalidInput, match="asks for a run"):  # and the next call is not fooled
        get(Selfish())


# Batches


@pytest.mark.parametrize("kind", ["list", "generator"])
def test_batched_equals_single(store, calls, kind):
    seeds = [3, 1, 2]
    table = collect([Walk(seed, kind=kind) for seed in seeds])
    assert calls() == ["batch-3-1-2"]
    single = pd.concat([walk(Walk(seed)).table.assign(seed=seed) for seed in seeds], ignore_index=True)
    assert table["position"].tolist() == single["position"].tolist()
    assert table["seed"].tolist() == single["seed"].tolist()


def test_adding_a_seed_computes_that_seed(store, calls):
    collect([Walk(1), Walk(2)])
    collect([Walk(1), Walk(2), Walk(3)])
    assert calls() == ["batch-1-2", "single-3"]
    collect([Walk(i) for i in range(6)])
    assert calls()[2:] == ["batch-0-4-5"]


def test_one_batch_a_shape(store, calls):
    configs = [Walk(1), Walk(1, num_steps=2), Square(1), Walk(2), Walk(2, num_steps=2), Square(2)]
    assert groups(configs) == [[0, 3], [1, 4], [2], [5]]
    table = collect([config for config in configs if isinstance(config, Walk)])
    assert calls() == ["batch-1-2", "batch-1-2"]
    assert table["position"].tolist() == [1, 2, 3, 1, 2, 2, 4, 6, 2, 4]


def test_large_groups_are_divided(monkeypatch):
    monkeypatch.setattr("sgdscope.runs.compute.LARGEST_GROUP", 2)
    assert groups([Walk(i) for i in range(5)]) == [[0, 1], [2, 3], [4]]


def test_each_has_its_share_of_the_batch(store, calls, monkeypatch):
    monkeypatch.setattr("example_runs.note", lambda text: time.sleep(0.2))
    collect([Walk(i) for i in range(4)])
    said = [stores.load(walk, Walk(i)).provenance for i in range(4)]
    assert {about.batch for about in said} == {4}
    assert {round(about.seconds, 2) for about in said} == {0.05}


def test_an_interrupted_generator_keeps_what_it_gave(store, calls):
    with pytest.raises(KeyboardInterrupt):
        collect([Walk(i, kind="interrupted") for i in range(4)])
    assert [stores.load(walk, Walk(i, kind="interrupted")) is not None for i in range(4)] == [True, True, False, False]


@pytest.mark.parametrize(
    ("kind", "message", "kept"),
    [
        ("short list", "gave 2 results for 3 configurations: it must give one Result each, in their order", 0),
        ("ends", "gave 2 results for 3 configurations", 2),
        ("long generator", "gave more than 3 results for 3 configurations", 3),
        ("none", "must give one Result for each configuration, got NoneType", 0),
    ],
)
def test_batches_that_do_not_answer_to_their_configurations(store, calls, kind, message, kept):
    configs = [Walk(i, kind=kind) for i in range(3)]
    with pytest.raises(InvalidInput, match=f"the batched form of example_runs.walk {message}"):
        collect(configs)
    assert sum(stores.load(walk, config) is not None for config in configs) == kept
