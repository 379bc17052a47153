"""Figures: one house style, alt text, light and dark, numbers to download."""

from sgdscope.figures.meaning import MARKERS, batch_colours, mark_break_even, rate_colours, reference
from sgdscope.figures.prose import Sentence, say
from sgdscope.figures.show import Missing, Shown, figure, show
from sgdscope.figures.style import BATCHES, DIVERGING, GRID, INK, MUTED, PAGE_WIDTH, PAPER, RATES, SEQUENTIAL, SERIES
from sgdscope.figures.ticks import plain_ticks

__all__ = [
    "BATCHES",
    "DIVERGING",
    "GRID",
    "INK",
    "MARKERS",
    "MUTED",
    "PAGE_WIDTH",
    "PAPER",
    "RATES",
    "SEQUENTIAL",
    "SERIES",
    "Missing",
    "Sentence",
    "Shown",
    "batch_colours",
    "figure",
    "mark_break_even",
    "plain_ticks",
    "rate_colours",
    "reference",
    "say",
    "show",
]
