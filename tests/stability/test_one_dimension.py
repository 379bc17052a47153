"""Simulated one-dimensional SGD and almost-sure exponents against enumeration, single-replica loops and Eq. 1."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from sgdscope.errors import InvalidInput
from sgdscope.stability import (
    almost_sure_exponent,
    almost_sure_exponent_estimate,
    relative_error,
    simulate_curvatures,
    simulate_two_point,
    stability_lhs,
    two_point_curvatures,
    two_point_exponent,
)


def test_two_point_exponent_is_the_enumeration():
    for batch in (1, 2, 5, 10):
        exact = almost_sure_exponent(two_point_curvatures(1.0, 0.4, 10), 1.3, batch)
        assert two_point_exponent(1.3, 1.0, 0.4, 10, batch) == pytest.approx(exact, rel=1e-12)


def test_enumerated_exponent_is_the_loop():
    values = [0.3, 1.1, 2.0, 0.7, 1.6]
    loop = [math.log(abs(1 - 0.9 * sum(chosen) / 2)) for chosen in combinations(values, 2)]
    assert almost_sure_exponent(values, 0.9, 2) == pytest.approx(sum(loop) / len(loop), rel=1e-12)


def test_two_point_exponent_broadcasts_over_batch_sizes():
    grid = two_point_exponent(torch.tensor([0.5, 1.7])[:, None].double(), 1.0, 0.5, 100, torch.tensor([1, 10, 100]))
    assert grid.shape == (2, 3)
    assert float(grid[1, 0]) == pytest.approx(two_point_exponent(1.7, 1.0, 0.5, 100, 1))
    assert float(grid[0, 2]) == pytest.approx(math.log(0.5))
    assert two_point_exponent(1.0, 1.0, 0.0, 4, 1) == -math.inf


def test_estimated_exponent_covers_the_exact_one():
    curvatures = torch.linspace(0.1, 2.0, 16, dtype=torch.float64)
    estimate, error = almost_sure_exponent_estimate(curvatures, [0.5, 1.0], 4, num_draws=50_000, seed=1)
    exact = almost_sure_exponent(curvatures, torch.tensor([0.5, 1.0]).double(), 4)
    assert ((estimate - exact).abs() < 4 * error).all() and (error < 0.01).all()


def test_exponent_is_at_most_half_the_log_of_the_left_side():
    rate, std = torch.linspace(0.1, 3, 20).double()[:, None], torch.linspace(0, 1.5, 7).double()
    assert (two_point_exponent(rate, 1.0, std, 20, 3) <= 0.5 * stability_lhs(rate, 1.0, std, 20, 3).log() + 1e-12).all()


def test_mean_square_grows_while_the_sequence_converges():
    """be-err-stable: left side 1.2125, yet every replica goes to zero."""
    run = simulate_two_point(1.7, 1.0, 0.5, 1, num_examples=100, num_steps=200, num_replicas=2000)
    assert stability_lhs(1.7, 1.0, 0.5, 100, 1) > 1.2
    exact = two_point_exponent(1.7, 1.0, 0.5, 100, 1)
    assert abs(float(run.log_growth) - exact) < 4 * float(run.log_growth_error)
    assert exact == pytest.approx(-0.729, abs=1e-3)
    assert float(run.share_below) == 1
    few = simulate_two_point(1.7, 1.0, 0.5, 1, num_examples=100, num_steps=5, num_replicas=20_000)
    assert float(few.second_moment_growth) == pytest.approx(1.2125, rel=0.02)
    # The sample second moment of 200 steps misses the growth: 2,000 replicas do not hold the rare ones that carry the mean.
    assert float(run.second_moment_growth) < 1


def test_vectorised_replicas_are_the_loop():
    """Same draws, one replica and one setting at a time."""
    rates, stds, batch = [0.4, 1.5], [0.0, 0.8], 3
    run = simulate_two_point(
        np.array(rates)[:, None],
        1.0,
        np.array(stds),
        batch,
        num_examples=10,
        num_steps=11,
        num_replicas=50,
        seed=7,
        threshold=0.1,
    )
    high = np.random.default_rng([7, batch]).hypergeometric(5, 5, batch, size=(11, 50))
    for i, rate in enumerate(rates):
        for j, std in enumerate(stds):
            ends = []
            for replica in range(50):
                psi = 1.0
                for step in range(11):
                    psi *= 1 - rate * (1.0 + std * (2 * high[step, replica] / batch - 1))
                ends.append(psi)
            ends = np.array(ends)
            assert float(run.log_second_moment[i, j]) == pytest.approx(math.log(np.mean(ends**2)), rel=1e-9)
            assert float(run.log_growth[i, j]) == pytest.approx(np.mean(np.log(np.abs(ends))) / 11, rel=1e-9)
            assert float(run.share_below[i, j]) == np.mean(np.abs(ends) < 0.1)


def test_second_moment_moves_as_eq_1_says():
    rate = torch.linspace(0.1, 2.6, 14).double()[:, None, None]
    std, batch = torch.linspace(0, 1.2, 7).double()[:, None], torch.tensor([1, 4, 100])
    run = simulate_two_point(rate, 1.0, std, batch, num_examples=100, num_steps=5, num_replicas=4000)
    left = stability_lhs(rate, 1.0, std, 100, batch)
    outside = left.log().abs() > 0.1
    assert ((run.log_second_moment > 0) == (left > 1))[outside].all()
    torch.testing.assert_close(run.second_moment_growth, left, rtol=0.06, atol=0)


@pytest.mark.parametrize("batch", [1, 3, 12])
def test_general_curvatures_grow_as_eq_1_says(batch):
    curvatures = torch.linspace(0.0, 2.0, 12, dtype=torch.float64) ** 2
    rates = torch.tensor([0.3, 0.8, 1.4]).double()
    run = simulate_curvatures(curvatures, rates, batch, num_steps=2, num_replicas=40_000, seed=3)
    left = stability_lhs(rates, float(curvatures.mean()), float(curvatures.std(correction=0)), 12, batch)
    error = relative_error(curvatures, rates, num_steps=2, num_replicas=40_000)
    assert ((run.log_second_moment - 2 * left.log()).abs() < 5 * error + 1e-12).all()


def test_a_setting_does_not_depend_on_the_others():
    alone = simulate_two_point(0.7, 1.0, 0.5, 2, num_examples=10, num_replicas=100, seed=5)
    grid = simulate_two_point([0.7, 0.2], 1.0, 0.5, [2, 4], num_examples=10, num_replicas=100, seed=5)
    assert float(grid.log_second_moment[0]) == pytest.approx(float(alone.log_second_moment), rel=1e-14)


def test_long_runs_neither_overflow_nor_warn(recwarn):
    run = simulate_two_point([3.0, 0.99], 1.0, 0.0, 2, num_examples=4, num_steps=2000, num_replicas=10)
    assert run.log_growth.tolist() == pytest.approx([math.log(2), math.log(0.01)])
    dead = simulate_two_point(1.0, 1.0, 0.0, 2, num_examples=4, num_replicas=10)
    assert float(dead.log_growth) == -math.inf and float(dead.share_below) == 1 and float(dead.second_moment_growth) == 0
    assert not recwarn.list


def test_relative_error_predicts_the_spread():
    curvatures, steps = two_point_curvatures(1.0, 0.5, 100), 4
    moments = torch.stack(
        [simulate_curvatures(curvatures, 1.7, 1, num_steps=steps, num_replicas=200, seed=s).log_second_moment.exp() for s in range(100)]
    )
    predicted = float(relative_error(curvatures, 1.7, num_steps=steps, num_replicas=200))
    assert float(moments.std() / stability_lhs(1.7, 1.0, 0.5, 100, 1) ** steps) == pytest.approx(predicted, rel=0.25)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simulate_two_point(1.0, 1.0, 0.5, 1, num_examples=9), "num_examples must be even for two equal halves; 9 came. Use 10"),
        (lambda: simulate_two_point(1.0, 1.0, 0.5, 12, num_examples=10), "batch_size must be at most num_examples"),
        (lambda: simulate_two_point(1.0, 1.0, 0.5, 1, num_examples=10, num_steps=0), "num_steps must be a whole number of at least 1; 0"),
        (lambda: simulate_curvatures([1.0, 2.0], -1.0, 1), "learning_rate must be finite and zero or positive"),
        (lambda: two_point_exponent(1.0, 1.0, 0.5, 9, 1), "num_examples must be even"),
        (lambda: almost_sure_exponent(torch.ones(50), 1.0, 25), "an enumeration must stay at or below"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()
