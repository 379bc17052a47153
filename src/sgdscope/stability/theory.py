"""Stability of SGD along one direction in closed form: Eq. 1 and the roots of Eq. 3 of the break-even paper.

SGD on the quadratic ``f(psi) = (1 / 2N) sum_i H_i (psi - psi*)^2`` with mini-batches of size S drawn without replacement moves
``psi - psi*`` by the random factor ``1 - eta H_B``, H_B the batch mean of the curvatures. Its mean square is the left side of Eq. 1.

Loss reduction: ``sharpness`` and ``curvature_std`` belong to the *mean* loss (mean and 1/N standard deviation over examples of
``e^T H_i e``), and ``learning_rate`` to a step along its gradient. With a summed loss both are N times larger and the rate that gives the
same steps N times smaller: only their product enters.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sgdscope.stability.checks import Number, as_tensor, broadcastable, non_negative, result, sizes


def without_replacement_factor(num_examples: Number, batch_size: Number) -> float | Tensor:
    """Variance of a batch mean over the variance of one example, for batches without replacement.

    ``(N - S) / (S (N - 1))``: 1 for a single example, 0 for the full batch, about 1/S for N >> S.

    Raises:
        InvalidInput: fewer than two examples, a size below one, a batch larger than the data.
    """
    examples, batch = sizes(num_examples, batch_size)
    return result((examples - batch) / (batch * (examples - 1)), num_examples, batch_size)


def stability_lhs(
    learning_rate: Number, sharpness: Number, curvature_std: Number, num_examples: Number, batch_size: Number
) -> float | Tensor:
    """Left side of Eq. 1: the factor by which the mean square of the distance along the direction changes in one step.

    ``(1 - eta lambda)^2 + s^2 eta^2 (N - S) / (S (N - 1))`` (Jastrzebski et al. 2020, Eq. 1; Wu et al. 2018, Theorem 1).
    SGD is stable in mean square where it is at most 1. ``s^2`` is the variance over examples with 1/N.

    Args:
        learning_rate: eta >= 0.
        sharpness: lambda, mean over examples of the curvature of the mean loss along the direction; any sign.
        curvature_std: s >= 0, standard deviation (1/N) over examples of that curvature.
        num_examples: N >= 2.
        batch_size: S, 1 <= S <= N, drawn without replacement.

    Returns:
        A float for plain numbers, else a tensor of the broadcast shape. No unit.

    Raises:
        InvalidInput: a value outside these ranges, NaN, or shapes that do not broadcast.

    >>> round(stability_lhs(1.7, 1.0, 0.5, 100, 1), 4)
    1.2125
    """
    rate, curvature = non_negative("learning_rate", learning_rate), as_tensor("sharpness", sharpness)
    std, (examples, batch) = non_negative("curvature_std", curvature_std), sizes(num_examples, batch_size)
    broadcastable(learning_rate=rate, sharpness=curvature, curvature_std=std, num_examples=examples, batch_size=batch)
    value = left_side(rate, curvature, std, examples, batch)
    return result(value, learning_rate, sharpness, curvature_std, num_examples, batch_size)


def left_side(rate: Tensor, curvature: Tensor, std: Tensor, examples: Tensor, batch: Tensor) -> Tensor:
    """The formula of `stability_lhs` without its checks, for series that may hold NaN after a divergence."""
    return (1 - rate * curvature) ** 2 + (std * rate) ** 2 * (examples - batch) / (batch * (examples - 1))


def stability_margin(
    learning_rate: Number, sharpness: Number, curvature_std: Number, num_examples: Number, batch_size: Number
) -> float | Tensor:
    """``1 - stability_lhs``: positive where SGD is stable along the direction, zero at the break-even point."""
    return 1 - stability_lhs(learning_rate, sharpness, curvature_std, num_examples, batch_size)


def critical_sharpness(
    learning_rate: Number, num_examples: Number, batch_size: Number, *, alpha: Number, distance: Number
) -> float | Tensor:
    """Sharpness at which training becomes unstable: the positive root of Eq. 3 in ``lambda_H``.

    ``2 / eta - alpha (N - S) / ((N - 1) S psi^2)``, with ``lambda_K = alpha lambda_H`` (Assumption 2) and ``psi`` the distance to the
    minimum along the direction. The paper's Eq. 4 prints ``alpha / psi``; solving its Eq. 3 gives ``alpha / psi^2``. The value may be
    negative: then every positive sharpness is unstable. It has the unit of the sharpness; ``alpha`` that of the loss.

    Args:
        learning_rate: eta > 0.
        num_examples: N >= 2.
        batch_size: S, 1 <= S <= N.
        alpha: lambda_K / lambda_H > 0.
        distance: psi > 0.

    Raises:
        InvalidInput: a value outside these ranges, NaN, or shapes that do not broadcast.

    >>> critical_sharpness(0.1, 100, 100, alpha=1.0, distance=1.0)
    20.0
    """
    rate, (examples, batch) = non_negative("learning_rate", learning_rate, strictly=True), sizes(num_examples, batch_size)
    ratio, psi = non_negative("alpha", alpha, strictly=True), non_negative("distance", distance, strictly=True)
    broadcastable(learning_rate=rate, num_examples=examples, batch_size=batch, alpha=ratio, distance=psi)
    value = 2 / rate - ratio * (examples - batch) / ((examples - 1) * batch * psi**2)
    return result(value, learning_rate, num_examples, batch_size, alpha, distance)


def critical_learning_rate(sharpness: Number, curvature_std: Number, num_examples: Number, batch_size: Number) -> float | Tensor:
    """Largest learning rate that is stable in mean square along the direction: where the left side of Eq. 1 is 1.

    ``2 lambda / (lambda^2 + s^2 (N - S) / (S (N - 1)))``, which is ``2 / lambda`` for the full batch. Zero where ``lambda <= 0``: no
    positive rate contracts there. Twice as large for a loss half as large.

    Raises:
        InvalidInput: negative ``curvature_std``, NaN, sizes out of range, or shapes that do not broadcast.

    >>> critical_learning_rate(1.0, 0.5, 100, 1)
    1.6
    """
    curvature, std = as_tensor("sharpness", sharpness), non_negative("curvature_std", curvature_std)
    examples, batch = sizes(num_examples, batch_size)
    broadcastable(sharpness=curvature, curvature_std=std, num_examples=examples, batch_size=batch)
    noise = std**2 * (examples - batch) / (batch * (examples - 1))
    value = torch.where(curvature > 0, 2 * curvature / (curvature**2 + noise), torch.zeros_like(curvature + noise))
    return result(value, sharpness, curvature_std, num_examples, batch_size)
