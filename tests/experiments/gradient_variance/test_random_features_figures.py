"""Figures of the random-features page from small tables: house colours, page width, nothing where runs are missing."""

import re
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parent))
import random_features_cases as cases

from sgdscope.experiments.gradient_variance import random_features_figures as figures
from sgdscope.experiments.gradient_variance import random_features_numbers as numbers
from sgdscope.figures import PAGE_WIDTH, Missing, show
from sgdscope.figures.style import CSS_NAMES

ALT = "Lines that say what a reader who cannot see them must know."


def peaked():
    """With a largest ratio somewhere, and a plain trend of everything else."""
    return cases.sweep(unguarded=lambda row: 2.0 if row["step"] == 700 else 1.0)


DRAWINGS = {
    "variance": lambda table: figures.draw_variance(table(cases.sweep())),
    "set_ups": lambda table: figures.draw_set_ups(table(cases.sweep()), cases.others()),
    "normalised": lambda table: figures.draw_normalised(table(cases.sweep())),
    "factors": lambda table: figures.draw_factors(table(cases.sweep())),
    "extremes": lambda table: figures.draw_extremes(table(peaked())),
    "staleness": lambda table: figures.draw_staleness(table(cases.sweep())),
    "batch_sizes": lambda table: figures.draw_batch_sizes(table(cases.batches())),
    "drop": lambda table: figures.draw_drop(table(cases.drop())),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawings(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing = DRAWINGS[name](lambda table: table)
    assert isinstance(drawing, Figure) and drawing.get_figwidth() <= PAGE_WIDTH
    svg = show(drawing, name="test", alt=ALT, numbers=cases.drop()).html
    literal = set(re.findall(r"#[0-9a-f]{6}\b", re.sub(r"var\([^)]*\)", "", svg)))
    assert literal <= {"#000000", "#ffffff"}, f"colours without a name: {literal - set(CSS_NAMES)}"


@pytest.mark.parametrize("name", DRAWINGS)
def test_nothing_is_drawn_where_runs_are_missing(name):
    assert isinstance(DRAWINGS[name](cases.lacking), Missing)


def test_the_first_figure_has_both_statistics_and_two_rates():
    drawing = figures.draw_variance(cases.sweep())
    titles = [axis.get_title(loc="left") for axis in drawing.axes]
    assert titles == ["SG-B, all rates", "rate 0.01", "rate 0.1"] * 2
    assert [drawing.axes[i].get_ylabel() for i in (0, 3)] == ["maximum variance", "mean variance"]
    assert len(drawing.axes[0].lines) == 6 and len(drawing.axes[1].lines) == 4


def test_the_authors_numbers_stand_where_sizes_are_theirs():
    theirs = cases.sweep().assign(hidden=1000, batch_size=10, num_steps=5000)
    theirs["step"] *= 5
    with_crosses, without = figures.draw_set_ups(theirs, cases.others()), figures.draw_set_ups(cases.sweep(), cases.others())
    crosses = lambda drawing: [[len(line.get_xdata()) for line in axis.lines if line.get_marker() == "x"] for axis in drawing.axes]  # noqa: E731
    assert (
        crosses(with_crosses) == [[3, 3, 3, 0], [0, 0, 0], [0, 0, 0]] and crosses(without) == [[0, 0, 0]] * 3
    )  # a colour a rate, one in the legend
    line, marks = (next(one for one in with_crosses.axes[0].lines if one.get_marker() == kind) for kind in ("o", "x"))
    assert line.get_color() == marks.get_color()


def test_many_values_of_over_parametrisation_are_thinned():
    """Ticks and lines that would run into each other are left out, the ends are kept."""
    table = cases.sweep(taus=(0.1, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 5.0, 10.0))
    drawing = figures.draw_staleness(table)
    assert [line.get_label() for line in drawing.axes[0].lines if not line.get_label().startswith("_")] == [
        "0.1",
        "1",
        "1.5",
        "2.5",
        "3",
        "10",
    ]
    ticks = figures.draw_variance(table).axes[-1].get_xticks()
    assert ticks.tolist() == [0.1, 0.5, 1.0, 2.0, 5.0, 10.0]


def test_numbers_to_download():
    assert len(numbers.variance_table(cases.sweep())) == 2 * 3 * 4 * 3
    found = numbers.extreme_table(peaked())
    assert set(found.offset) == {-2, -1, 0, 1, 2} and len(found) == 5 * 3 * 2 * 2 * 3 * 2
    assert numbers.factor_table(cases.sweep()).factor.tolist()[:2] == ["learning rate", "h_s / N"]
    assert set(numbers.normalised_table(cases.sweep()).form) == {"guarded", "normalised"}
    assert len(numbers.staleness_table(cases.sweep())) == 3 * 3 * 4
    assert len(numbers.batch_table(cases.batches())) == 4 * 3 and len(numbers.drop_table(cases.drop())) == 2 * 3
    assert numbers.check_table(cases.sweep()).log_mean.tolist() == sorted(numbers.check_table(cases.sweep()).log_mean, reverse=True)


def test_no_numbers_where_runs_are_missing():
    lacking = cases.lacking(cases.sweep())
    for function in (
        numbers.variance_table,
        numbers.factor_table,
        numbers.normalised_table,
        numbers.extreme_table,
        numbers.staleness_table,
    ):
        assert function(lacking).empty
    assert numbers.plotted_table(cases.sweep(), cases.lacking(cases.others())).empty and numbers.batch_table(pd.DataFrame()).empty
