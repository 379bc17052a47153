"""Figures: one house style, alt text, light and dark, numbers to download."""

from sgdscope.figures.prose import Sentence, say
from sgdscope.figures.show import Missing, Shown, figure, show
from sgdscope.figures.style import DIVERGING, GRID, INK, MUTED, PAGE_WIDTH, PAPER, SEQUENTIAL, SERIES

__all__ = [
    "DIVERGING",
    "GRID",
    "INK",
    "MUTED",
    "PAGE_WIDTH",
    "PAPER",
    "SEQUENTIAL",
    "SERIES",
    "Missing",
    "Sentence",
    "Shown",
    "figure",
    "say",
    "show",
]
