"""Losses of single examples: by name, or anybody's function that returns one number an example."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from sgdscope.errors import InvalidInput, unknown_name

Loss: TypeAlias = str | Callable[[Tensor, Tensor], Tensor]
"""A name in `losses()`, or a function of outputs and targets (examples first) that returns the losses (N,)."""


def cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """(N,) ``-log softmax(outputs)_y`` in nats, for logits (N, classes) and labels (N,)."""
    return F.cross_entropy(outputs, y, reduction="none")


def squared_error(outputs: Tensor, y: Tensor) -> Tensor:
    """(N,) ``(1/2) sum_j (outputs_j - y_j)^2``: half the sum over outputs, whose Hessian in the outputs is the identity."""
    return (outputs - y).square().flatten(1).sum(1) / 2 if outputs.dim() > 1 else (outputs - y).square() / 2


def mse(outputs: Tensor, y: Tensor) -> Tensor:
    """(N,) ``(1/K) sum_j (outputs_j - y_j)^2``: the mean over K outputs, as `torch.nn.functional.mse_loss` of one example."""
    return (outputs - y).square().flatten(1).mean(1) if outputs.dim() > 1 else (outputs - y).square()


def binary_cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """(N,) ``sum_j log(1 + exp(outputs_j)) - y_j outputs_j`` in nats, for logits and targets from 0 to 1 of the same shape and type."""
    values = F.binary_cross_entropy_with_logits(outputs, y, reduction="none")
    return values.flatten(1).sum(1) if outputs.dim() > 1 else values


_LOSSES = {"cross_entropy": cross_entropy, "squared_error": squared_error, "mse": mse, "binary_cross_entropy": binary_cross_entropy}


def losses() -> tuple[str, ...]:
    """The names of losses."""
    return tuple(_LOSSES)


def per_example(loss: Loss) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss as a function (outputs, y) -> (N,) that checks what it returns.

    Raises:
        NotFound: an unknown name.
        InvalidInput: neither a name nor callable; or, when called, targets that do not fit the outputs or a result that is not (N,).
    """
    if isinstance(loss, str):
        if loss not in _LOSSES:
            raise unknown_name("loss", loss, _LOSSES)
        function = _LOSSES[loss]
    elif callable(loss):
        function = loss
    else:
        raise InvalidInput(f"loss must be a name ({', '.join(_LOSSES)}) or a function of outputs and targets, got {type(loss).__name__}.")

    def checked(outputs: Tensor, y: Tensor) -> Tensor:
        if function in (squared_error, mse, binary_cross_entropy) and outputs.shape != y.shape:
            raise InvalidInput(f"{loss} needs targets of the outputs' shape {tuple(outputs.shape)}, got {tuple(y.shape)}.")
        values = function(outputs, y)
        if not isinstance(values, Tensor) or values.shape != (len(y),):
            came = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise InvalidInput(
                f"the loss must return one number an example, shape ({len(y)},); {came} came. Use reduction='none', not a mean or a sum."
            )
        if not torch.is_floating_point(values):
            raise InvalidInput(f"the loss must return floating numbers; {values.dtype} came.")
        return values

    return checked
