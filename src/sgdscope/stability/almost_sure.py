"""Almost-sure stability: the exponent ``E log |1 - eta H_B|`` that governs a single trajectory.

The paper defines stability by whether the sequence ``psi`` diverges, and tests it by Eq. 1, which is about its mean square. By the law of
large numbers ``log |psi_t| / t`` tends to the exponent here, and by Jensen's inequality the exponent is at most half the log of the left
side of Eq. 1. A sequence may converge almost surely while its mean square grows: rare trajectories carry the mean.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import hypergeom
from torch import Tensor

from sgdscope.errors import InvalidInput
from sgdscope.stability.batches import all_batches, number_of_batches, random_batches
from sgdscope.stability.checks import Number, as_tensor, broadcastable, count, non_negative, result, sizes, vector


def two_point_exponent(
    learning_rate: Number, sharpness: Number, curvature_std: Number, num_examples: Number, batch_size: Number
) -> float | Tensor:
    """``E log |1 - eta H_B|`` exactly, for curvatures ``lambda - s`` and ``lambda + s`` in equal halves.

    ``H_B = lambda + s (2 k / S - 1)``, k hypergeometric (N/2 of each kind, S drawn): a sum over the S + 1 values of k. Arguments as in
    `stability_lhs`, which broadcast. In nats a step. ``-inf`` where a mini-batch with ``eta H_B = 1`` has positive probability.

    Raises:
        InvalidInput: an odd ``num_examples``, or a value out of range.

    >>> round(two_point_exponent(1.7, 1.0, 0.5, 100, 1), 4)
    -0.7294
    """
    rate, curvature = non_negative("learning_rate", learning_rate), as_tensor("sharpness", sharpness)
    std, (examples, batch) = non_negative("curvature_std", curvature_std), sizes(num_examples, batch_size)
    if (examples % 2 != 0).any():
        raise InvalidInput("num_examples must be even for two equal halves; an odd number came. Add or drop one example.")
    broadcastable(learning_rate=rate, sharpness=curvature, curvature_std=std, num_examples=examples, batch_size=batch)
    inputs = (learning_rate, sharpness, curvature_std, num_examples, batch_size)
    high = torch.arange(int(batch.max()) + 1, dtype=torch.float64)  # (k,): examples of the higher curvature in the batch
    weights = hypergeom.pmf(high.numpy(), examples[..., None].numpy(), examples[..., None].numpy() // 2, batch[..., None].numpy())
    weights = torch.from_numpy(np.nan_to_num(np.asarray(weights, dtype=np.float64)))
    means = curvature[..., None] + std[..., None] * (2 * high / batch[..., None] - 1)
    factors = 1 - rate[..., None] * means
    logs = torch.where(weights > 0, weights * factors.abs().log(), torch.zeros(()))
    return result(logs.sum(-1), *inputs)


def almost_sure_exponent(curvatures: Number, learning_rate: Number, batch_size: int) -> float | Tensor:
    """``E log |1 - eta H_B|`` over all mini-batches of any curvatures, by enumeration. In nats a step.

    Args:
        curvatures: (N,).
        learning_rate: a number or any shape; all rates share one enumeration.
        batch_size: S.

    Raises:
        InvalidInput: more than 2,000,000 mini-batches (then use `almost_sure_exponent_estimate`), or a value out of range.
    """
    values, rate = vector("curvatures", curvatures), non_negative("learning_rate", learning_rate)
    total = torch.zeros_like(rate)
    for batches in all_batches(len(values), batch_size):
        total += (1 - rate[..., None] * values[batches].mean(1)).abs().log().sum(-1)
    return result(total / number_of_batches(len(values), batch_size), learning_rate)


def almost_sure_exponent_estimate(
    curvatures: Number, learning_rate: Number, batch_size: int, *, num_draws: int = 100_000, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Monte-Carlo estimate of the exponent and its standard error, for data too large to enumerate.

    Returns:
        ``(estimate, standard_error)``, each of the shape of ``learning_rate``; all rates share the drawn mini-batches.

    Raises:
        InvalidInput: a value out of range.
    """
    values, rate = vector("curvatures", curvatures), non_negative("learning_rate", learning_rate)
    generator = torch.Generator().manual_seed(seed)
    batches = random_batches(len(values), batch_size, count("num_draws", num_draws, least=2), generator=generator)
    logs = (1 - rate[..., None] * values[batches].mean(1)).abs().log()  # (..., draws)
    return logs.mean(-1), logs.std(-1) / num_draws**0.5
