"""Exact averages over all C(N, S) mini-batches, to hold the closed forms against."""

from __future__ import annotations

import torch

from sgdscope.errors import InvalidInput
from sgdscope.stability.batches import all_batches, memberships, number_of_batches
from sgdscope.stability.checks import Number, non_negative, result, vector
from sgdscope.stability.covariance import centred
from sgdscope.stability.theory import without_replacement_factor


def second_moment_factor(curvatures: Number, learning_rate: Number, batch_size: int) -> float | torch.Tensor:
    """Mean over all mini-batches B of ``(1 - eta H_B)^2``, ``H_B`` the mean of the curvatures in B.

    Equals the left side of Eq. 1 with ``lambda`` the mean and ``s`` the (1/N) standard deviation of the curvatures.

    Args:
        curvatures: (N,) second derivatives H_i of the single losses along the direction, any sign.
        learning_rate: eta >= 0, a number or any shape; all rates share one enumeration.
        batch_size: S.

    Returns:
        A float for one plain rate, else the shape of ``learning_rate``.

    Raises:
        InvalidInput: more than 2,000,000 mini-batches, or a value out of range.

    >>> round(second_moment_factor([0.5, 1.5, 0.5, 1.5], 1.7, 1), 4)
    1.2125
    """
    values, rate = vector("curvatures", curvatures), non_negative("learning_rate", learning_rate)
    total = torch.zeros_like(rate)
    for batches in all_batches(len(values), batch_size):
        means = values[batches].mean(1)  # (chunk,)
        total += ((1 - rate[..., None] * means) ** 2).sum(-1)
    return result(total / number_of_batches(len(values), batch_size), learning_rate)


def gradient_noise(gradients: Number, batch_size: int) -> float:
    """``E |g_B - g|^2`` over all mini-batches B: the mean squared distance of a mini-batch gradient from the full one.

    Distances come from the Gram matrix of the centred rows, so the cost does not grow with the dimension. Quadratic in the loss.

    Args:
        gradients: (N, d), one row per example.
        batch_size: S.

    Raises:
        InvalidInput: more than 2,000,000 mini-batches, or a value out of range.
    """
    rows = centred(gradients)
    gram, total = rows @ rows.T, 0.0  # (N, N)
    for batches in all_batches(len(rows), batch_size):
        weights = memberships(batches, len(rows), dtype=rows.dtype)  # (chunk, N)
        total += float(((weights @ gram) * weights).sum())
    return total / number_of_batches(len(rows), batch_size)


def gradient_noise_closed_form(gradients: Number, batch_size: int) -> float:
    """``Tr(K) (N - S) / (S (N - 1))``: what `gradient_noise` enumerates (paper, App. C, with its constant)."""
    rows = centred(gradients)
    return float(rows.square().sum()) / len(rows) * without_replacement_factor(len(rows), batch_size)


def two_point_curvatures(sharpness: float, curvature_std: float, num_examples: int) -> torch.Tensor:
    """Curvatures ``(N,)`` of which half are ``lambda - s`` and half ``lambda + s``: mean lambda, (1/N) standard deviation s.

    Raises:
        InvalidInput: an odd number of examples, which has no equal halves.
    """
    if num_examples % 2 or num_examples < 2:
        raise InvalidInput(f"num_examples must be even for two equal halves; {num_examples} came. Use {num_examples + 1}.")
    half = torch.ones(num_examples // 2, dtype=torch.float64)
    return torch.cat([(sharpness - curvature_std) * half, (sharpness + curvature_std) * half])
