"""Where stored runs lie, and whether they can be used: the local store first, then the committed ``results/``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sgdscope import paths
from sgdscope.errors import NotFound
from sgdscope.runs import files, rechecked
from sgdscope.runs.configuration import canonical, same_run
from sgdscope.runs.files import Damaged, Result, StoreError
from sgdscope.runs.progress import say
from sgdscope.runs.provenance import Provenance
from sgdscope.runs.run import Run, run_of

OLDER = "results, of an older source"


@dataclass(frozen=True)
class Stored:
    """A run found on disk."""

    result: Result
    provenance: Provenance
    origin: str  # "computed" | "store" | "results" | "results, of an older source", with what a recheck found

    @property
    def of_older_source(self) -> bool:
        """Whether the present source is another than the run's."""
        return self.origin.startswith(OLDER)


def local_file(run: Run, key: str) -> Path:
    """Place of a run in the local store."""
    return paths.store() / "runs" / run.name / f"{key}.parquet"


def results_file(run: Run, key: str) -> Path | None:
    """Place of a run among the committed results; None outside a checkout."""
    try:
        return paths.repository() / "results" / run.name / f"{key}.parquet"
    except NotFound:
        return None


def checkpoint(config: Any) -> Path:
    """Where a long run of this configuration keeps what it needs to go on after an interruption (`sgdscope.training.train` takes it).

    The place depends on the source too, so that other source does not go on from it. Storing the run removes the file.
    """
    run = run_of(config)
    return paths.store() / "checkpoints" / run.name / f"{run.key(config)}.{run.fingerprint()}.safetensors"


def all_files(function: str) -> list[Path]:
    """Stored and committed runs of a function, of whatever source."""
    folders = [paths.store() / "runs" / function]
    with suppress(NotFound):
        folders.append(paths.repository() / "results" / function)
    return [file for folder in folders for file in sorted(folder.glob("*.parquet"))]


@contextmanager
def lock(key: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of one key; gives False, holding nothing, if another process has it and we shall not wait.

    The kernel holds it: it goes with a killed process, and its left-over file means nothing.

    Raises:
        StoreError: the store cannot be written.
    """
    file = FileLock(paths.store() / "locks" / f"{key}.lock")
    try:
        Path(file.lock_file).parent.mkdir(parents=True, exist_ok=True)
        file.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise StoreError(
            f"cannot write to the store {paths.store()}: {error}. Make room, or set SGDSCOPE_STORE to another folder."
        ) from error
    try:
        yield True
    finally:
        file.release()


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

    A damaged or foreign file in the local store is set aside, never used.

    Raises:
        Damaged: a committed file is damaged; git has the right one.
        StoreError: a damaged file could not be set aside.
    """
    key = run.key(config)
    local, committed = local_file(run, key), results_file(run, key)
    if local.is_file():
        try:
            stored = _read(local, run, config, "store")
        except Damaged as damage:
            set_aside(local, damage)
        else:
            if stored.provenance.fingerprint == run.fingerprint():
                return stored
    if committed is not None and committed.is_file():
        try:
            stored = _read(committed, run, config, "results")
        except Damaged as damage:
            raise Damaged(f"{damage} It is committed: restore it with git.") from damage
        if (old := stored.provenance.fingerprint) == (new := run.fingerprint()):
            return stored
        recheck = rechecked.find(run.name, old, new)
        return replace(stored, origin=f"{OLDER} ({recheck})" if recheck else OLDER)
    return None


def _read(file: Path, run: Run, config: Any, origin: str) -> Stored:
    """A stored run, if the file holds what its place promises."""
    try:
        result, found = files.read(file)
    except Damaged:  # perhaps another process was replacing the arrays meanwhile: real damage is still there
        result, found = files.read(file)
    if not _is_of(found, run, config):
        raise Damaged(f"{file} holds another run ({found.get('function')}, {found.get('config')}).")
    return Stored(result, Provenance(**found["provenance"]), origin)


def save(run: Run, config: Any, result: Result, provenance: Provenance) -> Stored:
    """Store a result under its key, and give it as it will be read from now on: the same table now and later."""
    about = {"function": run.name, "version": run.version, "config": canonical(config), "provenance": provenance.as_dict()}
    file = local_file(run, run.key(config))
    files.write(file, result, about)
    drop_checkpoints(config)
    return _read(file, run, config, "computed")


def drop_checkpoints(config: Any) -> None:
    """Remove what a run kept for going on after an interruption, of whatever source: it is done."""
    for left_over in checkpoint(config).parent.glob(f"{run_of(config).key(config)}.*"):
        left_over.unlink(missing_ok=True)


def set_aside(file: Path, damage: Damaged) -> None:
    """Move a damaged file out of the way, into ``aside/`` of the store, and say so."""
    target = paths.store() / "aside" / f"{file.parent.name}.{file.stem}.{time.time_ns()}.parquet"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)
    except FileNotFoundError:  # another process was faster
        return
    except OSError as error:
        raise StoreError(f"{damage} It cannot be set aside: {error}. Set SGDSCOPE_STORE to a folder that can be written.") from error
    say(f"set aside {file.name} ({damage}); it is now {target} and will be computed again.")


def _is_of(found: dict[str, Any], run: Run, config: Any) -> bool:
    """Whether what a file says of itself is what its place promises."""
    return (found.get("function"), found.get("version")) == (run.name, run.version) and same_run(config, found.get("config", {}))
