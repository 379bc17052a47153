"""Loss, accuracy and predictions of a model, in chunks, leaving the model as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import nan

import torch
from torch import Tensor, nn

from sgdscope.errors import InvalidInput, whole
from sgdscope.models.examples import Examples, call, device_of, num_examples, take
from sgdscope.models.losses import Loss, check_losses, check_targets, per_example_loss


@dataclass(frozen=True)
class Evaluation:
    """Mean loss and accuracy on a data set.

    Attributes:
        loss: mean over examples of the loss, in its unit (nats for cross entropy), accumulated in float64.
        accuracy: share of examples whose largest output is that of the label; NaN where targets are no classes.
    """

    loss: float
    accuracy: float


@contextmanager
def measuring(model: nn.Module, *, mode: str = "eval") -> Iterator[None]:
    """Inside, the model is in ``eval`` (or ``train``) mode; afterwards every module's own mode and all buffers are as before.

    Buffers hold the running statistics of batch normalisation, which a forward pass in training mode would move.

    Raises:
        InvalidInput: another mode.
    """
    if mode not in ("eval", "train"):
        raise InvalidInput(f"mode must be 'eval' or 'train', got {mode!r}.")
    modules = list(model.modules())
    modes = [module.training for module in modules]
    owned = (
        [(module, name, buffer) for module in modules for name, buffer in module.named_buffers(recurse=False)] if mode == "train" else []
    )
    values = [buffer.detach().clone() for _, _, buffer in owned]
    model.train(mode == "train")
    try:
        yield
    finally:
        for module, training in zip(modules, modes, strict=True):
            module.training = training
        with torch.no_grad():
            for (module, name, buffer), value in zip(owned, values, strict=True):
                setattr(module, name, buffer.copy_(value))  # set again, since a module may put another tensor in its place


def chunks(count: int, chunk_size: int) -> Iterator[slice]:
    """Slices of ``chunk_size`` examples, the last one smaller.

    Raises:
        InvalidInput: a chunk size below 1.

    >>> list(chunks(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    chunk_size = whole("chunk_size", chunk_size)
    return (slice(start, min(start + chunk_size, count)) for start in range(0, count, chunk_size))


def evaluate(model: nn.Module, loss: Loss, x: Examples, y: Examples, *, chunk_size: int = 1000) -> Evaluation:
    """Mean loss and accuracy in eval mode, without gradients.

    Args:
        model: (N, ...) to outputs (N, classes) or (N, outputs).
        loss: a name or a function of outputs and targets that returns (N,).
        x: inputs, examples first.
        y: targets (N,) or (N, outputs).
        chunk_size: examples a forward pass; bounds the memory, and fixes the order of summation.

    Raises:
        InvalidInput: no or unequal numbers of examples, labels that are no classes of the model, a loss that is no number an example, a
            chunk size below 1.
    """
    function, count = per_example_loss(loss), num_examples(x, y)
    total, right, classes = torch.zeros((), dtype=torch.float64, device=device_of(x)), 0, False
    with measuring(model), torch.no_grad():
        for rows in chunks(count, chunk_size):
            outputs, targets, number = call(model, take(x, rows)), take(y, rows), rows.stop - rows.start
            check_targets(function, outputs, targets, number)
            total += check_losses(function(outputs, targets), number, finite=False).sum(dtype=torch.float64)
            classes = all(isinstance(tensor, Tensor) for tensor in (outputs, targets)) and (outputs.dim(), targets.dim()) == (2, 1)
            if classes := classes and not targets.is_floating_point():
                right = right + (outputs.argmax(1) == targets).sum()
    return Evaluation(total.item() / count, int(right) / count if classes else nan)


def predictions(model: nn.Module, x: Examples, *, probabilities: bool = True, chunk_size: int = 1000) -> Tensor:
    """Outputs (N, classes) in eval mode, without gradients; softmax of them unless ``probabilities=False``.

    Raises:
        InvalidInput: no examples, a model whose output is no tensor, a chunk size below 1.
    """
    with measuring(model), torch.no_grad():
        parts = [call(model, take(x, rows)) for rows in chunks(num_examples(x), chunk_size)]
    if not isinstance(parts[0], Tensor):
        raise InvalidInput(f"predictions are of a model whose output is a tensor; {type(parts[0]).__name__} came. Wrap the model.")
    outputs = torch.cat(parts)
    return outputs.softmax(-1) if probabilities else outputs
