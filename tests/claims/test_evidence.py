"""Estimates against their formulas and against scipy; evidence functions where runs are missing."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sgdscope.claims import Evidence, Measurement, estimate, estimated, evidence, named, paired
from sgdscope.errors import InvalidInput
from sgdscope.runs.collect import Sources

values = st.lists(st.floats(-1e3, 1e3).map(lambda v: round(v, 3)), min_size=2, max_size=8)


def test_by_hand():
    """1, 2, 4: mean 7/3, variance 7/3, t_{0.975, 2} = 4.3027."""
    got = estimate([1, 2, 4], "of three")
    half = 4.302652729911275 * math.sqrt(7 / 3) / math.sqrt(3)
    assert got.value == pytest.approx(7 / 3)
    assert got.interval == pytest.approx((7 / 3 - half, 7 / 3 + half), rel=1e-9)
    assert (got.seeds, got.detail) == (3, "of three")


@given(values)
def test_against_scipy(values):
    if np.std(values) > 0.01:
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert estimate(values).interval == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-9)


@given(values, values)
def test_paired_is_the_paired_test_of_scipy(one, other):
    number = min(len(one), len(other))
    low, high = pd.Series(one[:number]), pd.Series(other[:number])
    if np.std(low - high) > 0.01:
        expected = stats.ttest_rel(low, high).confidence_interval(0.95)
        shuffled = high.sample(frac=1, random_state=0)  # paired by seed, not by position
        assert paired(low, shuffled).interval == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-6)


def test_one_value_has_no_interval():
    assert estimate([2.5]) == Measurement(2.5, None, 1)


@pytest.mark.parametrize("bad", [[], [1.0, float("nan")], [float("inf"), 1.0]])
def test_estimates_need_finite_values(bad):
    with pytest.raises(InvalidInput, match="an estimate needs finite values, got"):
        estimate(bad)


def test_pairs_need_the_same_seeds():
    with pytest.raises(InvalidInput, match=r"paired differences need the same seeds on both sides, got \[0, 1\] and \[0, 2\]"):
        paired(pd.Series([1.0, 2.0], index=[0, 1]), pd.Series([1.0, 2.0], index=[0, 2]))


def test_measurements_are_plain():
    measured = Measurement(np.float64(1), (np.float32(0), np.float64(2)), 3)
    assert type(measured.value) is float and [type(end) for end in measured.interval] == [float, float]


def table(**sources):
    frame = pd.DataFrame({"value": [1.0]})
    frame.attrs["sources"] = Sources(**sources)
    return frame


@evidence
def measure(first, second=None, *, third=None):
    return Evidence({"mean": estimate(first["value"])}, data="digits")


def test_evidence_knows_its_runs():
    got = measure(table(expected=1), table(expected=2), third=table(expected=3))
    assert [source.expected for source in got.sources] == [1, 2, 3]
    assert got.data == "digits" and got.not_run == "" and got.parts["mean"].value == 1
    assert measure(pd.DataFrame({"value": [1.0]})).sources == ()


@pytest.mark.parametrize("place", ["first", "second", "third"])
def test_evidence_of_missing_runs_is_not_computed(place):
    tables = {name: table(expected=2, missing=1 if name == place else 0) for name in ("first", "second", "third")}
    got = measure(**tables)
    assert got.not_run == "1 of 6 runs are missing" and got.parts == {} and len(got.sources) == 3


def test_seeds_without_a_value_are_left_out_and_none_at_all_meets_no_bound():
    assert estimated([1.0, math.nan, 3.0]) == estimate([1.0, 3.0])
    nothing = estimated([math.nan, math.inf])
    assert math.isnan(nothing.value) and nothing.seeds == 0 and nothing.interval is None and "nothing to measure" in nothing.detail
    assert estimated([], "in no trajectory").detail == "in no trajectory"


def test_stand_ins_carry_their_label():
    assert named("mlp on digits", "mlp on mnist") == "mlp on digits (stand-in for mlp on mnist)"
    assert named("mlp on mnist", "mlp on mnist") == "mlp on mnist"
