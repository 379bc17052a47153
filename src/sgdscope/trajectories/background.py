"""The background of Fig. 1 in the break-even paper: each place takes the value of the step with the closest embedding."""

from __future__ import annotations

import torch
from torch import Tensor

from sgdscope.errors import InvalidInput, whole

DISTANCES = 2**22  # held at a time: 32 MiB in float64


def _coordinates(name: str, points: Tensor) -> Tensor:
    if not isinstance(points, Tensor) or not points.is_floating_point():
        came = points.dtype if isinstance(points, Tensor) else type(points).__name__
        raise InvalidInput(f"{name} must be a floating tensor of coordinates; {came} came.")
    if points.dim() < 2 or 0 in points.shape:
        raise InvalidInput(f"{name} must have shape (points, dimension), not empty; {tuple(points.shape)} came.")
    if not torch.isfinite(points).all():
        raise InvalidInput(f"{name} must be finite; NaN or infinite values came.")
    return points


def nearest(points: Tensor, places: Tensor) -> Tensor:
    """Index of the point with the smallest Euclidean distance to each place; of equally near points the first.

    ``values[nearest(points, grid(points))]`` is the background of Fig. 1: at each place the value of the closest step.

    Distances come from differences in float64, 4 million at a time.

    Args:
        points: (points, dimension) coordinates, such as `Embedding.points`.
        places: (..., dimension) coordinates of the same dimension.

    Returns:
        (...) int64, on the device of the points.

    Raises:
        InvalidInput: not floating tensors of the same dimension, empty, NaN or infinite values.

    >>> nearest(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.2, 5.0], [0.9, 0.0]])).tolist()
    [0, 1]
    """
    points, places = _coordinates("points", points), _coordinates("places", places)
    if points.dim() != 2 or places.shape[-1] != points.shape[1]:
        raise InvalidInput(
            f"points must have shape (points, dimension) and places (..., dimension); {tuple(points.shape)} and {tuple(places.shape)} came."
        )
    columns = points.double().T
    found = []
    for part in places.to(points.device).double().flatten(0, -2).split(max(1, DISTANCES // len(points))):
        squares = sum((part[:, axis, None] - column).square() for axis, column in enumerate(columns))
        found.append(squares.argmin(1))
    return torch.cat(found).view(places.shape[:-1])


def grid(points: Tensor, *, resolution: int = 200, margin: float = 0.05) -> Tensor:
    """A regular grid over the rectangle of points in the plane: ``grid[i, j] = (x_j, y_i)``, both ascending.

    So ``values[nearest(points, grid(points))]`` is an image whose first row is at the bottom (``origin="lower"``).

    Args:
        points: (points, 2).
        resolution: places along each axis, at least 2.
        margin: left free on each side, as a share of the larger of the two extents (of 1 where all points coincide).

    Returns:
        (resolution, resolution, 2), device and dtype of the points.

    Raises:
        InvalidInput: points not in the plane, a resolution below 2, a negative margin.
    """
    points = _coordinates("points", points)
    if points.dim() != 2 or points.shape[1] != 2:
        raise InvalidInput(f"a grid needs points in the plane, shape (points, 2); {tuple(points.shape)} came. Embed with dimension=2.")
    resolution = whole("resolution", resolution, 2)
    if not isinstance(margin, int | float) or not 0 <= margin < float("inf"):
        raise InvalidInput(f"margin must be a share of zero or more, such as 0.05; {margin!r} came.")
    low, high = points.amin(0), points.amax(0)
    free = margin * (float((high - low).max()) or 1.0)
    x, y = (
        torch.linspace(float(low[axis]) - free, float(high[axis]) + free, resolution, dtype=points.dtype, device=points.device)
        for axis in range(2)
    )
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
