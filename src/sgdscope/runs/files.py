"""One stored run on disk: a parquet file with everything said about it in its metadata, and arrays beside it.

The parquet file is the run: it is written last, under a temporary name, and renamed. Arrays lie in a safetensors file whose
checksum is part of the parquet file's metadata. Nothing is pickled.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from sgdscope.errors import InvalidInput, SgdscopeError

METADATA = b"sgdscope"
FORMAT = 1
STATUSES = ("finished", "diverged")
UNREADABLE = (OSError, pa.ArrowException, ValueError)  # how pyarrow says that a file is not what it should be


class Damaged(SgdscopeError):
    """A stored file that is truncated, altered or not ours."""


class StoreError(SgdscopeError, OSError):
    """The store could not be written."""


@dataclass(frozen=True, eq=False)
class Result:
    """What a run returns: a tidy table, named arrays, and whether it finished or diverged (then with the step)."""

    table: pd.DataFrame
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    status: str = "finished"  # or "diverged"
    diverged_at: int | None = None  # step

    def __post_init__(self) -> None:
        if not isinstance(self.table, pd.DataFrame):
            raise InvalidInput(f"a Result's table must be a pandas DataFrame, got {type(self.table).__name__}.")
        if self.status not in STATUSES:
            raise InvalidInput(f"a Result's status is one of {', '.join(STATUSES)}; got {self.status!r}.")


def write(path: Path, result: Result, about: dict[str, Any]) -> None:
    """Write a result as ``path`` (``<key>.parquet``), arrays first, each under a temporary name and then renamed.

    Raises:
        InvalidInput: a column or an array of a kind that cannot be stored.
        StoreError: the disk is full or the folder cannot be written; nothing half-written is left.
    """
    table, data = _encoded(result)
    about = {**about, "format": FORMAT, "status": result.status, "diverged_at": result.diverged_at}
    arrays = None
    if data:
        digest = hashlib.sha256(data).hexdigest()
        arrays = path.with_name(f"{path.stem}.{digest[:12]}.safetensors")
        about |= {"arrays": arrays.name, "arrays_checksum": digest}
    about["checksum"] = _checksum(table, about)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left_over in path.parent.glob(f".{path.stem}.*.tmp"):  # of a process that was killed: we hold the key's lock
            left_over.unlink()
        if arrays is not None:
            temporary.write_bytes(data)
            _rename(temporary, arrays)
        pq.write_table(table.replace_schema_metadata({METADATA: json.dumps(about, allow_nan=False)}), temporary)
        _rename(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        why = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        raise StoreError(
            f"could not store {path}: {why}. Runs stored so far are safe; make room or set SGDSCOPE_STORE, then call again."
        ) from error
    for old in path.parent.glob(f"{path.stem}.*.safetensors"):
        if arrays is None or old != arrays:
            old.unlink()


def read_about(path: Path) -> dict[str, Any]:
    """What is said about a stored run, from the file's metadata alone.

    Raises:
        Damaged: not a parquet file of ours.
    """
    with _opened(path) as file:
        return _about(file, path)


def read(path: Path) -> tuple[Result, dict[str, Any]]:
    """A stored run and what is said about it, with both checksums verified.

    Raises:
        Damaged: truncated, altered, or not ours.
    """
    with _opened(path) as file:
        about = _about(file, path)
        try:
            table = file.read().replace_schema_metadata(None)
            checksum = _checksum(table, about)
        except UNREADABLE as error:
            raise Damaged(f"{path} cannot be read: {error}") from error
    if checksum != about.get("checksum"):
        raise Damaged(f"{path} does not match its checksum.")
    arrays: dict[str, np.ndarray] = {}
    if name := about.get("arrays"):
        file = path.with_name(Path(name).name)
        if not file.is_file():
            raise Damaged(f"{file}, the arrays of {path.name}, is missing.")
        data = file.read_bytes()
        if hashlib.sha256(data).hexdigest() != about["arrays_checksum"]:
            raise Damaged(f"{file} does not match its checksum.")
        arrays = load_arrays(data)
    return Result(table.to_pandas(), arrays, about["status"], about["diverged_at"]), about


def _encoded(result: Result) -> tuple[pa.Table, bytes]:
    """Table and arrays of a result as they are stored."""
    frame = result.table.copy(deep=False)
    frame.attrs = {}  # of the runs that this one collected; not part of the result
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        arrays = {name: np.asarray(array, order="C") for name, array in sorted(result.arrays.items())}
        return table, save_arrays(arrays) if arrays else b""
    except (pa.ArrowException, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise InvalidInput(
            f"a result cannot be stored: {error}. Tables take columns of one type each with a name each; arrays take numbers and truth values."
        ) from error


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """An open parquet file: what is said about it and its table come from one file, also while another process replaces it."""
    try:
        file = pq.ParquetFile(path)
    except UNREADABLE as error:
        raise Damaged(f"{path} is not a stored run: {error}") from error
    with file:
        yield file


def _about(file: pq.ParquetFile, path: Path) -> dict[str, Any]:
    """What is said about a stored run."""
    try:
        about = json.loads(file.metadata.metadata[METADATA])
    except (*UNREADABLE, KeyError, TypeError) as error:
        raise Damaged(f"{path} is not a stored run: {type(error).__name__} {error}") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise Damaged(f"{path} is not a stored run of format {FORMAT}.")
    return about


def _checksum(table: pa.Table, about: dict[str, Any]) -> str:
    """SHA-256 of a table's column names, types and values, and of all that is said about it."""
    content = {
        "about": {name: value for name, value in about.items() if name != "checksum"},
        "types": {name: str(kind) for name, kind in zip(table.schema.names, table.schema.types, strict=True)},
        "values": table.to_pydict(),
    }
    return hashlib.sha256(json.dumps(content, default=str, sort_keys=True).encode()).hexdigest()


def _rename(temporary: Path, path: Path) -> None:
    """Flush a file to disk and give it its name."""
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
