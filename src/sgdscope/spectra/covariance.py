"""Spectrum of the covariance K of gradients, or of their second moment, from the Gram matrix (Jastrzebski et al. 2020, Sec. 3, App. C).

K is quadratic in the loss. Of gradients of *mini-batches* of size M it is about M times smaller than of single examples (drawn with
replacement exactly, in expectation); ratios of its eigenvalues do not change with the loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from sgdscope.errors import InvalidInput, whole
from sgdscope.spectra.gram import check_rows, column_blocks, gram_matrix


class FactoredGradients(Protocol):
    """What is used of `sgdscope.gradients.PerExampleGradients`: (L, d) rows that need not exist."""

    @property
    def shape(self) -> tuple[int, int]:
        """(L, d)."""

    dtype: torch.dtype

    @property
    def T(self) -> object:  # noqa: N802
        """Transposed, for ``G.T @ w``: (L,) to (d,)."""

    def gram(self, *, dtype: torch.dtype) -> Tensor:
        """(L, L) inner products, formed in ``dtype``."""

    def dense(self) -> Tensor:
        """(L, d) rows; asked for only where d is below L."""


Gradients: TypeAlias = Tensor | FactoredGradients
"""(L, d) gradients as rows, or an object that holds them in factors."""


@dataclass(frozen=True)
class CovarianceSpectrum:
    """Eigenvalues of K = (1/L) sum_i (g_i - g)(g_i - g)^T, or of the second moment, and its top eigenvectors.

    Attributes:
        values: (min(L, d),) float64 in descending order, not negative.
        vectors: (d, k) top eigenvectors in the space of gradients, orthonormal columns.
        num_gradients: L.
        centered: whether the mean was removed.
    """

    values: Tensor
    vectors: Tensor
    num_gradients: int
    centered: bool

    @property
    def top(self) -> float:
        """``lambda_K^1``, the largest eigenvalue."""
        return float(self.values[0])

    @property
    def smallest(self) -> float:
        """``lambda_K^*``, the smallest eigenvalue that need not be zero: the (L-1)th *largest* of L centred gradients.

        (Paper, App. C: "the (L-1)th smallest", a slip.) The L-th without centring; the d-th where d is smaller.
        """
        return float(self.values[min(self.num_gradients - int(self.centered), len(self.values)) - 1])

    @property
    def trace(self) -> float:
        """``Tr K``, the sum of the eigenvalues: the variance of a gradient summed over coordinates."""
        return float(self.values.sum())

    @property
    def conditioning(self) -> float:
        """``lambda_K^* / lambda_K^1`` (Conjecture 2), from 0 to 1; NaN where all gradients are equal."""
        return self.smallest / self.top if self.top > 0 else float("nan")


def covariance_spectrum(rows_or_G: Gradients, *, centered: bool = True) -> Tensor:  # noqa: N803
    """Eigenvalues of ``K = (1/L) sum_i (g_i - g)(g_i - g)^T`` in descending order, from the Gram matrix.

    The (L, L) matrix ``(1/L) <g_i - g, g_j - g>`` has the non-zero eigenvalues of the (d, d) matrix K; with L > d rows K itself is used.
    Float64 sums and eigenvalues, see `gram_matrix`; what rounding leaves below zero is set to zero. Memory beside the rows: about five (L, L)
    float64 matrices.

    Args:
        rows_or_G: (L, d) floating tensor, L at least 2, or `PerExampleGradients`.
        centered: False for the second moment ``(1/L) sum_i g_i g_i^T``.

    Returns:
        (min(L, d),) float64.

    Raises:
        InvalidInput: not a floating matrix of at least two rows, NaN or infinite values.

    >>> covariance_spectrum(torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])).tolist()
    [4.5, 0.5]
    """
    matrix, _ = _matrix(rows_or_G, centered)
    return torch.linalg.eigvalsh(matrix).flip(0).clamp_min(0)


def covariance_eigenpairs(rows_or_G: Gradients, *, k: int = 5, centered: bool = True) -> CovarianceSpectrum:  # noqa: N803
    """The spectrum of `covariance_spectrum` with the eigenvectors of the ``k`` largest values in the space of gradients.

    With u the eigenvector of the Gram matrix of length 1, that of K is ``sum_i u_i (g_i - g) / sqrt(L lambda)``. Signs are arbitrary.

    Args:
        rows_or_G: see `covariance_spectrum`.
        k: how many eigenvectors; at most the number of eigenvalues above ``n eps`` times the largest, with n = min(L, d) and eps of the
            gradients' dtype: below, the directions are rounding.
        centered: see `covariance_spectrum`.

    Raises:
        InvalidInput: as `covariance_spectrum`, and ``k`` larger than the number of non-zero eigenvalues.
    """
    matrix, rows = _matrix(rows_or_G, centered)
    number, dimension = rows.shape
    values, small = torch.linalg.eigh(matrix)
    values, small = values.flip(0).clamp_min(0), small.flip(1)
    rank = int((values > len(values) * torch.finfo(rows.dtype).eps * values[0]).sum())
    k = whole("k", k, 1, rank, note="the number of non-zero eigenvalues; more gradients have more")
    small = small[:, :k]
    if number > dimension:
        vectors = small
    elif isinstance(rows, Tensor):
        vectors = torch.cat([block.double().T @ small for block in column_blocks(rows, centered)])
    else:
        weights = small - small.mean(0) if centered else small
        vectors = torch.stack([rows.T @ column for column in weights.to(rows.dtype).unbind(1)], 1).double()
    vectors = torch.linalg.qr(vectors / vectors.norm(dim=0)).Q.to(rows.dtype)
    return CovarianceSpectrum(values, vectors, number, centered)


def _matrix(rows_or_G: Gradients, centered: bool) -> tuple[Tensor, Gradients]:  # noqa: N803
    """The smaller of Gram matrix and covariance, over L, in float64; and the gradients it was made of, dense where d is below L."""
    if isinstance(rows_or_G, Tensor) or not hasattr(rows_or_G, "gram"):
        rows_or_G = check_rows(rows_or_G, 2)  # noqa: N806
    number, dimension = rows_or_G.shape
    if number < 2:
        raise InvalidInput(f"a covariance takes at least two gradients; {number} came.")
    if number > dimension:
        rows = rows_or_G if isinstance(rows_or_G, Tensor) else check_rows(rows_or_G.dense(), 2)
        return _second_moment(rows, centered), rows
    if isinstance(rows_or_G, Tensor):
        return gram_matrix(rows_or_G, centered=centered).div_(number), rows_or_G
    gram = rows_or_G.gram(dtype=torch.float64)
    if centered:
        means = gram.mean(0)
        gram = gram - means - means[:, None] + means.mean()
    return (gram + gram.T) / (2 * number), rows_or_G


def _second_moment(rows: Tensor, centered: bool) -> Tensor:
    """(d, d) mean of ``(g - mean)(g - mean)^T`` or of ``g g^T``, in float64, a few rows at a time."""
    number, dimension = rows.shape
    shift = rows.mean(0, dtype=torch.float64) if centered else rows.new_zeros(dimension, dtype=torch.float64)
    moment = torch.zeros(dimension, dimension, dtype=torch.float64, device=rows.device)
    for block in rows.split(4096):
        block = block.double() - shift
        moment.addmm_(block.T, block)
    return (moment + moment.T) / (2 * number)
