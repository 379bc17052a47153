"""Evidence of the early-phase page on small tables whose numbers can be worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from sgdscope.claims import load_ledger
from sgdscope.experiments.break_even import early_phase_evidence as evidence
from sgdscope.experiments.break_even import early_phase_tables as tables

EVERY = 10


def trajectory(rate, seed, **columns):
    """Probes at 0, 10, ... from lists; ``after`` maps a column to its values one step later, which are else the same."""
    after = columns.pop("after", {})
    number = len(next(iter(columns.values())))
    defaults = {
        "train_loss": 1.0, "train_accuracy": 0.5, "H_top": 1.0, "K_top": 1.0, "K_conditioning": 0.1, "K_trace": 2.0, "curvature_std": 1.0,
        "stability_lhs": 0.5, "distance": 1.0, "quadratic_error": 0.01, "alignment": 0.9,
    }  # fmt: skip
    probes = pd.DataFrame({name: columns.get(name, [value] * number) for name, value in defaults.items()})
    probes["step"] = EVERY * np.arange(number)
    later = probes.assign(step=probes.step + 1, **after)
    later[["K_top", "K_conditioning", "K_trace", "curvature_std", "stability_lhs", "quadratic_error", "alignment"]] = np.nan
    table = pd.concat([probes, later]).sort_values("step")
    return table.assign(learning_rate=rate, seed=seed, every=EVERY, dataset="cifar10", model="simple_cnn", status="finished")


def table(*parts):
    return pd.concat(parts, ignore_index=True)


def both(seeds=(0, 1, 2), *, slow, fast):
    """Two learning rates; each seed shifts nothing unless the columns are functions of the seed."""
    given = lambda columns, seed: {name: value(seed) if callable(value) else value for name, value in columns.items()}  # noqa: E731
    return table(*(trajectory(rate, seed, **given(columns, seed)) for rate, columns in ((0.01, slow), (0.1, fast)) for seed in seeds))


def test_probes_say_what_the_next_step_did():
    found = tables.probes(
        trajectory(0.1, 0, H_top=[1.0, 2.0, 6.0], K_top=[1.0, 4.0, 1.0], after={"train_loss": [0.9, 1.2, 1.0], "H_top": [1.5, 1.0, 6.0]})
    )
    assert found.step.tolist() == [0, 10, 20]
    assert found.loss_change.tolist() == pytest.approx([-0.1, 0.2, 0])
    assert found.sharpness_change.tolist() == [0.5, -1, 0]
    assert found.smooth_H.tolist() == [1.5, 3, 4] and found.smooth_K.tolist() == [2.5, 2, 2.5]


def test_a_last_probe_without_the_step_after_it_and_a_diverged_row():
    rows = trajectory(0.1, 0, H_top=[1.0, 2.0])
    rows = pd.concat([rows[rows.step < 11], pd.DataFrame([{"step": 14, "learning_rate": 0.1, "seed": 0, "every": 10}])])
    found = tables.probes(rows)
    assert found.step.tolist() == [0, 10] and found.loss_change.isna().tolist() == [False, True]


def test_the_point_is_the_first_probe_past_one():
    found = tables.points(table(trajectory(0.1, 0, stability_lhs=[0.2, 0.9, 1.0, 0.5, 3.0]), trajectory(0.01, 0, stability_lhs=[0.9] * 3)))
    fast = found[found.learning_rate == 0.1].iloc[0]
    assert (fast["at"], fast.step) == (2, 20)
    slow = found[found.learning_rate == 0.01].iloc[0]
    assert slow["at"] == -1 and np.isnan(slow.step)


def test_point():
    rising, lhs = [-0.3, -0.1, 0.1, 0.3], [0.2, 0.5, 1.5, 2.0]
    after = {"train_loss": [1 + change for change in rising]}
    found = evidence.point(both(slow={"stability_lhs": [0.9] * 4}, fast={"stability_lhs": lhs, "after": after})).parts
    assert found["reached"].value == 3 and found["reached_large_rate"].value == 0
    assert found["proxy"].value == pytest.approx(1) and found["proxy"].seeds == 3
    assert "steps 20 to 20" in found["reached_large_rate"].detail


def test_after_the_point():
    """Smoothed values: sharpness 4 at the point and at most 8 after it, noise 2 and at most 1."""
    fast = {"stability_lhs": [0.5, 1.2, 0.5, 0.5, 0.5], "H_top": [4.0, 4, 4, 8, 12], "K_top": [2.0, 2, 2, 0.5, 0.5]}
    found = evidence.after_point(both(slow={"stability_lhs": [0.5] * 5}, fast=fast)).parts
    assert found["sharpness"].value == pytest.approx(np.log(10 / 4))  # 10: mean of the last two
    assert found["noise"].value == pytest.approx(np.log(1.5 / 2))
    assert found["noise"].interval[1] < 0


def test_no_trajectory_reaches_the_point():
    found = evidence.after_point(both(slow={"H_top": [1.0, 2, 3]}, fast={"H_top": [1.0, 2, 3]})).parts
    assert np.isnan(found["sharpness"].value) and found["sharpness"].interval is None


def test_steered_compares_equal_accuracies():
    """The slow one has twice the noise at every accuracy, whatever its steps."""
    accuracy = [0.1, 0.3, 0.5, 0.6, 0.65, 0.7]
    slow = {"train_accuracy": accuracy, "K_top": [2.0] * 6}
    fast = {"train_accuracy": accuracy[::2] + [0.9] * 3, "K_top": [1.0] * 6}
    found = evidence.steered(both(slow=slow, fast=fast)).parts
    assert found["equal_accuracy"].value == pytest.approx(np.log(2)) and found["at_stop"].value == pytest.approx(np.log(2))
    at = tables.equal_accuracies(both(seeds=(0,), slow=slow, fast=fast))
    assert at.accuracy.min() == pytest.approx(0.4) and at.accuracy.max() == pytest.approx(0.7)


def test_equal_accuracy_takes_the_first_probe_that_has_it():
    slow = {"train_accuracy": [0.0, 1.0, 0.5, 1.0], "K_top": [1.0, 5.0, 9.0, 9.0]}
    at = tables.equal_accuracies(both(seeds=(0,), slow=slow, fast={"train_accuracy": [0.0, 1.0, 1.0, 1.0], "K_top": [1.0] * 4}))
    assert set(at[at.learning_rate == 0.01].K_top) == {5.0}  # mean of 1, 5, 9


def test_rise_together():
    """Up to the peak (five probes) K and H are proportional; from it on every step raises the loss, before it none does."""
    noise = [1.0, 2, 3, 4, 5, 1, 1]
    after = {"train_loss": [0.9, 0.9, 0.9, 0.9, 1.1, 1.1, 1.1]}
    columns = {"K_top": noise, "H_top": [2.0, 4, 6, 8, 10, 50, 90], "after": after}
    found = evidence.rise_together(both(slow=columns, fast=columns)).parts
    assert found["together"].value == pytest.approx(1) and found["unstable_at_peak"].value == pytest.approx(1)


def test_when():
    columns = {"K_top": [1.0, 1, 9, 1, 1, 1, 1, 1, 1], "train_accuracy": [0.1, 0.2, 0.6, 0.6, 0.6, 0.7, 0.7, 0.7, 0.7]}
    found = evidence.when(both(slow=columns, fast=columns)).parts
    assert found["accuracy"].value == pytest.approx(0.2)  # the first of the three whose moving average holds the 9
    assert found["early"].value == pytest.approx(np.log(10 / 40))


def test_outliers():
    def spectrum(rate, seed, matrix, values):
        return pd.DataFrame(
            {"learning_rate": rate, "seed": seed, "matrix": matrix, "eigenvalue": values, "dataset": "cifar10", "model": "mlp"}
        )

    fast, slow = [4.0, 1.0, 1.0, 1.0], [9.0, 5.0, 2.5, 0.1]
    peaks = table(*(spectrum(rate, seed, m, v) for rate, v in ((0.1, fast), (0.01, slow)) for seed in range(3) for m in "KH"))
    found = evidence.outliers(peaks).parts
    assert found["outliers_K"].value == found["outliers_H"].value == 2  # above 2: three against one
    assert found["relative_outliers_K"].value == -1  # above three times the median: none of (3.75) 9, 5 ... against 4
    assert "stand-in for simple_cnn on cifar10" in evidence.outliers(peaks).data


def test_assumption_1():
    fast = {"stability_lhs": [0.5, 0.5, 1.5, 0.5], "quadratic_error": [0.01, 0.03, 0.2, 0.4]}
    found = evidence.quadratic(both(slow={"quadratic_error": [0.02] * 4}, fast=fast)).parts
    assert found["before"].value == pytest.approx(0.02) and found["after"].value == pytest.approx(0.3)


def test_assumption_2():
    fast = {"stability_lhs": [0.5, 0.5, 0.5, 1.5], "alignment": [0.8, 0.8, 0.8, 0.0], "K_top": [1.0, 2, 4, 100], "H_top": [2.0, 4, 8, 1]}
    slow = {"alignment": [0.8] * 4, "K_top": [1.0, 2, 4, 8], "H_top": [3.0, 6, 12, 24]}
    found = evidence.collinear(both(slow=slow, fast=fast)).parts
    assert found["collinear"].value == pytest.approx(0.2)
    assert found["proportional"].value == pytest.approx(0, abs=1e-12)
    assert found["related"].value == pytest.approx((1 + np.corrcoef(np.log([1, 2, 4, 100]), np.log([2, 4, 8, 1]))[0, 1]) / 2)


def test_assumptions_3_and_4():
    """Unstable steps do as assumed three times of four; stable ones never."""
    fast = {
        "stability_lhs": [1.5] * 4, "H_top": [2.0] * 4, "distance": [1.0] * 4,
        "after": {"H_top": [1.0, 1, 1, 3], "distance": [2.0, 2, 2, 0.5]},
    }  # fmt: skip
    slow = {"H_top": [2.0] * 4, "distance": [1.0] * 4, "after": {"H_top": [1.0] * 4, "distance": [2.0] * 4}}
    found = evidence.stable_and_unstable_steps(both(slow=slow, fast=fast)).parts
    assert found["unstable_sharpness"].value == found["unstable_distance"].value == pytest.approx(0.25)
    assert found["stable_sharpness"].value == found["stable_distance"].value == pytest.approx(-0.5)


def test_correlations_without_variation_are_nan():
    assert np.isnan(tables.correlation(pd.Series([1.0, 1, 1]), pd.Series([1.0, 2, 3])))
    assert np.isnan(tables.correlation(pd.Series([1.0, 2]), pd.Series([1.0, 2])))
    assert tables.rank_correlation(pd.Series([1.0, 2, 9]), pd.Series([1.0, 8, 9])) == pytest.approx(1)


def test_the_paper_s_problem_is_no_stand_in():
    assert evidence.data_of(trajectory(0.1, 0, H_top=[1.0])) == "simple_cnn on cifar10"


def test_numbers_of_sentences_and_figures():
    made = both(
        slow={"stability_lhs": [0.9, 0.4, 0.3], "H_top": [1.0, 20, 50]},
        fast={"stability_lhs": [0.5, 1.2, 0.7], "train_accuracy": [0.1, 0.6, 0.7]},
    )
    found = tables.point_numbers(made)
    assert (found["reached"], found["runs"], found["low"], found["reached_small"]) == (3, 3, 0.6, 0)
    assert found["median"] == pytest.approx(0.95) and found["largest_small"] == 0.4 and found["share_small"] == pytest.approx(0.25)
    for numbers in (tables.course_numbers, tables.assumption_numbers, tables.step_numbers, tables.equal_accuracy_table):
        assert len(numbers(made)) and not numbers(made).isna().to_numpy().any()


def test_numbers_at_equal_accuracy():
    accuracy = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    slow = {"train_accuracy": accuracy, "K_top": [1.0, 1, 1, 1, 9, 9]}
    found = tables.accuracy_numbers(both(slow=slow, fast={"train_accuracy": accuracy, "K_top": [2.0] * 6}))
    assert (found["low"], found["ratio_low"]) == (pytest.approx(0.5), pytest.approx(11 / 6))  # its smoothed value at 0.6 holds the first 9
    assert (found["high"], found["ratio_high"]) == (pytest.approx(1), pytest.approx(4.5)) and (found["noisier"], found["compared"]) == (
        10,
        10,
    )
    reverse = tables.accuracy_numbers(both(slow={**slow, "K_top": [1.0] * 6}, fast={"train_accuracy": accuracy, "K_top": [2.0] * 6}))
    assert reverse["ratio_low"] == pytest.approx(0.5) and reverse["noisier"] == 0


def test_shares_of_steps():
    fast = {"stability_lhs": [1.5] * 4, "H_top": [2.0] * 4, "after": {"H_top": [1.0, 1, 1, 3], "distance": [2.0, 0.5, 0.5, 0.5]}}
    found = tables.step_shares(both(slow={"H_top": [2.0] * 4, "after": {"H_top": [3.0] * 4, "distance": [0.5] * 4}}, fast=fast))
    assert (found["unstable"], found["unstable_sharpness"], found["unstable_distance"]) == (12, 75, 25)
    assert (found["stable"], found["stable_sharpness"], found["stable_distance"]) == (12, 100, 100)


@pytest.mark.parametrize(
    ("claim", "function"),
    [
        ("be-point", evidence.point),
        ("be-after-point", evidence.after_point),
        ("be-fig-1", evidence.steered),
        ("be-fig-2", evidence.rise_together),
        ("be-when", evidence.when),
        ("be-assumption-1", evidence.quadratic),
        ("be-assumption-2", evidence.collinear),
        ("be-assumption-3-4", evidence.stable_and_unstable_steps),
    ],
)
def test_each_evidence_answers_to_its_rule(claim, function):
    columns = {
        "stability_lhs": [0.5, 1.5, 0.5, 2.0, 0.5],
        "K_top": [1.0, 2, 3, 2, 1],
        "H_top": [1.0, 2, 4, 3, 2],
        "train_accuracy": [0.1, 0.3, 0.5, 0.6, 0.7],
    }
    found = function(both(slow=columns, fast=columns))
    assert set(found.parts) == {part.name for part in load_ledger()[claim].rule if part.kind != "note"}
