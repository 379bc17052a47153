"""How much of a gradient lies in the span of the top eigenvectors of K (Jastrzebski et al. 2020, Sec. 4.4)."""

from __future__ import annotations

import torch
from torch import Tensor

from sgdscope.errors import InvalidInput


def projected_norm_ratio(gradients: Tensor, vectors: Tensor) -> Tensor:
    """``||g|| / ||g_k||`` with ``g_k = V V^T g`` the projection of a gradient on the k orthonormal columns of V.

    The paper's ``||g|| / ||g_5||`` takes a mini-batch gradient and the top 5 eigenvectors of K, ``covariance_eigenpairs(rows, k=5).vectors``.
    At least 1 by definition (up to rounding), 1 for a gradient in the span, infinite for one orthogonal to it. It does not change with the
    loss reduction.

    Args:
        gradients: (d,) or (L, d).
        vectors: (d, k), orthonormal columns.

    Returns:
        A scalar or (L,).

    Raises:
        InvalidInput: shapes, dtypes or devices that do not fit, vectors that are not orthonormal, a zero gradient, NaN.

    >>> projected_norm_ratio(torch.tensor([3.0, 4.0]), torch.tensor([[1.0], [0.0]]))
    tensor(1.6667)
    """
    for name, tensor in (("gradients", gradients), ("vectors", vectors)):
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            came = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise InvalidInput(f"{name} must be a floating tensor; {came} came.")
    if gradients.dim() not in (1, 2) or vectors.dim() != 2 or gradients.shape[-1] != vectors.shape[0] or vectors.shape[1] == 0:
        raise InvalidInput(
            f"gradients must be (d,) or (L, d) and vectors (d, k) with the same d; {tuple(gradients.shape)} and {tuple(vectors.shape)} came."
        )
    if (gradients.dtype, gradients.device) != (vectors.dtype, vectors.device):
        raise InvalidInput(
            f"gradients and vectors must have one dtype and device; {gradients.dtype} on {gradients.device} and {vectors.dtype} on "
            f"{vectors.device} came. Convert one with .to()."
        )
    norms = gradients.norm(dim=-1)
    if not torch.isfinite(norms).all() or not torch.isfinite(vectors).all():
        raise InvalidInput("gradients and vectors must be finite; NaN or infinite values came.")
    identity = torch.eye(vectors.shape[1], dtype=vectors.dtype, device=vectors.device)
    if (vectors.T @ vectors - identity).abs().max() > torch.finfo(vectors.dtype).eps ** 0.5:
        raise InvalidInput(
            "vectors must have orthonormal columns; they do not. Take those of covariance_eigenpairs, or torch.linalg.qr(vectors).Q."
        )
    if (norms == 0).any():
        raise InvalidInput("a gradient must not be zero: it has no direction. Leave such steps out.")
    return norms / (gradients @ vectors).norm(dim=-1)
