"""Principal components of a trajectory, from the Gram matrix of its steps."""

from __future__ import annotations

import torch
from torch import Tensor


def principal_components(gram: Tensor, dimension: int) -> tuple[Tensor, Tensor]:
    """Coordinates of the steps along the principal components, and the share of the variance along each.

    With ``G = U diag(l) U^T``, l descending, the eigendecomposition of the centred Gram matrix (`centred_gram`), the coordinates are
    ``U_k sqrt(l_k)``: those of the singular value decomposition of the centred predictions. The shares are ``l_k / sum(l)``.

    The sign of a component is free; here the step furthest from the mean along it has a positive coordinate, the first such step if
    several are equally far. Components of no variance are exactly zero.

    Args:
        gram: (steps, steps) float64, centred and not zero.
        dimension: k, the number of components, at most steps.

    Returns:
        (steps, k) and (k,), float64.
    """
    values, vectors = torch.linalg.eigh(gram)
    values, vectors = values.flip(0), vectors.flip(1)[:, :dimension]
    values = values.where(values > len(values) * torch.finfo(values.dtype).eps * values[0], 0.0)
    size = vectors.abs()
    furthest = (size > (1 - 1e-6) * size.amax(0)).int().argmax(0)  # the first of those that rounding cannot tell apart
    signs = vectors.gather(0, furthest[None]).sign()
    return signs * vectors * values[:dimension].sqrt(), values[:dimension] / values.sum()
