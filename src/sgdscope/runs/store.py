"""Where stored runs lie, and whether they can be used: the local store first, then the committed ``results/``."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from sgdscope import paths
from sgdscope.errors import NotFound
from sgdscope.runs import files
from sgdscope.runs.configuration import canonical
from sgdscope.runs.files import Damaged, Result
from sgdscope.runs.progress import say
from sgdscope.runs.provenance import Provenance
from sgdscope.runs.run import Run


@dataclass(frozen=True)
class Stored:
    """A run found on disk."""

    result: Result
    provenance: Provenance
    origin: str  # "store" | "results" | "results, older source"


def local_file(run: Run, key: str) -> Path:
    """Place of a run in the local store."""
    return paths.store() / "runs" / run.name / f"{key}.parquet"


def results_file(run: Run, key: str) -> Path | None:
    """Place of a run among the committed results; None outside a checkout."""
    try:
        return paths.repository() / "results" / run.name / f"{key}.parquet"
    except NotFound:
        return None


def lock(key: str) -> FileLock:
    """The lock of one key, held by the kernel: it goes with a killed process, and its left-over file means nothing."""
    folder = paths.store() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{key}.lock")


def about(run: Run, config: Any) -> dict[str, Any] | None:
    """What is said about a usable stored run, from metadata alone (cheap; checksums are verified when it is loaded)."""
    key = run.key(config)
    for file, committed in ((local_file(run, key), False), (results_file(run, key), True)):
        if file is not None and file.is_file():
            try:
                found = files.read_about(file)
            except Damaged:
                continue
            if _is_of(found, run, config) and (committed or found["provenance"]["fingerprint"] == run.fingerprint()):
                return found
    return None


def load(run: Run, config: Any) -> Stored | None:
    """A stored run of the present source, or a committed one; None if there is neither.

    A damaged or foreign file in the local store is set aside, never used. A damaged committed file is an error: git has the right one.
    """
    key = run.key(config)
    local = local_file(run, key)
    if local.is_file():
        try:
            result, found = files.read(local)
            if not _is_of(found, run, config):
                raise Damaged(f"{local} holds another run ({found.get('function')}, {found.get('config')}).")
        except Damaged as damage:
            set_aside(local, damage)
        else:
            if found["provenance"]["fingerprint"] == run.fingerprint():
                return Stored(result, Provenance(**found["provenance"]), "store")
    committed = results_file(run, key)
    if committed is not None and committed.is_file():
        result, found = files.read(committed)
        if not _is_of(found, run, config):
            raise Damaged(f"{committed} holds another run; restore it with git.")
        current = found["provenance"]["fingerprint"] == run.fingerprint()
        return Stored(result, Provenance(**found["provenance"]), "results" if current else "results, older source")
    return None


def save(run: Run, config: Any, result: Result, provenance: Provenance) -> None:
    """Store a result under its key."""
    files.write(
        local_file(run, run.key(config)),
        result,
        {"function": run.name, "version": run.version, "config": canonical(config), "provenance": provenance.as_dict()},
    )


def set_aside(file: Path, damage: Damaged) -> Path:
    """Move a damaged file out of the way, into ``aside/`` of the store, and say so."""
    target = paths.store() / "aside" / f"{file.parent.name}.{file.stem}.{time.time_ns()}.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    file.replace(target)
    say(f"set aside {file.name} ({damage}); it is now {target} and will be computed again.")
    return target


def _is_of(found: dict[str, Any], run: Run, config: Any) -> bool:
    """Whether what a file says of itself is what its place promises."""
    return (found.get("function"), found.get("version"), found.get("config")) == (run.name, run.version, canonical(config))
