"""Has an eigenvalue been missed? A random direction along its own Lanczos chain tells, with a stated probability.

Let h be an eigenvector of value lambda that is orthogonal to the basis so far, and r a random unit vector of the n dimensions left. The chain
from r has Lanczos coefficients alpha_i, beta_i and directions q_i with ``<h, q_i> = p_i(lambda) <h, r>``, where ``p_0 = 1`` and
``beta_i p_{i+1} = (lambda - alpha_i) p_i - beta_{i-1} p_{i-1}``. Lengths are at most 1, so ``|p_i(lambda)| > 1 / |<h, r>|`` is impossible: there
is no such h. ``|<h, r>|`` is below ``c sqrt(pi / (2 n))`` with a probability of at most c (van Dorsselaer, Hochstenbach, van der Vorst 2001).
The polynomials grow beyond the Ritz values of the chain, by a factor of about 2 (lambda - alpha) / beta a product: far above the bulk of a
spectrum three or four products are enough.
"""

from __future__ import annotations

import math

from torch import Tensor

CHANCE = 0.001
"""Probability at most that a missing eigenvalue beyond those found passes, where the chain was not cut short."""


class RandomCheck:
    """One chain, begun when all pairs have converged.

    Attributes:
        direction: coefficients of its next direction.
        values: the wanted Ritz values at its begin, ascending.
        left: products left; 0 once enough is known.
    """

    def __init__(self, direction: Tensor, values: Tensor, which: str, products: int, dimensions_left: int) -> None:
        self.direction, self.values, self.left = direction, values, products
        self._needed = math.sqrt(2 * dimensions_left / math.pi) / CHANCE
        self._last_beta = 0.0
        size = float(values.abs().min())
        ends = {"largest": (float(values.min()),), "smallest": (float(values.max()),), "magnitude": (size, -size)}
        low = len(values) // 2  # of "both": first the smallest
        at = ends.get(which) or (float(values[low:].min()), *values[:low][-1:].tolist())
        self._polynomials = dict.fromkeys(at, (0.0, 1.0))

    def advance(self, direction: Tensor, alpha: float, beta: float) -> None:
        """One product was taken: the next direction, and the two Lanczos coefficients; beta 0 where the chain has ended."""
        self.direction = direction
        self.left -= 1
        for point, (before, now) in self._polynomials.items():
            self._polynomials[point] = now, ((point - alpha) * now - self._last_beta * before) / beta if beta else math.inf
        self._last_beta = beta
        if all(abs(now) > self._needed for _, now in self._polynomials.values()):
            self.left = 0
