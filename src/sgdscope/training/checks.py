"""One check at the boundary: do a model, a loss and data fit each other?"""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor, nn

from sgdscope.errors import InvalidInput
from sgdscope.models.losses import Loss, per_example
from sgdscope.training.evaluation import measuring
from sgdscope.training.examples import Inputs, call, leaves, num_examples, take


def check_fit(model: nn.Module, loss: Loss, x: Inputs, y: Tensor) -> int:
    """Refuses a model, a loss and data that do not fit each other, before anything is computed with them. Returns N.

    Raises:
        InvalidInput: no trainable parameter; no or unequal numbers of examples; several devices or floating types; NaN or infinite
            inputs; labels that are no classes of the model; a loss that does not return one number an example.
    """
    count = num_examples(x)
    if not isinstance(y, Tensor) or y.dim() == 0 or len(y) != count:
        came = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise InvalidInput(f"y must be a tensor with one target for each of the {count} examples; {came} came.")
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise InvalidInput("the model has no trainable parameter; set requires_grad on those to be trained or measured.")
    devices = {"the model": trainable[0].device, "y": y.device} | {name: tensor.device for name, tensor in leaves(x)}
    if len(set(devices.values())) > 1:
        listed = ", ".join(f"{name} on {device}" for name, device in devices.items())
        raise InvalidInput(f"model and data must be on one device; {listed}. Move them with .to(device).")
    for name, tensor in [*leaves(x), ("y", y)]:
        if tensor.is_floating_point():
            if not bool(torch.isfinite(tensor).all()):
                raise InvalidInput(f"{name} must be finite; {int((~torch.isfinite(tensor)).sum())} of its values are NaN or infinite.")
            if tensor.dtype != trainable[0].dtype:
                raise InvalidInput(f"{name} is {tensor.dtype}, the model {trainable[0].dtype}; convert one of them.")
    if (
        isinstance(x, Tensor)
        and not x.is_floating_point()
        and not any(isinstance(m, nn.Embedding | nn.EmbeddingBag) for m in model.modules())
    ):
        raise InvalidInput(
            f"x is {x.dtype}, and the model has no embedding that takes whole numbers; convert it: x.float() / 255 for images."
        )
    if loss == "cross_entropy" and y.dtype != torch.int64:
        raise InvalidInput(f"cross_entropy needs labels of dtype torch.int64, got {y.dtype}; convert them: y.long().")
    with measuring(model), torch.no_grad():
        outputs = call(model, take(x, slice(0, 1)))
        if loss == "cross_entropy":
            low, high, classes = int(y.min()), int(y.max()), outputs.shape[1]
            if low < 0 or high >= classes:
                raise InvalidInput(f"labels must be from 0 to {classes - 1} for {classes} outputs; they run from {low} to {high}.")
        per_example(loss)(outputs, y[:1])
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
