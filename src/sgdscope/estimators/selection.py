"""Which parameters count for the distances of gradient clustering: chosen by layer, with or without biases."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

from torch import nn

from sgdscope.errors import InvalidInput
from sgdscope.models.parameters import trainable


def check_layers(layers: object) -> list[str] | None:
    """``layers`` as a list of names, or None for all.

    Raises:
        InvalidInput: something else, or no name at all.
    """
    if layers is None:
        return None
    listed = isinstance(layers, Collection) and not isinstance(layers, str) and len(layers) > 0
    if not listed or not all(isinstance(layer, str) for layer in layers):
        hint = f" Pass [{layers!r}]." if isinstance(layers, str) else ""
        raise InvalidInput(f"layers must be a list of names; {layers!r} came.{hint}")
    return list(layers)


def chosen(model: nn.Module, layers: Sequence[str] | None, biases: bool) -> list[str]:
    """Names of the trained parameters of these layers, without those of fewer than two dimensions unless ``biases``.

    Raises:
        InvalidInput: a layer that matches none, or nothing left.
    """
    shapes = {name: parameter.dim() for name, parameter in trainable(model).items()}
    for layer in layers or ():
        if not any(_matches(name, layer) for name in shapes):
            raise InvalidInput(f"layers must name modules or parameters that are trained; {layer!r} matches none of {', '.join(shapes)}.")
    found = [name for name in shapes if layers is None or any(_matches(name, layer) for layer in layers)]
    found = [name for name in found if biases or shapes[name] > 1]
    if not found:
        raise InvalidInput(f"some parameters must count for the distances; layers {layers} without biases leave none.")
    return found


def check_used(names: Collection[str], used: Collection[str]) -> None:
    """Refuses parameters that the loss does not depend on: their gradients, all zero, cluster nothing.

    Raises:
        InvalidInput: none of ``names`` is ``used``.
    """
    if not set(names) & set(used):
        raise InvalidInput(f"the loss must depend on some of the parameters chosen; it uses none of {', '.join(sorted(names))}.")


def _matches(name: str, layer: str) -> bool:
    return name == layer or name.startswith(layer + ".") or fnmatchcase(name, layer)
