"""Gradients of the mean loss over a batch, and gradients as flat vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn

from sgdscope.errors import InvalidInput
from sgdscope.models.examples import Examples, call, num_examples, take
from sgdscope.models.losses import Loss, per_example_loss
from sgdscope.models.parameters import flat, trainable, unflatten
from sgdscope.training.evaluation import chunks

GradientRule: TypeAlias = Callable[[nn.Module, Loss, Examples, Examples], Tensor | Sequence[Tensor]]
"""``gradient(model, loss, x, y)`` on a batch: flat (d,) or one tensor a trainable parameter, in the order of ``model.parameters()``."""


class Estimator(Protocol):
    """What can drive training in place of mini-batches, such as `sgdscope.estimators.SVRG`.

    If it has ``state()`` and ``restore(state)`` as `checkpoint.Carried`, they go into the checkpoints.
    """

    def estimate(self, model: nn.Module, loss: Loss, x: Examples, y: Examples, *, generator: torch.Generator) -> Tensor:
        """(d,) estimate of the gradient of the mean loss over all of ``x`` and ``y``."""


def loss_and_gradient(model: nn.Module, loss: Loss, x: Examples, y: Examples) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Mean loss over the examples and its gradient, one tensor a trainable parameter, in the model's present mode.

    A parameter that the loss does not depend on has gradient zero. The ``.grad`` fields are not touched.
    """
    mean = per_example_loss(loss)(call(model, x), y).mean()
    return mean.detach(), torch.autograd.grad(mean, list(trainable(model).values()), materialize_grads=True)


def mean_gradient(model: nn.Module, loss: Loss, x: Examples, y: Examples, *, chunk_size: int = 1000) -> Tensor:
    """Gradient (d,) of the mean loss over all examples, summed chunk by chunk in the parameters' type, in the model's present mode.

    Raises:
        InvalidInput: no or unequal numbers of examples, a chunk size below 1.
    """
    count = num_examples(x, y)
    total = torch.zeros_like(flat(list(trainable(model).values())), requires_grad=False)
    for rows in chunks(count, chunk_size):
        total += flat(loss_and_gradient(model, loss, take(x, rows), take(y, rows))[1]) * ((rows.stop - rows.start) / count)
    return total


def like_parameters(gradient: Tensor | Sequence[Tensor], parameters: Sequence[Tensor]) -> list[Tensor]:
    """A gradient, flat or not, as one tensor a parameter.

    Raises:
        InvalidInput: shapes that do not fit the parameters.
    """
    if isinstance(gradient, Tensor):
        return unflatten(gradient.detach(), parameters)
    came = [tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__ for part in gradient]
    if came != (expected := [tuple(parameter.shape) for parameter in parameters]):
        raise InvalidInput(f"the gradient must be flat, or one tensor of its shape for each trainable parameter: {expected}; {came} came.")
    return [part.detach() for part in gradient]
