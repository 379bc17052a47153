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


@pytest.mark.parametrize(
    ("value", "spec", "text"),
    [
        (173_214.0, ".2g", "170,000"),
        (-11_300.0, ".2g", "−11,000"),
        (4_321.0, ".1e", "4,300"),
        (1.25, ".1e", "1.2"),  # the digits asked for, no more
        (2e8, ".2g", r"$2 \times 10^{8}$"),
        (6.1e-4, ".1e", r"$6.1 \times 10^{-4}$"),
        (-6.1e-9, "+.1e", r"$-6.1 \times 10^{-9}$"),
        (1e-5, "g", "$10^{-5}$"),
        (1e-5, ".1e", r"$1.0 \times 10^{-5}$"),
        (6000.0, ",.0f", "6,000"),
        (0.0055, ".2g", "0.0055"),
    ],
)
def test_powers_of_ten_are_written_for_people(value, spec, text):
    assert repr(say(f"{{it:{spec}}}", {"it": value})) == text
