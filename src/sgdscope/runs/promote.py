"""Committed results: runs promoted from the local store into ``results/``, small and with their provenance."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sgdscope import paths
from sgdscope.errors import InvalidInput
from sgdscope.runs import files, store
from sgdscope.runs.run import run_of

LIMIT = 1_000_000  # bytes a file


def add(configs: Sequence[Any]) -> list[Path]:
    """Copy stored runs of the present source into ``results/<function>/<key>.parquet``, arrays with them.

    Raises:
        InvalidInput: one is not stored, was computed from uncommitted source, or is over 1 MB; nothing is copied then.
    """
    chosen: list[Path] = []
    for config in configs:
        run = run_of(config)
        found = store.load(run, config)
        if found is None:
            raise InvalidInput(f"{run.name}({config}) is not in the local store: compute it first (sgdscope compute PAGE).")
        if found.origin != "store":  # committed already
            continue
        if found.provenance.commit.endswith("+") or not found.provenance.commit:
            raise InvalidInput(
                f"{run.name}({config}) was computed at {found.provenance.commit or 'no commit'}, with uncommitted changes: commit them, delete "
                f"{store.local_file(run, run.key(config))} and compute it again, so that its provenance names a commit."
            )
        chosen += _files_of(store.local_file(run, run.key(config)))
    if large := [f"{file.name} ({file.stat().st_size:,} bytes)" for file in chosen if file.stat().st_size > LIMIT]:
        raise InvalidInput(
            f"results/ takes files up to {LIMIT:,} bytes; too large: {', '.join(large)}. Keep them in the store, or thin the table."
        )
    added = []
    for file in chosen:
        target = paths.repository() / "results" / file.parent.name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".parquet":  # arrays have other names when their content is another
            for old in target.parent.glob(f"{file.stem}.*.safetensors"):
                old.unlink()
        shutil.copyfile(file, target)
        added.append(target)
    return added


def committed() -> Iterable[tuple[Path, dict[str, Any]]]:
    """All committed runs with what is said about them.

    Raises:
        Damaged: a committed file cannot be read.
    """
    for file in sorted((paths.repository() / "results").glob("*/*.parquet")):
        yield file, files.read_about(file)


def _files_of(file: Path) -> list[Path]:
    """A stored run's parquet file and its arrays."""
    arrays = files.read_about(file).get("arrays")
    return [file, *([file.with_name(arrays)] if arrays else [])]
