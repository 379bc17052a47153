"""One stored run on disk: a parquet file with everything said about it in its metadata, and arrays beside it.

The parquet file is the run: it is written last, under a temporary name, and renamed. Arrays lie in a safetensors file whose
checksum is part of the parquet file's metadata. Nothing is pickled.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from sgdscope.errors import SgdscopeError

METADATA = b"sgdscope"
FORMAT = 1


class Damaged(SgdscopeError):
    """A stored file that is truncated, altered or not ours."""


class StoreError(SgdscopeError, OSError):
    """The store could not be written."""


@dataclass(frozen=True)
class Result:
    """What a run returns: a tidy table, named arrays, and whether it finished or diverged (then with the step)."""

    table: pd.DataFrame
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    status: str = "finished"  # or "diverged"
    diverged_at: int | None = None  # step


def write(path: Path, result: Result, about: dict[str, Any]) -> None:
    """Write a result as ``path`` (``<key>.parquet``), arrays first, each under a temporary name and then renamed.

    Raises:
        StoreError: the disk is full or the folder cannot be written; nothing half-written is left.
    """
    frame = result.table.copy(deep=False)
    frame.attrs = {}  # of the runs that this one collected; not part of the result
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    about = {**about, "format": FORMAT, "status": result.status, "diverged_at": result.diverged_at, "checksum": _table_checksum(table)}
    arrays = None
    if result.arrays:
        data = save_arrays({name: np.ascontiguousarray(array) for name, array in sorted(result.arrays.items())})
        digest = hashlib.sha256(data).hexdigest()
        arrays = path.with_name(f"{path.stem}.{digest[:12]}.safetensors")
        about |= {"arrays": arrays.name, "arrays_checksum": digest}
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
        temporary.unlink(missing_ok=True)
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
    try:
        metadata = pq.read_schema(path).metadata or {}
        about = json.loads(metadata[METADATA])
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise Damaged(f"{path} is not a stored run: {error}") from error
    if about.get("format") != FORMAT:
        raise Damaged(f"{path} has format {about.get('format')!r}, expected {FORMAT}.")
    return about


def read(path: Path) -> tuple[Result, dict[str, Any]]:
    """A stored run and what is said about it, with both checksums verified.

    Raises:
        Damaged: truncated, altered, or not ours.
    """
    about = read_about(path)
    try:
        table = pq.read_table(path).replace_schema_metadata(None)
    except (OSError, pa.ArrowException) as error:
        raise Damaged(f"{path} cannot be read: {error}") from error
    if _table_checksum(table) != about["checksum"]:
        raise Damaged(f"the table in {path} does not match its checksum.")
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


def _table_checksum(table: pa.Table) -> str:
    """SHA-256 of a table's column names, types and values."""
    content = {
        "types": {name: str(kind) for name, kind in zip(table.schema.names, table.schema.types, strict=True)},
        "values": table.to_pydict(),
    }
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()


def _rename(temporary: Path, path: Path) -> None:
    """Flush a file to disk and give it its name."""
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
