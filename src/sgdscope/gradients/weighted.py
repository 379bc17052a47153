"""Several weighted sums of per-example gradients from one pass over the examples."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sgdscope.gradients.budget import MEMORY
from sgdscope.gradients.per_example import PerExampleGradients
from sgdscope.models.examples import Examples, take
from sgdscope.models.losses import Loss


def weighted_gradients(
    model: nn.Module, loss: Loss, x: Examples, y: Examples, weights: Tensor, *, memory: int = MEMORY, out: Tensor | None = None
) -> Tensor:
    """(T, d) sums ``sum_n w_tn g_n`` for weights (T, N) of any dtype; examples whose weights are all zero are not computed.

    The per-example gradients are streamed once, ``U (2 w + T d / s)`` multiplications for U examples, whatever the number of examples a sum has.
    Scales with the loss. See `history.weights_are_cheaper` for the count against one backward pass a sum.

    Args:
        model: as for `PerExampleGradients.of`, with the same refusals.
        loss: likewise.
        x: N examples.
        y: their targets.
        weights: (T, N).
        memory: bytes of work beside the result.
        out: (T, d), filled and returned.

    Raises:
        InvalidInput: as `PerExampleGradients.of`.
    """
    examples = weights.any(0).nonzero()[:, 0]
    if len(examples) < weights.shape[1]:
        weights, x, y = weights[:, examples], take(x, examples), take(y, examples)
    gradients = PerExampleGradients.of(model, loss, x, y, memory=memory)
    if out is None:
        out = torch.empty(len(weights), gradients.shape[1], dtype=gradients.dtype, device=gradients.device)
    out.zero_()
    for rows, where in gradients.blocks():
        out.addmm_(weights[:, where].to(out.dtype), rows)
    return out
