"""When to measure: schedules of steps, and the end of a run by what was measured. `train` takes the same schedules for ``full_loss``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import floor, log10
from numbers import Real

from sgdscope.errors import InvalidInput, whole
from sgdscope.probes.probe import set_whole
from sgdscope.training import When, due
from sgdscope.training.run import check_when


@dataclass(frozen=True)
class Every:
    """Every ``period`` steps: 0, period, 2 period, ... from step ``first`` on.

    >>> [step for step in range(10) if Every(4)(step)]
    [0, 4, 8]
    """

    period: int
    first: int = 0

    def __post_init__(self) -> None:
        set_whole(self, period=1, first=0)

    def __call__(self, step: int) -> bool:
        """Whether ``step`` is one of them."""
        return step >= self.first and (step - self.first) % self.period == 0


@dataclass(frozen=True)
class From:
    """Step ``first``, then every multiple of ``period`` after it: a first measurement once training has begun, the others at round steps.

    >>> [step for step in range(13) if From(1, 5)(step)]
    [1, 5, 10]
    """

    first: int
    period: int

    def __post_init__(self) -> None:
        set_whole(self, first=0, period=1)

    def __call__(self, step: int) -> bool:
        """Whether ``step`` is one of them."""
        return step == self.first or (step > self.first and step % self.period == 0)


@dataclass(frozen=True)
class Pairs:
    """Every ``period`` steps and the step after each: what one step does is the difference of the two.

    >>> [step for step in range(10) if Pairs(4)(step)]
    [0, 1, 4, 5, 8, 9]
    """

    period: int

    def __post_init__(self) -> None:
        set_whole(self, period=2)

    def __call__(self, step: int) -> bool:
        """Whether ``step`` is one of them."""
        return step >= 0 and step % self.period < 2


@dataclass(frozen=True)
class LogSpaced:
    """Step 0, and the steps ``round(10^(i / per_decade))``, i = 0, 1, ...: evenly spaced on a logarithmic axis.

    >>> [step for step in range(101) if LogSpaced(3)(step)]
    [0, 1, 2, 5, 10, 22, 46, 100]
    """

    per_decade: int

    def __post_init__(self) -> None:
        set_whole(self, per_decade=1)

    def __call__(self, step: int) -> bool:
        """Whether ``step`` is one of them."""
        if step <= 1:
            return step >= 0
        near = floor(log10(step) * self.per_decade)
        return any(round(10 ** (i / self.per_decade)) == step for i in (near, near + 1))


@dataclass(frozen=True)
class At:
    """The steps listed; one step may come as it is."""

    steps: tuple[int, ...]

    def __post_init__(self) -> None:
        steps = self.steps if isinstance(self.steps, Iterable) else (self.steps,)
        object.__setattr__(self, "steps", tuple(whole("steps", step, 0) for step in steps))

    def __call__(self, step: int) -> bool:
        """Whether ``step`` is one of them."""
        return step in self.steps


@dataclass(frozen=True)
class Either:
    """The steps of one schedule and those of another.

    >>> [step for step in range(10) if Either(Every(4), At((5,)))(step)]
    [0, 4, 5, 8]
    """

    one: When
    other: When

    def __post_init__(self) -> None:
        check_when("one", self.one)
        check_when("other", self.other)

    def __call__(self, step: int) -> bool:
        """Whether ``step`` is one of them."""
        return due(self.one, step) or due(self.other, step)


@dataclass(frozen=True)
class Reaches:
    """The end of a run: the first measured row whose ``column`` is at least ``value``, such as a training accuracy of 0.65.

    The recorder refuses a column that is not there once each probe has measured something. For one that comes later, give a function of the row.

    Raises:
        InvalidInput: a column that is no text, a value that is no number.
    """

    column: str
    value: float

    def __post_init__(self) -> None:
        if not isinstance(self.column, str):
            raise InvalidInput(f"column must be the name of a column, such as 'train_accuracy'; {self.column!r} came.")
        if isinstance(self.value, bool) or not isinstance(self.value, Real):
            raise InvalidInput(f"value must be a number; {self.value!r} came.")

    def __call__(self, row: Mapping[str, object]) -> bool:
        """Whether the row is there. A row in which the column was not measured is not.

        Raises:
            InvalidInput: the value measured is no number.
        """
        found = row.get(self.column)
        if found is None:
            return False
        if not isinstance(found, int | float):
            raise InvalidInput(f"until needs a column of numbers; {self.column!r} holds {found!r}.")
        return found >= self.value


Until = Callable[[Mapping[str, object]], bool]
"""``until(row)``: whether a row of measurements ends the run."""
