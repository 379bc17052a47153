"""Losses of single examples, by name or as a callable, and the checks of what they return.

| name | loss of one example |
| --- | --- |
| ``cross_entropy`` | ``-log softmax(f)_y``, outputs (N, C), labels (N,) of int64 |
| ``squared_error`` | ``1/2 sum_k (f_k - y_k)^2``, summed over all outputs: its gradient is ``J^T (f - y)`` |
| ``mse`` | ``1/K sum_k (f_k - y_k)^2``, mean over the K outputs, as `torch.nn.functional.mse_loss` of one example |
| ``binary_cross_entropy`` | ``sum_k log(1 + exp(f_k)) - y_k f_k``, outputs are logits, targets of [0, 1] in the same dtype |

The gradient of the mean loss over N examples is the mean of the per-example gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from sgdscope.errors import InvalidInput, unknown_name

Loss: TypeAlias = str | Callable[[object, object], Tensor]
"""A name of the table, or a callable ``(outputs, y) -> (N,)`` losses."""


def _cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    if not isinstance(y, Tensor) or y.dtype != torch.int64 or y.dim() != 1 or outputs.dim() != 2:
        came = f"outputs {tuple(outputs.shape)}, y {_describe(y)}"
        raise InvalidInput(
            f"cross_entropy takes outputs (N, classes) and labels y (N,) of int64; {came} came. Pass y.long(), or a callable."
        )
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= outputs.shape[1]:
        bad = low if low < 0 else high
        raise InvalidInput(
            f"labels must lie in 0..{outputs.shape[1] - 1}, for the model has {outputs.shape[1]} outputs; {bad} came. "
            "Check the labels, or the size of the last layer."
        )
    return F.cross_entropy(outputs, y, reduction="none")


def _same_shape(name: str, outputs: Tensor, y: Tensor) -> None:
    if not isinstance(y, Tensor) or y.shape != outputs.shape or y.dtype != outputs.dtype:
        raise InvalidInput(
            f"{name} takes targets of the shape and dtype of the outputs, {tuple(outputs.shape)} of {outputs.dtype}; {_describe(y)} came. "
            "Reshape or convert y."
        )


def _squared_error(outputs: Tensor, y: Tensor) -> Tensor:
    _same_shape("squared_error", outputs, y)
    return (outputs - y).square().flatten(1).sum(1) / 2 if outputs.dim() > 1 else (outputs - y).square() / 2


def _mse(outputs: Tensor, y: Tensor) -> Tensor:
    _same_shape("mse", outputs, y)
    return (outputs - y).square().flatten(1).mean(1) if outputs.dim() > 1 else (outputs - y).square()


def _binary_cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    _same_shape("binary_cross_entropy", outputs, y)
    losses = F.binary_cross_entropy_with_logits(outputs, y, reduction="none")
    return losses.flatten(1).sum(1) if outputs.dim() > 1 else losses


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": _cross_entropy,
    "squared_error": _squared_error,
    "mse": _mse,
    "binary_cross_entropy": _binary_cross_entropy,
}


def per_example_loss(loss: Loss) -> Callable[[object, object], Tensor]:
    """The callable behind a name, or the callable itself.

    Raises:
        NotFound: an unknown name; the message lists the valid ones.
        InvalidInput: neither a name nor a callable.
    """
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise unknown_name("loss", loss, LOSSES)
        return LOSSES[loss]
    if not callable(loss):
        raise InvalidInput(f"loss must be a callable (outputs, y) -> (N,) losses, or one of {', '.join(LOSSES)}; {_describe(loss)} came.")
    return loss


def losses_of(loss: Callable[[object, object], Tensor], outputs: object, y: object, num_examples: int) -> Tensor:
    """``loss(outputs, y)``, checked to be (N,) finite floating losses.

    Raises:
        InvalidInput: a named loss on outputs that are no tensor, another shape than (N,), not floating, NaN or infinite, labels that torch refuses.
    """
    if loss in LOSSES.values() and not (isinstance(outputs, Tensor) and outputs.shape[:1] == (num_examples,)):
        raise InvalidInput(
            f"a named loss takes one tensor of outputs (N, ...); {_describe(outputs)} came. Pass a callable (outputs, y) -> (N,)."
        )
    try:
        losses = loss(outputs, y)
    except IndexError as error:  # F.cross_entropy: "Target 10 is out of bounds."
        raise InvalidInput(f"labels must lie within the outputs of the model; the loss says: {error} Check the labels.") from None
    if not isinstance(losses, Tensor) or losses.shape != (num_examples,):
        raise InvalidInput(
            f"loss must return one number per example, shape ({num_examples},); {_describe(losses)} came. "
            'Use reduction="none", and sum or average over what is left of each example.'
        )
    if not losses.is_floating_point():
        raise InvalidInput(f"losses must be floating-point numbers; {losses.dtype} came. An accuracy has no gradient.")
    bad = ~torch.isfinite(losses.detach())
    if bad.any():
        raise InvalidInput(f"losses must be finite; {int(bad.sum())} of {num_examples} are NaN or infinite. Has the training diverged?")
    return losses


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a scalar of {value.dtype}" if value.dim() == 0 else f"{tuple(value.shape)} of {value.dtype}"
    return f"{type(value).__name__}"
