"""Distances between the steps of a trajectory, all at once, from one matrix product."""

from __future__ import annotations

import torch
from torch import Tensor

from sgdscope.errors import InvalidInput
from sgdscope.spectra import gram_matrix

COLUMNS = 2**14  # converted to float64 at a time: 128 KiB a step


def checked(predictions: Tensor) -> Tensor:
    """Predictions that can be embedded, detached, else as they came.

    Raises:
        InvalidInput: not a floating tensor (steps, examples * classes) with two steps at least; NaN or infinite values.
    """
    if not isinstance(predictions, Tensor) or not predictions.is_floating_point():
        came = predictions.dtype if isinstance(predictions, Tensor) else type(predictions).__name__
        raise InvalidInput(f"predictions must be a floating tensor; {came} came. Pass probabilities or logits, not predicted classes.")
    if predictions.dim() != 2 or predictions.shape[0] < 2 or predictions.shape[1] < 1:
        raise InvalidInput(
            f"predictions must have shape (steps, examples * classes) with at least two steps; {tuple(predictions.shape)} came. "
            "One row per step: flatten(1) joins the axes of examples and classes."
        )
    finite = torch.stack([torch.isfinite(row).all() for row in predictions])
    if not finite.all():
        bad = (~finite).nonzero().flatten()
        raise InvalidInput(
            f"predictions must be finite; NaN or infinite values came in {len(bad)} of {len(predictions)} steps, first at row {int(bad[0])}. "
            "Leave out the steps from the divergence on."
        )
    return predictions.detach()


def centred_gram(predictions: Tensor) -> Tensor:
    """``<p_i - p, p_j - p>`` with p the mean over steps: (steps, steps) in float64, symmetric; rows and products in float64 throughout.

    Memory beside the predictions: 8 steps^2 bytes and 16,384 columns in float64.
    """
    blocks = predictions.split(COLUMNS, dim=1)
    gram = gram_matrix(blocks[0].double(), centered=True)
    for block in blocks[1:]:
        gram += gram_matrix(block.double(), centered=True)
    return gram


def distances_of(gram: Tensor) -> Tensor:
    """``G_ii + G_jj - 2 G_ij`` of a Gram matrix; zeros on the diagonal and wherever rounding is as large as the result."""
    norms = gram.diagonal()
    sums = norms[:, None] + norms
    squares = sums - 2 * gram
    squares = squares.where(squares > 64 * torch.finfo(gram.dtype).eps * sums, 0.0)
    return squares.fill_diagonal_(0.0)


def squared_distances(predictions: Tensor) -> Tensor:
    """``|p_i - p_j|^2`` between all steps, from the centred Gram matrix: (steps, steps) in float64, symmetric, zeros on the diagonal.

    The mean over steps is removed first, so that what all steps share cannot cancel. What is left is exact to about 1e-14 of the squared
    distances *from the mean*; smaller values, such as those of repeated rows, are set to zero. One matrix product: a step costs
    ``steps * examples * classes`` multiplications. Proportional to the number of examples; independent of the loss and of the batch size.

    Args:
        predictions: (steps, examples * classes) floating tensor: probabilities or logits of the same examples at each step.

    Raises:
        InvalidInput: not a floating matrix of at least two rows; NaN or infinite values.

    >>> squared_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]])).tolist()
    [[0.0, 25.0, 25.0], [25.0, 0.0, 0.0], [25.0, 0.0, 0.0]]
    """
    return distances_of(centred_gram(checked(predictions)))
