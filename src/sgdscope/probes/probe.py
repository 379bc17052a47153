"""What a probe is: a measurement of a snapshot that returns named numbers and tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TypeAlias

import torch
from torch import Tensor

from sgdscope.data.synthetic import stream_generator
from sgdscope.errors import InvalidInput, whole
from sgdscope.models.examples import Examples, take
from sgdscope.training import Snapshot

Measured: TypeAlias = dict[str, float | Tensor]
"""Column to number, or array to tensor (of one shape at every snapshot)."""


class Probe:
    """Base of all probes: a subclass gives `measure`, and `state` with `restore` where one measurement helps the next.

    Probes leave the model as it was: parameters, buffers, modes, ``.grad``. Their random numbers depend on their seed and the step alone,
    so that neither other probes nor an interruption change what they measure. Public attributes are settings: a state is taken up only by a
    probe that began with the same ones. What changes goes into attributes that begin with ``_``.

    Attributes:
        parts: other probes that this one asks; the recorder saves their state along.
    """

    parts: tuple[Probe, ...] = ()

    def measure(self, snapshot: Snapshot) -> Measured:
        """The numbers and tensors of one snapshot."""
        raise NotImplementedError

    def pass_over(self, snapshot: Snapshot) -> None:
        """What has to happen at a snapshot that is not measured: nothing, unless a subclass says so."""

    def state(self) -> dict[str, object]:
        """What the next measurement starts from, for a checkpoint: tensors, numbers and texts."""
        return {}

    def restore(self, state: Mapping[str, object]) -> None:
        """Take up a `state`."""


def examples(snapshot: Snapshot, number: int | None, seed: int) -> tuple[Examples, Examples]:
    """A random subset of the training examples, the same at every step of a run with this seed; all of them for None, without a copy.

    Raises:
        InvalidInput: more than there are.
    """
    if number is None:
        return snapshot.x, snapshot.y
    if number > snapshot.num_examples:
        raise InvalidInput(f"num_examples must be at most the {snapshot.num_examples} training examples; {number} came.")
    device = next(snapshot.model.parameters()).device
    index = torch.randperm(snapshot.num_examples, generator=stream_generator(seed, "examples"))[:number].to(device)
    return take(snapshot.x, index), take(snapshot.y, index)


def optional(name: str, value: object, least: int) -> int | None:
    """``value`` as a whole number of at least ``least``, or None.

    Raises:
        InvalidInput: it is neither; says which.
    """
    return None if value is None else whole(name, value, least)


def set_whole(of: object, **least: int) -> None:
    """Makes fields of a frozen dataclass whole numbers of at least so much, or None where that is the default.

    Raises:
        InvalidInput: one is none; says which.
    """
    for field in (field for field in fields(of) if field.name in least):
        check = optional if field.default is None else whole
        object.__setattr__(of, field.name, check(field.name, getattr(of, field.name), least[field.name]))
