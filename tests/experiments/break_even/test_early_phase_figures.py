"""Figures of the early-phase page from small tables: house style, marks where they belong, nothing where runs are missing."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from sgdscope.experiments.break_even import early_phase_figures, early_phase_tables
from sgdscope.figures import PAGE_WIDTH, PAPER, Missing, show
from sgdscope.figures.style import CSS_NAMES

ALT = "Lines that say what a reader who cannot see them must know."


def training():
    rows = []
    for rate in (0.1, 0.01):
        for seed in (0, 1):
            for i, step in enumerate((0, 1, 10, 11, 20, 21, 30, 31)):
                probe = step % 10 == 0
                value = lambda x, probe=probe: x if probe else np.nan  # noqa: E731
                rows.append({
                    "learning_rate": rate, "seed": seed, "every": 10, "step": step, "dataset": "digits", "model": "mlp", "train_loss": 2 - i / 8,
                    "train_accuracy": 0.1 + i / 10, "H_top": 2.0 + i, "distance": 0.3 - i / 100, "K_top": value(0.1 + i / 10),
                    "K_conditioning": value(0.1), "K_trace": value(1.0 + i), "curvature_std": value(3.0), "alignment": value(0.5),
                    "stability_lhs": value(0.4 + i * rate * 3), "quadratic_error": value(0.01 + i / 100),
                })  # fmt: skip
    return pd.DataFrame(rows)


def embedded():
    probes = early_phase_tables.probes(training())
    probes = probes[probes.seed == 0].rename(columns={"learning_rate": "rate"})
    return probes.assign(x=np.arange(len(probes)) * 1.0, y=np.arange(len(probes)) % 3.0)


def peaks():
    rows = [
        {"learning_rate": rate, "seed": seed, "matrix": matrix, "eigenvalue": 10.0**-rank * (1 + seed)}
        for rate in (0.1, 0.01) for seed in (0, 1) for matrix in "KH" for rank in range(4)
    ]  # fmt: skip
    return pd.DataFrame(rows)


DRAWINGS = {
    "draw_course": (training,),
    "draw_embedding": (embedded, training),
    "draw_equal_accuracy": (lambda: early_phase_tables.equal_accuracy_table(training()), training),
    "draw_scatter": (training,),
    "draw_spectra": (peaks,),
    "draw_assumptions": (training,),
    "draw_steps": (training,),
}
every_figure = pytest.mark.parametrize("name", DRAWINGS)


def draw(name):
    return getattr(early_phase_figures, name)(*(make() for make in DRAWINGS[name]))


def test_every_figure_of_the_module_is_here():
    assert set(DRAWINGS) == {name for name in vars(early_phase_figures) if name.startswith("draw_")}


@every_figure
def test_it_draws_in_the_house_style(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing = draw(name)
        shown = show(drawing, name="drawing", alt=ALT, numbers=training())
    assert isinstance(drawing, Figure) and drawing.get_size_inches()[0] <= PAGE_WIDTH
    colours = set(re.findall(r"#[0-9a-f]{6}\b", re.sub(r"base64,[^\"]*", "", shown.html)))
    assert colours <= {*CSS_NAMES}, "other colours stay as they are when the page turns dark"


@every_figure
def test_nothing_is_drawn_of_missing_runs(name, with_a_run_missing):
    tables = [with_a_run_missing(make()) for make in DRAWINGS[name]]
    assert isinstance(getattr(early_phase_figures, name)(*tables), Missing)


def marked(axis):
    """Places of the open circles."""
    return [
        line.get_xydata().tolist() for line in axis.get_lines() if line.get_markerfacecolor() == PAPER and line.get_linestyle() == "None"
    ]


def test_the_point_is_marked_where_there_is_one():
    """The fast trajectories reach 1 at step 10 (time 1), the slow ones never."""
    axes = draw("draw_course").axes
    assert marked(axes[2]) == [[[1.0, pytest.approx(1.0)]], [[1.0, pytest.approx(1.0)]]]
    for name in ("draw_equal_accuracy", "draw_scatter", "draw_assumptions", "draw_steps"):
        assert {len(marked(axis)) for axis in draw(name).axes} == {2}, name
    points = embedded()
    at = points[(points.rate == 0.1) & (points.step == 10)]
    assert marked(draw("draw_embedding").axes[0]) == [[[at.x.iloc[0], at.y.iloc[0]]]]


def test_the_background_is_that_of_the_nearest_step():
    points = embedded()
    axis = draw("draw_embedding").axes[1]
    mesh = axis.collections[0]
    values = mesh.get_array().reshape(early_phase_figures.RESOLUTION, -1)
    assert set(np.unique(values)) == set(points.train_accuracy)
    corner = ((points[["x", "y"]] - [axis.get_xlim()[0], axis.get_ylim()[0]]) ** 2).sum(axis=1).idxmin()
    assert values[0, 0] == points.train_accuracy[corner]


def test_all_eigenvalues_are_counted():
    for axis in draw("draw_spectra").axes:
        assert sum(patch.get_height() for patch in axis.patches) == 2 * 2 * 4
