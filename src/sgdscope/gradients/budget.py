"""What the memory budget decides: examples in one pass, and a frozen copy of the model where factors are not kept."""

from __future__ import annotations

import copy

from torch import nn

from sgdscope.errors import InvalidInput
from sgdscope.gradients.plan import Plan

MEMORY = 1 << 30
"""Default budget: 1 GiB for kept factors and work buffers, beside the model, the results and the graph of one chunk."""

CAPTURED = {"cpu": 24 << 20, "cuda": 512 << 20}
"""Bytes of layer inputs and output gradients in one chunk: large enough for full speed, small enough for the allocator to reuse memory.

Measured on the CPU for 8 to 48 MiB: SimpleCNN's Gram matrix takes 1.9 to 1.4 passes, LeNet's 1.3 up to 24 MiB and 1.6 beyond, an MLP's 0.96.
"""


def chunk_size(plan: Plan, num_examples: int, memory: int, kind: str) -> int:
    """Examples in one pass: what is captured of them stays below `CAPTURED` and below 1/16 of the budget."""
    captured = max(1, plan.bytes_captured)
    most = min(CAPTURED.get(kind, CAPTURED["cpu"]), max(memory // 16, 1)) // captured
    return max(1, min(num_examples, most))


def frozen(
    model: nn.Module,
    use: str = "factors beyond the memory budget are computed again from a frozen copy",
    advice: str = "Raise memory=, or make",
) -> nn.Module:
    """A copy that later steps do not change; ``use`` and ``advice`` are for the message.

    Raises:
        InvalidInput: the model cannot be copied.
    """
    memo = {id(p): nn.Parameter(p.detach().clone(), requires_grad=p.requires_grad) for p in model.parameters()}
    try:
        return copy.deepcopy(model, memo)
    except (RuntimeError, TypeError) as error:
        raise InvalidInput(
            f"{use} of the model, which cannot be copied: {error}. "
            f"{advice} the model copyable (torch.nn.utils.parametrizations instead of the old weight_norm)."
        ) from error
