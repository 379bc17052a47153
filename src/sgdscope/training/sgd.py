"""The update of SGD with momentum and weight decay, operation for operation that of ``torch.optim.SGD``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class SGD:
    """``d = g + wd theta``; ``v <- momentum v + d`` from ``v = 0``; ``theta <- theta - rate v`` (``theta - rate d`` without momentum).

    No dampening and no Nesterov. As in PyTorch the velocity does not contain the rate, so a drop of the rate takes effect at once.

    Args:
        model: its trainable parameters are updated in place.
        momentum: 0 for none.
        weight_decay: wd, the gradient of ``wd/2 |theta|^2``.
        decayed: which parameters decay, from name and parameter; all by default.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        decayed: Callable[[str, nn.Parameter], bool] | None = None,
    ) -> None:
        named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        self.parameters = [parameter for _, parameter in named]
        self.momentum = momentum
        self.decay = [weight_decay if decayed is None or decayed(name, parameter) else 0.0 for name, parameter in named]
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
        """The velocities."""
        return {"velocity": self.velocity}

    @torch.no_grad()
    def restore(self, state: dict[str, list[Tensor]]) -> None:
        """Take up a `state`."""
        for velocity, saved in zip(self.velocity, state["velocity"], strict=True):
            velocity.copy_(saved)
