"""Collecting runs: what is stored is loaded, what is missing is computed once, and all of it becomes one tidy table."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from sgdscope import paths
from sgdscope.errors import InvalidInput, NotFound, SgdscopeError
from sgdscope.runs import store
from sgdscope.runs.configuration import canonical
from sgdscope.runs.files import Result
from sgdscope.runs.progress import bar
from sgdscope.runs.provenance import Provenance, describe, measured
from sgdscope.runs.run import Run, run_of
from sgdscope.runs.store import Stored


class MissingRun(SgdscopeError):
    """A run is not stored and must not be computed now."""


@dataclass
class Sources:
    """Where the runs behind a table came from; travels as ``table.attrs["sources"]``."""

    expected: int = 0
    missing: int = 0
    diverged: int = 0
    origins: Counter[str] = field(default_factory=Counter)  # computed, store, results, "results, older source"
    seconds: float = 0.0  # wall time that all of them took when they were computed
    commits: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()


collected: list[Sources] = []  # all that this process has collected, for the provenance card of a page


def may_compute() -> bool:
    """Whether missing runs are computed; ``SGDSCOPE_COMPUTE=never`` (a book at paper scale) only loads."""
    return os.environ.get("SGDSCOPE_COMPUTE", "missing") != "never"


def get(config: Any) -> Result:
    """The result of one run, from the store or computed and stored now.

    Raises:
        MissingRun: it is not stored and ``SGDSCOPE_COMPUTE=never``.
    """
    found = _fetch([config], show_progress=False)[0]
    if found is None:
        raise MissingRun(f"{run_of(config).name}({config}) is not stored, and SGDSCOPE_COMPUTE=never forbids to compute it.")
    return found.result


def collect(configs: Sequence[Any]) -> pd.DataFrame:
    """The tables of many runs as one tidy table: the configuration's fields, ``status``, then the run's own columns.

    Missing runs are computed (batched where the run allows it) and stored one by one, so that an interrupted call goes on where it
    stopped. With ``SGDSCOPE_COMPUTE=never`` they stay missing. ``table.attrs["sources"]`` counts what was expected, missing and
    diverged, and where the rest came from.

    Raises:
        InvalidInput: no configurations, or a result's column has the name of a configuration field.
    """
    configs = list(configs)
    if not configs:
        raise InvalidInput("collect needs at least one configuration, got none.")
    stored = _fetch(configs, show_progress=True)
    tables = []
    for config, found in zip(configs, stored, strict=True):
        if found is None:
            continue
        identity = {**{k: _cell(v) for k, v in canonical(config).items()}, "status": found.result.status}
        if clash := set(identity) & set(found.result.table.columns):
            raise InvalidInput(f"{run_of(config).name} returns columns {sorted(clash)}, which are fields of its configuration too.")
        rows = found.result.table
        tables.append(pd.concat([pd.DataFrame(identity, index=rows.index), rows], axis=1))
    columns = [*canonical(configs[0]), "status"]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    sources = _sources(configs, stored)
    collected.append(sources)
    table.attrs["sources"] = sources
    return table


def _sources(configs: list[Any], stored: list[Stored | None]) -> Sources:
    """Count where runs came from."""
    there = [found for found in stored if found is not None]
    return Sources(
        expected=len(configs),
        missing=len(configs) - len(there),
        diverged=sum(found.result.status == "diverged" for found in there),
        origins=Counter(found.origin for found in there),
        seconds=sum(found.provenance.seconds for found in there),
        commits=tuple(sorted({found.provenance.commit for found in there if found.provenance.commit})),
        devices=tuple(sorted({found.provenance.device for found in there})),
        functions=tuple(sorted({run_of(config).name for config in configs})),
    )


def _cell(value: Any) -> Any:
    """A canonical value as a table cell: lists become text, the rest stays."""
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _fetch(configs: list[Any], *, show_progress: bool) -> list[Stored | None]:
    """Stored results of all configurations, computing the missing ones where that is allowed."""
    found: dict[int, Stored | None] = {i: store.load(run_of(config), config) for i, config in enumerate(configs)}
    missing = [i for i, stored in found.items() if stored is None]
    if missing and may_compute():
        with bar(len(missing), run_of(configs[missing[0]]).name) if show_progress else ExitStack() as progress:
            for group in groups([configs[i] for i in missing]):
                indices = [missing[j] for j in group]
                for i, stored in zip(
                    indices, _compute([configs[i] for i in indices], lambda: show_progress and progress.update()), strict=True
                ):
                    found[i] = stored
    return [found[i] for i in range(len(configs))]


def groups(configs: Sequence[Any]) -> list[list[int]]:
    """Indices of configurations that are computed together: those of one shape where the run has a batched form, else one each."""
    by_shape: dict[tuple[str, str], list[int]] = {}
    for i, config in enumerate(configs):
        run = run_of(config)
        by_shape.setdefault((run.name, run.shape(config) if run.batch else str(i)), []).append(i)
    return list(by_shape.values())


def _compute(configs: list[Any], tick: Callable[[], Any]) -> list[Stored]:
    """Compute the runs of one group, each under its key's lock; those that another process computes are waited for."""
    run = run_of(configs[0])
    done: dict[str, Stored] = {}
    order = {run.key(config): config for config in configs}
    with ExitStack() as held:
        mine, locks = {}, {key: store.lock(key) for key in sorted(order)}
        for key, lock in locks.items():
            if _acquire(lock, held):
                if stored := store.load(run, order[key]):
                    done[key] = stored
                else:
                    mine[key] = order[key]
        for key, stored in _compute_locked(run, mine):
            done[key] = stored
            tick()
    for key in order.keys() - done.keys():  # another process held these: wait for it, then look, then compute if it failed
        with store.lock(key):
            stored = store.load(run, order[key])
            done[key] = stored if stored is not None else dict(_compute_locked(run, {key: order[key]}))[key]
        tick()
    return [done[run.key(config)] for config in configs]


def _acquire(lock: FileLock, held: ExitStack) -> bool:
    """Take a lock if it is free; it is released with ``held``."""
    try:
        held.enter_context(lock.acquire(timeout=0))
    except Timeout:
        return False
    return True


def _compute_locked(run: Run, configs: dict[str, Any]) -> Any:
    """Compute and store runs whose locks we hold; yields (key, stored) as they come."""
    if run.batch is None or len(configs) < 2:
        for key, config in configs.items():
            with measured() as use:
                result = run.function(config)
            yield key, _store(run, config, result, describe(use, fingerprint=run.fingerprint(), folder=_folder()))
        return
    results: Any = None
    share = 1
    for key, config in configs.items():
        with measured() as use:
            if results is None:
                made = run.batch(list(configs.values()))
                share = len(made) if isinstance(made, list) else 1  # a list was computed as a whole: its time is shared evenly
                results = iter(made)
                whole = use
            result = next(results)
        provenance = describe(whole if share > 1 else use, fingerprint=run.fingerprint(), folder=_folder(), batch=share)
        yield key, _store(run, config, result, provenance)


def _store(run: Run, config: Any, result: Result, provenance: Provenance) -> Stored:
    """Save a result and return it as it will be read back."""
    if not isinstance(result, Result):
        raise InvalidInput(f"{run.name} must return a Result, got {type(result).__name__}.")
    store.save(run, config, result, provenance)
    return Stored(result, provenance, "computed")


def _folder() -> Any:
    """The checkout, or the working directory outside one, for the commit."""
    try:
        return paths.repository()
    except NotFound:
        return paths.store()
