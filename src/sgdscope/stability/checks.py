"""Boundary checks of the stability formulas: numbers in, float64 tensors out, or an error that says what to do."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from sgdscope.errors import InvalidInput

Number: TypeAlias = float | int | Tensor | np.ndarray | list
"""A scalar or anything that broadcasts: Python numbers, lists and arrays become float64 tensors, tensors keep their device."""


def as_tensor(name: str, value: Number) -> Tensor:
    """``value`` as a floating tensor (float64 unless it came as a floating tensor), without NaN.

    Raises:
        InvalidInput: not numeric, empty, or NaN somewhere.
    """
    try:
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError):
        raise InvalidInput(f"{name} must be a number or an array of numbers; {value!r} came. Pass floats or a tensor.") from None
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise InvalidInput(f"{name} must be real numbers; dtype {tensor.dtype} came. Convert it to float64.")
    if not tensor.is_floating_point():
        tensor = tensor.double()
    if tensor.numel() == 0:
        raise InvalidInput(f"{name} must not be empty; shape {tuple(tensor.shape)} came. Pass at least one value.")
    if torch.isnan(tensor).any():
        raise InvalidInput(
            f"{name} must not be NaN; {int(torch.isnan(tensor).sum())} of {tensor.numel()} values are. Drop them (a diverged run?) first."
        )
    return tensor


def non_negative(name: str, value: Number, *, strictly: bool = False) -> Tensor:
    """``value`` as a tensor of finite numbers that are not negative, or positive with ``strictly``."""
    tensor = as_tensor(name, value)
    bad = (tensor <= 0 if strictly else tensor < 0) | torch.isinf(tensor)
    if bad.any():
        expected = "positive" if strictly else "zero or positive"
        raise InvalidInput(f"{name} must be finite and {expected}; {tensor[bad].flatten()[0].item():g} came. Check its sign and its unit.")
    return tensor


def sizes(num_examples: Number, batch_size: Number) -> tuple[Tensor, Tensor]:
    """``(num_examples, batch_size)`` as tensors of whole numbers with 2 <= num_examples and 1 <= batch_size <= num_examples."""
    examples, batch = as_tensor("num_examples", num_examples), as_tensor("batch_size", batch_size)
    for name, tensor, least in (("num_examples", examples, 2), ("batch_size", batch, 1)):
        bad = (tensor < least) | (tensor != tensor.round()) | torch.isinf(tensor)
        if bad.any():
            raise InvalidInput(
                f"{name} must be a whole number of at least {least}; {tensor[bad].flatten()[0].item():g} came. "
                + ("Eq. 1 divides by num_examples - 1." if least == 2 else "A mini-batch holds at least one example.")
            )
    broadcastable(num_examples=examples, batch_size=batch)
    if (batch > examples).any():
        raise InvalidInput(
            f"batch_size must be at most num_examples (batches are drawn without replacement); "
            f"{int(batch.max())} came for {int(examples.min())} examples. Use a smaller batch or more examples."
        )
    return examples, batch


def whole_sizes(num_examples: int, batch_size: int) -> tuple[int, int]:
    """The same check for two single integers, as Python ints."""
    examples, batch = sizes(num_examples, batch_size)
    if examples.numel() != 1 or batch.numel() != 1:
        raise InvalidInput("num_examples and batch_size must be single integers here; call once per batch size.")
    return int(examples), int(batch)


def broadcastable(**named: Tensor) -> torch.Size:
    """Common shape of the named tensors.

    Raises:
        InvalidInput: the shapes do not broadcast; the message lists them.
    """
    try:
        return torch.broadcast_shapes(*(tensor.shape for tensor in named.values()))
    except RuntimeError:
        shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in named.items())
        raise InvalidInput(f"shapes must broadcast; {shapes} came. Add axes of length 1, as in a[:, None], to make a grid.") from None


def count(name: str, value: int, *, least: int = 1) -> int:
    """``value`` as an int of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InvalidInput(f"{name} must be a whole number of at least {least}; {value!r} came.")
    return int(value)


def vector(name: str, value: Number, *, dims: int = 1) -> Tensor:
    """``value`` as a finite tensor with ``dims`` axes and at least two entries along the first (the examples)."""
    tensor = as_tensor(name, value)
    expected = "(num_examples,)" if dims == 1 else "(num_examples, dimension)"
    if tensor.dim() != dims or tensor.shape[0] < 2:
        came = tuple(tensor.shape)
        raise InvalidInput(f"{name} must have shape {expected} with at least two examples; {came} came. One row per example.")
    if torch.isinf(tensor).any():
        raise InvalidInput(f"{name} must be finite; an infinite value came. Use values from before the divergence.")
    return tensor


def result(value: Tensor, *inputs: object) -> float | Tensor:
    """A Python float when every input was a plain number, else the tensor."""
    plain = all(isinstance(item, (int, float, np.generic)) for item in inputs)
    return float(value) if plain and math.prod(value.shape) == 1 else value
