"""Typed errors, and refusals that all rooms share. Each message says what was expected, what came and what to do."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable
from difflib import get_close_matches


class SgdscopeError(Exception):
    """Base of all errors that a user can cause and mend; the command line prints their message without a traceback."""


class InvalidInput(SgdscopeError, ValueError):
    """A value that was refused at the boundary."""


class NotFinite(InvalidInput):
    """Losses, gradients or curvatures that are NaN or infinite at the point measured: training has diverged, or the dtype is too narrow."""


class NotFound(SgdscopeError, LookupError):
    """A name, file or data set that does not exist."""


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> NotFound:
    """The error for a name that does not exist: lists the valid ones and the nearest."""
    valid = list(valid)
    hint = f" Did you mean {near!r}?" if (near := _nearest(name, valid)) else ""
    return NotFound(f"unknown {kind} {name!r}.{hint} Valid: {', '.join(valid)}.")


def _nearest(name: str, valid: list[str]) -> str | None:
    """The first that begins with a name, else that holds it (whatever the case, and zeros before numbers), else that is spelled like it."""
    text = _plain(name)
    holding = [other for other in valid if text and text in _plain(other)]
    beginning = [other for other in holding if _plain(other).startswith(text)]
    return next(iter([*beginning, *holding, *get_close_matches(name, valid, n=1)]), None)


def _plain(text: str) -> str:
    return re.sub(r"\b0+(?=\d)", "", text.lower())


def whole(name: str, value: object, least: int = 1, most: int | None = None, *, note: str = "") -> int:
    """``value`` as a Python int, if it is a whole number (Python's or numpy's, no bool) from ``least`` to ``most``.

    Raises:
        InvalidInput: it is not; ``note`` says more about the limits.
    """
    try:
        found = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        found = None
    if found is None or found < least or (most is not None and found > most):
        limits = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise InvalidInput(f"{name} must be a whole number {limits}{f' ({note})' if note else ''}; {value!r} came.")
    return found
