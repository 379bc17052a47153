"""Simulated SGD in one dimension, ``psi <- psi (1 - eta H_B)``: many replicas of many settings at once.

How long to simulate. The mean square after T steps is estimated from R replicas with relative standard error
``sqrt((q^T - 1) / R)``, ``q = E f^4 / (E f^2)^2`` the kurtosis ratio of one factor ``f = 1 - eta H_B`` (`relative_error`). It grows
exponentially in T: after many steps the mean is carried by trajectories too rare to be among the replicas, and a sample shows the
almost-sure growth instead. So measure the second moment over a few steps, and the growth of ``log |psi|`` over many.

Settings of one batch size share their mini-batches (common random numbers): the draws depend on the seed and the batch size only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sgdscope.errors import InvalidInput
from sgdscope.stability.batches import random_batches
from sgdscope.stability.checks import Number, as_tensor, broadcastable, count, non_negative, sizes, vector, whole_sizes

_CELLS_AT_ONCE = 1 << 21  # numbers in one block of (cells, replicas): 16 MiB
_STEPS_A_LOG = 8  # factors multiplied before a log: a product of 8 in (1e-38, 1e38) stays inside float64


@dataclass(frozen=True)
class OneDimensionRun:
    """What simulated replicas did, for each setting of the grid (all tensors have its shape).

    Attributes:
        second_moment_growth: ``(mean psi_T^2 / psi_0^2)^(1/T)``, to compare with the left side of Eq. 1 (few steps only).
        log_second_moment: ``log(mean psi_T^2 / psi_0^2)``; its sign says whether the second moment grew.
        log_growth: mean over replicas of ``log |psi_T / psi_0| / T``, the measured almost-sure exponent, nats a step.
        log_growth_error: standard error of ``log_growth``.
        share_below: share of replicas with ``|psi_T| < threshold |psi_0|``.
        num_steps: T.
        num_replicas: R.
        threshold: the threshold of ``share_below``.
    """

    second_moment_growth: Tensor
    log_second_moment: Tensor
    log_growth: Tensor
    log_growth_error: Tensor
    share_below: Tensor
    num_steps: int
    num_replicas: int
    threshold: float


def simulate_two_point(
    learning_rate: Number,
    sharpness: Number,
    curvature_std: Number,
    batch_size: Number,
    *,
    num_examples: int,
    num_steps: int = 5,
    num_replicas: int = 4000,
    seed: int = 0,
    threshold: float = 1e-6,
) -> OneDimensionRun:
    """Replicas of SGD where half the examples have curvature ``lambda - s`` and half ``lambda + s``.

    A batch mean depends on its hypergeometric count of high curvatures alone, so a step costs one number a replica, whatever S is.

    Args:
        learning_rate: eta; with ``sharpness``, ``curvature_std`` and ``batch_size`` it broadcasts to the shape of the grid.
        sharpness: lambda.
        curvature_std: s.
        batch_size: S, drawn without replacement, new at each step.
        num_examples: N, even, one number.
        num_steps: T.
        num_replicas: R independent trajectories.
        seed: of the mini-batches.
        threshold: see `OneDimensionRun`.

    Raises:
        InvalidInput: a value out of range, an odd ``num_examples``, or shapes that do not broadcast.
    """
    rate, curvature = non_negative("learning_rate", learning_rate), as_tensor("sharpness", sharpness)
    std, (_, batch) = non_negative("curvature_std", curvature_std), sizes(num_examples, batch_size)
    if num_examples % 2:
        raise InvalidInput(f"num_examples must be even for two equal halves; {num_examples} came. Use {num_examples + 1}.")
    count("num_steps", num_steps), count("num_replicas", num_replicas, least=2)
    shape = broadcastable(learning_rate=rate, sharpness=curvature, curvature_std=std, batch_size=batch)
    rate, curvature, std, batch = (t.double().expand(shape).reshape(-1) for t in (rate, curvature, std, batch))
    logs = _Collected(rate.numel(), num_steps, num_replicas, threshold)
    for size in batch.unique().long().tolist():
        rng = np.random.default_rng([seed, size])
        high = rng.hypergeometric(num_examples // 2, num_examples // 2, size, size=(num_steps, num_replicas))
        offset = torch.from_numpy(2.0 * high / size - 1.0)  # (steps, replicas): H_B = lambda + s offset
        cells = (batch == size).nonzero()[:, 0]
        for block in cells.split(max(1, _CELLS_AT_ONCE // num_replicas)):
            level, slope = 1 - rate[block] * curvature[block], -rate[block] * std[block]
            logs.add(block, (torch.addcmul(level[:, None], slope[:, None], step) for step in offset))
    return logs.finish(shape)


def simulate_curvatures(
    curvatures: Number,
    learning_rate: Number,
    batch_size: int,
    *,
    num_steps: int = 5,
    num_replicas: int = 4000,
    seed: int = 0,
    threshold: float = 1e-6,
) -> OneDimensionRun:
    """Replicas of SGD with any curvatures ``(N,)`` and one batch size; ``learning_rate`` has the shape of the results.

    For least squares with every step projected onto a direction e, pass ``H_i = (x_i . e)^2``: the projected sequence is exactly this.

    Raises:
        InvalidInput: a value out of range.
    """
    values, rate = vector("curvatures", curvatures).double(), non_negative("learning_rate", learning_rate).double()
    examples, batch = whole_sizes(len(values), batch_size)
    count("num_steps", num_steps), count("num_replicas", num_replicas, least=2)
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, batch]).generate_state(1)[0]))
    means = torch.stack(
        [values[random_batches(examples, batch, num_replicas, generator=generator)].mean(1) for _ in range(num_steps)]
    )  # (steps, replicas)
    flat = rate.reshape(-1)
    logs = _Collected(flat.numel(), num_steps, num_replicas, threshold)
    for block in torch.arange(flat.numel()).split(max(1, _CELLS_AT_ONCE // num_replicas)):
        logs.add(block, (1 - flat[block, None] * step for step in means))
    return logs.finish(rate.shape)


def relative_error(curvatures: Number, learning_rate: Number, *, num_steps: int, num_replicas: int) -> Tensor:
    """Relative standard error ``sqrt((q^T - 1) / R)`` of the simulated second moment at batch size 1, ``q = E f^4 / (E f^2)^2``.

    The largest over batch sizes as a rule, since a batch mean spreads less; for equal batch means pass those means as ``curvatures``.

    Raises:
        InvalidInput: a value out of range.
    """
    values, rate = vector("curvatures", curvatures).double(), non_negative("learning_rate", learning_rate).double()
    factors = 1 - rate[..., None] * values
    ratio = (factors**4).mean(-1) / (factors**2).mean(-1) ** 2
    return ((ratio ** count("num_steps", num_steps) - 1) / count("num_replicas", num_replicas)).sqrt()


class _Collected:
    """Sums of logs over steps, block of cells by block of cells."""

    def __init__(self, cells: int, steps: int, replicas: int, threshold: float) -> None:
        self.steps, self.replicas, self.threshold = steps, replicas, threshold
        self.columns = torch.empty(4, cells, dtype=torch.float64)

    def add(self, block: Tensor, factors: object) -> None:
        """Multiply the factors ``(cells, replicas)`` of all steps, in logs, so that nothing over- or underflows."""
        total, product = 0.0, 1.0
        for step, factor in enumerate(factors, start=1):
            product = product * factor
            if step % _STEPS_A_LOG == 0 or step == self.steps:
                total, product = total + product.abs().log(), 1.0
        self.columns[0, block] = torch.logsumexp(2 * total, 1) - np.log(self.replicas)
        self.columns[1, block] = total.mean(1) / self.steps
        # A replica that hit psi = 0 exactly has log -inf: its mean is -inf and its spread undefined.
        spread = total.std(1) / self.steps / self.replicas**0.5
        self.columns[2, block] = torch.where(torch.isfinite(spread), spread, torch.inf)
        self.columns[3, block] = (total < np.log(self.threshold)).double().mean(1)

    def finish(self, shape: torch.Size) -> OneDimensionRun:
        moment, growth, error, below = (column.reshape(shape) for column in self.columns)
        return OneDimensionRun((moment / self.steps).exp(), moment, growth, error, below, self.steps, self.replicas, self.threshold)
