"""What has to be found out about a model only once: it is kept as long as the model lives, and the state that it was found in."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from sgdscope.gradients.checks import CHECKED
from sgdscope.models.examples import Examples, leaves

Found = TypeVar("Found")
LossFunction = Callable[[object, object], Tensor]

MOST = 64
"""Findings that are kept of one model: one that counts its calls in an attribute would collect them without end."""

_known: weakref.WeakKeyDictionary[nn.Module, dict[object, object]] = weakref.WeakKeyDictionary()


def once(
    find: Callable[[nn.Module, LossFunction, Examples, Examples, int], Found],
    model: nn.Module,
    loss: LossFunction,
    x: Examples,
    y: Examples,
    num_examples: int,
) -> Found:
    """``find(model, loss, x, y, num_examples)``, or what it returned for this model in this state, this loss and these shapes.

    The state are the modules with their modes and those of their attributes that are plain numbers, texts or truth values, and the parameters.
    What decides the forward pass from elsewhere (a list, a configuration object, a hook) is not seen. The global generators stay as they are.
    """
    cuda = list({parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"})
    try:
        which, known = weakref.ref(loss), _known.setdefault(model, {})
        hash(which)
    except TypeError:  # a loss that cannot be referred to weakly, or has no hash
        with torch.random.fork_rng(devices=cuda):
            return find(model, loss, x, y, num_examples)
    key = (find, which, min(num_examples, CHECKED), *_state(model, x, y))
    if key not in known:
        for old in [old for old in known if old[1]() is None]:  # losses that are gone
            del known[old]
        with torch.random.fork_rng(devices=cuda):  # a model that draws is refused, and leaves the global generator as it was
            found = find(model, loss, x, y, num_examples)
        while len(known) >= MOST:
            del known[next(iter(known))]
        known[key] = found
    return known[key]


def _state(model: nn.Module, x: Examples, y: Examples) -> tuple[tuple, ...]:
    shapes = tuple((name, tensor.shape[1:], tensor.dtype) for name, tensor in [*leaves(x, "x"), *leaves(y, "y")])
    modules = tuple(
        (name, type(module), tuple((key, value) for key, value in vars(module).items() if type(value) in (bool, int, float, str)))
        for name, module in model.named_modules()
    )
    parameters = tuple(
        (name, id(p), p.shape, p.dtype, p.device, p.requires_grad) for name, p in model.named_parameters(remove_duplicate=False)
    )
    return shapes, modules, parameters
