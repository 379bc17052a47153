"""Losses of single examples, by name or as a callable, and the checks of what they are given and return.

| name | loss of one example |
| --- | --- |
| ``cross_entropy`` | ``-log softmax(f)_y`` in nats, outputs (N, C), labels (N,) of int64 |
| ``squared_error`` | ``1/2 sum_k (f_k - y_k)^2``, summed over all outputs: its gradient is ``J^T (f - y)``, its Hessian in f the identity |
| ``mse`` | ``1/K sum_k (f_k - y_k)^2``, mean over the K outputs, as `torch.nn.functional.mse_loss` of one example |
| ``binary_cross_entropy`` | ``sum_k log(1 + exp(f_k)) - y_k f_k`` in nats, outputs are logits, targets of [0, 1] in the same dtype |

The gradient of the mean loss over N examples is the mean of the per-example gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from sgdscope.errors import InvalidInput, NotFinite, unknown_name

LossFunction: TypeAlias = Callable[[object, object], Tensor]
"""``(outputs, y) -> (N,)`` losses of single examples."""

Loss: TypeAlias = str | LossFunction
"""A name of `LOSSES`, or such a function."""


def cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """(N,) ``-log softmax(outputs)_y`` in nats, for logits (N, classes) and labels (N,)."""
    return F.cross_entropy(outputs, y, reduction="none")


def squared_error(outputs: Tensor, y: Tensor) -> Tensor:
    """(N,) ``1/2 sum_k (outputs_k - y_k)^2``."""
    return _over_outputs((outputs - y).square()) / 2


def mse(outputs: Tensor, y: Tensor) -> Tensor:
    """(N,) ``1/K sum_k (outputs_k - y_k)^2`` over K outputs."""
    return _over_outputs((outputs - y).square()) / outputs[:1].numel()


def binary_cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """(N,) ``sum_k log(1 + exp(outputs_k)) - y_k outputs_k`` in nats, for logits and targets from 0 to 1 of one shape and dtype."""
    return _over_outputs(F.softplus(outputs) - y * outputs)


@dataclass(frozen=True)
class SmoothedCrossEntropy:
    """Cross entropy against smoothed labels (Szegedy et al. 2016), in nats: pass it where a loss is wanted.

    ``-(1 - s) log softmax(f)_y - (s / C) sum_k log softmax(f)_k`` of one example, C classes: the true class has the weight ``1 - s + s / C``.
    ``s = 0`` is the plain cross entropy.

    Attributes:
        smoothing: s, from 0 to 1.

    Raises:
        InvalidInput: a share outside [0, 1].

    >>> SmoothedCrossEntropy(0.5)(torch.zeros(1, 4), torch.tensor([2]))  # log 4, whatever s is
    tensor([1.3863])
    """

    smoothing: float

    def __post_init__(self) -> None:
        if isinstance(self.smoothing, bool) or not isinstance(self.smoothing, int | float) or not 0 <= self.smoothing <= 1:
            raise InvalidInput(f"smoothing must be a share from 0 to 1; {self.smoothing!r} came.")

    def __call__(self, outputs: Tensor, y: Tensor) -> Tensor:
        """(N,) losses for logits (N, C) and labels (N,)."""
        return F.cross_entropy(outputs, y, reduction="none", label_smoothing=self.smoothing)


def _over_outputs(values: Tensor) -> Tensor:
    return values.flatten(1).sum(1) if values.dim() > 1 else values


LOSSES: dict[str, LossFunction] = {
    "cross_entropy": cross_entropy,
    "squared_error": squared_error,
    "mse": mse,
    "binary_cross_entropy": binary_cross_entropy,
}
"""The losses that have a name."""


def per_example_loss(loss: Loss) -> LossFunction:
    """The function behind a name, or the function itself; neither checks its arguments.

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


def losses_of(loss: LossFunction, outputs: object, y: object, num_examples: int) -> Tensor:
    """``loss(outputs, y)``, its arguments and its result checked: (N,) finite floating losses.

    Raises:
        InvalidInput: what `check_targets` and `check_losses` refuse, and labels that torch refuses.
    """
    check_targets(loss, outputs, y, num_examples)
    try:
        losses = loss(outputs, y)
    except IndexError as error:  # F.cross_entropy inside a callable: "Target 10 is out of bounds."
        raise InvalidInput(f"labels must lie within the outputs of the model; the loss says: {error} Check the labels.") from None
    return check_losses(losses, num_examples)


def check_targets(loss: LossFunction, outputs: object, y: object, num_examples: int) -> None:
    """Refuses outputs (of ``num_examples`` examples) and targets (of as many or more) that a named loss cannot take; a callable's are its own.

    Raises:
        InvalidInput: outputs that are no tensor (N, ...), labels that are not int64 (N,) or no class of the outputs, targets of another shape or
            dtype than the outputs.
    """
    name = next((name for name, function in LOSSES.items() if function is loss), None)
    if name is None:
        return
    if not isinstance(outputs, Tensor) or outputs.shape[:1] != (num_examples,):
        raise InvalidInput(
            f"a named loss takes one tensor of outputs (N, ...); {_describe(outputs)} came. Pass a callable (outputs, y) -> (N,)."
        )
    if name != "cross_entropy":
        if not isinstance(y, Tensor) or y.shape[1:] != outputs.shape[1:] or y.dtype != outputs.dtype:
            raise InvalidInput(
                f"{name} takes targets of the shape and dtype of the outputs, {tuple(outputs.shape)} of {outputs.dtype}; {_describe(y)} came. "
                "Reshape or convert y."
            )
        return
    if not isinstance(y, Tensor) or y.dtype != torch.int64 or y.dim() != 1 or outputs.dim() != 2:
        came = f"outputs {tuple(outputs.shape)}, y {_describe(y)}"
        raise InvalidInput(f"cross_entropy takes outputs (N, classes) and labels y (N,) of int64; {came} came. {_cure(outputs, y)}")
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= outputs.shape[1]:
        raise InvalidInput(
            f"labels must lie in 0..{outputs.shape[1] - 1}, for the model has {outputs.shape[1]} outputs; {low if low < 0 else high} came. "
            "Check the labels, or the size of the last layer."
        )


def _cure(outputs: Tensor, y: object) -> str:
    """What makes labels of targets that are none."""
    if isinstance(y, Tensor) and y.dim() == 2 and outputs.dim() == 2:
        if y.shape[1] == 1:
            return "Pass y.squeeze(1)." if y.dtype == torch.int64 else "Pass y.squeeze(1).long()."
        if y.shape[1] == outputs.shape[1]:
            return "Pass y.argmax(1) if the targets are one-hot, or a callable."
    return "Pass y.long(), or a callable."


def check_losses(losses: object, num_examples: int, *, finite: bool = True) -> Tensor:
    """``losses`` themselves, if they are (N,) floating numbers, finite ones unless ``finite=False``.

    Raises:
        InvalidInput: another shape or dtype.
        NotFinite: NaN or infinite ones.
    """
    if not isinstance(losses, Tensor) or losses.shape != (num_examples,):
        raise InvalidInput(
            f"loss must return one number per example, shape ({num_examples},); {_describe(losses)} came. "
            'Use reduction="none", and sum or average over what is left of each example.'
        )
    if not losses.is_floating_point():
        raise InvalidInput(f"losses must be floating-point numbers; {losses.dtype} came. An accuracy has no gradient.")
    bad = ~torch.isfinite(losses.detach()) if finite else torch.zeros(())
    if bad.any():
        raise NotFinite(f"losses must be finite; {int(bad.sum())} of {num_examples} are NaN or infinite. Has the training diverged?")
    return losses


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a scalar of {value.dtype}" if value.dim() == 0 else f"{tuple(value.shape)} of {value.dtype}"
    return f"{type(value).__name__}"
