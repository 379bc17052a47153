"""The trainable parameters of a model as one flat vector: those with ``requires_grad``, in ``model.parameters()`` order, tied ones once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sgdscope.errors import InvalidInput


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Name to parameter, for the parameters that require a gradient; their numbers add up to d.

    Raises:
        InvalidInput: there are none.
    """
    named = dict(model.named_parameters())
    found = {name: parameter for name, parameter in named.items() if parameter.requires_grad}
    if not found:
        raise InvalidInput(
            f"the model must have trainable parameters; none of its {len(named)} requires a gradient. Call requires_grad_() on some."
        )
    return found


def dimension(model: nn.Module) -> int:
    """d, the number of trainable parameters."""
    return sum(parameter.numel() for parameter in trainable(model).values())


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """One vector (d,)."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def unflatten(vector: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Views of a vector (d,) in the shapes of the parameters.

    Raises:
        InvalidInput: another length.
    """
    sizes = [parameter.numel() for parameter in parameters]
    if vector.shape != (sum(sizes),):
        raise InvalidInput(f"a flat vector must have shape ({sum(sizes)},), the trainable parameters; {tuple(vector.shape)} came.")
    return [part.view(parameter.shape) for part, parameter in zip(vector.split(sizes), parameters, strict=True)]
