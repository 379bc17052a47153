"""What the estimators refuse alike."""

from __future__ import annotations

import torch
from torch import nn

from sgdscope.errors import InvalidInput
from sgdscope.models.refusals import dropped_share


def check_whole(name: str, value: object, *, least: int = 1) -> int:
    """``value``, if it is a whole number of at least ``least``.

    Raises:
        InvalidInput: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidInput(f"{name} must be a whole number of at least {least}; {value!r} came.")
    return value


def check_share(share: object) -> None:
    """Refuses what is no part of the data.

    Raises:
        InvalidInput: it is not a number above 0 and at most 1.
    """
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise InvalidInput(f"share must be a number above 0 and at most 1, the part of the data; {share!r} came.")


def check_keep(keep: object) -> None:
    """Refuses what is no weight of the past.

    Raises:
        InvalidInput: it is not a number from 0 to 1.
    """
    if isinstance(keep, bool) or not isinstance(keep, int | float) or not 0 <= keep <= 1:
        raise InvalidInput(f"keep must be a number from 0 to 1, the weight of what the centres were made of; {keep!r} came.")


def check_generator(generator: object) -> torch.Generator:
    """``generator``, if it is one.

    Raises:
        InvalidInput: it is not.
    """
    if not isinstance(generator, torch.Generator):
        raise InvalidInput(f"generator must be a torch.Generator; {type(generator).__name__} came. Pass torch.Generator().manual_seed(0).")
    return generator


def check_fixed(model: nn.Module) -> None:
    """Refuses a model that draws random numbers of its own: they do not come from the estimator's generator.

    Raises:
        InvalidInput: active dropout.
    """
    for name, module in model.named_modules():
        if module.training and dropped_share(module) > 0:
            raise InvalidInput(
                f"the model must be a fixed function of its parameters; {type(module).__name__} {name!r} drops values at random in training "
                "mode. Call model.eval(), or set the share to 0."
            )
