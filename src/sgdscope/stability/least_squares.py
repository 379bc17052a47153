"""Linear least squares, where every assumption of Sec. 3 holds exactly, in the eigenbasis of its Hessian.

``loss_i(w) = (x_i . (w - w*))^2 / 2`` with targets that ``w*`` fits, so ``H_i = x_i x_i^T``, ``H = X^T X / N`` for the mean loss, and
SGD moves ``u = w - w*`` by ``u <- (I - eta H_B) u``: no noise is left at the minimum and stability is all there is. Directions outside
the row space of X never move, so ``k = rank X <= min(N, d)`` coordinates hold everything.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sgdscope.errors import InvalidInput
from sgdscope.stability.checks import Number, non_negative, vector
from sgdscope.stability.theory import critical_learning_rate, stability_lhs, without_replacement_factor


@dataclass(frozen=True)
class LeastSquares:
    """The problem in rotated coordinates; build it with `LeastSquares.of`.

    Attributes:
        coordinates: (N, k), features in the eigenbasis of H; column j belongs to eigenvalue j.
        eigenvalues: (k,), non-zero eigenvalues of H, descending. Unit of the loss over that of the parameters squared.
        basis: (d, k), orthonormal eigenvectors of H as columns.
    """

    coordinates: Tensor
    eigenvalues: Tensor
    basis: Tensor

    @classmethod
    def of(cls, features: Number) -> LeastSquares:
        """The problem with these features ``(N, d)``, by one singular value decomposition in float64.

        Eigenvalues below ``max(N, d) eps`` of the largest singular value (squared, over N) count as zero.

        Raises:
            InvalidInput: not a matrix of at least two rows, NaN or infinite entries, or all zeros.
        """
        rows = vector("features", features, dims=2).double()
        left, singular, right = torch.linalg.svd(rows, full_matrices=False)
        rank = int((singular > max(rows.shape) * torch.finfo(rows.dtype).eps * singular[0]).sum())
        if rank == 0:
            raise InvalidInput("features must not be all zero; every entry is. Pass images that are not blank.")
        return cls(left[:, :rank] * singular[:rank], singular[:rank] ** 2 / len(rows), right[:rank].T)

    @property
    def num_examples(self) -> int:
        """N."""
        return len(self.coordinates)

    @property
    def curvatures(self) -> Tensor:
        """(N,) ``(x_i . e)^2``, the curvature of each single loss along the top eigenvector e."""
        return self.coordinates[:, 0] ** 2

    @property
    def sharpness(self) -> float:
        """Largest eigenvalue of H, the mean of `curvatures`."""
        return float(self.eigenvalues[0])

    @property
    def curvature_std(self) -> float:
        """Standard deviation (1/N) over examples of `curvatures`: s of Eq. 1."""
        return float(self.curvatures.std(correction=0))

    def top(self) -> LeastSquares:
        """The problem projected onto e: SGD on it is SGD with every step projected onto the top eigenvector."""
        return LeastSquares(self.coordinates[:, :1], self.eigenvalues[:1], self.basis[:, :1])

    def stability_lhs(self, learning_rate: Number, batch_size: Number) -> float | Tensor:
        """Left side of Eq. 1 along e, for rates and batch sizes that broadcast."""
        return stability_lhs(learning_rate, self.sharpness, self.curvature_std, self.num_examples, batch_size)

    def critical_learning_rate(self, batch_size: Number) -> float | Tensor:
        """Rate at which Eq. 1 is an equality along e, the one-dimensional boundary."""
        return critical_learning_rate(self.sharpness, self.curvature_std, self.num_examples, batch_size)

    def start(self, kind: str) -> Tensor:
        """Mean outer product (k, k) of the starting point: ``"top"`` is e itself, ``"isotropic"`` a random unit vector of the row space.

        Raises:
            InvalidInput: another word.
        """
        size = len(self.eigenvalues)
        if kind == "isotropic":
            return torch.eye(size, dtype=torch.float64) / size
        if kind == "top":
            matrix = torch.zeros(size, size, dtype=torch.float64)
            matrix[0, 0] = 1
            return matrix
        raise InvalidInput(f'start must be "top" or "isotropic"; {kind!r} came.')


def mean_quartic(problem: LeastSquares, matrices: Tensor) -> Tensor:
    """``E[H_i Sigma H_i] = (1/N) sum_i (x_i^T Sigma x_i) x_i x_i^T`` for symmetric matrices (..., k, k): two products, O(N k^2)."""
    rows = problem.coordinates
    quadratic = ((rows @ matrices) * rows).sum(-1, keepdim=True)  # (..., N, 1)
    return rows.T @ (quadratic * rows) / problem.num_examples


def second_moment_step(problem: LeastSquares, matrices: Tensor, learning_rate: Number, batch_size: Number) -> Tensor:
    """Exact change of ``Sigma = E[u u^T]`` in one step of SGD with batches without replacement, in all directions at once.

    ``(I - eta H) Sigma (I - eta H) + eta^2 (N - S)/(S (N - 1)) (E[H_i Sigma H_i] - H Sigma H)``. Its entry (1, 1) for Sigma = e e^T is the
    left side of Eq. 1; the others are what the one-dimensional argument leaves out.

    Args:
        problem: see `LeastSquares`.
        matrices: (..., k, k), symmetric.
        learning_rate: eta, broadcasts against the leading axes of ``matrices``.
        batch_size: S, likewise.

    Raises:
        InvalidInput: a value out of range.
    """
    rate, noise = _rate_and_noise(problem, learning_rate, batch_size)
    return _step(problem, matrices, rate, noise)


def _rate_and_noise(problem: LeastSquares, learning_rate: Number, batch_size: Number) -> tuple[Tensor, Tensor]:
    rate = non_negative("learning_rate", learning_rate).double()
    noise = torch.as_tensor(without_replacement_factor(problem.num_examples, batch_size), dtype=torch.float64)
    return rate[..., None, None], noise[..., None, None]


def _step(problem: LeastSquares, matrices: Tensor, rate: Tensor, noise: Tensor) -> Tensor:
    values = problem.eigenvalues
    shrink = (1 - rate * values[:, None]) * (1 - rate * values) - rate**2 * noise * values[:, None] * values
    return shrink * matrices + rate**2 * noise * mean_quartic(problem, matrices)


@dataclass(frozen=True)
class SecondMoments:
    """Second moments along a trajectory, in logs so that no divergence overflows; each of shape (num_steps + 1, settings).

    Attributes:
        log_along_top: ``log E <u_t, e>^2``.
        log_total: ``log E |u_t|^2``, row space only.
    """

    log_along_top: Tensor
    log_total: Tensor


def exact_second_moments(
    problem: LeastSquares, learning_rate: Number, batch_size: Number, *, num_steps: int, start: str = "top"
) -> SecondMoments:
    """Iterates `second_moment_step` from ``E |u_0|^2 = 1``: what infinitely many replicas of SGD would show.

    ``learning_rate`` and ``batch_size`` broadcast; the results have their shape after the axis of the steps. Sigma is rescaled at each.

    Raises:
        InvalidInput: a value out of range, or an unknown ``start``.
    """
    rate, noise = _rate_and_noise(problem, learning_rate, batch_size)
    shape = torch.broadcast_shapes(rate.shape, noise.shape)[:-2]
    matrices = problem.start(start).expand(*shape, -1, -1)
    scale = torch.zeros(shape, dtype=torch.float64)
    top, total = [], []
    for step in range(num_steps + 1):
        if step:
            matrices = _step(problem, matrices, rate, noise)
        trace = matrices.diagonal(dim1=-2, dim2=-1).sum(-1)
        scale, matrices = scale + trace.log(), matrices / trace[..., None, None].clamp_min(torch.finfo(torch.float64).tiny)
        top.append(scale + matrices[..., 0, 0].clamp_min(0).log())
        total.append(scale)
    return SecondMoments(torch.stack(top), torch.stack(total))
