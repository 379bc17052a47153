"""Many estimates at one snapshot, in the cheaper of two ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from sgdscope.errors import InvalidInput, unknown_name, whole
from sgdscope.estimators.checks import augmented, check_estimator, check_generator, check_model, keeping_buffers, uses_batch_statistics
from sgdscope.estimators.sampled import Sampled
from sgdscope.gradients import weighted_gradients
from sgdscope.gradients.budget import MEMORY
from sgdscope.gradients.checks import each_alone, spread
from sgdscope.gradients.once import once
from sgdscope.models.examples import Examples, device_of, take
from sgdscope.models.losses import Loss, per_example_loss
from sgdscope.models.parameters import dimension, trainable
from sgdscope.models.refusals import NoPerExampleGradients

METHODS = ("auto", "weights", "batches")

SHARED = 2.0
"""How many times each drawn example must come, on average, for the shared way (LeNet, SimpleCNN, ResNet8 and an MLP break even at 1 to 2)."""


class Estimator(Protocol):
    """Anything that estimates the full-batch gradient; `Sampled` is the base of those that draw examples."""

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
    estimators of other rooms, with an augmentation, with batch norm in training mode, where the estimates exceed half of ``memory``, and where
    the gradients of the model cannot be taken apart by example (parameters tied by a functional call, branches).

    A loss or a model that couples examples is refused either way, as far as a few examples show it, except for batch norm in training mode.

    Raises:
        InvalidInput: what the estimator refuses, coupled examples; estimates that are not (d,); ``method="weights"`` where estimates are no weighted
            sums, or for such a model.
    """
    if method not in METHODS:
        raise unknown_name("method", str(method), METHODS)
    check_estimator(estimator)
    repeats, memory = whole("repeats", repeats), whole("memory", memory)
    check_generator(generator)
    check_model(model)
    possible = isinstance(estimator, Sampled) and estimator.augment is None
    if method == "weights" and not possible:
        raise InvalidInput("method 'weights' is for estimators of this package without augmentation. Use 'auto' or 'batches'.")
    if possible and (method == "weights" or (method == "auto" and _cheaper(estimator, model, loss, x, y, repeats, memory))):
        before = generator.get_state()
        try:
            found = _shared(estimator, model, loss, x, y, repeats, generator, memory)
        except NoPerExampleGradients as error:
            if method == "weights":
                raise InvalidInput(f"{error} Or use method='batches', one backward pass an estimate.") from error
            generator.set_state(before)
        else:
            yield found
            return
    if isinstance(estimator, Sampled):
        _check_losses(estimator, model, loss, x, y)
    size = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)  # 0: noise without a model, of any length
    for _ in range(repeats):
        found = estimator.estimate(model, loss, x, y, generator=generator)
        if not isinstance(found, Tensor) or found.dim() != 1 or size not in (0, len(found)):
            came = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise InvalidInput(f"an estimate must be a tensor ({size},), one entry a trainable parameter of the model; {came} came.")
        yield found[None]


def _check_losses(estimator: Sampled, model: nn.Module, loss: Loss, x: Examples, y: Examples) -> None:
    """Each of a few examples must have a loss of its own, once a model and loss; batch norm in training mode is meant to couple them."""
    number = estimator.check(model, loss, x, y)
    if uses_batch_statistics(model):
        return
    few = spread(y, number).to(device_of(x))
    x, y = take(x, few), take(y, few)
    x = augmented(estimator.augment, x, torch.Generator().manual_seed(0))  # not from that of the estimates
    with keeping_buffers(model):
        once(each_alone, model, per_example_loss(loss), x, y, len(few))


def _shared(
    estimator: Sampled, model: nn.Module, loss: Loss, x: Examples, y: Examples, repeats: int, generator: torch.Generator, memory: int
) -> Tensor:
    number = estimator.check(model, loss, x, y)
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


def _cheaper(estimator: Sampled, model: nn.Module, loss: Loss, x: Examples, y: Examples, repeats: int, memory: int) -> bool:
    """Whether the examples of all estimates are enough more than the different ones among them, and the shared way is defined and fits.

    Different ones take a forward and backward pass without weight gradients, 2/3 of a whole one, and all of them at most the other third.
    """
    if uses_batch_statistics(model):
        return False
    number, batch_size = estimator.check(model, loss, x, y), estimator.batch_size
    parameter = next(iter(trainable(model).values()))
    if repeats * (dimension(model) + number) * parameter.element_size() > memory // 2:
        return False
    different = number * (1 - (1 - batch_size / number) ** repeats) if batch_size < number else number
    return repeats * batch_size > SHARED * different
