"""Closed forms for linear readouts against materialised gradients and enumeration, float64; statistics of given estimates."""

from itertools import combinations

import pytest
import torch

from sgdscope.errors import InvalidInput
from sgdscope.estimators import MiniBatch, ReadoutGradients, Stratified, variance_of_estimates

M, N, P = 2, 7, 3


def made(seed=0):
    draw = torch.Generator().manual_seed(seed)
    features, residuals = torch.randn(N, P, generator=draw, dtype=torch.float64), torch.randn(M, N, generator=draw, dtype=torch.float64)
    return ReadoutGradients(features, residuals), residuals[:, :, None] * features  # (M, N, p)


def trace_of_all(index, weights, rows):
    """Average variance over all equally likely draws."""
    estimates = (weights[..., None] * rows[index]).sum(1)
    return (estimates - estimates.mean(0)).square().sum(1).mean() / P


def test_mean_and_mean_square():
    gradients, rows = made()
    torch.testing.assert_close(gradients.mean(), rows.mean(1))
    torch.testing.assert_close(gradients.average_square(), rows.square().mean((1, 2)))


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_mini_batches_by_enumeration(batch_size):
    gradients, rows = made()
    index, weights = MiniBatch(batch_size).outcomes(N)
    assert len(index) == len(list(combinations(range(N), batch_size)))
    wanted = torch.stack([trace_of_all(index, weights, each) for each in rows])
    torch.testing.assert_close(gradients.mini_batch_variance(batch_size), wanted, atol=1e-14, rtol=1e-10)


def test_strata_by_enumeration():
    gradients, rows = made()
    partition = torch.tensor([[0, 0, 1, 2, 2, 2, 1], [4, 4, 4, 0, 0, 4, 4]])  # one with empty sets
    wanted = torch.stack([trace_of_all(*Stratified(sets).outcomes(N), each) for sets, each in zip(partition, rows, strict=True)])
    torch.testing.assert_close(gradients.stratified_variance(partition), wanted, rtol=1e-10, atol=0)


def test_each_example_in_its_own_set_has_no_variance():
    gradients, _ = made()
    assert gradients.stratified_variance(torch.arange(N).expand(M, N)).abs().max() < 1e-15


def test_estimates_with_shared_and_with_own_draws():
    gradients, rows = made()
    index, weights = torch.tensor([[0, 3], [6, 6], [2, 1]]), torch.tensor([0.25, 0.75], dtype=torch.float64)
    wanted = torch.stack([(weights[:, None] * each[index]).sum(1) for each in rows])
    torch.testing.assert_close(gradients.estimates(index, weights), wanted)
    own = torch.stack([index, index.flip(0)])
    wanted[1] = wanted[1].flip(0)
    torch.testing.assert_close(gradients.estimates(own, weights), wanted)


def test_statistics_of_blocks_are_those_of_all():
    draw = torch.Generator().manual_seed(1)
    first, second = (torch.randn(9, 4, generator=draw, dtype=torch.float64) for _ in range(2))
    whole, parts = variance_of_estimates([first], [second]), variance_of_estimates(first.split(2), second.split(4))
    assert whole.average == pytest.approx(first.var(0).mean().item()) and parts.average == pytest.approx(whole.average)
    ratios = (second - first.mean(0)).square().sum(0) / second.square().sum(0)
    assert whole.normalised_unguarded == pytest.approx(ratios.mean().item()) == pytest.approx(parts.normalised_unguarded)
    assert (
        whole.normalised_guarded == pytest.approx(whole.normalised_unguarded, rel=1e-5)
        and whole.normalised_guarded < whole.normalised_unguarded
    )
    assert whole.repeats == parts.repeats == 9


def test_two_passes_without_a_guard_leave_silent_coordinates_out():
    first, second = torch.ones(3, 2), torch.tensor([[2.0, 0], [4, 0], [2, 0]])
    found = variance_of_estimates([first], [second])
    assert found.normalised_unguarded == pytest.approx((1 + 9 + 1) / (4 + 16 + 4))
    assert found.normalised_guarded == pytest.approx((11 / 24 + 3e7) / 2, rel=1e-6)
    assert variance_of_estimates([first]).normalised_unguarded != found.normalised_unguarded  # NaN


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ReadoutGradients(torch.zeros(4, 2), torch.zeros(1, 5)),
            r"features must be \(N, p\), residuals \(M, N\); \(4, 2\) and \(1, 5\)",
        ),
        (lambda: made()[0].mini_batch_variance(8), "batch_size must be from 1 to the 7 examples, got 8"),
        (lambda: variance_of_estimates([torch.zeros(1, 2)]), "needs two estimates at least, got 1"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()
