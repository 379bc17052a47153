"""Gram matrices against rows @ rows.T in float64, around the borders of the blocks."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no neighbours
from spectra_twins import DEVICES, normal

from sgdscope.errors import InvalidInput
from sgdscope.spectra import gram_matrix
from sgdscope.spectra.gram import COLUMNS, ROWS


def twin(rows, centered):
    rows = rows.double()
    rows = rows - rows.mean(0) if centered else rows
    return rows @ rows.T


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize(
    ("number", "dimension"),
    [
        *[(number, 7) for number in (1, 2, ROWS - 1, ROWS, ROWS + 1, 2 * ROWS, 2 * ROWS + 3)],
        *[(3, dimension) for dimension in (1, COLUMNS - 1, COLUMNS, COLUMNS + 1, 2 * COLUMNS, 2 * COLUMNS + 5)],
        (ROWS + 2, COLUMNS + 3),
    ],
)
def test_the_product(number, dimension, centered, device):
    rows = normal(number, dimension) + 0.5
    found = gram_matrix(rows.to(device), centered=centered).cpu()
    assert found.dtype == torch.float64 and torch.equal(found, found.T)
    torch.testing.assert_close(found, twin(rows, centered), rtol=1e-11, atol=1e-11 * dimension)


@pytest.mark.parametrize("device", DEVICES)
def test_float32_rows_are_summed_in_float64(device):
    rows = normal(40, 200_000, dtype=torch.float32).abs()  # all products positive: a float32 sum over all columns drifts
    found, expected = gram_matrix(rows.to(device)).cpu(), twin(rows, False)
    assert ((found - expected).abs() / expected).max() < 4e-7


def test_a_mean_that_is_large_against_the_spread():
    rows = (1e3 + normal(30, 5000)).float()
    found, expected = gram_matrix(rows, centered=True), twin(rows, True)
    scale = expected.diagonal().max()
    assert (found - expected).abs().max() < 1e-6 * scale
    naive = rows @ rows.T  # products first, then the mean: little is left
    naive = naive - naive.mean(0) - naive.mean(1, keepdim=True) + naive.mean()
    assert (naive - expected).abs().max() > 0.01 * scale


def test_equal_rows_have_no_spread():
    assert not gram_matrix(torch.full((7, 9), 0.1), centered=True).any()
    assert not gram_matrix(torch.full((7, 9), 0.1, dtype=torch.float64), centered=True).any()


def test_rows_are_left_alone_and_may_be_strided_or_need_gradients():
    rows = normal(9, 6).T.requires_grad_()
    before = rows.detach().clone()
    found = gram_matrix(rows, centered=True)
    torch.testing.assert_close(found, twin(before, True))
    assert torch.equal(rows, before) and not found.requires_grad


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1.0]], r"must be a tensor \(L, d\).*list came"),
        (torch.ones(3), r"floating tensor \(L, d\) with at least one row; \(3,\) of torch.float32 came"),
        (torch.ones(0, 3), r"at least one row; \(0, 3\)"),
        (torch.ones(3, 0), r"\(3, 0\)"),
        (torch.ones(2, 2, dtype=torch.int64), "floating tensor.*torch.int64 came"),
        (torch.tensor([[1.0, float("nan")]]), r"must be finite; NaN or infinite values came\. Has the training diverged\?"),
        (torch.tensor([[float("inf"), -float("inf")]]), "must be finite"),
    ],
)
def test_what_is_refused(rows, message):
    with pytest.raises(InvalidInput, match=message):
        gram_matrix(rows)


def test_large_finite_rows_whose_sum_is_infinite_are_taken():
    rows = torch.full((2, 4), 2e38)
    assert torch.isinf(rows.sum(1)).all()
    assert not gram_matrix(rows, centered=True).any()
