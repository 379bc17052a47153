"""The break-even point of a series of probes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sgdscope.errors import InvalidInput
from sgdscope.stability import BreakEvenPoint, break_even_point, stability_lhs

NAN = math.nan


@pytest.mark.parametrize(
    ("left", "consecutive", "status", "after", "diverged_at"),
    [
        ([0.5, 0.8, 1.2, 0.9, 1.1, 1.2], 1, "crossed", 2, -1),
        ([0.5, 0.8, 1.2, 0.9, 1.1, 1.2], 2, "crossed", 4, -1),
        ([0.5, 0.8, 1.2, 0.9, 1.1, 1.2], 3, "not crossed", None, -1),  # the run ends too early to say
        ([0.5, 0.8, 0.9, 0.9, 0.9, 1.2], 1, "crossed", 5, -1),
        ([0.5, 0.8, 0.9, 0.9, 0.9, 1.2], 2, "not crossed", None, -1),
        ([0.5, 0.8, 1.2, NAN, NAN, NAN], 3, "crossed", 2, 30),  # diverging is staying above
        ([0.5, 0.8, 0.9, 0.9, 1.2, NAN], 9, "crossed", 4, 50),
        ([0.5, 0.8, NAN, NAN, NAN, NAN], 1, "diverged", None, 20),
        ([NAN, NAN, NAN, NAN, NAN, NAN], 2, "diverged", None, 0),
        ([1.0, 0.8, 0.9, 0.9, 0.9, 0.9], 1, "started unstable", None, -1),
        ([1.1, 1.2, 0.9, 0.9, 0.9, 0.9], 2, "started unstable", None, -1),
        ([1.1, 0.8, 1.2, 1.3, 0.9, 0.9], 2, "crossed", 2, -1),  # one noisy first probe is no start
        ([1.1, NAN, NAN, NAN, NAN, NAN], 2, "started unstable", None, 10),
        ([0.5, 1.0, 0.9, 0.9, 0.9, 0.9], 1, "crossed", 1, -1),  # 1 itself counts
        ([0.5, 0.8, math.inf, NAN, NAN, NAN], 1, "crossed", 2, 30),
    ],
)
def test_status_and_probe(left, consecutive, status, after, diverged_at):
    sharpness = np.arange(1.0, 7)
    point = break_even_point(np.arange(0, 60, 10), left, sharpness, consecutive=consecutive)
    assert (point.status, point.diverged_at) == (status, diverged_at)
    if after is None:
        assert math.isnan(point.step) and math.isnan(point.sharpness) and math.isnan(point.sharpness_after)
    else:
        assert point.sharpness_after == sharpness[after]
        assert 10 * (after - 1) <= point.step <= 10 * after and sharpness[after - 1] <= point.sharpness <= sharpness[after]


def test_interpolation_by_hand():
    point = break_even_point([0, 10, 20], [0.5, 0.8, 1.2], [1.0, 2.0, 4.0])  # gaps (0.8 - 1) / 2 and (1.2 - 1) / 4
    assert point == BreakEvenPoint("crossed", 10 + 10 * 2 / 3, 2 + 2 * 2 / 3, 4.0, -1)


@given(rate=st.floats(0.01, 1), start=st.floats(0.1, 0.99), end=st.floats(1.001, 3))
def test_full_batch_crosses_at_two_over_the_rate(rate, start, end):
    """Whatever the probes around it: the interpolation is exact for s = 0."""
    sharpness = torch.tensor([start, end], dtype=torch.float64) * 2 / rate
    point = break_even_point([0, 100], stability_lhs(rate, sharpness, 0.0, 50, 50), sharpness)
    assert point.status == "crossed" and point.sharpness * rate / 2 == pytest.approx(1, rel=1e-9)
    assert point.step == pytest.approx(100 * (1 - start) / (end - start), rel=1e-6)


@pytest.mark.parametrize(
    "kind", [list, np.array, lambda v: torch.tensor(v, dtype=torch.float32), lambda v: torch.tensor(v).requires_grad_()]
)
def test_lists_arrays_and_tensors(kind):
    point = break_even_point(kind([0.0, 8.0]), kind([0.5, 1.5]), kind([1.0, 1.0]))
    assert (point.status, point.step, point.sharpness) == ("crossed", 4.0, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": [0, 1]}, "one value a probe; 2, 3 and 3 came"),
        ({"steps": [0, 2, 2]}, "steps must increase"),
        ({"steps": [0, 1, NAN]}, "steps must increase"),
        ({"left_side": [[0.5, 1, 2]]}, r"left_side must have shape \(probes,\).*\(1, 3\) came"),
        ({"sharpness": "abc"}, "sharpness must be numbers"),
        ({"steps": [], "left_side": [], "sharpness": []}, r"steps must have shape \(probes,\) with at least one probe; \(0,\)"),
        ({"consecutive": 0}, "consecutive must be a whole number of at least 1; 0 came"),
        ({"consecutive": True}, "consecutive must be a whole number"),
    ],
)
def test_refusals(change, message):
    with pytest.raises(InvalidInput, match=message):
        break_even_point(**({"steps": [0, 1, 2], "left_side": [0.5, 0.8, 1.2], "sharpness": [1, 2, 3]} | change))
