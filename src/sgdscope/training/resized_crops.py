"""The ImageNet augmentation: random rectangles of images, resized. Draws on the CPU, so that every device sees the same images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sgdscope.errors import InvalidInput, whole


def random_resized_crop_and_flip(
    x: Tensor,
    generator: torch.Generator,
    *,
    size: int = 224,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """A random rectangle of each image, resized to ``size`` x ``size`` (bilinear, antialiased), and mirrored with probability 1/2.

    The ImageNet augmentation (Szegedy et al. 2015, torchvision's RandomResizedCrop and its numbers): the share of the area is uniform, the
    logarithm of width over height too; of ten drawn rectangles the first that fits into the image is taken, else the largest central one.
    As a matrix of weights for each axis, so that a batch is two products: 2 C size W (H + size) flops an image.

    Args:
        x: images (N, C, H, W).
        generator: on the CPU.
        size: side of the result in pixels.
        area: smallest and largest share of the image.
        aspect: smallest and largest width over height.

    Returns:
        (N, C, size, size).

    Raises:
        InvalidInput: not images, a size below 1, shares outside (0, 1], ranges that are not ascending positive numbers.
    """
    if not isinstance(x, Tensor) or x.dim() != 4:
        came = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise InvalidInput(f"random_resized_crop_and_flip takes images (N, C, H, W), got {came}.")
    size = whole("size", size, note="in pixels")
    if not 0 < area[0] <= area[1] <= 1:
        raise InvalidInput(f"area must be two ascending shares above 0 and at most 1, got {area}.")
    if not 0 < aspect[0] <= aspect[1]:
        raise InvalidInput(f"aspect must be two ascending positive ratios, got {aspect}.")
    count, _, height, width = x.shape
    top, left, tall, wide = _rectangles(count, height, width, area, aspect, generator)
    mirrored = torch.randint(2, (count,), generator=generator).bool()
    rows, columns = _resizing(top, tall, height, size), _resizing(left, wide, width, size)
    columns = torch.where(mirrored[:, None, None], columns.flip(1), columns)
    rows, columns = rows.to(x.device, x.dtype), columns.to(x.device, x.dtype)
    return rows[:, None] @ (x @ columns.mT[:, None])


def _rectangles(
    count: int, height: int, width: int, area: tuple[float, float], aspect: tuple[float, float], generator: torch.Generator, tries: int = 10
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Top, left, height and width (N,) of one rectangle an image, in pixels."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, tries, generator=generator, dtype=torch.float64)

    pixels = height * width * uniform(*area)
    ratio = uniform(math.log(aspect[0]), math.log(aspect[1])).exp()
    wide, tall = (pixels * ratio).sqrt().round().long(), (pixels / ratio).sqrt().round().long()
    fits = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)
    first = fits.int().argmax(1, keepdim=True)
    wide, tall, found = wide.gather(1, first)[:, 0], tall.gather(1, first)[:, 0], fits.any(1)
    shape = min(max(width / height, aspect[0]), aspect[1])  # of the central one: the image's own, as far as it is allowed
    wide = torch.where(found, wide, min(width, round(height * shape)))
    tall = torch.where(found, tall, min(height, round(width / shape)))
    place = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    top = torch.where(found, (place[:, 0] * (height - tall + 1)).long(), (height - tall) // 2)
    left = torch.where(found, (place[:, 1] * (width - wide + 1)).long(), (width - wide) // 2)
    return top, left, tall, wide


def _resizing(start: Tensor, length: Tensor, side: int, size: int) -> Tensor:
    """Weights (N, size, side) that resize the pixels ``start ... start + length - 1`` of an axis: triangles, widened where it shrinks."""
    scale = length[:, None, None] / size
    pixel = torch.arange(side, dtype=torch.float64)
    centre = start[:, None, None] + scale * (torch.arange(size, dtype=torch.float64)[None, :, None] + 0.5)
    weights = (1 - (pixel + 0.5 - centre).abs() / scale.clamp(min=1)).clamp(min=0)
    inside = (pixel >= start[:, None, None]) & (pixel < (start + length)[:, None, None])
    weights = weights * inside
    return weights / weights.sum(2, keepdim=True)
