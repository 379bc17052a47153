"""Least squares on images: the problem, and each run against enumeration, loops and dense linear algebra."""

import math
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from sgdscope import stability
from sgdscope.data import load_dataset
from sgdscope.errors import InvalidInput
from sgdscope.experiments.break_even import least_squares
from sgdscope.experiments.break_even.least_squares import Boundary, Descent, Noise, Projected, least_squares_problem
from sgdscope.runs import collect

FEW = {"dataset": "digits", "num_examples": 6}  # all mini-batches can be enumerated, all directions held densely


def images(dataset, num_examples, seed):
    """Centred images as rows, float64."""
    rows = load_dataset(dataset, num_examples=num_examples, seed=seed).x.flatten(1).double().numpy()
    return rows - rows.mean(0)


def operator(rows, rate, batch_size):
    """The map of ``E[u u^T]`` in one step as a dense matrix, averaged over all mini-batches."""
    batches = list(combinations(range(len(rows)), batch_size))
    total = 0
    for batch in batches:
        step = np.eye(rows.shape[1]) - rate * rows[list(batch)].T @ rows[list(batch)] / batch_size
        total = total + np.kron(step, step)
    return total / len(batches)


@pytest.fixture(scope="module")
def problem():
    return least_squares_problem(**FEW, seed=0)


def test_the_problem_is_the_centred_images(problem):
    rows = images("digits", 6, 0)
    np.testing.assert_allclose(problem.coordinates @ problem.coordinates.T, rows @ rows.T, atol=1e-12)
    np.testing.assert_allclose(problem.eigenvalues, np.linalg.eigvalsh(rows @ rows.T / 6)[:0:-1], rtol=1e-10)
    assert len(problem.eigenvalues) == 5, "centring takes one direction"


def test_a_seed_draws_its_own_images(problem):
    assert least_squares_problem(**FEW, seed=0) is problem
    assert least_squares_problem(**FEW, seed=1).sharpness != problem.sharpness


def test_text_is_refused(monkeypatch):
    monkeypatch.setattr(least_squares, "load_dataset", lambda name, **_: SimpleNamespace(x=("good", "bad")))
    with pytest.raises(InvalidInput, match="least squares needs images or feature vectors, 'reviews' has text. Use fashion_mnist_small"):
        least_squares_problem("reviews", 2, 0)


def test_projected_steps_of_the_full_batch_are_exact():
    """Without noise every replica is Eq. 1 to the power of the steps."""
    table = least_squares.simulate_projected(Projected(**FEW, batch_size=6, seed=0, num_rates=4, num_replicas=10)).table
    assert table.learning_rate.tolist() == pytest.approx([1, 5 / 3, 7 / 3, 3]), "0.5 to 1.5 of the boundary 2, times the sharpness"
    assert table.left_side.tolist() == pytest.approx([0, 4 / 9, 16 / 9, 4], abs=1e-12)
    assert table.log_second_moment[1:].tolist() == pytest.approx([3 * math.log(left) for left in (4 / 9, 16 / 9, 4)])
    assert table.log_second_moment[0] < -60, "one step to the minimum"


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_projected_steps_are_eq_1(problem, batch_size):
    config = Projected(**FEW, batch_size=batch_size, seed=0, num_rates=5, num_replicas=40_000)
    table = least_squares.simulate_projected(config).table
    curvatures = (problem.coordinates[:, 0] ** 2).tolist()
    assert table.left_side[2] == pytest.approx(1), "the middle rate is the boundary"
    for rate, left, moment in table.itertuples(index=False):
        means = [sum(batch) / batch_size for batch in combinations(curvatures, batch_size)]
        factors = np.array([1 - rate / problem.sharpness * mean for mean in means])
        assert left == pytest.approx((factors**2).mean())
        error = math.sqrt(((factors**4).mean() / (factors**2).mean() ** 2) ** 3 / 40_000)
        assert abs(math.exp(moment) / left**3 - 1) < 5 * error, (rate, left, moment, error)


@pytest.mark.parametrize("batch_size", [1, 3, 6])
def test_both_boundaries_against_dense_matrices(problem, batch_size):
    (row,) = least_squares.find_boundary(Boundary(**FEW, batch_size=batch_size, seed=0)).table.itertuples()
    rows = images("digits", 6, 0) @ problem.basis.numpy()
    alone = operator(rows[:, :1], row.one_direction / row.sharpness, batch_size)
    together = operator(rows, row.all_directions / row.sharpness, batch_size)
    assert alone.item() == pytest.approx(1)
    assert np.abs(np.linalg.eigvals(together)).max() == pytest.approx(1, abs=1e-6)
    assert row.all_directions <= row.one_direction * (1 + 1e-9), "Eq. 1 is necessary"
    curvatures = rows[:, 0] ** 2
    assert (row.sharpness, row.curvature_std) == pytest.approx((curvatures.mean(), curvatures.std()))
    assert row.top_eigenvalue_share == pytest.approx(curvatures.mean() / (rows**2).sum(1).mean())
    assert 0 < row.share_along_top <= 1 + 1e-9 and row.residual < 1e-6


def test_descent_is_the_enumeration(problem):
    table = least_squares.descend(Descent(**FEW, learning_rate=0.9, batch_size=2, num_steps=5, seed=0, num_replicas=20)).table
    rows = images("digits", 6, 0) @ problem.basis.numpy()
    rate, size = 0.9 / problem.sharpness, rows.shape[1]
    moments = np.zeros((size, size))
    moments[0, 0] = 1
    left = operator(rows[:, :1], rate, 2).item()
    for row in table.itertuples():
        assert row.log_exact == pytest.approx(math.log(moments[0, 0]), abs=1e-10)
        assert row.log_one_direction == pytest.approx(row.step * math.log(left), abs=1e-10)
        moments = (operator(rows, rate, 2) @ moments.reshape(-1)).reshape(size, size)
    assert table.iloc[0].tolist() == [0, 1, 1, 0, 0]
    assert (table.typical <= table.sampled * (1 + 1e-12)).all(), "a geometric mean"


def test_descent_samples_the_exact_moment():
    table = least_squares.descend(Descent(**FEW, learning_rate=0.3, batch_size=2, num_steps=3, seed=0, num_replicas=20_000)).table
    np.testing.assert_allclose(np.log(table.sampled), table.log_exact, atol=0.05)


def test_batched_descents_are_single_ones():
    configs = [Descent("digits", 30, rate, 4, 12, 1, num_replicas=25) for rate in (0.1, 0.7, 1.4, 1e9)]
    together = least_squares.descend_at_rates(configs)
    for config, result in zip(configs, together, strict=True):
        alone = least_squares.descend(config)
        pd.testing.assert_frame_equal(result.table, alone.table, check_exact=False, rtol=1e-9, atol=0)
        assert (result.status, result.diverged_at) == (alone.status, alone.diverged_at)
    pd.testing.assert_frame_equal(together[1].table, least_squares.descend_at_rates(configs)[1].table, check_exact=True)


def test_only_descents_that_differ_in_the_rate_go_together():
    same = Descent("digits", 30, 0.1, 4, 12, 1)
    shape = least_squares.descend.shape
    assert shape(same) == shape(Descent("digits", 30, 0.9, 4, 12, 1))
    others = [
        Descent("digits", 30, 0.1, 4, 12, 2),
        Descent("digits", 30, 0.1, 5, 12, 1),
        Descent("digits", 30, 0.1, 4, 13, 1),
        Descent("digits", 28, 0.1, 4, 12, 1),
        Descent("digits", 30, 0.1, 4, 12, 1, num_replicas=7),
    ]
    assert shape(same) not in {shape(other) for other in others}


def test_a_descent_that_overflows_has_diverged(store):
    rates = (0.5, 1e9)
    results = least_squares.descend_at_rates([Descent("digits", 26, rate, 2, 40, 0, num_replicas=10) for rate in rates])
    assert [result.status for result in results] == ["finished", "diverged"]
    step = results[1].diverged_at
    assert 10 < step < 30 and results[0].diverged_at is None
    sampled = results[1].table.sampled
    assert np.isfinite(sampled[:step]).all() and np.isinf(sampled[step:]).all()
    assert np.isfinite(results[1].table.log_exact).all(), "exact moments are held in logs"
    table = collect([Descent("digits", 26, rate, 2, 40, 0, num_replicas=10) for rate in rates])
    assert table.attrs["sources"].diverged == 1 and set(table[table.learning_rate == 1e9].status) == {"diverged"}


def test_noise_is_the_direct_covariance():
    config = Noise("digits", 30, seed=2, num_steps=4, every=2, enumerated=4)
    table = least_squares.measure_noise(config).table
    problem = least_squares_problem("digits", 30, 2)
    rows, generator = problem.coordinates, torch.Generator().manual_seed(2)
    point = torch.randn(rows.shape[1], generator=generator, dtype=torch.float64)
    gradients = torch.stack([row * row.dot(point) for row in rows])
    batches = stability.random_batches(30, 16, 25, generator=generator)
    few = np.array([gradients[batch].mean(0).numpy() for batch in batches])
    spectrum = np.linalg.eigvalsh(np.cov(few.T, bias=True))[::-1]  # all k of them, descending
    for row in table.itertuples():
        assert (row.rank, (spectrum > spectrum[0] * 1e-12).sum()) == (24, 24), "L - 1"
        assert row.smallest_non_zero == row.largest_position == pytest.approx(spectrum[23], rel=1e-6)
        assert row.smallest_position == pytest.approx(spectrum[1]), "of 25 the 24th smallest is the second largest"

    for step in range(5):
        gradients = torch.stack([row * row.dot(point) for row in rows])
        if step % 2 == 0:
            covariance = np.cov(gradients.numpy().T, bias=True)
            (row,) = table[table.step == step].itertuples()
            assert (row.top, row.trace) == pytest.approx((np.linalg.eigvalsh(covariance)[-1], np.trace(covariance)))
            assert row.top_share == row.top / row.trace
        batch = stability.random_batches(30, 16, 1, generator=generator)[0]
        point = point - 0.2 / problem.sharpness * gradients[batch].mean(0)
    assert table.step.tolist() == [0, 2, 4]


def test_the_error_of_the_noise_is_the_largest_over_batch_sizes(monkeypatch):
    """And it would show a wrong closed form: one that misses by 1% at batch size 3 alone."""
    config = Noise("digits", 30, seed=2, num_steps=0, enumerated=5)
    assert least_squares.measure_noise(config).table.enumeration_error.max() < 1e-12
    right = stability.gradient_noise_closed_form
    monkeypatch.setattr(
        least_squares, "gradient_noise_closed_form", lambda gradients, size: right(gradients, size) * (1.01 if size == 3 else 1)
    )
    assert least_squares.measure_noise(config).table.enumeration_error.tolist() == pytest.approx([1 - 1 / 1.01])


def test_noise_needs_as_many_directions_as_gradients():
    with pytest.raises(InvalidInput, match="K from 25 gradients needs as many directions; the features of 'avila-like' span 3"):
        few = stability.LeastSquares.of(torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(least_squares, "least_squares_problem", lambda *_: few)
            least_squares.measure_noise(least_squares.Noise("avila-like", 40, 0))


def test_descent_starts_at_one_even_where_the_left_side_is_zero():
    config = least_squares.Descent("digits", 40, learning_rate=1.0, batch_size=40, num_steps=2, seed=0, num_replicas=2)
    table = least_squares.descend(config).table
    assert table.log_one_direction[0] == 0.0 and not table.log_one_direction.isna().any()
