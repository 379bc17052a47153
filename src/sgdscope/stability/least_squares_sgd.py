"""SGD on least squares with many replicas: what `exact_second_moments` predicts, by simulation.

With a few hundred replicas a simulated second moment is trustworthy for few steps only where the left side of Eq. 1 is near or above 1:
rare replicas carry the mean (see `one_dimension`). The standard error is returned; it is too small itself where the rare ones are missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sgdscope.stability.batches import memberships, random_batches
from sgdscope.stability.checks import Number, count, non_negative, whole_sizes
from sgdscope.stability.least_squares import LeastSquares


@dataclass(frozen=True)
class LeastSquaresRun:
    """Means over replicas at each step; tensors of shape (num_steps + 1, rates).

    Attributes:
        along_top: mean of ``<u_t, e>^2``; ``|u_0| = 1``. Infinite from the step at which a replica overflows.
        along_top_error: its standard error over replicas.
        log_along_top: mean of ``log |<u_t, e>|``, the typical replica.
        total: mean of ``|u_t|^2``.
        diverged_at: (rates,) first step at which a replica was not finite, -1 where none was.
    """

    along_top: Tensor
    along_top_error: Tensor
    log_along_top: Tensor
    total: Tensor
    diverged_at: Tensor


def simulate_least_squares(
    problem: LeastSquares,
    learning_rates: Number,
    batch_size: int,
    *,
    num_steps: int = 100,
    num_replicas: int = 300,
    seed: int = 0,
    start: str = "top",
) -> LeastSquaresRun:
    """Replicas of ``u <- u - (eta / S) sum_{i in B} x_i (x_i . u)``, batches without replacement, new at each step.

    Rates share the mini-batches (common random numbers), as do ``problem`` and its projection ``problem.top()``, which is SGD with
    every step projected onto e.

    Args:
        problem: see `LeastSquares`.
        learning_rates: (rates,) or a number.
        batch_size: S.
        num_steps: T.
        num_replicas: R.
        seed: of the mini-batches and of a random start.
        start: ``"top"`` (u_0 = e) or ``"isotropic"`` (a random unit vector a replica).

    Raises:
        InvalidInput: a value out of range.
    """
    rates = non_negative("learning_rates", learning_rates).double().reshape(-1)
    examples, batch = whole_sizes(problem.num_examples, batch_size)
    count("num_steps", num_steps), count("num_replicas", num_replicas, least=2)
    problem.start(start)  # refuses unknown words
    keys = np.random.SeedSequence([seed, batch]).generate_state(2)
    generator, starts = (torch.Generator().manual_seed(int(key)) for key in keys)
    rows, size = problem.coordinates, len(problem.eigenvalues)

    point = torch.zeros(num_replicas, 1, size, dtype=torch.float64)
    point[..., 0] = 1
    if start == "isotropic":
        point = torch.randn(num_replicas, 1, size, generator=starts, dtype=torch.float64)
        point /= point.norm(dim=-1, keepdim=True)
    point = point.expand(-1, len(rates), -1)  # (replicas, rates, k)

    records = [_record(point)]
    for _ in range(num_steps):
        batches = random_batches(examples, batch, num_replicas, generator=generator)
        point = point - rates[:, None] * _batch_gradient(rows, batches, point)
        records.append(_record(point))
    columns = [torch.stack(column) for column in zip(*records, strict=True)]
    finite = columns.pop()
    diverged_at = torch.where(finite.all(0), -1, (~finite).int().argmax(0))
    return LeastSquaresRun(*columns, diverged_at)


def _batch_gradient(rows: Tensor, batches: Tensor, point: Tensor) -> Tensor:
    """Mini-batch gradients (replicas, rates, k). Small batches gather their rows; large ones use all rows with weights 0 or 1/S."""
    if batches.shape[1] * 8 <= len(rows):
        chosen = rows[batches]  # (replicas, S, k)
        return (point @ chosen.mT) @ chosen / batches.shape[1]
    weights = memberships(batches, len(rows))[:, None]  # (replicas, 1, N)
    return ((point @ rows.T) * weights) @ rows


def _record(point: Tensor) -> tuple[Tensor, ...]:
    """Means over replicas of one step, with infinity in place of what overflowed."""
    squares = point[..., 0] ** 2  # (replicas, rates)
    lengths = point.square().sum(-1)
    finite = torch.isfinite(lengths).all(0)
    blown = torch.full((len(finite),), torch.inf, dtype=torch.float64)
    values = (squares.mean(0), squares.std(0) / len(point) ** 0.5, 0.5 * squares.log().mean(0), lengths.mean(0))
    return (*(torch.where(finite, value, blown) for value in values), finite)
