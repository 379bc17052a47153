"""Learning rates along training: functions of (step, epoch), both counted from 0 before the step that uses the rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, inf, isfinite, pi
from typing import TypeAlias

from sgdscope.errors import InvalidInput

Schedule: TypeAlias = Callable[[int, float], float]
"""``schedule(step, epoch)``: the rate of the step that follows ``step`` steps, ``epoch`` passes through the data (a fraction).

The last snapshot has a learning rate too, so that it is asked for ``step = 0, 1, ..., num_steps``.
"""


@dataclass(frozen=True)
class Constant:
    """One rate throughout."""

    rate: float

    def __post_init__(self) -> None:
        _positive("rate", self.rate)

    def __call__(self, step: int, epoch: float) -> float:
        """The rate."""
        return self.rate


@dataclass(frozen=True)
class Drops:
    """``rate * factor^k``, k the number of drops so far: a drop at step s holds from the (s + 1)th step on, one at epoch e after e epochs.

    The gradient-variance paper drops by 0.1 at steps 40,000 and 60,000; the break-even paper by 10 after epoch 100.

    >>> [Drops(1.0, steps=(2, 3), factor=0.5)(step, 0.0) for step in range(5)]
    [1.0, 1.0, 0.5, 0.25, 0.25]
    """

    rate: float
    steps: tuple[int, ...] = ()
    epochs: tuple[float, ...] = ()
    factor: float = 0.1

    def __post_init__(self) -> None:
        _positive("rate", self.rate)
        _positive("factor", self.factor)
        object.__setattr__(self, "steps", _points("steps", self.steps))
        object.__setattr__(self, "epochs", _points("epochs", self.epochs))
        if bool(self.steps) == bool(self.epochs):
            raise InvalidInput(f"give the drops as steps or as epochs, one of them; got steps {self.steps} and epochs {self.epochs}.")

    def __call__(self, step: int, epoch: float) -> float:
        """The rate after the drops so far."""
        drops = sum(step >= point for point in self.steps) + sum(epoch >= point for point in self.epochs)
        return self.rate * self.factor**drops


@dataclass(frozen=True)
class Cosine:
    """``final + (rate - final) (1 + cos(pi t / T)) / 2`` at step t up to ``num_steps`` = T, then ``final``."""

    rate: float
    num_steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        _positive("rate", self.rate)
        _positive("num_steps", self.num_steps)
        if isinstance(self.final, bool) or not isinstance(self.final, int | float) or not 0 <= self.final < inf:
            raise InvalidInput(f"final must be finite and not negative, got {self.final!r}.")

    def __call__(self, step: int, epoch: float) -> float:
        """The rate on the way down."""
        return self.final + (self.rate - self.final) * (1 + cos(pi * min(step / self.num_steps, 1.0))) / 2


@dataclass(frozen=True)
class Warmup:
    """``(t + 1) / num_steps`` of what ``then`` gives, for the first ``num_steps`` steps t = 0, 1, ...; then all of it.

    >>> [Warmup(4, 1.0)(step, 0.0) for step in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """

    num_steps: int
    then: Schedule

    def __post_init__(self) -> None:
        _positive("num_steps", self.num_steps)
        object.__setattr__(self, "then", as_schedule(self.then))

    def __call__(self, step: int, epoch: float) -> float:
        """The rate on the way up."""
        return self.then(step, epoch) * min((step + 1) / self.num_steps, 1.0)


def as_schedule(rate: float | Schedule) -> Schedule:
    """A number as a constant schedule; a function as it is.

    Raises:
        InvalidInput: neither, or a rate that is not positive and finite.
    """
    return rate if callable(rate) else Constant(rate)


def _positive(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (isfinite(value) and value > 0):
        raise InvalidInput(f"{name} must be a positive finite number, got {value!r}.")


def _points(name: str, values: Sequence[float]) -> tuple[float, ...]:
    points = (values,) if isinstance(values, int | float) else tuple(values)
    if not all(0 <= value < inf for value in points) or list(points) != sorted(set(points)):
        raise InvalidInput(f"{name} must be increasing, finite and not negative, got {points}.")
    return points
