"""Sentences with numbers from the run."""

import pytest

from sgdscope.figures import say


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.934, "up to 0.93 times"),
        (-1.0, "up to −1.00 times"),
        (float("nan"), "up to no finite number times"),
        (float("inf"), "up to infinity times"),
    ],
)
def test_numbers_read_well(value, text):
    assert repr(say("up to {rate:.2f} times", {"rate": value})) == text


@pytest.mark.parametrize(("value", "text"), [(6.84e-5, r"$6.8 \times 10^{-5}$"), (-2e12, r"$-2.0 \times 10^{12}$")])
def test_powers_of_ten_are_typeset(value, text):
    assert repr(say("{variance:.1e}", {"variance": value})) == text


def test_missing_runs_are_said():
    assert say("up to {rate:.2f} times", None)._repr_markdown_() == "*The runs behind this sentence are missing at this scale.*"
