"""Enumerated averages against loops over itertools.combinations and against the closed forms."""

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdscope.errors import InvalidInput
from sgdscope.stability import (
    all_batches,
    covariance_rank,
    gradient_covariance,
    gradient_covariance_spectrum,
    gradient_noise,
    gradient_noise_closed_form,
    mean_outer_product,
    number_of_batches,
    random_batches,
    second_moment_factor,
    smallest_non_zero,
    stability_lhs,
    two_point_curvatures,
)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("examples", "batch"), [(4, 1), (7, 3), (9, 9), (10, 5)])
def test_second_moment_factor_is_the_loop(examples, batch):
    curvatures = normal(examples)
    values = [(1 - 0.7 * sum(curvatures[i] for i in chosen) / batch) ** 2 for chosen in combinations(range(examples), batch)]
    assert second_moment_factor(curvatures, 0.7, batch) == pytest.approx(float(sum(values) / len(values)), rel=1e-12)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.data(), st.lists(st.floats(-10, 10), min_size=2, max_size=10), st.floats(0, 5))
def test_enumeration_is_eq_1(data, values, rate):
    batch = data.draw(st.integers(1, len(values)))
    curvatures = torch.tensor(values, dtype=torch.float64)
    left = stability_lhs(rate, float(curvatures.mean()), float(curvatures.std(correction=0)), len(values), batch)
    assert second_moment_factor(curvatures, rate, batch) == pytest.approx(left, rel=1e-10, abs=1e-10)


def test_rates_share_one_enumeration():
    curvatures, rates = normal(8), torch.tensor([[0.1, 0.2], [0.3, 0.4]], dtype=torch.float64)
    together = second_moment_factor(curvatures, rates, 3)
    assert together.shape == (2, 2)
    assert float(together[1, 0]) == pytest.approx(second_moment_factor(curvatures, 0.3, 3), rel=1e-14)


def test_more_than_one_chunk():
    chunks = list(all_batches(19, 9))  # 92,378 mini-batches
    assert len(chunks) == 2 and sum(map(len, chunks)) == number_of_batches(19, 9) == 92378
    curvatures = normal(19)
    left = stability_lhs(0.5, float(curvatures.mean()), float(curvatures.std(correction=0)), 19, 9)
    assert second_moment_factor(curvatures, 0.5, 9) == pytest.approx(left, rel=1e-10)


@pytest.mark.parametrize(("examples", "batch", "dimension"), [(6, 2, 3), (8, 3, 20), (5, 5, 4), (7, 1, 2)])
def test_gradient_noise_is_the_loop_and_the_closed_form(examples, batch, dimension):
    gradients = normal(examples, dimension)
    mean = gradients.mean(0)
    values = [float((gradients[list(chosen)].mean(0) - mean).square().sum()) for chosen in combinations(range(examples), batch)]
    assert gradient_noise(gradients, batch) == pytest.approx(sum(values) / len(values), rel=1e-10, abs=1e-15)
    assert gradient_noise(gradients, batch) == pytest.approx(gradient_noise_closed_form(gradients, batch), rel=1e-10, abs=1e-15)
    trace = float(gradient_covariance(gradients).trace())
    assert gradient_noise_closed_form(gradients, batch) == pytest.approx(trace * (examples - batch) / (batch * (examples - 1)))


@pytest.mark.parametrize("shape", [(5, 12), (12, 5)])
def test_covariance_and_its_spectrum(shape):
    gradients = normal(*shape)
    covariance = gradient_covariance(gradients)
    torch.testing.assert_close(covariance, mean_outer_product(gradients), rtol=1e-12, atol=1e-14)
    dense = torch.linalg.eigvalsh(covariance).flip(0)[: min(shape)]
    torch.testing.assert_close(gradient_covariance_spectrum(gradients), dense, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("gradients", [3, 10, 25])
def test_rank_of_the_covariance_is_one_less_than_the_gradients(gradients):
    spectrum = gradient_covariance_spectrum(normal(gradients, 100, seed=gradients))
    assert covariance_rank(spectrum) == gradients - 1
    assert smallest_non_zero(spectrum) == spectrum[gradients - 2]  # the (L-1)th largest
    assert spectrum.flip(0)[gradients - 2] == spectrum[1]  # the (L-1)th smallest is the second largest


def test_random_batches_are_uniform_subsets():
    generator = torch.Generator().manual_seed(0)
    for batch in (1, 2, 4):
        drawn = random_batches(4, batch, 60_000, generator=generator).sort(1).values
        subsets, counts = drawn.unique(dim=0, return_counts=True)
        assert len(subsets) == number_of_batches(4, batch)
        expected = 60_000 / len(subsets)
        assert ((counts - expected).abs() < 5 * expected**0.5).all()


def test_two_point_curvatures_have_the_moments():
    curvatures = two_point_curvatures(1.0, 0.5, 10)
    assert float(curvatures.mean()) == 1 and float(curvatures.std(correction=0)) == 0.5
    with pytest.raises(InvalidInput, match="num_examples must be even for two equal halves; 9 came. Use 10"):
        two_point_curvatures(1.0, 0.5, 9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: second_moment_factor(normal(40), 0.1, 20), r"at or below 2,000,000 mini-batches; C\(40, 20\) = 137,846,528,820 came"),
        (lambda: second_moment_factor(normal(4), 0.1, 5), "batch_size must be at most num_examples"),
        (lambda: second_moment_factor(normal(4, 2), 0.1, 2), r"curvatures must have shape \(num_examples,\) .*; \(4, 2\) came"),
        (lambda: gradient_noise(normal(4), 2), r"gradients must have shape \(num_examples, dimension\)"),
        (lambda: gradient_covariance(torch.full((3, 2), torch.inf)), "gradients must be finite"),
        (lambda: random_batches(4, 2, 0, generator=torch.Generator()), "number must be a whole number of at least 1; 0 came"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()
