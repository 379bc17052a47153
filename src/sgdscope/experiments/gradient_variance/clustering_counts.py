"""Multiplications of the steps of gradient clustering, layer by layer: Table 1 of Faghri et al. (2020), and what follows from it.

A layer takes I inputs and gives O outputs at each of T positions (1 for a linear layer, pixels for a convolution, whose I is that of a patch);
B examples, K clusters, centres of rank 1. The table counts back-prop as one matrix product, B T I O; a forward and backward pass has three.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from sgdscope.errors import InvalidInput
from sgdscope.models import build

PRODUCTS = 3
"""Matrix products of B T I O in a forward and backward pass: outputs, gradients of the inputs, gradients of the weights."""


@dataclass(frozen=True)
class Layer:
    """Sizes of one layer: ``fan_in`` I, ``fan_out`` O, ``positions`` T."""

    name: str
    fan_in: int
    fan_out: int
    positions: int = 1

    @property
    def linear(self) -> bool:
        """Whether it has one position."""
        return self.positions == 1

    @property
    def threshold(self) -> float:
        """``I O / (I + O)``, below both and at least half of the smaller."""
        return self.fan_in * self.fan_out / (self.fan_in + self.fan_out)


def back_prop(layer: Layer, examples: int = 1) -> int:
    """``B T I O``, as the table counts."""
    return examples * layer.positions * layer.fan_in * layer.fan_out


def centre_gradient(layer: Layer, clusters: int, examples: int = 1, *, equation: int = 9) -> int:
    """Inner products of K centres with B gradients: Eq. 5 for linear layers, ``B (T + K) I O`` by Eq. 8, ``B T K (I + O)`` by Eq. 9."""
    fan_in, fan_out, positions = layer.fan_in, layer.fan_out, layer.positions
    if layer.linear or equation == 9:
        return examples * positions * clusters * (fan_in + fan_out)
    return examples * (positions + clusters) * fan_in * fan_out


def gradient_norms(layer: Layer, examples: int = 1, *, equation: int = 9) -> int:
    """Inner products of B gradients with themselves: ``B (I + O)`` for linear layers, ``B T I O`` by Eq. 8, ``B T^2 (I + O)`` by Eq. 9."""
    fan_in, fan_out, positions = layer.fan_in, layer.fan_out, layer.positions
    if layer.linear or equation == 9:
        return examples * positions**2 * (fan_in + fan_out)
    return examples * positions * fan_in * fan_out


def assignment(layer: Layer, clusters: int, examples: int = 1, *, equation: int | None = None) -> int:
    """A step: both of the above, each by ``equation``, or by the cheaper one if it is None.

    The norms of linear layers are left out, as in the table's last lines (``K B (I + O)``), and so are those of the centres, which do not grow
    with B.
    """
    equations = (8, 9) if equation is None else (equation,)
    products = min(centre_gradient(layer, clusters, examples, equation=e) for e in equations)
    return products + (0 if layer.linear else min(gradient_norms(layer, examples, equation=e) for e in equations))


def update(layer: Layer, examples: int = 1) -> int:
    """U step: ``B (I + O)``. The sums over positions, ``B T (I + O)`` additions for a convolution, are not in the table."""
    return examples * (layer.fan_in + layer.fan_out)


def layers_of(model: nn.Module, in_shape: tuple[int, ...]) -> list[Layer]:
    """Sizes of all linear layers and convolutions of a model, from one forward pass.

    Raises:
        InvalidInput: there are none.
    """
    import torch

    found: list[Layer] = []

    def note(name: str):
        def hook(module: nn.Module, args: tuple, output: torch.Tensor) -> None:
            weight = module.weight.flatten(1)
            positions = output[0, 0].numel() if isinstance(module, nn.Conv2d) else 1
            found.append(Layer(name, weight.shape[1], weight.shape[0], positions))

        return hook

    handles = [m.register_forward_hook(note(name)) for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    with torch.no_grad():
        model(torch.zeros(1, *in_shape))
    for handle in handles:
        handle.remove()
    if not found:
        raise InvalidInput(f"the model must have linear layers or convolutions; {type(model).__name__} has none.")
    return found


def network(name: str, seed: int = 0) -> tuple[nn.Module, tuple[int, ...]]:
    """One of the table's three networks (``mlp``, ``resnet8``, ``resnet18``, without batch normalisation) and the shape of its inputs."""
    shape = (1, 28, 28) if name == "mlp" else (3, 32, 32)
    return build(name, seed=seed, in_shape=shape, **({} if name == "mlp" else {"batch_norm": False})), shape
