"""Figures of the MNIST page from small tables: house style, and nothing where runs are missing."""

import re
import sys
import warnings
from pathlib import Path

import pytest
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parent))
import mnist_cases as cases

from sgdscope.experiments.gradient_variance import mnist_figures
from sgdscope.figures import PAGE_WIDTH, Missing, show
from sgdscope.figures.style import CSS_NAMES
from sgdscope.runs.collect import Sources

DRAWINGS = {
    "draw_variances": (cases.main,),
    "draw_half": (cases.main,),
    "draw_normalised": (cases.main,),
    "draw_growth": (cases.main,),
    "draw_problems": (cases.problems,),
    "draw_fresh": (cases.main, cases.fresh),
    "draw_protocols": (cases.main, cases.authors),
    "draw_training": (cases.training,),
}
every_figure = pytest.mark.parametrize("name", DRAWINGS)


def test_every_figure_of_the_module_is_here():
    assert set(DRAWINGS) == {name for name in vars(mnist_figures) if name.startswith("draw_")}


@every_figure
@pytest.mark.parametrize("seeds", [(0, 1, 2), (1,)])
def test_it_draws_in_the_house_style(name, seeds):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing = getattr(mnist_figures, name)(*(make(seeds=seeds) for make in DRAWINGS[name]))
        shown = show(drawing, name="drawing", alt="What a reader who cannot see it must know.", numbers=cases.main())
    assert isinstance(drawing, Figure) and drawing.get_size_inches()[0] <= PAGE_WIDTH
    colours = set(re.findall(r"#[0-9a-f]{6}\b", re.sub(r"base64,[^\"]*", "", shown.html)))
    assert colours <= {*CSS_NAMES}, "other colours stay as they are when the page turns dark"


@every_figure
def test_nothing_is_drawn_of_missing_runs(name):
    tables = [make() for make in DRAWINGS[name]]
    tables[0].attrs["sources"] = Sources(expected=3, missing=1)
    assert isinstance(getattr(mnist_figures, name)(*tables), Missing)


def test_curves_begin_where_there_is_something_stale():
    """SVRG and GC have no value from before their first update; GC's fresh ones are open marks."""
    axis = mnist_figures.draw_variances(cases.main()).axes[0]
    lines = {line.get_label(): line for line in axis.get_lines()}
    assert lines["SG-B"].get_xdata()[0] == 10 and lines["SVRG"].get_xdata()[0] == 100
    assert lines["GC, just updated"].get_xdata().tolist() == [10, 400, 800]


def test_labels_of_logarithmic_axes_are_short():
    axes = mnist_figures.draw_protocols(cases.main(), cases.authors()).axes
    assert not axes[0].xaxis.get_minorticklocs().size
    shown = [mnist_figures._power(value) for value in (0.02, 1, 3e-6, 1e-8)]
    assert shown == ["0.02", "1", r"$3 \times 10^{-6}$", "$10^{-8}$"]
