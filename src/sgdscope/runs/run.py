"""The ``@run`` decorator: makes a function of a frozen configuration known to the store."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from sgdscope.errors import InvalidInput
from sgdscope.runs import configuration, source
from sgdscope.runs.files import Result

PREFIX = "sgdscope.experiments."


@dataclass(frozen=True, eq=False)
class Run:
    """A run function: calling it computes, without the store; ``collect`` and ``get`` go through the store."""

    function: Callable[[Any], Result]
    name: str  # "break_even.model.simulate"
    version: int
    config_type: type
    batch: Callable[[Sequence[Any]], Iterable[Result]] | None
    together: tuple[str, ...]  # fields that may differ within one batch
    repeatable: bool  # whether the same source gives the same numbers

    def __call__(self, config: Any) -> Result:
        """Compute, without looking into the store or writing to it."""
        return self.function(config)

    def key(self, config: Any) -> str:
        """The configuration's key."""
        return configuration.key(self.name, self.version, config)

    def fingerprint(self) -> str:
        """Fingerprint of the source that this run depends on."""
        return source.fingerprint(self.function.__module__)

    def shape(self, config: Any) -> str:
        """Configurations of one shape go to the batched function together."""
        return repr({name: value for name, value in configuration.canonical(config).items() if name not in self.together})


_BY_CONFIG: dict[type, Run] = {}


def run(
    *,
    version: int,
    batch: Callable[[Sequence[Any]], Iterable[Result]] | None = None,
    together: tuple[str, ...] = ("seed",),
    repeatable: bool = True,
) -> Callable[[Callable[[Any], Result]], Run]:
    """Make ``f(config) -> Result`` a run: a pure function of a frozen configuration whose result the store finds again.

    Args:
        version: part of the key; raise it when a default of the configuration or the meaning of the result changes.
        batch: ``g(configs)`` that computes many configurations at once and gives one Result each, in their order, equal to the
            single ones to a tolerance that its docstring states. A generator's results are stored as they come.
        together: fields that may differ within one batch.
        repeatable: False for a run that measures time, whose numbers are others each time: rechecks pass over it.

    Raises:
        InvalidInput: the first parameter is not annotated with a frozen dataclass, or that class has a run already.
    """

    def register(function: Callable[[Any], Result]) -> Run:
        first = next(iter(inspect.signature(function).parameters), None)
        config_type = get_type_hints(function).get(first) if first else None
        if config_type is None:
            raise InvalidInput(f"{function.__qualname__}: annotate its first parameter with the configuration's frozen dataclass.")
        configuration.check_type(config_type)
        if unknown := set(together if batch else ()) - {field.name for field in fields(config_type)}:
            raise InvalidInput(f"{function.__qualname__}: together names {sorted(unknown)}, which {config_type.__name__} does not have.")
        known = _BY_CONFIG.get(config_type)
        name = f"{function.__module__.removeprefix(PREFIX)}.{function.__name__}"
        if known is not None and known.name != name:
            raise InvalidInput(f"{config_type.__name__} configures {known.name} already: give {name} a configuration of its own.")
        made = Run(function, name, version, config_type, batch, together, repeatable)
        _BY_CONFIG[config_type] = made
        return made

    return register


def run_of(config: Any) -> Run:
    """The run that a configuration belongs to.

    Raises:
        InvalidInput: no ``@run`` function takes this type.
    """
    try:
        return _BY_CONFIG[type(config)]
    except KeyError:
        raise InvalidInput(
            f"no @run function takes a {type(config).__name__}; known: {', '.join(sorted(k.__name__ for k in _BY_CONFIG)) or 'none'}."
        ) from None
