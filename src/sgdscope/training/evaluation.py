"""Loss, accuracy and predictions of a model, in chunks, leaving the model as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sgdscope.errors import InvalidInput
from sgdscope.models.examples import Examples, call, device_of, num_examples, take
from sgdscope.models.losses import Loss, check_losses, per_example_loss


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
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()] if mode == "train" else []
    model.train(mode == "train")
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


def _chunks(x: Examples, chunk_size: int) -> Iterator[slice]:
    if isinstance(chunk_size, bool) or not isinstance(chunk_size, int) or chunk_size < 1:
        raise InvalidInput(f"chunk_size must be a whole number of at least 1, got {chunk_size!r}.")
    return (slice(start, start + chunk_size) for start in range(0, num_examples(x), chunk_size))


def evaluate(model: nn.Module, loss: Loss, x: Examples, y: Examples, *, chunk_size: int = 1000) -> Evaluation:
    """Mean loss and accuracy in eval mode, without gradients.

    Args:
        model: (N, ...) to outputs (N, classes) or (N, outputs).
        loss: a name or a function of outputs and targets that returns (N,).
        x: inputs, examples first.
        y: targets (N,) or (N, outputs).
        chunk_size: examples a forward pass; bounds the memory, and fixes the order of summation.

    Raises:
        InvalidInput: no examples, a loss that is no number an example, a chunk size below 1.
    """
    function, count = per_example_loss(loss), num_examples(x)
    classes = isinstance(y, Tensor) and y.dim() == 1 and not y.is_floating_point()
    total = torch.zeros((), dtype=torch.float64, device=device_of(y))
    right = torch.zeros((), dtype=torch.int64, device=device_of(y))
    with measuring(model), torch.no_grad():
        for rows in _chunks(x, chunk_size):
            outputs, targets = call(model, take(x, rows)), take(y, rows)
            total += check_losses(function(outputs, targets), num_examples(take(x, rows)), finite=False).sum(dtype=torch.float64)
            if classes and outputs.dim() == 2:
                right += (outputs.argmax(1) == targets).sum()
    classes = classes and outputs.dim() == 2
    return Evaluation(total.item() / count, right.item() / count if classes else float("nan"))


def predictions(model: nn.Module, x: Examples, *, probabilities: bool = True, chunk_size: int = 1000) -> Tensor:
    """Outputs (N, classes) in eval mode, without gradients; softmax of them unless ``probabilities=False``.

    Raises:
        InvalidInput: no examples, a chunk size below 1.
    """
    with measuring(model), torch.no_grad():
        outputs = torch.cat([call(model, take(x, rows)) for rows in _chunks(x, chunk_size)])
    return outputs.softmax(-1) if probabilities else outputs
