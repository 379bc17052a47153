"""Figures from hand-made tables: they draw, in the house style, what the tables hold, and nothing where runs are missing."""

import re
import warnings

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from sgdscope.experiments.break_even import model_figures
from sgdscope.figures import MUTED, PAGE_WIDTH, Missing, show
from sgdscope.figures.style import CSS_NAMES

FIGURES = {
    model_figures.draw_phase_diagram: "phase_diagram",
    model_figures.draw_growth: "phase_diagram",
    model_figures.draw_stable_case: "stable_case",
    model_figures.draw_descent: "descent",
    model_figures.draw_boundaries: "boundary",
    model_figures.draw_noise: "noise",
    model_figures.draw_theorems: "early_training",
    model_figures.draw_networks: "network",
}
every_figure = pytest.mark.parametrize(("draw", "name"), FIGURES.items(), ids=lambda value: getattr(value, "__name__", ""))
ALT = "Lines that say what a reader who cannot see them must know."


def test_every_figure_of_the_module_is_here():
    assert {draw.__name__ for draw in FIGURES} == {name for name in vars(model_figures) if name.startswith("draw_")}


@every_figure
def test_it_draws_in_the_house_style(draw, name, tables):
    before = dict(mpl.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing = draw(tables[name])
        shown = show(drawing, name="drawing", alt=ALT, numbers=tables[name])
    assert isinstance(drawing, Figure) and plt.get_fignums() == [] and dict(mpl.rcParams) == before
    assert drawing.get_size_inches()[0] <= PAGE_WIDTH
    assert all(axis.get_xlabel() or drawing._supxlabel or not axis.get_subplotspec() for axis in drawing.axes)
    assert drawing.axes[0].get_ylabel()
    colours = set(re.findall(r"#[0-9a-f]{6}\b", re.sub(r"base64,[^\"]*", "", shown.html)))
    assert colours <= {*CSS_NAMES, "#000000"}, "other colours stay as they are when the page turns dark"
    assert re.search(r"var\(--sgd-[crb]0, #\w{6}\)", shown.html) or name == "phase_diagram"


@every_figure
def test_nothing_is_drawn_of_missing_runs(draw, name, tables, with_a_run_missing):
    for table in (with_a_run_missing(tables[name]), with_a_run_missing(pd.DataFrame(columns=["seed", "status"]))):
        assert draw(table) == Missing(1, 9)


@every_figure
def test_one_seed_and_one_batch_size_are_enough(draw, name, tables):
    table = tables[name]
    if name == "network":  # training on the full batch alone
        table = table[table.batch_size == 256]
    elif "batch_size" in table:
        table = table[table.batch_size == table.batch_size.min()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing = draw(table[table.seed == table.seed.min()])
    assert isinstance(drawing, Figure)


def lines(axis):
    return {line.get_label(): line.get_xydata() for line in axis.get_lines() if not line.get_label().startswith("_")}


def test_a_panel_a_batch_size(tables):
    for draw, name in ((model_figures.draw_phase_diagram, "phase_diagram"), (model_figures.draw_descent, "descent")):
        titles = [axis.get_title("left") for axis in draw(tables[name]).axes if axis.get_title("left")]
        assert titles == ["batch size 1", "batch size 4"]


def test_the_phase_diagram_shows_growth_a_step(tables):
    table = tables["phase_diagram"]
    mesh, equation, typical = model_figures.draw_phase_diagram(table).axes[0].collections
    assert (equation.levels.tolist(), typical.levels.tolist()) == ([1], [0]), "left side of Eq. 1, and the exponent"
    cells = table[table.batch_size == 1].groupby(["spread", "learning_rate"]).log_second_moment.mean() / 5
    np.testing.assert_allclose(np.ravel(mesh.get_array()), cells.clip(-1, 1).to_numpy())


def test_a_cell_that_lands_on_the_minimum_makes_no_hole(tables):
    """Its exponent is minus infinity; the line of the others passes it by."""
    table = tables["phase_diagram"]
    plain = model_figures.draw_phase_diagram(table).axes[0].collections[2].get_paths()
    table.loc[(table.learning_rate == 0.9) & (table.spread == 1.0), "exponent"] = -np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        holed = model_figures.draw_phase_diagram(table).axes[0].collections[2].get_paths()
    assert [len(path) for path in holed] == [len(path) for path in plain]


def test_boundaries_are_means_over_seeds(tables):
    found = lines(model_figures.draw_boundaries(tables["boundary"]).axes[0])
    np.testing.assert_allclose(found["Eq. 1, top direction alone"], [(1, 1.0), (4, 1.6), (40, 2.0)])
    np.testing.assert_allclose(found["all directions together, exact"], [(1, 0.5), (4, 0.8), (40, 2.0)])


def test_theorems_have_a_side_each(tables):
    table = tables["early_training"]
    table.loc[table.start == "unstable", "crossing_sharpness"] *= 2
    left, right = model_figures.draw_theorems(table).axes
    for batch, label in ((1, "S = 1"), (8, "S = 8"), (200, "S = 200 (full)")):
        np.testing.assert_allclose(2 * lines(left)[label][:, 1], lines(right)[label][:, 1])
        mean = table[(table.batch_size == batch) & (table.start == "stable")].groupby("learning_rate").crossing_sharpness.mean()
        np.testing.assert_allclose(lines(left)[label][:, 1], mean)
    np.testing.assert_allclose(np.prod(lines(left)[r"$2/\eta$"], axis=1), 2)


def test_networks_show_the_point_where_there_is_one(tables):
    table = tables["network"]
    table.loc[table.batch_size == 128, ["crossing_step", "crossing_sharpness"]] = np.nan
    training, points = model_figures.draw_networks(table).axes
    dots = [line.get_xydata().tolist() for line in training.get_lines() if line.get_marker() == "o"]
    assert dots == [[], [[15.0, 1.0]]]
    assert r"$\eta$ = 0.5" in training.get_title("left")
    np.testing.assert_allclose(lines(points)["S = 256 (full)"], [(0.4, 1), (0.5, 1), (0.6, 1)])
    assert np.isnan(lines(points)["S = 128"][:, 1]).all()


def test_descent_shows_the_first_seed_and_what_diverged(tables):
    table = tables["descent"]
    table.loc[table.seed == 2, "log_exact"] = 1e6
    drawing = model_figures.draw_descent(table)
    assert np.abs(lines(drawing.axes[0])["0.5"]).max() < 10
    thin = [line for line in drawing.axes[0].get_lines() if line.get_linewidth() == 0.7]
    assert [int(np.isfinite(line.get_ydata().astype(float)).sum()) for line in thin] == [6, 4], "up to where it overflowed"


def test_the_stable_case_starts_at_one(tables):
    (axis,) = model_figures.draw_stable_case(tables["stable_case"]).axes
    assert all(line.get_xydata()[0].tolist() == [0, 0] for line in axis.get_lines())
    assert len([line for line in axis.get_lines() if line.get_color() == MUTED]) == 3, "a line a seed"


def test_no_series_is_left_out_where_colours_are_few(tables):
    """Ten seeds, batch sizes or rates: colours come again, lines do not go."""
    many = range(10)
    noise = pd.concat([tables["noise"][tables["noise"].seed == 0].assign(seed=seed) for seed in many])
    assert list(lines(model_figures.draw_noise(noise).axes[0])) == [f"seed {seed}" for seed in many]
    one = tables["early_training"].query("batch_size == 1")
    early = pd.concat([one.assign(batch_size=2.0**i) for i in many])
    assert len(lines(model_figures.draw_theorems(early).axes[0])) == 1 + 10
    descent = pd.concat([tables["descent"].query("learning_rate == 0.5").assign(learning_rate=(1 + i) / 10) for i in many])
    assert len(lines(model_figures.draw_descent(descent).axes[0])) == 10
    phase = pd.concat([tables["phase_diagram"].query("batch_size == 1").assign(batch_size=1 + i) for i in many])
    assert len(model_figures.draw_growth(phase).axes[0].collections) == 10
