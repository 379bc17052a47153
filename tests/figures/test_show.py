"""Figures on a page: what they say without eyes, in the dark, and as numbers."""

import base64
import io
import re
import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from sgdscope.errors import InvalidInput
from sgdscope.figures import INK, SERIES, Missing, figure, show
from sgdscope.figures.show import NUMBERS_LIMIT, to_svg
from sgdscope.figures.style import house_style
from sgdscope.runs.collect import Sources

ALT = 'Loss "falls" below 1 < 2 & stays there.'
NUMBERS = pd.DataFrame({"step": [0, 1], "loss": [1.0, 1 / 3], "name": ["a,b", "ü"]})


@figure
def curve(table, *, image=False):
    drawing, axes = plt.subplots(figsize=(4, 3))
    axes.plot(table["step"], table["loss"], label="$\\lambda_K$")
    if image:
        axes.imshow(np.eye(3))
    axes.legend()
    return drawing


@pytest.fixture
def svg():
    return to_svg(curve(NUMBERS), "fig-loss", ALT)


def test_the_drawing_is_an_image_with_alt_text(svg):
    root = ElementTree.fromstring(svg)  # well-formed, or it breaks the page
    assert root.get("role") == "img" and root.get("aria-label") == ALT
    assert svg.startswith("<svg") and svg.count("aria-label") == 1
    assert (root.get("width"), root.get("height")) == ("384", "288")  # 4 x 3 inches at 96 dpi


def test_colours_are_css_variables(svg):
    assert f"var(--sgd-ink, {INK})" in svg and f"var(--sgd-c0, {SERIES[0]})" in svg
    assert "var(--sgd-grid, " in svg and "var(--sgd-muted, " in svg
    bare = re.sub(r"var\(--sgd-\w+, #\w{6}\)", "", svg)
    assert not re.findall(r"(?:fill|stroke): #(?!000000|ffffff)\w{6}", bare)


def test_the_page_knows_the_width(svg):
    assert ElementTree.fromstring(svg).get("style") == "--sgd-width: 384px"


def test_inner_names_are_apart_from_those_of_other_figures(svg):
    def names(text):
        return set(re.findall(r'\bid="([^"]+)"', text))

    other = to_svg(curve(NUMBERS), "fig-other", ALT)
    assert names(svg) and not names(svg) & names(other)
    for text in (svg, other):
        used = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
        assert used and used <= names(text)


def test_no_date_and_no_remote_names(svg):
    assert "<metadata" not in svg and "dc:date" not in svg and "matplotlib.org" not in svg


def test_the_same_bytes_twice(svg):
    assert to_svg(curve(NUMBERS), "fig-loss", ALT) == svg
    assert to_svg(curve(NUMBERS, image=True), "fig-loss", ALT) == to_svg(curve(NUMBERS, image=True), "fig-loss", ALT)


def test_the_numbers_can_be_downloaded():
    html = show(curve(NUMBERS), name="fig-loss", alt=ALT, numbers=NUMBERS).html
    (link,) = re.findall(r'<a download="fig-loss.csv" href="data:text/csv;base64,([^"]+)">', html)
    got = pd.read_csv(io.BytesIO(base64.b64decode(link)))
    pd.testing.assert_frame_equal(got, NUMBERS, rtol=1e-7)
    assert "CSV, 2 rows" in html


def test_what_jupyter_shows():
    shown = show(curve(NUMBERS), name="fig-loss", alt=ALT, numbers=NUMBERS)
    assert shown._repr_html_() == shown.html and repr(shown) == f"Figure: {ALT}"


def test_jupyter_shows_a_figure_once():
    """Open figures of pyplot are drawn at the end of a cell."""
    plt.close("all")
    curve(NUMBERS)
    assert plt.get_fignums() == []


def test_settings_are_restored():
    before = dict(mpl.rcParams)
    to_svg(curve(NUMBERS), "fig-loss", ALT)
    with pytest.raises(KeyError), house_style():
        assert mpl.rcParams["axes.facecolor"] == "none"
        raise KeyError
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("alt", ["", "   ", "A figure."])
def test_alt_text_is_needed(alt):
    with pytest.raises(InvalidInput, match="figure 'fig-loss' needs alt text that says what it shows, got"):
        show(curve(NUMBERS), name="fig-loss", alt=alt, numbers=NUMBERS)


@pytest.mark.parametrize("name", ["", "Fig", "a b", "../a", 'a"b', "-a"])
def test_names_are_file_names(name):
    with pytest.raises(InvalidInput, match="a figure's name takes small letters, digits and dashes, got"):
        show(curve(NUMBERS), name=name, alt=ALT, numbers=NUMBERS)


def test_too_many_numbers():
    many = pd.DataFrame({"x": np.random.default_rng(0).normal(size=NUMBERS_LIMIT // 10)})
    with pytest.raises(
        InvalidInput, match=r"the numbers behind figure 'fig-loss' take \d{3},\d{3} bytes as CSV, over 400,000: summarise them"
    ):
        show(curve(NUMBERS), name="fig-loss", alt=ALT, numbers=many)


def test_missing_runs_leave_a_box():
    def sourced(**sources):
        table = NUMBERS.copy()
        table.attrs["sources"] = Sources(**sources)
        return table

    assert not isinstance(curve(sourced(expected=3)), Missing)
    drawing = curve(sourced(expected=3, missing=1))
    assert drawing == Missing(1, 3)
    html = show(drawing, name="fig-loss", alt=ALT, numbers=NUMBERS.head(0)).html
    assert "<strong>Not computed.</strong> 1 of 3 runs behind this figure are missing" in html
    assert 'aria-label="Loss &quot;falls&quot; below 1 &lt; 2 &amp; stays there."' in html
    assert "<svg" not in html
