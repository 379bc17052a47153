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


def test_missing_runs_are_said():
    assert say("up to {rate:.2f} times", None)._repr_markdown_() == "*The runs behind this sentence are missing at this scale.*"
