"""Spectra against dense matrices: covariance by hand, and a Hessian whose top eigenvalue is multiple."""

import pytest
import torch
from torch import nn

from sgdscope.spectra import covariance_spectrum, hessian_eigenpairs


@pytest.mark.parametrize("centered", [True, False])
def test_covariance_spectrum_is_that_of_the_dense_matrix(centered):
    rows = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shifted = rows - rows.mean(0) if centered else rows
    dense = torch.linalg.eigvalsh(shifted.T @ shifted / 7).flip(0)
    found = torch.as_tensor(covariance_spectrum(rows, centered=centered))
    torch.testing.assert_close(found[:5], dense, rtol=1e-9, atol=1e-12)


def test_hessian_eigenpairs_find_a_multiple_top_eigenvalue():
    model = nn.Linear(6, 1, bias=False).double()
    x = torch.diag(torch.tensor([3.0, 3.0, 3.0, 2.0, 1.0, 0.5], dtype=torch.float64)) * 6**0.5  # Hessian diag(9, 9, 9, 4, 1, 1/4)
    pairs = hessian_eigenpairs(
        model, lambda outputs, y: 0.5 * (outputs - y).square().sum(1), x, torch.zeros(6, 1, dtype=torch.float64), k=4
    )
    torch.testing.assert_close(pairs.values, torch.tensor([9.0, 9, 9, 4], dtype=torch.float64), rtol=1e-4, atol=1e-6)
