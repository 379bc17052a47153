"""Largest eigenpairs of many symmetric operators at once, by Lanczos with full reorthogonalisation and a fixed number of products.

For one operator `sgdscope.spectra.extreme_eigenpairs` finds several pairs to a tolerance, and checks that none is missing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def largest_eigenpairs(product: Callable[[Tensor], Tensor], start: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Largest (algebraic) eigenvalue of each of many symmetric matrices known by their products.

    Rayleigh-Ritz on the Krylov space of dimension ``steps`` from ``start``. A warm start (the last eigenvector along a trajectory) makes
    a dozen products enough; the residual says whether they were.

    Args:
        product: (operators, dimension) to the same shape, each row by its own matrix.
        start: (operators, dimension), not zero.
        steps: products; at most the dimension.

    Returns:
        ``(values, vectors, residuals)``: (operators,), (operators, dimension) of unit length, and ``|A v - value v|`` (operators,): some
        eigenvalue lies that close.
    """
    tiny = torch.finfo(start.dtype).tiny
    basis = [start / start.norm(dim=-1, keepdim=True).clamp_min(tiny)]
    images: list[Tensor] = []
    for step in range(min(steps, start.shape[-1])):
        images.append(product(basis[-1]))
        if step + 1 == min(steps, start.shape[-1]):
            break
        span, rest = torch.stack(basis, 1), images[-1]  # (operators, j, dimension)
        for _ in range(2):  # once leaves rounding errors of the size of what was removed
            rest = rest - torch.einsum("rj,rjd->rd", torch.einsum("rjd,rd->rj", span, rest), span)
        length = rest.norm(dim=-1, keepdim=True)
        # An exhausted Krylov space (length at rounding level) continues with a zero vector: Ritz value 0, below any that matters.
        keep = length > 1e-12 * images[-1].norm(dim=-1, keepdim=True)
        basis.append(torch.where(keep, rest / length.clamp_min(tiny), 0.0))
    span, image = torch.stack(basis, 1), torch.stack(images, 1)
    small = span @ image.mT
    values, coefficients = torch.linalg.eigh((small + small.mT) / 2)
    top = coefficients[..., -1]
    vectors = torch.einsum("rj,rjd->rd", top, span)
    residual = (torch.einsum("rj,rjd->rd", top, image) - values[..., -1:] * vectors).norm(dim=-1)
    return values[..., -1], vectors, residual
