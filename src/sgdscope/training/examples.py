"""Examples as tensors or (nested) dicts of tensors with the examples first: taking rows, calling a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn

from sgdscope.errors import InvalidInput

Inputs: TypeAlias = Tensor | Mapping[str, "Inputs"]
"""A tensor (N, ...) or a dict of such, nested or not. A dict is handed to the model as keyword arguments."""


def leaves(x: Inputs, name: str = "x") -> Iterator[tuple[str, Tensor]]:
    """The tensors of ``x`` with their names, such as ``x['input_ids']``.

    Raises:
        InvalidInput: something else than tensors and mappings.
    """
    if isinstance(x, Mapping):
        for key, value in x.items():
            yield from leaves(value, f"{name}[{key!r}]")
    elif isinstance(x, Tensor):
        yield name, x
    else:
        raise InvalidInput(f"{name} must be a tensor or a dict of tensors, examples first; {type(x).__name__} came. Use torch.as_tensor.")


def num_examples(x: Inputs) -> int:
    """N, the common length of all tensors.

    Raises:
        InvalidInput: no tensors, no examples, or tensors of several lengths.
    """
    sizes = {name: tuple(tensor.shape) for name, tensor in leaves(x)}
    lengths = {shape[0] if shape else None for shape in sizes.values()}
    if len(lengths) != 1 or not all(lengths):
        listed = ", ".join(f"{name} {shape}" for name, shape in sizes.items()) or "nothing"
        raise InvalidInput(f"inputs must hold at least one example, and all tensors the same number of them along axis 0; got {listed}.")
    return int(lengths.pop())


def take(x: Inputs, index: Tensor | slice) -> Inputs:
    """The rows ``index`` of all tensors: a view for a slice, else a copy."""
    return {key: take(value, index) for key, value in x.items()} if isinstance(x, Mapping) else x[index]


def call(model: nn.Module, x: Inputs) -> Tensor:
    """``model(x)``, or ``model(**x)`` for a dict."""
    return model(**x) if isinstance(x, Mapping) else model(x)


def device_of(x: Inputs) -> torch.device:
    """Device of the first tensor."""
    return next(leaves(x))[1].device
