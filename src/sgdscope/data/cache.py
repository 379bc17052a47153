"""Decoded images on disk: safetensors with a checksum, under the store. A cache that fails in any way is only slower."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sgdscope import paths
from sgdscope.data.locate import Found

_VERSION = 1  # of what decoding does; raise it when the decoded pixels change
_STALE_SECONDS = 3600  # a temporary file this old was left by a killed process
_warned = False


def entry(name: str, split: str, found: Found, **how: object) -> Path:
    """Path of the cache entry of decoded files. The key holds path, size and modification time of each file, and how it was decoded."""
    files = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in found.files]
    text = json.dumps({"version": _VERSION, "files": files, "how": how}, sort_keys=True)
    return paths.store() / "data" / f"{name}-{split}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.safetensors"


def digest(tensors: dict[str, Tensor]) -> str:
    """sha256 of names, dtypes, shapes and bytes, wherever the tensors live."""
    running = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        running.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        running.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return running.hexdigest()


def read(path: Path) -> dict[str, Tensor] | None:
    """The tensors of an entry; None if there is none, or if it is damaged: then it is removed."""
    try:
        with safe_open(path, framework="pt") as file:
            expected = (file.metadata() or {}).get("sha256")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dictionary
        if digest(tensors) == expected:
            return tensors
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError):
        pass
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _warn(error)
    return None


def write(path: Path, tensors: dict[str, Tensor]) -> None:
    """Store an entry under a temporary name, then rename it. A full disk or a read-only place is warned of once, and nothing is stored."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path)
        save_file(tensors, temporary, metadata={"sha256": digest(tensors)})
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):  # the same fault; reported below
            temporary.unlink(missing_ok=True)
        _warn(error)


def _remove_stale(path: Path) -> None:
    for left in path.parent.glob(".*.tmp"):
        try:
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                left.unlink()
        except OSError:
            continue  # another process was faster


def _warn(error: Exception) -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"decoded data sets are not cached ({error}), so each load decodes again; set SGDSCOPE_STORE to a folder that can be written.",
            RuntimeWarning,
            stacklevel=4,
        )
