"""What pages refuse before any of their runs starts: lists, data sets and networks that a run would refuse only when its turn comes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from torch import nn

from sgdscope.data.registry import SPECS
from sgdscope.data.subset import check_count
from sgdscope.errors import InvalidInput, unknown_name
from sgdscope.models.build import build

IMAGES = tuple(name for name, spec in SPECS.items() if spec.num_classes and len(spec.shape) == 3)
"""Data sets of labelled images."""


def check_distinct(name: str, values: Sequence[float], *, positive: bool = False, least: int = 1) -> None:
    """Refuses a list of numbers with one that comes twice or is out of range, or with fewer than ``least``.

    Raises:
        InvalidInput: such a list.
    """
    low = min(values, default=0)
    if len(values) < least or len(set(values)) < len(values) or low < 0 or (positive and low == 0):
        many = "at least two distinct" if least == 2 else "distinct"
        raise InvalidInput(f"{name} must be {many} {'positive numbers' if positive else 'and not negative'}, got {list(values)}.")


def check_images(dataset: str, num_examples: int | None = None) -> int:
    """How many labelled training images a run gets; reads no data.

    Raises:
        NotFound: no labelled images.
        InvalidInput: more than the data set has, or all of one that does not fit in memory.
    """
    if dataset not in IMAGES:
        raise unknown_name("data set of labelled images", dataset, IMAGES)
    spec = SPECS[dataset]
    if num_examples is None:
        if spec.kind == "resized image":
            raise InvalidInput(f"{dataset} needs num_examples, how many to hold in memory; this page would take all.")
        return spec.splits["train"].examples
    check_count(num_examples, spec.splits["train"].examples, f"{dataset}, train")
    return num_examples


def check_network(model: str, dataset: str, hidden: tuple[int, ...] | None = None, *, single: bool = False) -> None:
    """Refuses a network that cannot be built for these images; ``hidden`` widths for a perceptron. ``single``: and one that normalises batches.

    Raises:
        NotFound: an unknown model.
        InvalidInput: images that it does not take, widths below 1; batch norm, where single examples must have gradients.
    """
    normalises = build_once(model, SPECS[dataset].shape, SPECS[dataset].num_classes, hidden if model == "mlp" else None)
    if single and normalises:
        raise InvalidInput(f"{model} has batch norm, so that single examples have no gradient; take a model without.")


@lru_cache(maxsize=64)
def build_once(model: str, in_shape: tuple[int, ...], num_classes: int, hidden: tuple[int, ...] | None) -> bool:
    """Build a network, which refuses what cannot be built, and forget it: whether it has batch norm."""
    model = build(model, seed=0, in_shape=in_shape, num_classes=num_classes, **({"hidden": hidden} if hidden is not None else {}))
    return any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
