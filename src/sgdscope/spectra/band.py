"""The recurrence behind `extreme_eigenpairs`: band Lanczos, whose directions can be taken up in any order, with thick restarts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sgdscope.errors import InvalidInput
from sgdscope.models.refusals import rounding

COLUMNS = 2**16  # of the basis rotated at a time in a restart


class Band:
    """A basis V (j, d) and directions Q (p, d) not yet multiplied, orthonormal together, with ``A V^T = V^T T + Q^T C``.

    T (j, j) and C (p, j) are small, in float64 on the CPU. Ritz pairs are those of T; the residual of ``(theta, V^T s)`` is ``Q^T C s``, known
    without a product. The first direction is the sum of the start vectors (up to their signs).

    Attributes:
        rows: j.
        starts: number of start vectors, at the head of Q, not yet multiplied.
    """

    def __init__(self, start: Tensor, size: int, generator: torch.Generator) -> None:
        number = start.shape[1]
        self.v = start.new_empty(size, len(start))
        self.rows, self.starts, self.generator = 0, number, generator
        self.t = torch.zeros(size, size, dtype=torch.float64)
        self.q = torch.linalg.qr(start).Q.T.contiguous()
        if number > 1:
            self.q = _with_first_row(torch.full((number,), number**-0.5, dtype=torch.float64)).to(self.q) @ self.q
        self.c = torch.zeros(number, size, dtype=torch.float64)
        self.size = 0.0  # of the longest image so far

    def basis(self) -> Tensor:
        """V (j, d)."""
        return self.v[: self.rows]

    def ritz(self, k: int, which: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Ritz values (j,), coefficients (j, j), indices of the wanted ones, and their residuals."""
        j = self.rows
        values, small = torch.linalg.eigh((self.t[:j, :j] + self.t[:j, :j].T) / 2)
        found = wanted(values, min(k, j), which)
        return values, small, found, (self.c[:, :j] @ small[:, found]).norm(dim=0)

    def inject(self) -> Tensor:
        """(p,) coefficients in Q of a random unit vector orthogonal to V; Q gains its part outside the span of V and Q.

        Not orthogonal to Q as well: a second member of an eigenspace that rounding is just bringing in lies there in part.
        """
        left = self.v.shape[1] - self.rows - len(self.q)  # dimensions outside the span
        parts = torch.randn(len(self.q), generator=self.generator, dtype=torch.float64)
        if left:
            random = torch.randn(self.v.shape[1], generator=self.generator, dtype=torch.float64).to(self.v)
            direction, _, _ = self._orthogonal(random / random.norm())
            self._append(direction / direction.norm())
            parts = torch.cat([parts, torch.tensor([left**0.5], dtype=torch.float64)])
        return parts / parts.norm()

    def first(self) -> Tensor:
        """(p,) coefficients in Q of its first direction."""
        return torch.eye(len(self.q), dtype=torch.float64)[0]

    def last(self) -> Tensor:
        """(p,) coefficients in Q of its last direction; a random one is injected where there is none."""
        return torch.eye(len(self.q), dtype=torch.float64)[-1] if len(self.q) else self.inject()

    def worst(self, small: Tensor, found: Tensor, excess: Tensor) -> Tensor:
        """(p,) coefficients in Q of the residual that is furthest above its bound."""
        residual = self.c[:, : self.rows] @ small[:, found[excess.argmax()]]
        return residual / residual.norm() if residual.norm() > 0 else self.last()

    def expand(self, product: Callable[[Tensor], Tensor], coefficients: Tensor) -> None:
        """Moves the direction ``coefficients @ Q`` into V and multiplies it.

        Raises:
            InvalidInput: a product that is not finite, or not symmetric.
        """
        j = self.rows
        if coefficients[0] != 1:
            rotation = _with_first_row(coefficients)  # the rest of Q stays orthonormal to the direction
            self.q, self.c = rotation.to(self.q) @ self.q, rotation @ self.c
        direction, known = self.q[0] / self.q[0].norm(), self.c[0, :j]  # known: <direction, A v_i> = <A direction, v_i>
        self.v[j], self.q, self.c = direction, self.q[1:], self.c[1:]
        self.rows, self.starts = j + 1, max(self.starts - 1, 0)
        image = product(direction)
        length = image.norm()
        if not torch.isfinite(length):
            raise InvalidInput(
                "the product of the Hessian with a vector must be finite; NaN or infinite values came. Has the training diverged?"
            )
        along = direction @ image
        rest = image - along * direction
        if known.any():
            i = int(known.nonzero()[0])  # in a plain Lanczos step the last of all: cheaper than a pass over the whole basis
            rest = rest - known[i:].to(rest) @ self.v[i:j]
        rest, inside, across = self._orthogonal(rest)
        self.size = max(self.size, float(length))
        if inside.norm() > 10 * rounding(image) * self.size:  # <A direction, v> is not <direction, A v>
            raise InvalidInput(
                "products must be those of a symmetric matrix; <u, A v> and <v, A u> differ. Does a custom autograd.Function differentiate wrongly?"
            )
        inside += torch.cat([known, along.double().cpu()[None]])
        self.t[: j + 1, j] = inside
        self.t[j, : j + 1] = inside
        self.c[:, j] = across
        norm = rest.norm()
        if norm > 10 * torch.finfo(image.dtype).eps * length and self.rows + len(self.q) < self.v.shape[1]:
            self._append(rest / norm)
            self.c[-1, j] = norm.double().cpu()

    def _append(self, direction: Tensor) -> None:
        self.q = torch.cat([self.q, direction[None]])
        self.c = torch.cat([self.c, self.c.new_zeros(1, self.c.shape[1])])

    def _orthogonal(self, vector: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``vector`` less its parts in V and Q, and these parts; again where little was left, for errors are of the size of what is removed."""
        inside = across = torch.zeros((), dtype=torch.float64)
        before = vector.norm()
        for _ in range(3):
            a = self.basis() @ vector
            vector = vector - a @ self.basis()
            b = self.q @ vector
            vector = vector - b @ self.q
            inside, across = inside + a.double().cpu(), across + b.double().cpu()
            after = vector.norm()
            if after > before / 2:
                break
            before = after
        return vector, inside, across

    def step(self) -> tuple[Tensor, float, float]:
        """Of the Lanczos chain that ends in the last direction multiplied: its next direction (p,) in Q, and its coefficients alpha and beta.

        Beta is 0 where the image lies in V, up to rounding.
        """
        inside, outside = self.t[: self.rows, self.rows - 1], self.c[:, self.rows - 1]
        beta = outside.norm()
        if beta <= 100 * torch.finfo(self.v.dtype).eps * torch.cat([inside, outside]).norm():
            return outside, float(inside[-1]), 0.0
        return outside / beta, float(inside[-1]), float(beta)

    def outside(self) -> float:
        """Part of the image of the last direction that lies outside the span of V and the start vectors in Q."""
        image = torch.cat([self.t[: self.rows, self.rows - 1], self.c[:, self.rows - 1]])
        return float(self.c[self.starts :, self.rows - 1].norm() / image.norm().clamp_min(torch.finfo(image.dtype).tiny))

    def merge(self) -> None:
        """After the first product: one direction instead of Q, the residual of the one Ritz pair; the start vectors are left."""
        length = self.c[:, 0].norm()
        self.q = ((self.c[:, 0] / length).to(self.q) @ self.q)[None]
        self.c = self.c.new_zeros(1, self.c.shape[1])
        self.c[0, 0] = length
        self.starts = 0

    def restart(self, k: int, which: str) -> None:
        """Keeps the wanted Ritz vectors and as many of their neighbours as half of the rest of the room."""
        values, small, _, _ = self.ritz(k, which)
        keep = min(k + (self.rows - k) // 2, self.rows - 1)
        found = wanted(values, keep, which)
        kept = small[:, found]
        for columns in self.basis().split(COLUMNS, 1):
            columns[:keep] = kept.T.to(columns) @ columns
        c = self.c[:, : self.rows] @ kept
        self.t.zero_(), self.c.zero_()
        self.t[:keep, :keep] = torch.diag(values[found])
        self.c[:, :keep] = c
        self.rows = keep


def wanted(values: Tensor, k: int, which: str) -> Tensor:
    """Indices of the k wanted ones of ascending values, ascending themselves."""
    j = len(values)
    if which == "largest":
        return torch.arange(j - k, j)
    if which == "smallest":
        return torch.arange(k)
    if which == "magnitude":
        return values.abs().argsort(descending=True)[:k].sort().values
    return torch.cat([torch.arange(k // 2), torch.arange(j - (k - k // 2), j)])


def _with_first_row(unit: Tensor) -> Tensor:
    """An orthogonal (p, p) matrix whose first row is ``unit`` (p,), by a reflection."""
    reflection = torch.linalg.qr(torch.cat([unit[:, None], torch.eye(len(unit), dtype=unit.dtype)], 1)).Q.T
    reflection[0] = unit
    return reflection
