"""Closed forms of Eq. 1, 3 and 4: laws, limits and refusals."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdscope.errors import InvalidInput
from sgdscope.stability import (
    critical_learning_rate,
    critical_sharpness,
    stability_lhs,
    stability_margin,
    without_replacement_factor,
)

law = settings(deadline=None, derandomize=True)
rates = st.floats(1e-3, 10)
sharpnesses = st.floats(1e-3, 100)
stds = st.floats(0, 100)
sizes = st.integers(2, 1000).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))


def test_case_of_the_ledger():
    assert stability_lhs(1.7, 1.0, 0.5, 100, 1) == pytest.approx(1.2125, abs=1e-12)
    assert stability_margin(1.7, 1.0, 0.5, 100, 1) == pytest.approx(-0.2125, abs=1e-12)


@law
@given(rates, sharpnesses, stds, sizes)
def test_noise_adds_and_vanishes_at_full_batch(rate, sharpness, std, size):
    examples, batch = size
    full = (1 - rate * sharpness) ** 2
    assert stability_lhs(rate, sharpness, std, examples, examples) == pytest.approx(full)
    assert stability_lhs(rate, sharpness, std, examples, batch) >= full
    assert stability_lhs(rate, sharpness, 0.0, examples, batch) == pytest.approx(full)


@law
@given(rates, sharpnesses, stds, sizes, st.floats(0.1, 10))
def test_only_products_with_the_learning_rate_enter(rate, sharpness, std, size, factor):
    scaled = stability_lhs(rate / factor, sharpness * factor, std * factor, *size)
    assert scaled == pytest.approx(stability_lhs(rate, sharpness, std, *size), rel=1e-9)


@law
@given(sharpnesses, stds, sizes)
def test_left_side_is_one_at_the_critical_learning_rate(sharpness, std, size):
    rate = critical_learning_rate(sharpness, std, *size)
    assert stability_lhs(rate, sharpness, std, *size) == pytest.approx(1, abs=1e-9)
    assert stability_lhs(rate / 2, sharpness, std, *size) < 1 < stability_lhs(rate * 2, sharpness, std, *size)


@law
@given(rates, sizes, st.floats(0.01, 10), st.floats(0.1, 10))
def test_eq_3_is_one_at_the_critical_sharpness(rate, size, alpha, distance):
    root = critical_sharpness(rate, *size, alpha=alpha, distance=distance)
    left = (1 - rate * root) ** 2 + alpha * root / distance**2 * rate**2 * without_replacement_factor(*size)
    assert left == pytest.approx(1, rel=1e-6, abs=1e-6 * (1 + (rate * root) ** 2))


@law
@given(rates, st.floats(1.01, 10), sizes, st.floats(0.01, 10), st.floats(0.1, 10))
def test_critical_sharpness_falls_with_rate_and_rises_with_batch(rate, factor, size, alpha, distance):
    examples, batch = size
    here = critical_sharpness(rate, examples, batch, alpha=alpha, distance=distance)
    assert critical_sharpness(rate * factor, examples, batch, alpha=alpha, distance=distance) < here
    if batch > 1:
        assert critical_sharpness(rate, examples, batch - 1, alpha=alpha, distance=distance) < here
    assert critical_sharpness(rate, examples, examples, alpha=alpha, distance=distance) == 2 / rate


def test_grids_broadcast_and_keep_their_dtype():
    grid = stability_lhs(torch.rand(3, 1, dtype=torch.float64), np.array([1.0, 2.0]), 0.5, 10, 2)
    assert grid.shape == (3, 2) and grid.dtype == torch.float64
    assert stability_lhs(torch.rand(3, dtype=torch.float32), 1.0, 0.5, 10, 2).dtype == torch.float32
    root = critical_sharpness(torch.tensor([0.1, 0.2])[:, None], 10, torch.tensor([1, 10]), alpha=1.0, distance=1.0)
    assert root.shape == (2, 2)


def test_no_rate_is_stable_at_negative_curvature():
    assert critical_learning_rate(-1.0, 0.5, 10, 2) == 0
    assert critical_learning_rate(0.0, 0.0, 10, 2) == 0
    assert stability_lhs(0.1, -1.0, 0.0, 10, 2) > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((math.nan, 1, 1, 10, 2), "learning_rate must not be NaN; 1 of 1 values are"),
        ((-0.1, 1, 1, 10, 2), "learning_rate must be finite and zero or positive; -0.1 came"),
        ((0.1, torch.tensor([1, math.nan]), 1, 10, 2), "sharpness must not be NaN; 1 of 2"),
        ((0.1, 1, -1, 10, 2), "curvature_std must be finite and zero or positive; -1 came"),
        ((0.1, 1, math.inf, 10, 2), "curvature_std must be finite"),
        ((0.1, 1, 1, 1, 1), "num_examples must be a whole number of at least 2; 1 came"),
        ((0.1, 1, 1, 10, 0), "batch_size must be a whole number of at least 1; 0 came"),
        ((0.1, 1, 1, 10, 2.5), "batch_size must be a whole number of at least 1; 2.5 came"),
        ((0.1, 1, 1, 10, 11), "batch_size must be at most num_examples .*; 11 came for 10 examples"),
        (("fast", 1, 1, 10, 2), "learning_rate must be a number or an array of numbers; 'fast' came"),
        ((torch.tensor([]), 1, 1, 10, 2), "learning_rate must not be empty"),
        ((torch.ones(2), torch.ones(3), 1, 10, 2), r"shapes must broadcast; learning_rate \(2,\), sharpness \(3,\)"),
        ((torch.tensor([True]), 1, 1, 10, 2), "learning_rate must be real numbers"),
    ],
)
def test_refusals_say_what_came(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        stability_lhs(*arguments)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [({"alpha": 0.0, "distance": 1.0}, "alpha must be finite and positive; 0 came"), ({"alpha": 1.0, "distance": 0.0}, "distance must be")],
)
def test_critical_sharpness_refuses(keywords, message):
    with pytest.raises(InvalidInput, match=message):
        critical_sharpness(0.1, 10, 2, **keywords)
    with pytest.raises(InvalidInput, match="learning_rate must be finite and positive; 0 came"):
        critical_sharpness(0.0, 10, 2, alpha=1.0, distance=1.0)
