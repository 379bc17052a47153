"""Spectrum of the covariance K of gradients, or of their second moment, from the Gram matrix (Jastrzebski et al. 2020, Sec. 3, App. C).

K is quadratic in the loss. Of gradients of *mini-batches* of size M it is about M times smaller than of single examples (drawn with
replacement exactly, in expectation); ratios of its eigenvalues do not change with the loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from sgdscope.errors import InvalidInput
from sgdscope.spectra.gram import gram_matrix


class FactoredGradients(Protocol):
    """What is used of `sgdscope.gradients.PerExampleGradients`: (L, d) rows that need not exist."""

    @property
    def shape(self) -> tuple[int, int]:
        """(L, d)."""

    @property
    def T(self) -> object:  # noqa: N802
        """Transposed, for ``G.T @ w``: (L,) to (d,)."""

    def gram(self) -> Tensor:
        """(L, L) inner products."""


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
    Float64 sums and eigenvalues, see `gram_matrix`; what rounding leaves below zero is set to zero.

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
    return torch.linalg.eigvalsh(_matrix(rows_or_G, centered)).flip(0).clamp_min(0)


def covariance_eigenpairs(rows_or_G: Gradients, *, k: int = 5, centered: bool = True) -> CovarianceSpectrum:  # noqa: N803
    """The spectrum of `covariance_spectrum` with the eigenvectors of the ``k`` largest values in the space of gradients.

    With u the eigenvector of the Gram matrix of length 1, that of K is ``sum_i u_i (g_i - g) / sqrt(L lambda)``.

    Args:
        rows_or_G: see `covariance_spectrum`.
        k: how many eigenvectors; at most the rank of K.
        centered: see `covariance_spectrum`.

    Raises:
        InvalidInput: as `covariance_spectrum`, and ``k`` larger than the number of non-zero eigenvalues.
    """
    matrix = _matrix(rows_or_G, centered)
    number, dimension = rows_or_G.shape
    values, small = torch.linalg.eigh(matrix)
    values, small = values.flip(0).clamp_min(0), small.flip(1)
    eps = torch.finfo(rows_or_G.dtype if isinstance(rows_or_G, Tensor) else torch.float32).eps
    rank = int((values > len(values) * eps * values[0]).sum())
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= rank:
        raise InvalidInput(
            f"k must be a whole number from 1 to {rank}, the number of non-zero eigenvalues; {k!r} came. Pass more gradients, or a smaller k."
        )
    vectors = small[:, :k]
    if number <= dimension:
        weights = vectors - vectors.mean(0) if centered else vectors
        if isinstance(rows_or_G, Tensor):
            vectors = rows_or_G.T @ weights.to(rows_or_G)
        else:
            vectors = torch.stack([rows_or_G.T @ column for column in weights.unbind(1)], 1)
        vectors = torch.linalg.qr(vectors / (number * values[:k]).sqrt().to(vectors)).Q * 1.0
        # QR may turn signs; orthonormal to rounding is what is wanted, the sign of an eigenvector is free.
    elif isinstance(rows_or_G, Tensor):
        vectors = vectors.to(rows_or_G)
    return CovarianceSpectrum(values, vectors, number, centered)


def _matrix(rows_or_G: Gradients, centered: bool) -> Tensor:  # noqa: N803
    """The smaller of Gram matrix and covariance, over L, in float64."""
    if isinstance(rows_or_G, Tensor):
        rows = _check(rows_or_G)
        number, dimension = rows.shape
        if number > dimension:
            wide = (rows.double() - rows.double().mean(0) if centered else rows.double()).T
            return gram_matrix(wide.contiguous()) / number
        return gram_matrix(rows, centered=centered) / number
    if not hasattr(rows_or_G, "gram"):
        raise InvalidInput(f"gradients must be a tensor (L, d) or PerExampleGradients; {type(rows_or_G).__name__} came.")
    number, dimension = rows_or_G.shape
    if number < 2:
        raise InvalidInput(f"a covariance takes at least two gradients; {number} came.")
    gram = rows_or_G.gram().double()
    if centered:
        means = gram.mean(0)
        gram = gram - means - means[:, None] + means.mean()
    if not torch.isfinite(gram).all():
        raise InvalidInput("gradients must be finite; their inner products are not. Has the training diverged?")
    return (gram + gram.T) / (2 * number)


def _check(rows: Tensor) -> Tensor:
    if rows.dim() != 2 or len(rows) < 2 or rows.shape[1] == 0 or not rows.is_floating_point():
        raise InvalidInput(f"gradients must be a floating tensor (L, d) with at least two rows; {tuple(rows.shape)} of {rows.dtype} came.")
    if not torch.isfinite(rows.sum(1)).all() and not torch.isfinite(rows).all():  # sums first: no copy of all entries as booleans
        raise InvalidInput("gradients must be finite; NaN or infinite values came. Has the training diverged?")
    return rows.detach()
