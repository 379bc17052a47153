"""A computed problem with many classes: a mixture of Gaussians, one a class."""

from __future__ import annotations

import torch
from torch import Tensor

from sgdscope.data.synthetic import stream_generator
from sgdscope.errors import InvalidInput


def gaussian_mixture(
    num_examples: int, *, num_classes: int = 100, shape: tuple[int, ...] = (1, 16, 16), separation: float = 0.15, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Inputs ``x = m_y + z``, z from N(0, I), class means from N(0, separation^2 I), as many examples of each class as of the others.

    Two means are about ``separation sqrt(2 D)`` standard deviations apart, D the number of entries of an input.

    Args:
        num_examples: N.
        num_classes: C; labels go round 0 ... C - 1.
        shape: of one input.
        separation: of the means.
        seed: of the means and the examples.

    Returns:
        x (N, *shape) float32 and y (N,) int64.

    Raises:
        InvalidInput: a number or a side below 1, or a negative separation.
    """
    for name, value in (("num_examples", num_examples), ("num_classes", num_classes), ("shape", min(shape, default=0))):
        if value < 1:
            raise InvalidInput(f"{name} must be at least 1, got {value}.")
    if not separation >= 0:
        raise InvalidInput(f"separation must not be negative, got {separation}.")
    y = torch.arange(num_examples) % num_classes
    means = separation * torch.randn(num_classes, *shape, generator=stream_generator(seed, "gaussian mixture", "means"))
    noise = torch.randn(num_examples, *shape, generator=stream_generator(seed, "gaussian mixture", "examples"))
    return means[y] + noise, y
