"""Figures of 02_clustering from small tables: drawn, no wider than the page, nothing where runs are missing."""

import sys
import warnings
from pathlib import Path

import pytest
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parent))
import clustering_tables as tables

from sgdscope.experiments.gradient_variance import clustering_figures
from sgdscope.figures import PAGE_WIDTH, Missing, show
from sgdscope.runs.collect import Sources

DRAWINGS = {
    "draw_centres": (tables.centres,),
    "draw_costs": (tables.steps,),
    "draw_sizes": (tables.gaussian, tables.real),
    "draw_range": (tables.by_clusters,),
    "draw_uniform": (tables.cloud,),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawn(name):
    given = [make() for make in DRAWINGS[name]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing = getattr(clustering_figures, name)(*given)
        shown = show(drawing, name="a", alt="What a reader who cannot see it must know.", numbers=given[-1])
    assert isinstance(drawing, Figure) and drawing.get_figwidth() <= PAGE_WIDTH and "<svg" in shown.html
    assert all(axis.get_xlabel() or axis.get_title(loc="left") for axis in drawing.axes)


@pytest.mark.parametrize("name", DRAWINGS)
def test_missing(name):
    given = [make() for make in DRAWINGS[name]]
    given[0].attrs["sources"] = Sources(expected=9, missing=2)
    assert getattr(clustering_figures, name)(*given) == Missing(2, 9)


def test_a_page_of_one_network():
    drawing = clustering_figures.draw_costs(tables.steps().query("network == 'mlp'"))
    assert [axis.get_title(loc="left") for axis in drawing.axes] == ["MLP, K = 32"]


def test_bars_are_the_means():
    drawing = clustering_figures.draw_costs(tables.steps())
    widths = [bar.get_width() for bar in drawing.axes[1].patches]
    assert widths == pytest.approx([ratio * 1.05 for ratio in (0.5, 0.1, 0.6, 0.3, 1.4, 1.5)])
