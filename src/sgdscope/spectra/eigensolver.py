"""Extreme eigenpairs of a symmetric operator known by its products: band Lanczos with thick restarts, warm starts and a random check.

The basis V (j, d) and directions Q (p, d) not yet multiplied are orthonormal together, and the operator satisfies ``A V^T = V^T T + Q^T C``
with small T (j, j) and C (p, j). Ritz pairs are those of T; the residual of ``(theta, V^T s)`` is ``Q^T C s``, known without a product.
From one start vector p is 1 and this is Lanczos with full reorthogonalisation; from k vectors (the eigenvectors of a step before) it is a
Rayleigh-Ritz step on their span, which goes on where the residual is largest.

One Krylov space holds one vector of each eigenspace only, and rounding brings in the others late; ARPACK in scipy 1.17 then reports
convergence with a member missing (scipy issue 26112). So once all pairs have converged, a random direction orthogonal to everything enters,
with a few products along its own chain; if that moves an unconverged value among those asked for, the iteration goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sgdscope.errors import InvalidInput, unknown_name

ENDS = ("largest", "smallest", "both", "magnitude")
"""What `extreme_eigenpairs` can look for."""


@dataclass(frozen=True)
class Eigenpairs:
    """Eigenpairs in descending order of the values.

    Attributes:
        values: (k,) float64, on the device of the operator.
        vectors: (d, k), orthonormal columns.
        residuals: (k,) float64, ``|A v - value v|``: some eigenvalue lies that close, and for one apart from the others the error is
            about the residual squared over the gap.
        products: how many products with the operator were used, the check included.
        converged: all residuals at most ``tolerance |value|``, and the check passed, within ``max_products``.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    products: int
    converged: bool


def extreme_eigenpairs(
    product: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    k: int,
    which: str = "largest",
    tolerance: float = 1e-2,
    max_products: int = 500,
    check_products: int = 3,
    basis_size: int | None = None,
    generator: torch.Generator,
) -> Eigenpairs:
    """``k`` extreme eigenpairs of a symmetric matrix.

    Args:
        product: (d,) to (d,).
        start: (d, p) independent columns, not zero; their dtype and device are those of the work. Coefficients are in float64.
        k: number of pairs, at most d.
        which: ``"largest"`` and ``"smallest"`` by sign, ``"both"`` the ``ceil(k/2)`` largest and the others smallest, ``"magnitude"``
            the largest by absolute value.
        tolerance: residual of each pair relative to its ``|value|`` (as in ARPACK); values below ``eps^(2/3)`` of the largest count as that.
        max_products: where to stop, converged or not.
        check_products: products along each random chain; 0 for no check.
        basis_size: rows of V before a restart; 3 k + 40 if None. Memory is about ``(basis_size + p) d`` numbers.
        generator: of the random directions, on the CPU.

    Raises:
        InvalidInput: a product that is not finite.
        NotFound: ``which`` is none of `ENDS`.
    """
    if which not in ENDS:
        raise unknown_name("end of the spectrum", which, ENDS)
    dimension = len(start)
    size = min(dimension, max(basis_size or 3 * k + 40, k + 2))
    state = _Band(start, size, generator)
    products, chain, before = 0, 0, None  # products left of a chain; the values when it began
    while True:
        values, small, wanted, residuals = state.ritz(k, which)
        exact = state.rows == dimension
        bound = tolerance * values[wanted].abs().clamp_min(_floor(start.dtype) * float(values.abs().max()) if len(values) else 0.0)
        converged = exact or (len(wanted) == k and bool((residuals <= bound).all()))
        passed = exact or check_products == 0
        if converged and chain == 0 and before is not None:
            passed = passed or bool(((values[wanted] - before).abs() <= bound).all())
            before = None
        if products >= max_products or converged and passed and chain == 0:
            break
        if converged and chain == 0:
            chain, before = check_products, values[wanted]
            state.inject()
        if state.rows == size:
            state.restart(k, which)
            continue
        if chain:
            state.expand(product, state.last())
            chain -= 1
        else:
            before = None
            state.expand(product, state.worst(small, wanted, residuals / bound) if len(wanted) else state.last())
        products += 1
    order = values[wanted].argsort(descending=True)
    wanted, residuals = wanted[order], residuals[order]
    vectors = (state.basis().T @ small[:, wanted].to(start)).contiguous()
    device = start.device
    return Eigenpairs(values[wanted].to(device), vectors, residuals.to(device), products, bool(converged and passed and chain == 0))


def _floor(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps ** (2 / 3)


class _Band:
    """The invariant ``A V^T = V^T T + Q^T C``; T and C in float64 on the CPU."""

    def __init__(self, start: Tensor, size: int, generator: torch.Generator) -> None:
        self.v = start.new_empty(size, len(start))
        self.rows, self.generator = 0, generator
        self.t = torch.zeros(size, size, dtype=torch.float64)
        self.q = torch.linalg.qr(start / start.norm(dim=0)).Q.T.contiguous()
        self.c = torch.zeros(len(self.q), size, dtype=torch.float64)

    def basis(self) -> Tensor:
        return self.v[: self.rows]

    def ritz(self, k: int, which: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Ritz values (j,), coefficients (j, j), indices of the wanted ones, and their residuals."""
        j = self.rows
        values, small = torch.linalg.eigh((self.t[:j, :j] + self.t[:j, :j].T) / 2)
        wanted = _wanted(values, min(k, j), which)
        return values, small, wanted, (self.c[:, :j] @ small[:, wanted]).norm(dim=0)

    def inject(self) -> None:
        """Appends a random direction, orthogonal to everything, to Q."""
        if self.rows + len(self.q) >= self.v.shape[1]:
            return  # V and Q span the whole space: nothing can be missing
        random = torch.randn(self.v.shape[1], generator=self.generator, dtype=torch.float64).to(self.v)
        direction, _, _ = self._orthogonal(random / random.norm())
        self.q = torch.cat([self.q, (direction / direction.norm())[None]])
        self.c = torch.cat([self.c, self.c.new_zeros(1, self.c.shape[1])])

    def last(self) -> Tensor:
        """(p,) coefficients in Q of its last direction; a random one is injected where there is none."""
        if len(self.q) == 0:
            self.inject()
        return torch.eye(len(self.q), dtype=torch.float64)[-1]

    def worst(self, small: Tensor, wanted: Tensor, excess: Tensor) -> Tensor:
        """(p,) coefficients in Q of the residual that is furthest above its bound."""
        residual = self.c[:, : self.rows] @ small[:, wanted[excess.argmax()]]
        return residual / residual.norm() if residual.norm() > 0 else self.last()

    def expand(self, product: Callable[[Tensor], Tensor], coefficients: Tensor) -> None:
        """Moves the direction ``coefficients @ Q`` into V and multiplies it."""
        j, p = self.rows, len(self.q)
        if p > 1:
            # A reflection whose first row is the direction: the rest of Q stays orthonormal to it.
            reflect = torch.linalg.qr(torch.cat([coefficients[:, None], torch.eye(p, dtype=torch.float64)], 1)).Q.T
            reflect[0] = coefficients
            self.q, self.c = reflect.to(self.q) @ self.q, reflect @ self.c
        direction = self.q[0] / self.q[0].norm()
        self.v[j], self.q = direction, self.q[1:]
        self.c, self.rows = self.c[1:], j + 1
        image = product(direction)
        length = image.norm()
        if not torch.isfinite(length):
            raise InvalidInput(
                "the product of the Hessian with a vector must be finite; NaN or infinite values came. Has the training diverged?"
            )
        rest, inside, across = self._orthogonal(image)
        self.t[: j + 1, j] = inside
        self.t[j, : j + 1] = inside
        self.c[:, j] = across
        norm = rest.norm()
        if norm > 10 * torch.finfo(image.dtype).eps * length and self.rows + len(self.q) < self.v.shape[1]:
            self.q = torch.cat([self.q, (rest / norm)[None]])
            row = self.c.new_zeros(1, self.c.shape[1])
            row[0, j] = norm.double().cpu()
            self.c = torch.cat([self.c, row])

    def _orthogonal(self, vector: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``vector`` less its parts in V and Q, and these parts. Twice: once leaves errors of the size of what was removed."""
        inside = across = 0
        for _ in range(2):
            a = self.basis() @ vector
            vector = vector - a @ self.basis()
            b = self.q @ vector
            vector = vector - b @ self.q
            inside, across = inside + a.double().cpu(), across + b.double().cpu()
        return vector, inside, across

    def restart(self, k: int, which: str) -> None:
        """Keeps the wanted Ritz vectors and as many of their neighbours as half of the rest of the room."""
        values, small, _, _ = self.ritz(k, which)
        keep = min(k + (self.rows - k) // 2, self.rows - 1)
        kept = small[:, _wanted(values, keep, which)]
        self.v[:keep] = kept.T.to(self.v) @ self.basis()
        c = self.c[:, : self.rows] @ kept
        self.t.zero_(), self.c.zero_()
        self.t[:keep, :keep] = torch.diag(values[_wanted(values, keep, which)])
        self.c[:, :keep] = c
        self.rows = keep


def _wanted(values: Tensor, k: int, which: str) -> Tensor:
    """Indices of the wanted of ascending values."""
    j = len(values)
    if which == "largest":
        return torch.arange(j - k, j)
    if which == "smallest":
        return torch.arange(k)
    if which == "magnitude":
        return values.abs().argsort(descending=True)[:k]
    return torch.cat([torch.arange(k // 2), torch.arange(j - (k - k // 2), j)])
