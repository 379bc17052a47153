"""Covariance K of per-example gradients, its spectrum and its rank, for gradients small enough to hold as rows.

K is quadratic in the loss: a summed loss instead of the mean one makes it N^2 times larger if the gradients carry the factor N each;
its eigenvalue ratios, rank and shares do not change. It does not depend on a batch size: the rows are single gradients.

Plain float64 algebra on a few rows, for the pages on theory; `sgdscope.spectra` has the same for the gradients of networks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sgdscope.stability.checks import Number, vector


def centred(gradients: Number) -> Tensor:
    """Rows ``g_i - g``: shape ``(num_gradients, dimension)``."""
    rows = vector("gradients", gradients, dims=2)
    return rows - rows.mean(0)


def gradient_covariance(gradients: Number) -> Tensor:
    """``K = (1/N) sum_i (g_i - g)^T (g_i - g)`` for gradients as *rows*: shape ``(d, d)`` (paper, Sec. 3 and footnote 1).

    With gradients as columns the printed product would be a number, their squared distance.

    Raises:
        InvalidInput: not a matrix of at least two rows, NaN or infinite entries.
    """
    rows = centred(gradients)
    return rows.T @ rows / len(rows)


def mean_outer_product(gradients: Number) -> Tensor:
    """The same K, literally: the mean over i of the outer products of ``g_i - g`` with itself; holds ``N d^2`` numbers."""
    rows = centred(gradients)
    return (rows[:, :, None] * rows[:, None, :]).mean(0)


def gradient_covariance_spectrum(gradients: Number) -> Tensor:
    """Eigenvalues of K in descending order, ``min(N, d)`` of them, from the smaller of K and the Gram matrix.

    The Gram matrix ``(1/N) <g_i - g, g_j - g>`` has the non-zero eigenvalues of K; the others of K are zero (paper, App. C).
    Rounding leaves zeros at about 1e-16 of the largest, of either sign; `covariance_rank` counts what is above it.
    """
    rows = centred(gradients)
    product = rows @ rows.T if rows.shape[0] <= rows.shape[1] else rows.T @ rows
    return torch.linalg.eigvalsh(product / len(rows)).flip(0)


def covariance_rank(eigenvalues: Tensor) -> int:
    """Number of eigenvalues above ``n eps`` times the largest, ``n`` their number: at most L - 1 for L gradients."""
    floor = eigenvalues.max() * len(eigenvalues) * torch.finfo(eigenvalues.dtype).eps
    return int((eigenvalues > floor).sum())


def smallest_non_zero(eigenvalues: Tensor) -> float:
    """The paper's ``lambda_K^*``: the smallest eigenvalue that `covariance_rank` counts, the (L-1)th *largest* for L gradients."""
    return float(eigenvalues.sort(descending=True).values[covariance_rank(eigenvalues) - 1])
