"""What `train` refuses: checked at the boundary, before anything is computed, and once more around the first step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from sgdscope.errors import InvalidInput, whole
from sgdscope.models.examples import Examples, call, check_examples, device_of, leaves, take
from sgdscope.models.losses import Loss, check_losses, check_targets, per_example_loss
from sgdscope.models.parameters import trainable
from sgdscope.models.refusals import dropped_share
from sgdscope.training.evaluation import chunks, measuring
from sgdscope.training.gradient import Estimator
from sgdscope.training.run import Run, check_when

OWN_BATCHES = {"sampling": "epochs", "drop_last": True, "generator": None}
"""Defaults of what decides the loop's own batches; an estimator leaves these alone."""


def check_fit(model: nn.Module, loss: Loss, x: Examples, y: Examples) -> int:
    """Refuses a model, a loss and data that do not fit each other, before anything is computed with them. Returns N.

    Raises:
        InvalidInput: no trainable parameter; no or unequal numbers of examples; several devices or floating types; NaN or infinite
            inputs; examples that the model fails on; labels that are no classes of the model; a loss that does not return one number an
            example.
    """
    trainable(model)
    count, function = check_examples(model, x, y), per_example_loss(loss)
    with measuring(model), torch.no_grad():
        outputs = _first_outputs(model, take(x, slice(0, 1)))
        check_targets(function, outputs, y, 1)
        check_losses(function(outputs, take(y, slice(0, 1))), 1, finite=False)
    return count


def _first_outputs(model: nn.Module, first: Examples) -> object:
    try:
        return call(model, first)
    except InvalidInput:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        came = ", ".join(f"{name} of shape ({', '.join(['N', *map(str, tensor.shape[1:])])})" for name, tensor in leaves(first, "x"))
        raise InvalidInput(f"x must fit the model; {came} came, and the model fails on the first example: {error}") from error


def check_batch_size(batch_size: int | None, estimator: Estimator | None, **batches: object) -> int:
    """Examples a step: ``batch_size``, or that of the estimator. Refuses what says otherwise of an estimator's draws.

    Raises:
        InvalidInput: no batch size, or another one than the estimator's; ``batches``, what decides the loop's own, beside an estimator.
    """
    own = getattr(estimator, "batch_size", None)
    if batch_size is None and own is None:
        raise InvalidInput("batch_size is missing: give the number of examples a step.")
    if estimator is None:
        return batch_size
    if batch_size is not None and own is not None and batch_size != own:
        raise InvalidInput(f"batch_size must be that of the estimator, {own!r}; {batch_size!r} came. Leave it out.")
    for name, value in batches.items():
        if value != OWN_BATCHES[name]:
            raise InvalidInput(f"an estimator draws its own examples, from the seed; {name}={value!r} came. Leave it out.")
    return whole("batch_size", own if batch_size is None else batch_size, 1)


def check_settings(run: Run) -> None:
    """Refuses settings that are out of range or exclude each other; batches, schedules and SGD have checked their own.

    Raises:
        InvalidInput: says which and what to do.
    """
    if isinstance(run.seed, bool) or not isinstance(run.seed, int):
        raise InvalidInput(f"seed must be a whole number, got {run.seed!r}.")
    if run.mode not in ("train", "eval"):
        raise InvalidInput(f"mode must be 'train' or 'eval', got {run.mode!r}.")
    if not (isinstance(run.largest_loss, int | float) and run.largest_loss > 0):
        raise InvalidInput(f"largest_loss must be positive, got {run.largest_loss!r}.")
    chunks(run.batches.num_examples, run.chunk_size)
    for name in ("augment", "gradient"):
        if (value := getattr(run, name)) is not None and not callable(value):
            raise InvalidInput(f"{name} must be a function, got {value!r}.")
    for name in ("loss_after", "full_loss"):
        check_when(name, getattr(run, name))
    for name, value in run.carry.items():
        if not all(callable(getattr(value, method, None)) for method in ("state", "restore")):
            raise InvalidInput(f"what is carried has methods state() and restore(state); {name!r}, {type(value).__name__}, lacks them.")
    if run.estimator is not None:
        _check_estimator(run)
    for name, module in run.point.model.named_modules() if run.mode == "train" else ():
        if dropped_share(module) > 0 or isinstance(module, nn.RReLU):
            raise InvalidInput(
                f"module {name or type(module).__name__!r} is random in training mode, by PyTorch's global generator, so the run could not be "
                "repeated. Switch that off (p=0), use mode='eval', or train in your own loop and hand snapshots to the probes."
            )


def _check_estimator(run: Run) -> None:
    if run.gradient is not None:
        raise InvalidInput("give a gradient (on the batch) or an estimator (on all data), not both.")
    if run.augment is not None:
        raise InvalidInput("an estimator draws its own examples; hand augment to the estimator.")
    if run.loss_after:
        raise InvalidInput("an estimator draws its own examples, so there is no batch whose loss_after could be taken; use full_loss.")
    if not callable(getattr(run.estimator, "estimate", None)):
        raise InvalidInput(f"an estimator has a method estimate(model, loss, x, y, generator=); {type(run.estimator).__name__} has none.")


@contextmanager
def no_global_random_numbers(x: Examples) -> Iterator[None]:
    """Refuses a step that draws from PyTorch's global generators: that of the CPU and that of the device of ``x``.

    Raises:
        InvalidInput: it did.
    """

    def states() -> list[torch.Tensor]:
        device = device_of(x)
        return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]

    before = states()
    yield
    if not all(torch.equal(old, new) for old, new in zip(before, states(), strict=True)):
        raise InvalidInput(
            "the first step drew from PyTorch's global generator, so the run could not be repeated: dropout or noise in the model's forward, "
            "or an augment, gradient or estimator that does not use the generator it is given. Switch that off, or train in your own loop "
            "and hand snapshots to the probes."
        )
