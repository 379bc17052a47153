"""One check at the boundary: do a model, a loss and data fit each other?"""

from __future__ import annotations

from math import inf

import torch
from torch import nn

from sgdscope.errors import InvalidInput
from sgdscope.models.examples import Examples, call, check_examples, take
from sgdscope.models.losses import Loss, check_losses, check_targets, per_example_loss
from sgdscope.models.parameters import trainable
from sgdscope.training.evaluation import measuring


def check_fit(model: nn.Module, loss: Loss, x: Examples, y: Examples) -> int:
    """Refuses a model, a loss and data that do not fit each other, before anything is computed with them. Returns N.

    Raises:
        InvalidInput: no trainable parameter; no or unequal numbers of examples; several devices or floating types; NaN or infinite
            inputs; labels that are no classes of the model; a loss that does not return one number an example.
    """
    trainable(model)
    count, function = check_examples(model, x, y), per_example_loss(loss)
    with measuring(model), torch.no_grad():
        outputs = call(model, take(x, slice(0, 1)))
        check_targets(function, outputs, y, 1)
        check_losses(function(outputs, take(y, slice(0, 1))), 1, finite=False)
    return count


def check_settings(
    model: nn.Module,
    *,
    momentum: float,
    weight_decay: float,
    mode: str,
    gradient: object,
    estimator: object,
    augment: object,
    loss_after: object,
    largest_loss: float,
    checkpoint_every: int,
) -> None:
    """Refuses settings of a training run that are out of range or exclude each other.

    Raises:
        InvalidInput: says which and what to do.
    """
    if not (isinstance(momentum, int | float) and 0 <= momentum < 1):
        raise InvalidInput(f"momentum must be from 0 to below 1, got {momentum!r}.")
    if not (isinstance(weight_decay, int | float) and 0 <= weight_decay < inf):
        raise InvalidInput(f"weight_decay must be finite and not negative, got {weight_decay!r}.")
    if mode not in ("train", "eval"):
        raise InvalidInput(f"mode must be 'train' or 'eval', got {mode!r}.")
    if not largest_loss > 0:
        raise InvalidInput(f"largest_loss must be positive, got {largest_loss!r}.")
    if isinstance(checkpoint_every, bool) or not isinstance(checkpoint_every, int) or checkpoint_every < 1:
        raise InvalidInput(f"checkpoint_every must be a whole number of at least 1, got {checkpoint_every!r}.")
    if estimator is not None:
        if gradient is not None:
            raise InvalidInput("give a gradient (on the batch) or an estimator (on all data), not both.")
        if augment is not None:
            raise InvalidInput("an estimator draws its own examples; hand augment to the estimator.")
        if loss_after:
            raise InvalidInput("an estimator draws its own examples, so there is no batch whose loss_after could be taken; use full_loss.")
        if not callable(getattr(estimator, "estimate", None)):
            raise InvalidInput(f"an estimator has a method estimate(model, loss, x, y, generator=); {type(estimator).__name__} has none.")
    if mode == "train" and (name := _active_dropout(model)):
        raise InvalidInput(
            f"module {name} drops out at random from PyTorch's global generator, so the run could not be repeated. "
            "Set its p to 0, or train in your own loop and hand snapshots to the probes."
        )


def _active_dropout(model: nn.Module) -> str | None:
    for name, module in model.named_modules():
        share = getattr(module, "p", 0.0) if isinstance(module, nn.modules.dropout._DropoutNd) else getattr(module, "dropout", 0.0)
        if isinstance(share, int | float) and share > 0:
            return name or type(module).__name__
    return None
