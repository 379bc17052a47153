"""Where the files of a data set lie on this machine, in the order in which they are looked for. No network, no torch."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from sgdscope.data.registry import Spec, get_split
from sgdscope.errors import InvalidInput

SHIPPED = Path(__file__).parent / "shipped"
_SHARD = re.compile(r"-(\d+)-of-(\d+)\.(?:parquet|arrow)$")


@dataclass(frozen=True)
class Found:
    """The files of one split: where they were found, and in which format."""

    place: str  # "the package", "SGDSCOPE_DATA", "datasets cache", "hub cache", "hub"
    files: tuple[Path, ...]
    format: Literal["parquet", "arrow"]

    @property
    def source(self) -> str:
        """One line for people: place and folder."""
        return f"{self.place}: {self.files[0].parent}"


def find(spec: Spec, split: str) -> tuple[Found | None, list[str]]:
    """Look for one split on this machine, without a network.

    Returns:
        What was found (None if nothing), and one line for each place that was tried in vain.

    Raises:
        NotFound: the data set has no such split.
        InvalidInput: files were found, but shards of them are missing.
    """
    stored_as = get_split(spec, split).stored_as
    if spec.shipped:
        found = _parquet("the package", [SHIPPED / spec.name], stored_as)
        return found, [] if found else [f"the package: no {stored_as}-*-of-*.parquet in {SHIPPED / spec.name}; install it again"]
    tried: list[str] = []
    for look in (_in_data_folder, _in_datasets_cache, _in_hub_cache):
        found, line = look(spec, stored_as)
        if found:
            return found, tried
        if line:
            tried.append(line)
    return None, tried


def count(found: Found) -> int:
    """Number of rows, from the files' own headers (parquet footers, or the record batches of the arrow files).

    Raises:
        InvalidInput: a file is damaged.
    """
    rows = 0
    for path in found.files:
        try:
            if found.format == "parquet":
                rows += pq.read_metadata(path).num_rows
            else:
                with pa.memory_map(str(path)) as source:
                    rows += sum(batch.num_rows for batch in pa.ipc.open_stream(source))
        except (pa.ArrowException, OSError) as error:
            raise damaged(path, f"a complete {found.format} file", str(error)) from error
    return rows


def damaged(path: Path, expected: str, got: str) -> InvalidInput:
    """The error for a file that cannot be used."""
    first_line = (got.strip() or "nothing").splitlines()[0].rstrip(".")
    return InvalidInput(f"{path}: expected {expected}, found: {first_line}. Replace the file.")


def datasets_cache() -> Path:
    """Folder in which the library ``datasets`` keeps what it prepared."""
    return Path(os.environ.get("HF_DATASETS_CACHE") or _home() / "datasets").expanduser()


def hub_cache() -> Path:
    """Folder in which ``huggingface_hub`` keeps the files it downloaded."""
    return Path(os.environ.get("HF_HUB_CACHE") or _home() / "hub").expanduser()


def _home() -> Path:
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HOME") or default).expanduser()


def _in_data_folder(spec: Spec, stored_as: str) -> tuple[Found | None, str]:
    chosen = os.environ.get("SGDSCOPE_DATA")
    if not chosen:
        return None, "SGDSCOPE_DATA: not set"
    root = Path(chosen).expanduser()
    if not root.is_dir():
        return None, f"SGDSCOPE_DATA: {root} is no folder"
    folder = root / spec.name
    if not folder.is_dir():
        held = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
        return None, f"SGDSCOPE_DATA: {root} has no folder {spec.name!r} (it has: {', '.join(held[:20]) or 'none'})"
    inner = [folder, folder / "data"]  # a plain download of the hub's files has one folder more: "data", or the configuration's
    inner += [folder / spec.hub[1]] if spec.hub else []
    found = _parquet("SGDSCOPE_DATA", inner, stored_as)
    if found:
        return found, ""
    held = sorted(entry.name for entry in folder.iterdir())
    return None, f"SGDSCOPE_DATA: {folder} has no {stored_as}-*-of-*.parquet (it has: {', '.join(held[:20]) or 'nothing'})"


def _in_datasets_cache(spec: Spec, stored_as: str) -> tuple[Found | None, str]:
    if not spec.hub:
        return None, ""
    repository, configuration = spec.hub
    namespace, name = repository.split("/")
    root = datasets_cache()
    for folder in (root / f"{namespace}___{name}" / configuration, root / name / configuration):
        versions = [path for path in folder.glob("*/*") if path.is_dir() and not path.name.endswith((".incomplete", ".incomplete_info"))]
        for version in sorted(versions, key=lambda path: path.stat().st_mtime, reverse=True):  # the newest first
            files = sorted(version.glob(f"*-{stored_as}.arrow")) or sorted(version.glob(f"*-{stored_as}-*-of-*.arrow"))
            if files:
                return Found("datasets cache", _complete(files), "arrow"), ""
    return None, f"datasets cache: {root} has no {repository} ({configuration})"


def _in_hub_cache(spec: Spec, stored_as: str) -> tuple[Found | None, str]:
    if not spec.hub:
        return None, ""
    repository, configuration = spec.hub
    root = hub_cache()
    snapshots = [path for path in (root / f"datasets--{repository.replace('/', '--')}" / "snapshots").glob("*") if path.is_dir()]
    for snapshot in sorted(snapshots, key=lambda path: path.stat().st_mtime, reverse=True):
        found = _parquet("hub cache", [snapshot / configuration, snapshot / "data", snapshot], stored_as)
        if found:
            return found, ""
    return None, f"hub cache: {root} has no {repository}"


def _parquet(place: str, folders: list[Path], stored_as: str) -> Found | None:
    for folder in folders:
        files = sorted(folder.glob(f"{stored_as}-*-of-*.parquet"))
        if files:
            return Found(place, _complete(files), "parquet")
    return None


def _complete(files: list[Path]) -> tuple[Path, ...]:
    """The files, refused if their names say that shards are missing or that two sets of shards are mixed."""
    numbers = [match.groups() for path in files if (match := _SHARD.search(path.name))]
    if not numbers:
        return tuple(files)
    totals = {int(total) for _, total in numbers}
    if len(totals) > 1:
        mixed = ", ".join(path.name for path in files)
        raise InvalidInput(f"{files[0].parent}: expected one set of shards, found two sets mixed: {mixed}. Keep one.")
    missing = sorted(set(range(totals.pop())) - {int(shard) for shard, _ in numbers})
    if missing:
        raise InvalidInput(
            f"{files[0].parent}: expected all shards of {files[0].name[: _SHARD.search(files[0].name).start()]}, "
            f"missing number {', '.join(map(str, missing))}. Add the missing files."
        )
    return tuple(files)
