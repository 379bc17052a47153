"""What the estimators refuse alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import log10
from numbers import Real

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from sgdscope.errors import InvalidInput
from sgdscope.models.examples import Examples, num_examples
from sgdscope.models.refusals import dropped_share

MOST_OUTCOMES = 1_000_000
"""Outcomes of an estimator that are listed."""


def check_outcomes(number: int) -> None:
    """Refuses a list of outcomes that would fill the memory.

    Raises:
        InvalidInput: more than `MOST_OUTCOMES`.
    """
    if number > MOST_OUTCOMES:
        many = f"{number:,}" if number < 10**15 else f"about 10^{log10(number):.0f}"
        raise InvalidInput(f"outcomes are listed up to {MOST_OUTCOMES:,}; there are {many} here. Take fewer examples, or draw() some.")


def check_augment(augment: object) -> None:
    """Refuses an augmentation that cannot be called.

    Raises:
        InvalidInput: it cannot.
    """
    if augment is not None and not callable(augment):
        raise InvalidInput(f"augment must be a function (x, generator) -> x; {augment!r} came.")


def augmented(augment: Callable[[Examples, torch.Generator], Examples] | None, x: Examples, generator: torch.Generator) -> Examples:
    """``x`` as the augmentation gives it back, if there is one.

    Raises:
        InvalidInput: another number of examples, or none.
    """
    if augment is None:
        return x
    found = augment(x, generator)
    number = num_examples(x)
    if found is None or num_examples(found) != number:
        came = "nothing" if found is None else f"{num_examples(found)}"
        raise InvalidInput(f"augment must give back as many examples as it takes, {number}; {came} came. Return the changed copy of x.")
    return found


def check_switch(name: str, value: object) -> None:
    """Refuses what is neither True nor False.

    Raises:
        InvalidInput: it is something else.
    """
    if not isinstance(value, bool):
        raise InvalidInput(f"{name} must be True or False; {value!r} came.")


def check_share(share: object) -> float:
    """``share``, if it is a part of the data.

    Raises:
        InvalidInput: it is not a number above 0 and at most 1.
    """
    if isinstance(share, bool) or not isinstance(share, Real) or not 0 < share <= 1:
        raise InvalidInput(f"share must be a number above 0 and at most 1, the part of the data; {share!r} came.")
    return float(share)


def check_keep(keep: object) -> None:
    """Refuses what is no weight of the past.

    Raises:
        InvalidInput: it is not a number from 0 to 1.
    """
    if isinstance(keep, bool) or not isinstance(keep, Real) or not 0 <= keep <= 1:
        raise InvalidInput(f"keep must be a number from 0 to 1, the weight of what the centres were made of; {keep!r} came.")


def check_generator(generator: object) -> torch.Generator:
    """``generator``, if it is one.

    Raises:
        InvalidInput: it is not.
    """
    if not isinstance(generator, torch.Generator):
        raise InvalidInput(f"generator must be a torch.Generator; {type(generator).__name__} came. Pass torch.Generator().manual_seed(0).")
    return generator


def check_model(model: object) -> None:
    """Refuses what is no model.

    Raises:
        InvalidInput: it is not.
    """
    if not isinstance(model, nn.Module):
        raise InvalidInput(f"model must be a torch.nn.Module; {type(model).__name__} came.")


def check_estimator(estimator: object) -> None:
    """Refuses what estimates nothing.

    Raises:
        InvalidInput: it has no method ``estimate``, or is a class of estimators.
    """
    if isinstance(estimator, type) or not callable(getattr(estimator, "estimate", None)):
        came = f"the class {estimator.__name__}" if isinstance(estimator, type) else repr(estimator)
        raise InvalidInput(
            f"estimator must be an object with estimate(model, loss, x, y, generator=); {came} came. Pass MiniBatch(20), say."
        )


def check_fixed(model: nn.Module) -> None:
    """Refuses a model that draws random numbers of its own: they do not come from the estimator's generator.

    Raises:
        InvalidInput: active dropout, or no model.
    """
    check_model(model)
    for name, module in model.named_modules():
        if module.training and dropped_share(module) > 0:
            raise InvalidInput(
                f"the model must be a fixed function of its parameters; {type(module).__name__} {name!r} drops values at random in training "
                "mode. Call model.eval(), or set the share to 0."
            )


def uses_batch_statistics(model: nn.Module) -> bool:
    """Whether a batch norm couples the examples of a batch, or a norm in training mode may change."""
    return any(
        isinstance(module, _NormBase) and (module.training or isinstance(module, _BatchNorm) and module.running_mean is None)
        for module in model.modules()
    )


def modes_of_norms(model: nn.Module) -> list[bool]:
    """Which of its batch and instance norms are in training mode."""
    return [module.training for module in model.modules() if isinstance(module, _NormBase)]


@contextmanager
def keeping_buffers(model: nn.Module) -> Iterator[None]:
    """Puts the values of all buffers back at the end: batch norm in training mode moves its running statistics."""
    if not any(module.training for module in model.modules()):
        yield
        return
    kept = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)
