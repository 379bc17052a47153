"""Whole numbers from outside: Python's and numpy's, no bools, no fractions."""

from __future__ import annotations

import operator

from sgdscope.errors import InvalidInput


def as_whole(value: object) -> int | None:
    """The whole number that a value is, such as 3 or ``numpy.int64(3)``; None for a bool and whatever else is none.

    >>> as_whole(3), as_whole(True), as_whole(3.0)
    (3, None, None)
    """
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def whole(name: str, value: object, least: int) -> int:
    """``value`` as a whole number of at least ``least``.

    Raises:
        InvalidInput: it is none; says which.
    """
    found = as_whole(value)
    if found is None or found < least:
        raise InvalidInput(f"{name} must be a whole number of at least {least}; {value!r} came.")
    return found
