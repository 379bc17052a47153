"""Several weighted sums of per-example gradients from one pass over the examples."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sgdscope.gradients.budget import MEMORY
from sgdscope.gradients.factors import Factor, Rows
from sgdscope.gradients.per_example import PerExampleGradients
from sgdscope.models.examples import Examples, take
from sgdscope.models.losses import Loss

WORK = 16 << 20
"""Bytes of rows at a time."""

ROW = 10
"""What writing one entry of a row costs, in multiplications of a large matrix product. A rough figure: LeNet, SimpleCNN, ResNet8 and an MLP take
the same time, within noise, with 3 to 30."""


def weighted_gradients(
    model: nn.Module, loss: Loss, x: Examples, y: Examples, weights: Tensor, *, memory: int = MEMORY, out: Tensor | None = None
) -> Tensor:
    """(T, d) sums ``sum_n w_tn g_n`` for weights (T, N) of any dtype; examples whose weights are all zero are not computed.

    The factors of the per-example gradients are streamed once. Layer by layer either their rows are multiplied by the weights, or each sum is made
    from the factors of its own examples as a backward pass makes it, whichever takes fewer multiplications. Scales with the loss.

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
    gradients = PerExampleGradients.of(model, loss, x, y, memory=memory, form="factored")
    if out is None:
        out = torch.empty(len(weights), gradients.shape[1], dtype=gradients.dtype, device=gradients.device)
    out.zero_()
    for place, factors in gradients.factors():
        part = weights[:, place].to(out.dtype)
        chosen = part != 0
        used = int(chosen.sum())
        which = None
        for name, factor in factors.items():
            columns = out[:, gradients.columns(name)]
            if rows_are_cheaper(factor, len(part), used):
                _by_rows(factor, part, columns)
                continue
            if which is None:
                which = [row.nonzero()[:, 0] for row in chosen]
            for index, row, sums in zip(which, part, columns, strict=True):
                if len(index):
                    sums += factor.part(index).rmatvec(row[index])
    return out


def rows_are_cheaper(factor: Factor, num_sums: int, used: int) -> bool:
    """Whether ``n (t + ROW + T)`` multiplications an entry, rows of n examples at t positions in T sums, are fewer than ``used t + ROW T``."""
    if isinstance(factor, Rows):
        return True
    return factor.num_examples * (factor.positions + ROW + num_sums) < used * factor.positions + ROW * num_sums


def _by_rows(factor: Factor, weights: Tensor, out: Tensor) -> None:
    step = max(1, WORK // (factor.size * factor.dtype.itemsize))
    for start in range(0, factor.num_examples, step):
        which = slice(start, min(start + step, factor.num_examples))
        out.addmm_(weights[:, which], factor.part(which).rows())
