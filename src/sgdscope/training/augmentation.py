"""Augmentation: functions of a batch and a CPU generator. They draw on the CPU, so that every device sees the same images."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from sgdscope.errors import InvalidInput, whole

Augment: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]
"""``augment(x, generator)``: a changed copy of the batch."""


def random_crop_and_flip(x: Tensor, generator: torch.Generator, *, padding: int = 4) -> Tensor:
    """Each image shifted by up to ``padding`` pixels along each axis (zeros come in), and mirrored with probability 1/2.

    The CIFAR augmentation of the papers (He et al. 2015): zero-pad by 4, crop at random, flip at random.

    Args:
        x: images (N, C, H, W).
        generator: on the CPU.
        padding: largest shift in pixels.

    Raises:
        InvalidInput: not images, or a padding that is no whole number.
    """
    if not isinstance(x, Tensor) or x.dim() != 4:
        came = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise InvalidInput(f"random_crop_and_flip takes images (N, C, H, W), got {came}.")
    padding = whole("padding", padding, 0)
    count, channels, height, width = x.shape
    shift = torch.randint(2 * padding + 1, (count, 2), generator=generator)
    mirrored = torch.randint(2, (count, 1), generator=generator).bool()
    rows = shift[:, :1] + torch.arange(height)  # (N, H) in the padded image
    columns = shift[:, 1:] + torch.where(mirrored, torch.arange(width - 1, -1, -1), torch.arange(width))  # (N, W)
    rows, columns = rows.to(x.device), columns.to(x.device)
    padded = torch.nn.functional.pad(x, (padding,) * 4)
    example = torch.arange(count, device=x.device)[:, None, None, None]
    channel = torch.arange(channels, device=x.device)[None, :, None, None]
    return padded[example, channel, rows[:, None, :, None], columns[:, None, None, :]]
