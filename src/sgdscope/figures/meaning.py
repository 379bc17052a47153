"""What colours, lines and marks mean, the same on every page.

Learning rates run from indigo (small) to orange (large), batch sizes from blue (small) to green (large), the full batch is ink. Whatever is
not measured but known (theory, a limit, the paper's number) is a dashed line in a neutral colour, named where it stands. The break-even
point is an open circle. Everything else takes ``SERIES`` in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes

from sgdscope.errors import InvalidInput
from sgdscope.figures.style import BATCHES, INK, MUTED, PAPER, RATES

MARKERS = ("o", "s", "^", "D", "v", "P")  # by position, so that lines are told apart without colour


def rate_colours(rates: Iterable[float]) -> dict[float, str]:
    """Colours of learning rates by value, spread over ``RATES`` from the smallest to the largest; of more than six, neighbours share one.

    >>> rate_colours([0.1, 0.01])
    {0.01: '#2f246c', 0.1: '#d4771a'}
    """
    return _spread(rates, RATES)


def batch_colours(sizes: Iterable[float], *, full: float | None = None) -> dict[float, str]:
    """Colours of batch sizes by value, spread over ``BATCHES`` from the smallest to the largest.

    Args:
        sizes: the batch sizes of the figure, in any order.
        full: the size that is the whole data set, if one is: it is drawn in ink.
    """
    sizes = set(sizes)
    return _spread(sizes - {full}, BATCHES) | ({full: INK} if full in sizes else {})


def reference(axis: Axes, *, x: float | None = None, y: float | None = None, says: str = "", end: str = "right") -> None:
    """A line of theory across the axes: dashed, neutral, with its name at one end.

    Args:
        axis: where to draw.
        x: a vertical line at this place, or
        y: a horizontal one at this height.
        says: its name; empty where a caption or a legend has it.
        end: of a horizontal line, where its name stands: ``left`` or ``right``. A vertical line's stands at the top.

    Raises:
        InvalidInput: both or neither of x and y.
    """
    if (x is None) == (y is None):
        raise InvalidInput(f"a reference line takes x or y, one of the two; got x={x!r}, y={y!r}.")
    draw, at = (axis.axhline, y) if x is None else (axis.axvline, x)
    draw(at, color=MUTED, lw=1.1, ls=(0, (4, 3)), zorder=1.5)
    style = {"textcoords": "offset points", "color": MUTED, "fontsize": 9}
    if says and x is None:
        side = 0 if end == "left" else 1
        axis.annotate(says, (side, at), xycoords=("axes fraction", "data"), xytext=(4 - 8 * side, 4), ha=end, **style)
    elif says:
        axis.annotate(says, (at, 1), xycoords=("data", "axes fraction"), xytext=(4, -3), va="top", **style)


def mark_break_even(axis: Axes, x: float | Sequence[float], y: float | Sequence[float], colour: str, *, label: str | None = None) -> None:
    """The break-even point of a run: an open circle in the run's colour."""
    axis.plot(x, y, "o", ms=8, mfc=PAPER, mec=colour, mew=2, ls="none", zorder=5, label=label)


def _spread(values: Iterable[float], colours: Sequence[str]) -> dict[float, str]:
    """A colour for each value: the ends of the scale for the smallest and the largest."""
    ordered = sorted(set(values))
    last = max(len(ordered) - 1, 1)
    return {value: colours[round(i * (len(colours) - 1) / last)] for i, value in enumerate(ordered)}
