"""One file from which training goes on bit for bit: safetensors with JSON in its header, renamed into place when complete."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sgdscope.data.cache import digest
from sgdscope.errors import InvalidInput, SgdscopeError

FORMAT = 1


class CheckpointError(SgdscopeError, OSError):
    """A checkpoint could not be written or read."""


class Carried(Protocol):
    """Something whose state travels in the checkpoint, such as a collector of measurements or an estimator."""

    def state(self) -> dict[str, Any]:
        """Tensors, numbers, texts, None, lists and dicts of them. Tensors come back on the CPU, tuples as lists."""

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a `state`."""


def save(path: str | Path, state: dict[str, Any]) -> None:
    """Write ``state``, a nested dict of tensors and JSON values, atomically: after a kill either the old file is there or the new one.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; the old checkpoint stays.
        InvalidInput: the state holds something else.
    """
    path, tensors = Path(path), dict[str, Tensor]()
    text = json.dumps({"format": FORMAT, "state": _encode(state, tensors)})
    checksum = hashlib.sha256((text + digest(tensors)).encode()).hexdigest()
    temporary = path.with_name(path.name + ".tmp")  # what a kill leaves is overwritten at the next saving
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, temporary, metadata={"sgdscope": text, "checksum": checksum})
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):  # the same fault; reported below
            temporary.unlink(missing_ok=True)
        raise CheckpointError(f"could not write the checkpoint {path}: {error}. The one before, if any, is intact.") from error


def load(path: str | Path) -> dict[str, Any] | None:
    """The state; None if there is no file, or if it is damaged: then it is set aside as ``<name>.damaged`` with a warning.

    Raises:
        CheckpointError: what is there cannot be read.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dictionary
        if "sgdscope" not in about:
            raise ValueError("it is no checkpoint of a training run")
        text = about["sgdscope"]
        if about["checksum"] != hashlib.sha256((text + digest(tensors)).encode()).hexdigest():
            raise ValueError("its checksum does not match")
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']}, not {FORMAT}")
        return _decode(content["state"], tensors)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(f"could not read the checkpoint {path}: {error}. Give the path of a file.") from error
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        aside = path.with_name(path.name + ".damaged")
        os.replace(path, aside)
        warnings.warn(
            f"checkpoint {path} is damaged ({error}); set aside as {aside.name}, training starts anew.", RuntimeWarning, stacklevel=3
        )
        return None


def _encode(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()  # copies, since tied tensors share their memory
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_plain(key), _encode(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_encode(item, tensors) for item in value]
    return _plain(value)


def _plain(value: object) -> object:
    if value is not None and not isinstance(value, str | int | float):
        raise InvalidInput(
            f"a state must consist of tensors, numbers, texts, None, lists and dicts; {type(value).__name__} came. Convert it."
        )
    return value


def _decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if isinstance(value, dict):
        return tensors[value["tensor"]] if "tensor" in value else {key: _decode(item, tensors) for key, item in value["dict"]}
    return value
