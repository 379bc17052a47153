"""The house style: letters, colours and line widths of every figure.

A figure is drawn once. Its colours are named, and the SVG refers to the names as CSS variables, so that one drawing follows the
page from light to dark and into print. What a colour means is the same on every page: see ``sgdscope.figures.meaning``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib import font_manager

PAGE_WIDTH = 7.6  # inches; the widest a figure gets in the book
FONT = "Inter Figures"  # a subset of Inter, in fonts/ beside this file; the page's tables and captions are set in Inter too

INK, MUTED, GRID, PAPER = "#1f2429", "#5b6570", "#d4dae0", "#fefefe"
SERIES = ("#0072b1", "#d45e01", "#009e74", "#cc78a7", "#b8860c", "#56b3e8", "#7f57b4", "#8a8a8b")  # colour-blind safe, after Okabe and Ito
RATES = ("#2f246c", "#562a7f", "#862c7c", "#b82e47", "#cc521b", "#d4771a")  # learning rates, from small to large
BATCHES = ("#153470", "#034e72", "#056574", "#077c72", "#2d935e", "#799f41")  # batch sizes, from small to large
CSS_NAMES = {INK: "--sgd-ink", MUTED: "--sgd-muted", GRID: "--sgd-grid", PAPER: "--sgd-paper"} | {
    colour: f"--sgd-{letter}{i}" for letter, colours in (("c", SERIES), ("r", RATES), ("b", BATCHES)) for i, colour in enumerate(colours)
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
    "font.family": [FONT],
    "mathtext.fontset": "custom",  # symbols of the same weight as the words beside them
    "mathtext.rm": FONT,
    "mathtext.it": f"{FONT}:italic",
    "mathtext.bf": f"{FONT}:semibold",
    "mathtext.sf": FONT,
    "mathtext.tt": FONT,
    "mathtext.cal": f"{FONT}:italic",  # matplotlib's own is looked for when any is, and missed aloud
    "mathtext.bfit": f"{FONT}:semibold",
    "mathtext.fallback": "stixsans",
    "axes.titlesize": 10,
    "axes.titleweight": "semibold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 10,
    "axes.labelpad": 5,
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
    "xtick.bottom": True,
    "ytick.left": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.size": 3.5,
    "ytick.major.size": 3.5,
    "xtick.minor.size": 2,
    "ytick.minor.size": 2,
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
    "xtick.minor.width": 0.6,
    "ytick.minor.width": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.title_fontsize": 9,
    "legend.handlelength": 1.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "lines.solid_capstyle": "round",
}


@cache
def settings() -> dict[str, Any]:
    """The house style as matplotlib settings: seaborn's white grid for print, and what we change of it."""
    for file in sorted((Path(__file__).parent / "fonts").glob("*.otf")):
        font_manager.fontManager.addfont(file)
    return {**sns.axes_style("whitegrid"), **sns.plotting_context("paper"), **_SETTINGS}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the house style; matplotlib's own settings are restored afterwards."""
    with mpl.rc_context(settings()):
        yield
