"""The update of SGD with momentum and weight decay, operation for operation that of ``torch.optim.SGD``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

import torch
from torch import Tensor, nn

from sgdscope.errors import InvalidInput
from sgdscope.models.parameters import trainable


class SGD:
    """``d = g + wd theta``; ``v <- momentum v + d`` from ``v = 0``; ``theta <- theta - rate v`` (``theta - rate d`` without momentum).

    No dampening and no Nesterov. As in PyTorch the velocity does not contain the rate, so a drop of the rate takes effect at once.

    Args:
        model: its trainable parameters are updated in place.
        momentum: 0 for none.
        weight_decay: wd, the gradient of ``wd/2 |theta|^2``.
        decayed: which parameters decay, from name and parameter; all by default.

    Raises:
        InvalidInput: no trainable parameter, a momentum or weight decay out of range, ``decayed`` that is no function.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        decayed: Callable[[str, nn.Parameter], bool] | None = None,
    ) -> None:
        if not (isinstance(momentum, int | float) and 0 <= momentum < 1):
            raise InvalidInput(f"momentum must be from 0 to below 1, got {momentum!r}.")
        if not (isinstance(weight_decay, int | float) and 0 <= weight_decay < inf):
            raise InvalidInput(f"weight_decay must be finite and not negative, got {weight_decay!r}.")
        if decayed is not None and not callable(decayed):
            raise InvalidInput(f"decayed must be a function of name and parameter, got {decayed!r}.")
        named = trainable(model)
        self.parameters = list(named.values())
        self.momentum = momentum
        self.decay = [weight_decay if decayed is None or decayed(name, parameter) else 0.0 for name, parameter in named.items()]
        self.velocity = [torch.zeros_like(parameter, requires_grad=False) for parameter in self.parameters] if momentum else []

    @torch.no_grad()
    def step(self, gradient: Sequence[Tensor], learning_rate: float) -> None:
        """One update."""
        for index, (parameter, part) in enumerate(zip(self.parameters, gradient, strict=True)):
            direction = part.add(parameter, alpha=self.decay[index]) if self.decay[index] else part
            if self.momentum:
                direction = self.velocity[index].mul_(self.momentum).add_(direction)
            parameter.add_(direction, alpha=-learning_rate)

    def state(self) -> dict[str, list[Tensor]]:
        """Copies of the velocities."""
        return {"velocity": [velocity.clone() for velocity in self.velocity]}

    @torch.no_grad()
    def restore(self, state: dict[str, list[Tensor]]) -> None:
        """Take up a `state`."""
        for velocity, saved in zip(self.velocity, state["velocity"], strict=True):
            velocity.copy_(saved)
