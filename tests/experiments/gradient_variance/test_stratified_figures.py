"""Figures of the page on stratified sampling from small tables: house style, and nothing where runs are missing."""

import re
import sys
import warnings
from pathlib import Path

import pytest
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parent))
import stratified_cases as cases

from sgdscope.experiments.gradient_variance import stratified_figures, stratified_tables
from sgdscope.figures import PAGE_WIDTH, Missing, show
from sgdscope.figures.style import CSS_NAMES
from sgdscope.runs.collect import Sources

ALT = "Lines that say what a reader who cannot see them must know."


def shown():
    points = cases.points()
    return stratified_tables.shown_set(stratified_tables.pictures(points), points)


DRAWINGS = {
    "draw_draws": (cases.draws,),
    "draw_duplicates": (cases.copies, cases.apart),
    "draw_shapes": (cases.clusters,),
    "draw_variances": (cases.clusters,),
    "draw_objective": (cases.objective,),
    "draw_plane": (shown,),
    "draw_pairs": (lambda: stratified_tables.pair_numbers(shown()), lambda: stratified_tables.pictures(cases.points())),
}
every_figure = pytest.mark.parametrize("name", DRAWINGS)


def draw(name):
    return getattr(stratified_figures, name)(*(make() for make in DRAWINGS[name]))


def test_every_figure_of_the_module_is_here():
    assert set(DRAWINGS) == {name for name in vars(stratified_figures) if name.startswith("draw_")}


@every_figure
def test_it_draws_in_the_house_style(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing = draw(name)
        made = show(drawing, name="drawing", alt=ALT, numbers=cases.draws())
    assert isinstance(drawing, Figure) and drawing.get_size_inches()[0] <= PAGE_WIDTH
    colours = set(re.findall(r"#[0-9a-f]{6}\b", re.sub(r"base64,[^\"]*", "", made.html)))
    assert colours <= {*CSS_NAMES}, "other colours stay as they are when the page turns dark"


@every_figure
def test_nothing_is_drawn_of_missing_runs(name):
    made = [make() for make in DRAWINGS[name]]
    for table in made:
        table.attrs["sources"] = Sources(expected=5, missing=2)
    assert isinstance(getattr(stratified_figures, name)(*made), Missing)


def test_steps_that_raise_the_objective_are_marked():
    raised = [sum(len(line.get_xdata()) for line in axis.get_lines() if line.get_marker() == "^") for axis in draw("draw_objective").axes]
    assert raised == [6, 12, 0]


def test_columns_of_the_shapes_are_named():
    titles = [axis.get_title(loc="left") for axis in draw("draw_shapes").axes[:3]]
    assert titles == ["weighted, running counts", "weighted, previous sizes", "plain k-means"]


def test_the_present_boundary_is_in_ink():
    axis = draw("draw_plane").axes[0]
    solid = [line for line in axis.get_lines() if line.get_linestyle() == "-"]
    assert len(solid) == 1 and solid[0].get_color() == stratified_figures.INK
    x, y = solid[0].get_data()
    assert all(abs(a + 0.5 * b + 0.1) < 1e-9 for a, b in zip(x, y, strict=True))
