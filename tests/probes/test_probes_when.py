"""Schedules and ends of runs."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgdscope.errors import InvalidInput
from sgdscope.probes import Accuracy, At, Either, Every, LogSpaced, Pairs, Reaches


@given(st.integers(1, 50), st.integers(0, 60))
def test_every(period, first):
    assert [step for step in range(200) if Every(period, first)(step)] == list(range(first, 200, period))


@given(st.integers(2, 50))
def test_pairs(period):
    starts = range(0, 200, period)
    assert [step for step in range(200) if Pairs(period)(step)] == sorted(set(starts) | {step + 1 for step in starts if step < 199})


@given(st.integers(1, 12))
def test_log_spaced_steps_are_the_rounded_powers(per_decade):
    expected = {0} | {round(10 ** (i / per_decade)) for i in range(4 * per_decade + 1)}
    assert {step for step in range(10_001) if LogSpaced(per_decade)(step)} == {step for step in expected if step <= 10_000}


def test_at():
    assert [step for step in range(10) if At([7, 3])(step)] == [3, 7]
    assert At(5) == At([5]) == At((5,))


def test_either_takes_all_kinds_of_schedules():
    assert [step for step in range(7) if Either(False, Every(3))(step)] == [0, 3, 6]
    assert all(Either(schedule, True)(1) for schedule in (True, False, Every(3)))


def test_whole_numbers_of_numpy():
    assert Every(np.int64(4)) == Every(4) and repr(Every(np.int64(4))) == "Every(period=4, first=0)"
    assert At(np.arange(3)) == At((0, 1, 2)) and repr(At(np.arange(2))) == "At(steps=(0, 1))"
    assert repr(Accuracy(num_examples=np.int32(4)).num_examples) == "4" and Accuracy().num_examples is None


def test_reaches():
    until = Reaches("train_accuracy", 0.65)
    assert [until({"train_accuracy": value}) for value in (0.3, 0.65, 0.9, float("nan"))] == [False, True, True, False]
    assert not until({"other": 1.0})
    with pytest.raises(InvalidInput, match="until needs a column of numbers; 'train_accuracy' holds 'high'"):
        until({"train_accuracy": "high"})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Every(0), "period must be a whole number of at least 1; 0 came."),
        (lambda: Every(True), "period must be a whole number of at least 1; True came."),
        (lambda: Every(2, first=-1), "first must be a whole number of at least 0; -1 came."),
        (lambda: Pairs(1), "period must be a whole number of at least 2; 1 came."),
        (lambda: LogSpaced(0.5), "per_decade must be a whole number of at least 1; 0.5 came."),
        (lambda: Every(None), "period must be a whole number of at least 1; None came."),
        (lambda: At((1, 2.5)), "steps must be a whole number of at least 0; 2.5 came."),
        (lambda: At(2.5), "steps must be a whole number of at least 0; 2.5 came."),
        (lambda: At(True), "steps must be a whole number of at least 0; True came."),
        (lambda: Either(1, 2), "one must be True, False, or a function of the step, got 1."),
        (lambda: Either(Every(2), None), "other must be True, False, or a function of the step, got None."),
        (lambda: Reaches(3, 0.5), "column must be the name of a column, such as 'train_accuracy'; 3 came."),
        (lambda: Reaches("train_accuracy", "0.5"), "value must be a number; '0.5' came."),
    ],
)
def test_refusals(make, message):
    with pytest.raises(InvalidInput, match=re.escape(message)):
        make()
