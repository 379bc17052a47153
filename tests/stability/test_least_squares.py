"""Least squares: exact second moments and boundaries against dense Kronecker operators, simulation against loops over replicas."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdscope.errors import InvalidInput
from sgdscope.stability import (
    LeastSquares,
    critical_learning_rate_all_directions,
    exact_second_moments,
    second_moment_step,
    simulate_curvatures,
    simulate_least_squares,
    spectral_radius,
)
from sgdscope.stability.batches import all_batches, random_batches


def features(examples, dimension, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(examples, dimension, generator=generator, dtype=torch.float64) * torch.linspace(0.2, 1.5, dimension)


def dense_operator(rows, rate, batch):
    """Slow twin: mean over all mini-batches of (I - eta H_B) kron (I - eta H_B), acting on vec(Sigma)."""
    size, total, number = rows.shape[1], 0.0, 0
    for chunk in all_batches(len(rows), batch):
        for chosen in chunk:
            factor = torch.eye(size, dtype=torch.float64) - rate * rows[chosen].T @ rows[chosen] / batch
            total, number = total + torch.kron(factor, factor), number + 1
    return total / number


@pytest.mark.parametrize("shape", [(12, 5), (6, 20)])
def test_rotation_keeps_the_problem(shape):
    rows = features(*shape)
    problem = LeastSquares.of(rows)
    hessian = rows.T @ rows / len(rows)
    values, vectors = torch.linalg.eigh(hessian)
    torch.testing.assert_close(problem.eigenvalues, values.flip(0)[: min(shape)])
    torch.testing.assert_close(problem.coordinates @ problem.basis.T, rows)
    torch.testing.assert_close(problem.curvatures, (rows @ vectors[:, -1]) ** 2)
    assert float(problem.curvatures.mean()) == pytest.approx(problem.sharpness)


def test_linear_dependence_lowers_the_rank():
    rows = features(6, 4)
    assert len(LeastSquares.of(torch.cat([rows, rows[:, :1]], 1)).eigenvalues) == 4


@pytest.mark.parametrize("batch", [1, 2, 5, 6])
def test_second_moment_step_is_the_enumeration(batch):
    problem = LeastSquares.of(features(6, 4))
    matrix = torch.rand(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    matrix = matrix @ matrix.T
    dense = dense_operator(problem.coordinates, 0.7, batch) @ matrix.reshape(-1)
    torch.testing.assert_close(second_moment_step(problem, matrix, 0.7, batch).reshape(-1), dense, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("batch", [1, 3, 6])
def test_first_step_along_the_top_is_eq_1(batch):
    problem = LeastSquares.of(features(6, 4))
    after = second_moment_step(problem, problem.start("top"), 0.9, batch)
    assert float(after[0, 0]) == pytest.approx(problem.stability_lhs(0.9, batch), rel=1e-12)


@pytest.mark.parametrize("batch", [1, 2, 6])
@pytest.mark.parametrize("dimension", [1, 2, 3, 5])
def test_spectral_radius_is_the_dense_one(batch, dimension):
    problem = LeastSquares.of(features(6, dimension))
    for rate in (0.3, 1.5):
        dense = torch.linalg.eigvals(dense_operator(problem.coordinates, rate, batch)).abs().max()
        found = spectral_radius(problem, rate, batch, tolerance=1e-10)
        assert found.value == pytest.approx(float(dense), rel=1e-9) and found.residual < 1e-7


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.integers(2, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))), st.integers(1, 6), st.integers(0, 10_000))
def test_boundary_in_all_directions(case, dimension, seed):
    """The radius is 1 there, below before, above after; and it never lies beyond the boundary of Eq. 1."""
    examples, batch = case
    problem = LeastSquares.of(features(examples, dimension, seed))
    rate = critical_learning_rate_all_directions(problem, batch).value
    assert rate <= problem.critical_learning_rate(batch) * (1 + 1e-10)
    radius = [torch.linalg.eigvals(dense_operator(problem.coordinates, rate * f, batch)).abs().max() for f in (0.9, 1.0, 1.1)]
    assert radius[0] < 1 < radius[2] and float(radius[1]) == pytest.approx(1, abs=1e-8)


def test_full_batch_boundary_is_two_over_the_sharpness():
    problem = LeastSquares.of(features(20, 9))
    found = critical_learning_rate_all_directions(problem, 20)
    assert found.value == pytest.approx(2 / problem.sharpness, rel=1e-12)
    assert found.share_along_top == pytest.approx(1)
    single = problem.top()
    assert critical_learning_rate_all_directions(single, 3).value == pytest.approx(single.critical_learning_rate(3), rel=1e-12)


def test_equal_examples_up_to_direction_make_eq_1_miss_the_boundary():
    """Orthogonal examples of one length: curvature along e of one example only, yet all directions blow up together."""
    problem = LeastSquares.of(torch.eye(4) * 2)
    # H_i = 4 e_i e_i^T: each example moves its own axis by 1 - 4 eta, so S = 1 is stable up to eta = 1/2 along every axis.
    assert critical_learning_rate_all_directions(problem, 1).value == pytest.approx(0.5, rel=1e-10)


@pytest.mark.parametrize("start", ["top", "isotropic"])
def test_exact_trajectory_is_the_power_of_the_dense_operator(start):
    problem = LeastSquares.of(features(6, 4))
    rates = torch.tensor([[0.4], [1.2]], dtype=torch.float64)
    exact = exact_second_moments(problem, rates, torch.tensor([1, 3, 6]), num_steps=7, start=start)
    assert exact.log_along_top.shape == (8, 2, 3)
    for i, rate in enumerate((0.4, 1.2)):
        for j, batch in enumerate((1, 3, 6)):
            moment = torch.linalg.matrix_power(dense_operator(problem.coordinates, rate, batch), 7) @ problem.start(start).reshape(-1)
            moment = moment.reshape(4, 4)
            assert float(exact.log_along_top[7, i, j]) == pytest.approx(float(moment[0, 0].log()), rel=1e-9, abs=1e-9)
            assert float(exact.log_total[7, i, j]) == pytest.approx(float(moment.trace().log()), rel=1e-9, abs=1e-9)


def test_projected_moments_are_powers_of_eq_1():
    problem = LeastSquares.of(features(8, 5))
    exact = exact_second_moments(problem.top(), [0.5, 1.5], 2, num_steps=50)
    torch.testing.assert_close(exact.log_along_top[-1], 50 * problem.stability_lhs(np.array([0.5, 1.5]), 2).log())


@pytest.mark.parametrize("batch", [1, 12, 16])
@pytest.mark.parametrize("start", ["top", "isotropic"])
def test_replicas_are_the_loop(batch, start):
    problem, rates, replicas, steps = LeastSquares.of(features(16, 3)), [0.2, 1.1], 5, 6
    run = simulate_least_squares(problem, rates, batch, num_steps=steps, num_replicas=replicas, seed=4, start=start)
    keys = np.random.SeedSequence([4, batch]).generate_state(2)
    generator, starts = (torch.Generator().manual_seed(int(key)) for key in keys)
    batches = [random_batches(16, batch, replicas, generator=generator) for _ in range(steps)]
    first = torch.randn(replicas, 3, generator=starts, dtype=torch.float64)
    for i, rate in enumerate(rates):
        squares = []
        for replica in range(replicas):
            u = first[replica] / first[replica].norm() if start == "isotropic" else torch.tensor([1.0, 0, 0], dtype=torch.float64)
            for step in range(steps):
                for_batch = [problem.coordinates[j] * (problem.coordinates[j] @ u) for j in batches[step][replica]]
                u = u - rate * sum(for_batch) / batch
            squares.append(float(u[0] ** 2))
        assert float(run.along_top[-1, i]) == pytest.approx(np.mean(squares), rel=1e-9)
        assert float(run.along_top_error[-1, i]) == pytest.approx(np.std(squares, ddof=1) / replicas**0.5, rel=1e-6, abs=1e-15)


def test_simulation_agrees_with_the_exact_moments():
    problem = LeastSquares.of(features(20, 6))
    rates = torch.tensor([0.5, 0.9]).double() * problem.critical_learning_rate(4)
    run = simulate_least_squares(problem, rates, 4, num_steps=3, num_replicas=20_000, start="isotropic")
    exact = exact_second_moments(problem, rates, 4, num_steps=3, start="isotropic")
    assert ((run.along_top - exact.log_along_top.exp()).abs() < 5 * run.along_top_error).all()


def test_projected_steps_are_one_dimensional_sgd():
    problem = LeastSquares.of(features(20, 6))
    rates = torch.tensor([0.5, 1.5]).double() * problem.critical_learning_rate(2)
    run = simulate_least_squares(problem.top(), rates, 2, num_steps=3, num_replicas=20_000)
    line = simulate_curvatures(problem.curvatures, rates, 2, num_steps=3, num_replicas=20_000)
    torch.testing.assert_close(run.along_top[-1].log(), line.log_second_moment, rtol=0.1, atol=0.1)
    torch.testing.assert_close(run.total, run.along_top)


def test_divergence_is_recorded(recwarn):
    problem = LeastSquares.of(features(10, 4))
    run = simulate_least_squares(problem, [0.1, 1e6], 2, num_steps=80, num_replicas=4)
    assert run.diverged_at[0] == -1 and 0 < run.diverged_at[1] <= 80
    at = int(run.diverged_at[1])
    assert torch.isinf(run.along_top[at:, 1]).all() and torch.isfinite(run.along_top[:at, 1]).all()
    assert torch.isfinite(run.along_top[:, 0]).all() and not torch.isnan(run.total).any()
    exact = exact_second_moments(problem, [1e6], 2, num_steps=400)
    assert torch.isfinite(exact.log_total).all() and not recwarn.list


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LeastSquares.of(torch.zeros(4, 3)), "features must not be all zero"),
        (lambda: LeastSquares.of(torch.ones(4)), r"features must have shape \(num_examples, dimension\)"),
        (lambda: LeastSquares.of(features(4, 3)).start("bottom"), 'start must be "top" or "isotropic"; \'bottom\' came'),
        (lambda: simulate_least_squares(LeastSquares.of(features(4, 3)), [0.1], 5), "batch_size must be at most num_examples"),
        (lambda: simulate_least_squares(LeastSquares.of(features(4, 3)), [-0.1], 2), "learning_rates must be finite and zero or positive"),
        (lambda: critical_learning_rate_all_directions(LeastSquares.of(features(4, 3)), 0), "batch_size must be a whole number"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()
