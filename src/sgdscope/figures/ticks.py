"""Ticks of logarithmic axes as plain numbers."""

from __future__ import annotations

from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator, StrMethodFormatter

DECADES = 1000  # an axis that spans more keeps its powers of ten, unless its ticks are given


def plain_ticks(axis: Axis, *at: float) -> None:
    """Plain numbers on a logarithmic axis: those given, else 1, 2, 5, 10, ..., or 1, 10, 100, ... where it spans two decades or more."""
    low, high = axis.get_view_interval()
    if at or high < DECADES * low:
        axis.set_major_locator(FixedLocator(at) if at else LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
