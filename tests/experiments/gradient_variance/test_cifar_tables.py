"""Numbers of one trajectory, from curves whose numbers are known."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no neighbours
import cifar_cases as cases

from sgdscope.experiments.gradient_variance import cifar_numbers as numbers
from sgdscope.experiments.gradient_variance import cifar_tables as tables
from sgdscope.runs.collect import Sources


def test_cases_are_named_by_what_was_changed():
    table = pd.concat([cases.plain(), cases.smoothed(), cases.corrupted(), cases.others(), cases.few()], ignore_index=True)
    names = {"plain", "smoothed", "10% redrawn", "20% redrawn", "1% redrawn", "re-run"}
    assert set(tables.case(table)) == names and len(tables.trajectories(table)) == 6 * 3


def test_a_curve_has_both_values_at_an_update():
    found = tables.curve(cases.trajectory(), "svrg")
    assert found[found.interval == 0].step.tolist() == [10, 20, 30, 40, 50, 60]
    assert found[found.interval == 0].age.tolist() == [0, 10, 20, 30, 40, 50]
    assert found[found.interval == 1].step.tolist() == [60, 70, 80, 90, 100, 110, 120]
    assert found[(found.interval == 0) & (found.step == 60)].ratio.item() == pytest.approx(0.95)
    assert found[(found.interval == 1) & (found.step == 60)].ratio.item() == 0
    plain = tables.curve(cases.trajectory(), "sgd2")  # measured once at an update
    assert len(plain) == len(cases.STEPS) and np.allclose(plain.ratio, 0.5)


def test_rise_and_jumps():
    rows = cases.trajectory()
    before = rows[rows.step <= 120]  # 12 points up to the drop: quarters of 3, 90 steps apart
    assert tables.rise_to_drop(rows) == pytest.approx(90 / 500)
    assert tables.rise(before) == pytest.approx(90 / 500)
    assert tables.rise(rows) == pytest.approx(180 / 500 + 0.8)
    assert tables.rise_to_drop(rows, "sgd_normalised") > 0
    assert tables.jump(rows) == pytest.approx(30 / 500 + 0.4)
    assert tables.jump(rows, less_before=True) == pytest.approx(0.4)
    without = cases.trajectory(drops=())
    assert np.isnan(tables.rise_to_drop(without)) and np.isnan(tables.jump(without))


def test_fluctuation_is_the_height_of_the_spike():
    rows = cases.trajectory(spike=0.7)
    assert tables.fluctuation(rows, "gc") == pytest.approx(0.7) and tables.fluctuation(rows, "sgd2") == pytest.approx(0, abs=1e-12)
    assert tables.fall_back(rows, "gc") == pytest.approx(0.7)
    rising = rows.assign(gc_average=rows.sgd_average * np.exp(rows.gc_age / 100), gc_before_average=np.nan)
    assert tables.fluctuation(rising, "gc") > 0.2 and tables.fall_back(rising, "gc") == pytest.approx(0, abs=1e-12)
    assert tables.fluctuation(rows.assign(gc_average=rows.gc_average * 5), "gc") < 2  # the values before updates are not scaled
    assert tables.median_ratio(rows, "gc") == pytest.approx(np.log(0.7)) and tables.median_ratio(rows, "gc", "sgd2") == pytest.approx(
        np.log(1.4)
    )


def test_growth_and_falls_of_svrg():
    table = cases.plain()
    rows = cases.trajectory()
    assert tables.growth(rows) == pytest.approx(1) and tables.falls(table) == 0
    sinking = rows.assign(svrg_average=rows.sgd_average * (100 - rows.svrg_age), svrg_before_average=np.nan)
    assert tables.growth(sinking) < -0.8 and tables.falls(sinking) > 0.5


def test_distances_and_controls():
    rows, control = cases.trajectory(), cases.trajectory(drops=())
    assert tables.distance(rows, rows) == 0 and tables.distance(rows, rows.assign(sgd_average=rows.sgd_average * 2)) == pytest.approx(
        np.log(2)
    )
    assert tables.after_drop(rows, control) == pytest.approx(0.4)  # up to the second drop
    assert np.isnan(tables.after_drop(control, control))


def test_equal_losses():
    at = tables.equal_losses(cases.constant(), number=5)
    assert set(at.place) == set(range(5)) and set(at.seed) == set(cases.SEEDS) and (at.groupby(["seed", "place"]).loss.nunique() == 1).all()
    slow = cases.trajectory(rate=0.01, drops=())
    assert at.loss.min() == pytest.approx(slow.train_loss.min())  # the last that all reach
    one = at[(at.learning_rate == 0.1) & (at.seed == 0) & (at.place == 4)]
    rows = cases.trajectory(rate=0.1, drops=())
    assert one.average.item() == rows[rows.train_loss <= one.loss.item()].sgd_average.iloc[0]
    diverged = cases.constant().assign(status="diverged")
    assert tables.equal_losses(diverged).empty


def test_trajectories_without_measurements_are_left_out():
    table = cases.plain()
    table.loc[table.seed == 1, [column for column in table if column.endswith("average")]] = np.nan
    assert [seed for (_, _, seed), _ in tables.trajectories(table)] == [0, 2]
    assert tables.per_seed(table, tables.rise_to_drop).index.tolist() == [0, 2]
    assert tables.trajectories(table[["seed", "learning_rate", "corrupt_share", "label_smoothing"]]) == []


def test_numbers_for_sentences():
    said = numbers.estimator_numbers(cases.plain())
    assert (
        said["rise"] == pytest.approx(np.exp(90 / 500)) and said["jump"] == pytest.approx(np.exp(0.46)) and said["gc"] == pytest.approx(0.7)
    )
    assert said["gc_largest"] == pytest.approx(0.7 * np.e) and said["above"] == 0 and said["points"] == 3 * len(cases.STEPS)
    assert said["examples"] == 500
    ending = pd.concat([cases.plain(), cases.plain().tail(1).assign(step=250, svrg_age=0, gc_age=0, svrg_average=0.0)], ignore_index=True)
    assert said["svrg_end"] == pytest.approx(1) and numbers.estimator_numbers(ending)["svrg_end"] == pytest.approx(1)
    rates = numbers.rate_numbers(cases.plain(), cases.constant())
    assert rates["drop"] == pytest.approx(np.exp(0.4)) and rates["equal"] > 1 and (rates["low"], rates["high"]) == (0.01, 0.1)
    noise = numbers.noise_numbers(cases.plain(), cases.smoothed(), cases.corrupted())
    assert (
        noise["plain_gcf"] == pytest.approx(1)
        and noise["redrawn_gcs"] == pytest.approx(0.6)
        and noise["smoothed_noisef"] == pytest.approx(0, abs=1e-9)
    )
    inside = numbers.inside_numbers(cases.states())
    assert (
        inside["factor"] == pytest.approx(np.exp(0.7))
        and inside["overlap"] == pytest.approx(0.11)
        and inside["changed"] == pytest.approx(9)
    )
    assert inside["age"] == 20 and (inside["intervals"], inside["largest_last"]) == (3, 0)
    grown_old = cases.states().assign(gc_exact=lambda rows: 1e-5 * (1 + rows.age))
    grown_old.loc[(grown_old.seed == 1) & (grown_old.step == 30), "age"] = 0  # a second interval of two log points
    found = numbers.inside_numbers(
        grown_old.assign(gc_exact=grown_old.gc_exact * np.where((grown_old.seed == 2) & (grown_old.step == 20), 9, 1))
    )
    assert (found["intervals"], found["largest_last"]) == (4, 3)


def test_tables_behind_figures():
    curves = numbers.curve_numbers(cases.plain(), cases.constant())
    assert len(curves) == 9 * len(cases.STEPS) and {"case", "gc_before_average", "sgd_guarded"} <= set(curves)
    found = numbers.fluctuation_table(cases.plain(), cases.corrupted()).set_index(["case", "estimator"])
    assert found.fluctuation["plain", "GC"] == pytest.approx(1) and found.fluctuation["10% redrawn", "GC"] == pytest.approx(0, abs=1e-12)
    assert found.share["plain", "SG-2B"] == pytest.approx(0.5) and (found.seeds == 3).all()
    apart = numbers.variant_numbers(cases.plain(), cases.smoothed(), cases.corrupted(), cases.others())
    assert apart["rerun"] == pytest.approx(1.01) and apart["smoothed"] == pytest.approx(5 / 4)
    assert len(numbers.state_numbers(cases.states())) == 24


def test_nothing_is_said_where_runs_are_missing():
    table = cases.plain()
    table.attrs["sources"] = Sources(expected=3, missing=1)
    assert (
        numbers.estimator_numbers(table)
        is numbers.rate_numbers(table, table)
        is numbers.inside_numbers(table)
        is numbers.noise_numbers(table, table, table)
        is numbers.variant_numbers(cases.plain(), cases.smoothed(), cases.corrupted(), table)
        is None
    )
    assert numbers.curve_numbers(table).empty and numbers.fluctuation_table(table).empty
    assert numbers.state_numbers(table).empty
