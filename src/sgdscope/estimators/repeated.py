"""Many estimates at one snapshot, in the cheaper of two ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from sgdscope.errors import InvalidInput, unknown_name
from sgdscope.estimators.checks import check_generator, check_whole
from sgdscope.estimators.sampled import Sampled
from sgdscope.gradients import weighted_gradients
from sgdscope.gradients.budget import MEMORY
from sgdscope.models.examples import Examples
from sgdscope.models.losses import Loss
from sgdscope.models.parameters import dimension, trainable

METHODS = ("auto", "weights", "batches")

SHARED = 2.0
"""How many times each drawn example must come, on average, for the shared way (LeNet, SimpleCNN, ResNet8 and an MLP break even at 1 to 2)."""


class Estimator(Protocol):
    """Anything that estimates the full-batch gradient."""

    def estimate(self, model: nn.Module, loss: Loss, x: Examples, y: Examples, *, generator: torch.Generator) -> Tensor:
        """(d,) estimate of the gradient of the mean loss over all of ``x`` and ``y``."""


def estimates(
    estimator: Estimator,
    model: nn.Module,
    loss: Loss,
    x: Examples,
    y: Examples,
    *,
    repeats: int,
    generator: torch.Generator,
    method: str = "auto",
    memory: int = MEMORY,
) -> Iterator[Tensor]:
    """``repeats`` estimates at the present parameters, in blocks (r, d) one after the other.

    ``batches`` calls the estimator; ``weights`` draws all its examples first, takes the factored gradients of those once and sums them by the
    (repeats, N) sampling weights: the same draws, equal up to rounding. ``auto`` does so where examples come often enough, and takes ``batches`` for
    estimators of other rooms, with an augmentation, with batch norm in training mode, and where the estimates exceed half of ``memory``.

    Raises:
        InvalidInput: what the estimator or the per-example gradients refuse; ``method="weights"`` where estimates are no weighted sums.
    """
    if method not in METHODS:
        raise unknown_name("method", str(method), METHODS)
    check_whole("repeats", repeats)
    check_generator(generator)
    possible = isinstance(estimator, Sampled) and estimator.augment is None
    if method == "weights" and not possible:
        raise InvalidInput("method 'weights' is for estimators of this package without augmentation. Use 'auto' or 'batches'.")
    if method == "batches" or not possible or (method == "auto" and not _cheaper(estimator, model, x, y, repeats, memory)):
        for _ in range(repeats):
            yield estimator.estimate(model, loss, x, y, generator=generator)[None]
        return
    yield _shared(estimator, model, loss, x, y, repeats, generator, memory)


def _shared(
    estimator: Sampled, model: nn.Module, loss: Loss, x: Examples, y: Examples, repeats: int, generator: torch.Generator, memory: int
) -> Tensor:
    number = estimator.check(model, x, y)
    parameter = next(iter(trainable(model).values()))
    weights = torch.zeros(repeats, number, dtype=parameter.dtype, device=parameter.device)
    for row in weights:
        index, drawn = estimator.draw(number, generator=generator)
        row.index_add_(0, index.to(row.device), drawn.to(row.device, row.dtype))
    total = estimator.offset()
    for sign, part in estimator.parts(model):
        found = weighted_gradients(part, loss, x, y, sign * weights, memory=memory)
        total = found if total is None else found.add_(total)
    return total


def _cheaper(estimator: Sampled, model: nn.Module, x: Examples, y: Examples, repeats: int, memory: int) -> bool:
    """Whether the examples of all estimates are enough more than the different ones among them, and the shared way is defined and fits.

    Different ones take a forward and backward pass without weight gradients, 2/3 of a whole one, and all of them at most the other third.
    """
    if any(isinstance(module, _NormBase) and module.training for module in model.modules()):
        return False
    number, batch_size = estimator.check(model, x, y), estimator.batch_size
    parameter = next(iter(trainable(model).values()))
    if repeats * (dimension(model) + number) * parameter.element_size() > memory // 2:
        return False
    different = number * (1 - (1 - batch_size / number) ** repeats) if batch_size < number else number
    return repeats * batch_size > SHARED * different
