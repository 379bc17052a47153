"""Collecting runs: what is stored is loaded, what is missing is computed once, and all of it becomes one tidy table."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from sgdscope.errors import InvalidInput, SgdscopeError
from sgdscope.runs import store
from sgdscope.runs.compute import compute, groups
from sgdscope.runs.configuration import canonical
from sgdscope.runs.files import Result
from sgdscope.runs.progress import bar
from sgdscope.runs.run import run_of
from sgdscope.runs.store import Stored


class MissingRun(SgdscopeError):
    """A run is not stored and must not be computed now."""


@dataclass
class Sources:
    """Where the runs behind a table came from; travels as ``table.attrs["sources"]``."""

    expected: int = 0
    missing: int = 0
    diverged: int = 0
    origins: Counter[str] = field(default_factory=Counter)  # computed, store, results, "results, of an older source (...)"
    seconds: float = 0.0  # wall time that all of them took when they were computed
    resumed: int = 0  # of them, those interrupted meanwhile: seconds has only what they took afterwards
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
    table.attrs["sources"] = collected[-1]
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
        resumed=sum(found.provenance.resumed for found in there),
        commits=tuple(sorted({found.provenance.commit for found in there if found.provenance.commit})),
        devices=tuple(sorted({found.provenance.device for found in there})),
        functions=tuple(sorted({run_of(config).name for config in configs})),
    )


def _cell(value: Any) -> Any:
    """A canonical value as a table cell: lists become text, the rest stays."""
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _fetch(configs: list[Any], *, show_progress: bool) -> list[Stored | None]:
    """Stored results of all configurations, computing the missing ones where that is allowed; notes where they came from."""
    before = len(collected)
    found: list[Stored | None] = [store.load(run_of(config), config) for config in configs]
    missing = [i for i, stored in enumerate(found) if stored is None]
    if missing and may_compute():
        with bar(len(missing), run_of(configs[missing[0]]).name) if show_progress else nullcontext() as progress:
            tick = progress.update if progress is not None else lambda: None
            for group in groups([configs[i] for i in missing]):
                indices = [missing[j] for j in group]
                for i, stored in zip(indices, compute([configs[i] for i in indices], tick), strict=True):
                    found[i] = stored
    collected[before:] = [_sources(configs, found)]  # and not what these runs asked for themselves
    return found
