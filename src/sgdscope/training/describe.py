"""Texts that tell settings apart: what a run or a probe was made with, for the checkpoint that goes on with the same one only."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Set
from dataclasses import fields, is_dataclass
from functools import partial
from numbers import Number
from types import CellType, CodeType, FunctionType, MethodType

from torch import Tensor

from sgdscope.data.cache import digest

DEPTH = 3
"""How many functions and dataclasses within each other are looked into; those further in count by their names."""


def describe(value: object, depth: int = 0) -> object:
    """Numbers, texts and None as they are; else a text that is the same in every process.

    Tensors by their checksum, functions by name, code, defaults and what they close over, dataclasses by their fields, other objects by their
    type, and the outermost one by its public attributes too.

    >>> describe(partial(round, ndigits=2))
    'builtins.round(ndigits=2)'
    """
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Number | bytes):  # numpy's numbers, and what stands in code
        return repr(value.item() if hasattr(value, "item") else value)
    if isinstance(value, Tensor):
        return f"tensor {tuple(value.shape)} {digest({'': value})[:8]}"
    if isinstance(value, Set):
        return f"{{{', '.join(sorted(_text(item, depth) for item in value))}}}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key!r}: {_text(item, depth)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"({', '.join(_text(item, depth) for item in value)})"
    if isinstance(value, partial):
        return f"{describe(value.func, depth)}{_arguments(dict(enumerate(value.args)) | value.keywords, depth)}"
    if isinstance(value, MethodType):
        return f"{describe(value.__func__, depth)} of {describe(value.__self__, depth)}"
    if is_dataclass(value) and not isinstance(value, type):
        found = {field.name: getattr(value, field.name) for field in fields(value)} if depth < DEPTH else {}
        return f"{type(value).__qualname__}{_arguments(found, depth)}"
    if isinstance(value, FunctionType):
        return f"{_name(value)}{_arguments(_inside(value) if depth < DEPTH else {}, depth)}"
    if isinstance(value, type) or hasattr(value, "__qualname__"):
        return _name(value)
    public = {name: item for name, item in getattr(value, "__dict__", {}).items() if not name.startswith("_")} if depth == 0 else {}
    return f"{_name(type(value))}{_arguments(public, depth)}"


def _arguments(values: Mapping[object, object], depth: int) -> str:
    listed = ", ".join(f"{name}={_text(item, depth + 1)}" for name, item in values.items())
    return f"({listed})" if listed else ""


def _text(value: object, depth: int) -> str:
    return repr(value) if isinstance(value, str) else str(describe(value, depth))


def _name(value: object) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _inside(function: FunctionType) -> dict[str, object]:
    """Checksum of the code, defaults, and the values that the function closes over."""
    code, given = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(given) : code.co_argcount]
    found = {"code": hashlib.sha256(_code(code, function.__doc__).encode()).hexdigest()[:8]}
    found |= dict(zip(names, given, strict=True)) | (function.__kwdefaults__ or {})
    return found | {name: _content(cell) for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True)}


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # nothing assigned yet
        return None


def _code(code: CodeType, doc: str | None = None) -> str:
    constants = [_code(item) if isinstance(item, CodeType) else _text(item, 0) for item in code.co_consts if item != doc]
    return repr((code.co_code.hex(), code.co_names, code.co_varnames, constants))
