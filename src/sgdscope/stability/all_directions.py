"""Mean-square stability of SGD on least squares in all directions at once: exact boundary and growth rate.

The map T of the second moment (`second_moment_step`) is linear and self-adjoint on symmetric matrices and keeps the positive
semi-definite ones among themselves, so its spectral radius is its largest eigenvalue (Krein and Rutman). Written in powers of the rate it
is ``T = I - eta A + eta^2 Q``, ``A Sigma = H Sigma + Sigma H``, ``Q Sigma = (1 - c) H Sigma H + c E[H_i Sigma H_i]``,
``c = (N - S)/(S (N - 1))``. It is below 1 exactly where ``A - eta Q`` is positive definite, hence the boundary is
``1 / (largest eigenvalue of A^-1/2 Q A^-1/2)``: one eigenvalue, no search over rates (the same result as Mulayoff and Michaeli 2024).
``Sigma = e e^T`` in its Rayleigh quotient gives ``2 lambda / (lambda^2 + c s^2)``, the boundary of Eq. 1, so Eq. 1 is necessary but
never too strict: all directions together are stable up to that rate at most, and usually less far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from sgdscope.stability.checks import whole_sizes
from sgdscope.stability.least_squares import LeastSquares, _rate_and_noise, _step, mean_quartic


@dataclass(frozen=True)
class Eigenvalue:
    """A largest eigenvalue and how well it is known.

    Attributes:
        value: what was asked for.
        residual: ``|M v - m v|`` of the unit eigenvector found; some eigenvalue m of the operator lies that close.
        products: applications of the operator, O(N k^2) each.
        share_along_top: squared entry (1, 1) of the unit second moment Sigma that grows first: 1 if that is e e^T alone.
    """

    value: float
    residual: float
    products: int
    share_along_top: float


def spectral_radius(problem: LeastSquares, learning_rate: float, batch_size: int, *, tolerance: float = 1e-5) -> Eigenvalue:
    """Growth of the second moment a step in the long run: stable in mean square, in all directions, below 1.

    Below the boundary it is barely below 1, because every direction of small curvature contracts slowly, and such eigenvalues crowd: a
    ``tolerance`` far below the default costs thousands of products there. The boundary itself is `critical_learning_rate_all_directions`.

    Raises:
        InvalidInput: a value out of range.
    """
    rate, noise = _rate_and_noise(problem, learning_rate, whole_sizes(problem.num_examples, batch_size)[1])
    return _largest(lambda matrix: _step(problem, matrix, rate, noise), len(problem.eigenvalues), tolerance)


def critical_learning_rate_all_directions(problem: LeastSquares, batch_size: int, *, tolerance: float = 1e-10) -> Eigenvalue:
    """Exact boundary of mean-square stability of SGD on this problem; at most `LeastSquares.critical_learning_rate`.

    ``value`` is the rate, ``residual`` and ``products`` belong to its reciprocal. For the full batch it is ``2 / lambda``.

    Raises:
        InvalidInput: a batch size out of range.
    """
    examples, batch = whole_sizes(problem.num_examples, batch_size)
    noise, values = (examples - batch) / (batch * (examples - 1)), problem.eigenvalues
    weights = (values[:, None] + values).rsqrt()  # A^-1/2 acts entry by entry in the eigenbasis
    outer = (1 - noise) * values[:, None] * values

    def reciprocal(matrix: Tensor) -> Tensor:
        scaled = weights * matrix
        return weights * (outer * scaled + noise * mean_quartic(problem, scaled))

    found = _largest(reciprocal, len(values), tolerance, weights)
    return Eigenvalue(1 / found.value, found.residual, found.products, found.share_along_top)


def _largest(apply: Callable[[Tensor], Tensor], size: int, tolerance: float, weights: Tensor | float = 1.0) -> Eigenvalue:
    """Largest eigenvalue of a self-adjoint map on symmetric (k, k) matrices, by Lanczos from the identity.

    The identity overlaps with every non-zero positive semi-definite matrix, so with the leading eigenvector too. ``weights`` turn the
    eigenvector back into a second moment, entry by entry.
    """
    products = 0

    def matvec(flat: np.ndarray) -> np.ndarray:
        nonlocal products
        products += 1
        matrix = torch.from_numpy(np.ascontiguousarray(flat, dtype=np.float64)).reshape(size, size)
        return apply((matrix + matrix.T) / 2).reshape(-1).numpy()

    start = np.eye(size).reshape(-1) / size**0.5
    if size < 3:  # ARPACK wants fewer eigenvalues than dimensions; a dense problem of at most four
        dense = np.stack([matvec(column) for column in np.eye(size * size)], axis=1)
        values, vectors = np.linalg.eigh((dense + dense.T) / 2)
    else:
        operator = LinearOperator((size * size, size * size), matvec=matvec, dtype=np.float64)
        values, vectors = eigsh(operator, k=1, which="LA", v0=start, tol=tolerance)
    value, vector = float(values[-1]), vectors[:, -1]
    residual = float(np.linalg.norm(matvec(vector) - value * vector))
    moment = weights * torch.from_numpy(vector).reshape(size, size)
    return Eigenvalue(value, residual, products, float((moment[0, 0] / moment.norm()) ** 2))
