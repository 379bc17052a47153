"""One way to a network: `build(name, seed=...)`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from sgdscope.errors import InvalidInput, unknown_name, whole
from sgdscope.models.convolutional import lenet, mnist_cnn, simple_cnn
from sgdscope.models.dense import fcn, linear, mlp
from sgdscope.models.random_features import random_features
from sgdscope.models.resnet import resnet8, resnet18, resnet32

_GREY, _COLOUR = (1, 28, 28), (3, 32, 32)

_MODELS: dict[str, tuple[Callable[..., nn.Module], tuple[int, ...]]] = {  # name: constructor, shape of one input unless given
    "fcn": (fcn, _GREY),
    "lenet": (lenet, _GREY),
    "linear": (linear, _GREY),
    "mlp": (mlp, _GREY),
    "mnist_cnn": (mnist_cnn, _GREY),
    "random_features": (random_features, (100,)),
    "resnet18": (resnet18, _COLOUR),
    "resnet32": (resnet32, _COLOUR),
    "resnet8": (resnet8, _COLOUR),
    "simple_cnn": (simple_cnn, _COLOUR),
}


def names() -> tuple[str, ...]:
    """The names that `build` takes."""
    return tuple(_MODELS)


def build(
    name: str,
    *,
    seed: int,
    in_shape: tuple[int, ...] | None = None,
    num_classes: int = 10,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
    **options: object,
) -> nn.Module:
    """A freshly initialised network, in training mode.

    The weights are drawn in float32 on the CPU, by a state of PyTorch's generator that is put back afterwards, then converted and moved:
    the same name, options and seed give the same weights bit for bit on every device, and the caller's random numbers do not change.

    Args:
        name: one of `names()`; its function in `sgdscope.models` says what it is and which options it takes.
        seed: of the initial weights, a whole number from 0 to 2^63 - 1.
        in_shape: of one input without the examples' axis, for example (1, 28, 28); by default that of the paper's data
            ((1, 28, 28); (3, 32, 32) for simple_cnn and the residual networks; (100,) for random_features).
        num_classes: number of outputs.
        device: to move it to; the CPU by default.
        dtype: of the parameters.
        options: of the network, such as ``batch_norm=True`` or ``hidden=(300, 100)``.

    Raises:
        NotFound: an unknown name; the message lists the valid ones.
        InvalidInput: an unknown option or one of the wrong type, a shape the network cannot take, a seed or a number of classes out of range.

    >>> sum(parameter.numel() for parameter in build("lenet", seed=0).parameters())
    61706
    """
    if not isinstance(name, str) or name not in _MODELS:
        raise unknown_name("model", str(name), names())
    constructor, default_shape = _MODELS[name]
    valid = {
        key: value.default for key, value in inspect.signature(constructor).parameters.items() if key not in ("in_shape", "num_classes")
    }
    if unknown := [key for key in options if key not in valid]:
        raise InvalidInput(f"model {name!r} has no option {unknown[0]!r}. It takes {', '.join(valid) or 'none'}.")
    for key, value in options.items():
        if isinstance(valid[key], bool) and not isinstance(value, bool):
            raise InvalidInput(f"{key} must be True or False, got {value!r}.")
    seed, num_classes = whole("seed", seed, 0, 2**63 - 1), whole("num_classes", num_classes)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise InvalidInput(f"dtype must be a floating type such as torch.float32, got {dtype!r}.")
    shape = default_shape if in_shape is None else in_shape
    if not isinstance(shape, tuple | list) or not shape or not all(type(side) is int and side > 0 for side in shape):
        raise InvalidInput(f"in_shape must be a tuple of positive whole numbers such as (1, 28, 28), got {in_shape!r}.")
    with seeded_initialisation(seed):
        model = constructor(in_shape=tuple(shape), num_classes=num_classes, **options)
    return model.to(device=device, dtype=dtype)


@contextmanager
def seeded_initialisation(seed: int) -> Iterator[None]:
    """Inside, layers are created in float32 on the CPU with weights from ``seed``; afterwards the global generators are as before.

    For own networks that want the promise of `build`. Only the CPU's generator is set, so those of other devices need no care.
    """
    default = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.set_default_dtype(torch.float32)
        try:
            torch.default_generator.manual_seed(seed)  # under fork_rng; torch.manual_seed would seed every GPU too
            yield
        finally:
            torch.set_default_dtype(default)
