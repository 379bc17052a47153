"""Figures on a page: drawn in one style, with alt text, numbers to download, and a box where runs are missing."""

from __future__ import annotations

import base64
import functools
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from sgdscope.errors import InvalidInput
from sgdscope.figures.style import CSS_NAMES, house_style

NUMBERS_LIMIT = 400_000  # bytes of CSV that a page carries for one figure


@dataclass(frozen=True)
class Missing:
    """Stands for a figure whose runs are not there."""

    missing: int
    expected: int


def figure(function: Callable[..., Figure]) -> Callable[..., Figure | Missing]:
    """Make a function of collected tables a figure function: drawn in the house style, and not at all if any of its runs is missing."""

    @functools.wraps(function)
    def drawn(*args: Any, **kwargs: Any) -> Figure | Missing:
        for value in (*args, *kwargs.values()):
            sources = value.attrs.get("sources") if isinstance(value, pd.DataFrame) else None
            if sources is not None and sources.missing:
                return Missing(sources.missing, sources.expected)
        with house_style():
            made = function(*args, **kwargs)
        plt.close(made)  # else Jupyter would show it a second time, in its own style
        return made

    return drawn


@dataclass(frozen=True)
class Shown:
    """A figure as it stands on the page."""

    html: str
    alt: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"Figure: {self.alt}"


def show(drawing: Figure | Missing, *, name: str, alt: str, numbers: pd.DataFrame) -> Shown:
    """Show a figure: inline SVG that follows the page's colours, alt text, and its numbers as a CSV file to download.

    Args:
        drawing: what a ``@figure`` function returned.
        name: file name of the numbers, and prefix that keeps the SVG's inner names apart from other figures'.
        alt: what a reader who cannot see the figure must know; a sentence or two.
        numbers: the table behind the figure.

    Raises:
        InvalidInput: no alt text, a name that is no file name, or more numbers than a page should carry.
    """
    if len(alt.strip()) < 20:
        raise InvalidInput(f"figure {name!r} needs alt text that says what it shows, got {alt!r}.")
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise InvalidInput(f"a figure's name takes small letters, digits and dashes, got {name!r}.")
    if isinstance(drawing, Missing):
        box = (
            f'<div class="sgd-missing" role="img" aria-label="{escape(alt, quote=True)}"><strong>Not computed.</strong> {drawing.missing} of '
            f"{drawing.expected} runs behind this figure are missing at this scale.</div>"
        )
        return Shown(box, alt)
    csv = numbers.to_csv(index=False, float_format="%.8g").encode()
    if len(csv) > NUMBERS_LIMIT:
        raise InvalidInput(f"the numbers behind figure {name!r} take {len(csv):,} bytes as CSV, over {NUMBERS_LIMIT:,}: summarise them.")
    link = f"data:text/csv;base64,{base64.b64encode(csv).decode()}"
    return Shown(
        f'<div class="sgd-figure"><div class="sgd-drawing">{to_svg(drawing, name, alt)}</div>'
        f'<p class="sgd-download"><a download="{name}.csv" href="{link}">Numbers (CSV, {len(numbers):,} rows)</a></p></div>',
        alt,
    )


def to_svg(drawing: Figure, name: str, alt: str) -> str:
    """A figure as inline SVG with named colours (CSS variables, the drawn colour as fallback) and unique inner names."""
    buffer = io.StringIO()
    with house_style():
        drawing.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    for colour, css in CSS_NAMES.items():
        svg = svg.replace(colour, f"var({css}, {colour})")
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    width, height = (float(value) * 4 / 3 for value in re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', svg).groups())  # 96 dpi
    size = (
        f'width="{width:.0f}" height="{height:.0f}" style="--sgd-width: {width:.0f}px"'  # the page's style sheet needs the width on phones
    )
    svg = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', size, svg, count=1)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt, quote=True)}"', 1)
