"""Where the examples are in the inputs and outputs of a layer: along the axis that doubles when two examples come instead of one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sgdscope.gradients.capture import Use
from sgdscope.models.refusals import NoPerExampleGradients


@dataclass(frozen=True)
class Axis:
    """Axis of the examples, and how many entries of it belong to each: more than one after ``x.flatten(0, 1)`` of sequences."""

    axis: int
    each: int


@dataclass(frozen=True)
class UseAxes:
    """Axes of the leaves of one use of one layer, None where a leaf is no tensor or the same for all examples."""

    layer: str
    inputs: tuple[Axis | None, ...]
    outputs: tuple[Axis | None, ...]


def axis_of(layer: str, one: torch.Size | None, two: torch.Size | None) -> Axis | None:
    """The axis along which shape ``two``, of two examples, is twice shape ``one``.

    Raises:
        NoPerExampleGradients: shapes that differ in another way.
    """
    if one is None or one == two:
        return None
    if two is not None and len(one) == len(two):
        differ = [i for i, (a, b) in enumerate(zip(one, two, strict=True)) if a != b]
        if len(differ) == 1 and two[differ[0]] == 2 * one[differ[0]]:
            return Axis(differ[0], one[differ[0]])
    raise NoPerExampleGradients(
        f"tensors of layer {layer!r} must have one axis that grows with the number of examples; {tuple(one)} came for one example and "
        f"{tuple(two or ())} for two. Keep the examples along one axis."
    )


def axes_of(one: list[Use], two: list[Use]) -> list[UseAxes]:
    """Axes of all uses, from the same forward pass with one and with two examples.

    Raises:
        NoPerExampleGradients: the layers called, or their arguments, depend on the number of examples.
    """
    same = [use.layer for use in one] == [use.layer for use in two]
    if not same or any(len(a.inputs) != len(b.inputs) or len(a.shapes) != len(b.shapes) for a, b in zip(one, two, strict=True)):
        raise NoPerExampleGradients(
            "the model must call the same layers for any number of examples; it calls "
            f"{[use.layer for use in one]} for one and {[use.layer for use in two]} for two. Take the loop over examples out of it."
        )
    found = []
    for a, b in zip(one, two, strict=True):
        inputs = [
            axis_of(a.layer, *(leaf.shape if isinstance(leaf, Tensor) else None for leaf in pair))
            for pair in zip(a.inputs, b.inputs, strict=True)
        ]
        outputs = [axis_of(a.layer, *pair) for pair in zip(a.shapes, b.shapes, strict=True)]
        found.append(UseAxes(a.layer, tuple(inputs), tuple(outputs)))
    return found


def split(tensor: Tensor, axis: Axis, num_examples: int, layer: str) -> Tensor:
    """A view (N, ...) whose entries are what the layer would see of each example alone.

    Raises:
        NoPerExampleGradients: the axis does not hold N times what one example has.
    """
    if tensor.dim() <= axis.axis or tensor.shape[axis.axis] != num_examples * axis.each:
        raise NoPerExampleGradients(
            f"axis {axis.axis} of a tensor of layer {layer!r} must hold {axis.each} for each of {num_examples} examples; shape {tuple(tensor.shape)} "
            "came. The model's shapes must not depend on the values."
        )
    return tensor.unflatten(axis.axis, (num_examples, axis.each)).movedim(axis.axis, 0)
