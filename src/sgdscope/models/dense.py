"""Networks of linear layers: softmax regression, deep linear networks, perceptrons."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from torch import nn

from sgdscope.errors import InvalidInput, unknown_name

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


def activation_named(name: str) -> nn.Module:
    """The layer of an activation's name.

    Raises:
        NotFound: an unknown name.
    """
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise unknown_name("activation", str(name), ACTIVATIONS)
    return ACTIVATIONS[name]()


def _widths(hidden: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(hidden, tuple | list) or not all(type(width) is int and width > 0 for width in hidden):
        raise InvalidInput(f"hidden must be a tuple of positive widths such as (300, 100), got {hidden!r}.")
    return tuple(hidden)


def linear(*, in_shape: tuple[int, ...], num_classes: int, hidden: Sequence[int] = (), bias: bool = True) -> nn.Sequential:
    """Softmax regression, or with ``hidden`` widths a deep linear network: linear layers with nothing in between.

    PyTorch's default initialisation: uniform on +- 1/sqrt(inputs), weights and biases. 7,850 parameters on 28 x 28 x 1.
    """
    sizes = (prod(in_shape), *_widths(hidden), num_classes)
    return nn.Sequential(nn.Flatten(), *(nn.Linear(*pair, bias=bias) for pair in zip(sizes[:-1], sizes[1:], strict=True)))


def mlp(
    *,
    in_shape: tuple[int, ...],
    num_classes: int,
    hidden: Sequence[int] = (1024, 1024),
    activation: str = "relu",
    batch_norm: bool = False,
) -> nn.Sequential:
    """Perceptron, 784-1024-1024-10 by default: the MNIST network of the gradient-variance paper (its code), without its dropout.

    PyTorch's default initialisation. 1,863,690 parameters on 28 x 28 x 1; 266,610 with ``hidden=(300, 100)``.

    Args:
        in_shape: of one input; it is flattened.
        num_classes: outputs.
        hidden: widths of the hidden layers.
        activation: relu or tanh.
        batch_norm: batch normalisation before each activation.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    width = prod(in_shape)
    for following in _widths(hidden):
        layers.append(nn.Linear(width, following))
        if batch_norm:
            layers.append(nn.BatchNorm1d(following))
        layers.append(activation_named(activation))
        width = following
    return nn.Sequential(*layers, nn.Linear(width, num_classes))


def fcn(
    *, in_shape: tuple[int, ...], num_classes: int, hidden: Sequence[int] = (70, 70), activation: str = "relu", batch_norm: bool = False
) -> nn.Sequential:
    """The fully connected network of the gradient-structure paper: two hidden layers of 70, ReLU; 60,630 parameters on 28 x 28 x 1.

    The paper names batch normalisation too (``batch_norm=True``: 60,910 parameters). It is off here, because the gradient of one example
    is not defined while a batch is normalised together; in eval mode it is.
    """
    return mlp(in_shape=in_shape, num_classes=num_classes, hidden=hidden, activation=activation, batch_norm=batch_norm)
