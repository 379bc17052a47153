"""A page's parameters: read from its parameters cell, checked before anything runs."""

from __future__ import annotations

import ast
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sgdscope.errors import InvalidInput, unknown_name


@dataclass(frozen=True)
class Parameter:
    """One assignment of the parameters cell."""

    name: str
    default: Any  # the quick value
    says: str  # the comment behind it

    @property
    def kind(self) -> str:
        """Its type in words."""
        return _kind(self.default)


def parse(source: str, *, where: str) -> dict[str, Parameter]:
    """Parameters of a cell: plain assignments of literals, each with a comment that says what it is.

    Raises:
        InvalidInput: anything else stands in the cell.
    """
    found = {}
    lines = source.splitlines()
    for node in ast.parse(source).body:
        if not (isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)):
            raise InvalidInput(f"{where}: the parameters cell holds plain assignments only, line {node.lineno} is none.")
        name = node.targets[0].id
        try:
            value = ast.literal_eval(node.value)
        except (ValueError, TypeError):
            raise InvalidInput(f"{where}: the value of {name} must be a literal.") from None
        if not (_is_plain(value) or (isinstance(value, list) and value and all(map(_is_plain, value)) and len(set(map(type, value))) == 1)):
            raise InvalidInput(
                f"{where}: {name} must be a truth value, number or text, or a list of one of these with something in it; got {value!r}."
            )
        _, _, comment = lines[node.end_lineno - 1][node.end_col_offset :].partition("#")
        found[name] = Parameter(name, value, comment.strip())
    return found


def from_file(file: Path, known: dict[str, Parameter], *, page: str) -> dict[str, Any]:
    """Values of a parameter set (``<page>.<scale>.yaml``), checked.

    Raises:
        NotFound: the file does not exist, or names an unknown parameter.
        InvalidInput: a value of the wrong type, or no mapping.
    """
    if not file.is_file():
        raise unknown_name("parameter set", file.name, sorted(other.name for other in file.parent.glob("*.yaml")))
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise InvalidInput(f"cannot read {file.name}: {error}") from None
    if not isinstance(values, dict):
        raise InvalidInput(f"{file.name} must map parameter names to values, it holds {type(values).__name__}.")
    return {name: _checked(name, value, known, page) for name, value in values.items()}


def from_texts(texts: dict[str, str], known: dict[str, Parameter], *, page: str) -> dict[str, Any]:
    """Values given on the command line as YAML text (``0.1``, ``[0.1, 0.01]``, ``mnist``), checked.

    Raises:
        NotFound: an unknown name; lists the parameters with their types and defaults.
        InvalidInput: not YAML, or a value of the wrong type.
    """
    values = {}
    for name, text in texts.items():
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InvalidInput(f"cannot read the value of {name}: {text!r} ({error}).") from None
        values[name] = _checked(name, value, known, page)
    return values


def listing(known: dict[str, Parameter]) -> str:
    """All parameters, a line each."""
    width = max(len(name) for name in known)
    return "\n".join(f"  {p.name:{width}}  {p.kind}, default {p.default!r}" + (f": {p.says}" if p.says else "") for p in known.values())


def _checked(name: str, value: Any, known: dict[str, Parameter], page: str) -> Any:
    """A value of the type that its parameter has."""
    if name not in known:
        error = unknown_name("parameter", name, known)
        raise type(error)(f"{error}\n{page} takes:\n{listing(known)}")
    try:
        return _coerced(value, known[name].default)
    except TypeError:
        raise InvalidInput(
            f"{name} must be {known[name].kind}, like {known[name].default!r}; got {value!r} ({_kind(value)}).\n{page} takes:\n{listing(known)}"
        ) from None


def _coerced(value: Any, like: Any) -> Any:
    """The value as the type of ``like``; integers may stand for floats.

    Raises:
        TypeError: another type, an empty list, or a number that is not finite.
    """
    if isinstance(like, list):
        if not isinstance(value, list | tuple) or not value:
            raise TypeError
        return [_coerced(item, like[0]) for item in value]
    if isinstance(like, float):
        if isinstance(value, str) and re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+", value):
            value = float(value)  # YAML 1.1 takes 1e-3 for text
        if type(value) in (int, float) and math.isfinite(value):
            return float(value)
        raise TypeError
    if type(value) is not type(like):
        raise TypeError
    return value


def _is_plain(value: Any) -> bool:
    """Whether a value is one that the command line can give."""
    return isinstance(value, bool | int | float | str)


def _kind(value: Any) -> str:
    """A type in words."""
    if isinstance(value, list):
        return f"a list of {_kind(value[0]).split(' ', 1)[1]}s" if value else "an empty list"
    return {bool: "a truth value", int: "an integer", float: "a number", str: "a text"}.get(type(value), f"a {type(value).__name__}")
