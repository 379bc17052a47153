"""Does edited source still give the numbers that are committed? A sample of runs is computed again and compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from sgdscope.errors import InvalidInput
from sgdscope.runs import store
from sgdscope.runs.compute import compute_again, groups
from sgdscope.runs.files import Result
from sgdscope.runs.progress import bar
from sgdscope.runs.provenance import present_commit
from sgdscope.runs.rechecked import Recheck
from sgdscope.runs.run import run_of

TOLERANCE = 1e-6  # relative: other libraries and machines round in other ways


def recheck(configs: Sequence[Any], *, seconds: float = 60.0) -> Iterator[Recheck]:
    """Compute a sample of committed runs of older source again, and compare tables and arrays number by number.

    The sample holds the cheapest runs of each function and old source: as many as took ``seconds`` of CPU time together when they were
    committed, and at least one. Runs that are computed together are taken together. Nothing is stored; runs that these ask for come from the
    store or ``results/`` as ever. Two runs agree if status, columns and texts are the same and no number differs by more than 1e-6 of the
    largest one of its column or array.

    Yields one `Recheck` for each function and old source, as it is done.

    Args:
        configs: configurations of any functions. Passed over: those without a committed run of older source; runs that measure time; runs of a
            GPU, which adds in another order each time, so that long training ends elsewhere.
        seconds: CPU time a function.

    Raises:
        InvalidInput: the checkout has uncommitted changes, or ``seconds`` is not positive.
    """
    if not seconds > 0:
        raise InvalidInput(f"seconds must be positive, got {seconds!r}.")
    commit = present_commit()
    if not commit or commit.endswith("+"):
        raise InvalidInput(
            f"the checkout is at {commit or 'no commit'}, with uncommitted changes: commit them, so that the recheck names a commit."
        )
    older: dict[tuple[str, str], list[tuple[Any, store.Stored]]] = {}
    for config in configs:
        found = store.load(run_of(config), config) if run_of(config).repeatable else None
        if found is not None and found.of_older_source and found.provenance.device == "cpu":
            older.setdefault((run_of(config).name, found.provenance.fingerprint), []).append((config, found))
    samples = {key: _cheapest(found, seconds) for key, found in older.items()}
    with bar(sum(len(group) for sample in samples.values() for group in sample), "recheck") as progress:
        for (function, old), sample in samples.items():
            differences = []
            for group in sample:
                again = compute_again([config for config, _ in group])
                differences += [difference(committed.result, result) for (_, committed), result in zip(group, again, strict=True)]
                progress.update(len(group))
            yield Recheck(
                function,
                old,
                run_of(sample[0][0][0]).fingerprint(),
                runs=len(older[function, old]),
                sample=len(differences),
                agree=sum(value <= TOLERANCE for value in differences),
                difference=max(differences),
                commit=commit,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
            )


def _cheapest(older: list[tuple[Any, store.Stored]], seconds: float) -> list[list[tuple[Any, store.Stored]]]:
    """The cheapest groups of runs within a budget of CPU time, at least one."""
    together = [[older[i] for i in group] for group in groups([config for config, _ in older])]
    costs = np.array([sum(found.provenance.cpu_seconds for _, found in group) for group in together])
    order = np.argsort(costs, kind="stable")
    count = max(1, int(np.searchsorted(np.cumsum(costs[order]), seconds, side="right")))
    return [together[i] for i in order[:count]]


def difference(one: Result, other: Result) -> float:
    """Largest difference of two results' numbers relative to the largest of their column or array; infinite where anything else differs.

    NaN equals NaN and an infinity the same one. Results that differ in status, columns, shapes, texts or truth values differ infinitely.
    """
    same = (one.status, one.diverged_at, list(one.table.columns), len(one.table), sorted(one.arrays)) == (
        other.status,
        other.diverged_at,
        list(other.table.columns),
        len(other.table),
        sorted(other.arrays),
    )
    if not same:
        return np.inf
    pairs = [(one.table[name], other.table[name]) for name in one.table.columns]
    pairs += [(one.arrays[name], other.arrays[name]) for name in one.arrays]
    return max((_apart(np.asarray(first), np.asarray(second)) for first, second in pairs), default=0.0)


def _apart(first: np.ndarray, second: np.ndarray) -> float:
    """Largest relative difference of two arrays."""
    if first.shape != second.shape:
        return np.inf
    if not (np.issubdtype(first.dtype, np.number) and np.issubdtype(second.dtype, np.number)):
        equal = (first == second) | (pd.isna(first) & pd.isna(second))
        return 0.0 if np.all(equal) else np.inf
    first, second = first.astype(float), second.astype(float)
    with np.errstate(invalid="ignore"):
        equal = (first == second) | (np.isnan(first) & np.isnan(second))
        gaps = np.where(equal, 0.0, np.abs(first - second))
    if not np.all(np.isfinite(gaps)):
        return np.inf
    gap, largest = np.max(gaps, initial=0.0), np.max(np.abs(first), where=np.isfinite(first), initial=0.0)
    if gap == 0:
        return 0.0
    return float(gap / largest) if largest > 0 else np.inf
