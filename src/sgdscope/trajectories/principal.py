"""Principal components of a trajectory, from the Gram matrix of its steps."""

from __future__ import annotations

import torch
from scipy.linalg import eigh
from torch import Tensor


def principal_components(gram: Tensor, dimension: int) -> tuple[Tensor, Tensor]:
    """Coordinates of the steps along the principal components, and the share of the variance along each.

    With ``G = U diag(l) U^T``, l descending, the eigendecomposition of the centred Gram matrix (`centred_gram`), the coordinates are
    ``U_k sqrt(l_k)``: those of the singular value decomposition of the centred predictions. The shares are ``l_k / tr G``.

    The sign of a component is free; here the step furthest from the mean along it has a positive coordinate, the first such step if
    several are equally far. Components of no variance are exactly zero.

    LAPACK computes only the wanted eigenvectors, on the CPU: 0.3 s for two of 2,000 steps, where all of them take 10 s.

    Args:
        gram: (steps, steps) float64, centred and not zero.
        dimension: k, the number of components, at most steps.

    Returns:
        (steps, k) and (k,), float64.
    """
    steps, total = len(gram), gram.trace()
    values, vectors = eigh(gram.cpu().numpy(), subset_by_index=(steps - dimension, steps - 1))
    values, vectors = (torch.from_numpy(found).to(gram.device).flip(-1) for found in (values, vectors))
    values = values.where(values > steps * torch.finfo(values.dtype).eps * values[0], 0.0)
    size = vectors.abs()
    furthest = (size > (1 - 1e-6) * size.amax(0)).int().argmax(0)  # the first of those that rounding cannot tell apart
    signs = vectors.gather(0, furthest[None]).sign()
    return signs * vectors * values.sqrt(), values / total
