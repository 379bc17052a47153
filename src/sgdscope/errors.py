"""Typed errors. Each message says what was expected, what came and what to do."""

from __future__ import annotations

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
    near = get_close_matches(name, valid, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return NotFound(f"unknown {kind} {name!r}.{hint} Valid: {', '.join(valid)}.")
