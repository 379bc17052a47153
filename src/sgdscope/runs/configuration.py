"""The identity of a run: a frozen dataclass in canonical form, and the key made from it."""

from __future__ import annotations

import hashlib
import json
import math
import types
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from sgdscope.errors import InvalidInput

Plain = bool | int | float | str | None | list["Plain"]


def check_type(config_type: type) -> None:
    """Refuse a configuration type that is not a frozen dataclass."""
    if not (is_dataclass(config_type) and config_type.__dataclass_params__.frozen):
        raise InvalidInput(f"a run's configuration must be a frozen dataclass, got {config_type!r}: add @dataclass(frozen=True).")


def canonical(config: Any) -> dict[str, Plain]:
    """All fields of a configuration as plain JSON values, each checked against its annotation.

    Integers given for ``float`` fields become floats and tuples become lists, so that ``1`` and ``1.0``, or a list and a tuple,
    are one configuration.

    Raises:
        InvalidInput: a value that does not fit its annotation, or is NaN or infinite (no key could find it again).
    """
    check_type(type(config))
    hints = get_type_hints(type(config))
    return {
        field.name: _plain(getattr(config, field.name), hints[field.name], f"{type(config).__name__}.{field.name}")
        for field in fields(config)
    }


def differing(config: Any) -> dict[str, Plain]:
    """The canonical fields that differ from their defaults."""
    hints = get_type_hints(type(config))
    kept = canonical(config)
    for field in fields(config):
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if default is not MISSING and _text(kept[field.name]) == _text(_plain(default, hints[field.name], field.name)):
            del kept[field.name]
    return kept


def same_run(config: Any, stored: dict[str, Plain]) -> bool:
    """Whether stored canonical fields are those of this configuration. The key holds for fields that only one of the two has.

    A field added since must have its default here: that is what the stored run was computed with.
    """
    now, changed = canonical(config), differing(config)
    return all(_text(stored[name]) == _text(value) if name in stored else name not in changed for name, value in now.items())


def key(function: str, version: int, config: Any) -> str:
    """Key of a run: SHA-256 over function name, version and the fields that differ from their defaults (first 20 hex digits).

    A field added later with a default leaves old keys as they are; a changed default must come with a new version.
    """
    identity = {"function": function, "version": version, "config": differing(config)}
    return hashlib.sha256(_text(identity).encode()).hexdigest()[:20]


def _text(value: Any) -> str:
    """Canonical JSON; tells ``True`` from ``1``, which Python's ``==`` does not."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any, hint: Any, where: str) -> Plain:
    """One value in canonical form, checked against its annotation."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        for option in arguments:
            try:
                return _plain(value, option, where)
            except InvalidInput:
                continue
    elif hint is type(None) and value is None:
        return None
    elif origin is tuple and isinstance(value, tuple | list):
        inner = arguments if Ellipsis not in arguments else (arguments[0],) * len(value)
        if len(inner) == len(value):
            return [_plain(item, kind, f"{where}[{i}]") for i, (item, kind) in enumerate(zip(value, inner, strict=True))]
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if math.isfinite(value):
            return float(value) + 0.0  # -0.0 is 0.0
        raise InvalidInput(f"{where} is {value}: a configuration needs finite numbers, or no key could find its run again.")
    elif hint in (bool, int, str) and type(value) is hint:
        return value
    name = getattr(hint, "__name__", str(hint)) if origin is None else str(hint)
    raise InvalidInput(f"{where} must be {name}, got {value!r} ({type(value).__name__}).")
