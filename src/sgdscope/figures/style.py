"""The house style: sizes, colours and line widths of every figure.

A figure is drawn once. Its colours are named, and the SVG refers to the names as CSS variables, so that one drawing follows the
page from light to dark and into print.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl

PAGE_WIDTH = 7.6  # inches; the text column of the book

INK, MUTED, GRID, PAPER = "#1f2429", "#5b6570", "#d4dae0", "#fefefe"
SERIES = ("#0072b1", "#d45e01", "#009e74", "#cc78a7", "#b8860c", "#56b3e8", "#7f57b4", "#8a8a8b")  # colour-blind safe, after Okabe and Ito
CSS_NAMES = {INK: "--sgd-ink", MUTED: "--sgd-muted", GRID: "--sgd-grid", PAPER: "--sgd-paper"} | {
    colour: f"--sgd-c{i}" for i, colour in enumerate(SERIES)
}
DIVERGING = "RdBu_r"  # shrinks (blue) to grows (red)
SEQUENTIAL = "viridis"

_SETTINGS = {
    "figure.facecolor": "none",
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "none",
    "svg.fonttype": "path",  # the same letters everywhere, mathematics included
    "svg.hashsalt": "sgdscope",  # the same file for the same figure
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "axes.facecolor": "none",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": mpl.cycler(color=SERIES),
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the house style; matplotlib's own settings are restored afterwards."""
    with mpl.rc_context(_SETTINGS):
        yield
