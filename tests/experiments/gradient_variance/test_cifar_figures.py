"""Figures of the CIFAR page from small tables: house style, nothing where runs are missing."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no neighbours
import cifar_cases as cases

from sgdscope.experiments.gradient_variance import cifar_figures
from sgdscope.figures import PAGE_WIDTH, Missing, show
from sgdscope.figures.style import CSS_NAMES
from sgdscope.runs.collect import Sources

DRAWINGS = {
    "draw_estimators": (cases.plain,),
    "draw_noise": (cases.plain, cases.smoothed, cases.corrupted),
    "draw_rates": (cases.plain, cases.constant),
    "draw_states": (cases.states,),
    "draw_variants": (cases.plain, cases.smoothed, cases.corrupted, cases.others),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawn_in_house_style(name):
    tables = [make() for make in DRAWINGS[name]]
    drawing = getattr(cifar_figures, name)(*tables)
    assert isinstance(drawing, Figure) and drawing.get_size_inches()[0] <= PAGE_WIDTH
    svg = show(drawing, name="x", alt="Lines that say what a reader who cannot see them must know.", numbers=tables[0].head())._repr_html_()
    left = set(re.findall(r"#[0-9a-f]{6}\b", re.sub(r"var\([^)]*\)", "", svg)))
    assert left <= {"#ffffff", "#000000"} - set(CSS_NAMES)


@pytest.mark.parametrize("name", DRAWINGS)
def test_not_drawn_where_a_run_is_missing(name):
    tables = [make() for make in DRAWINGS[name]]
    tables[-1].attrs["sources"] = Sources(expected=3, missing=1)
    assert getattr(cifar_figures, name)(*tables) == Missing(1, 3)


def test_curves_break_at_updates_and_name_the_estimators():
    axes = cifar_figures.draw_estimators(cases.plain()).axes
    labels = axes[0].get_legend_handles_labels()[1]
    assert labels == ["SG-B", "SG-2B", "SVRG", "GC"]
    clustering = next(line for line in axes[0].lines if line.get_label() == "GC")
    assert np.isnan(clustering.get_ydata()).sum() == 4  # NaN after each of four intervals
    assert axes[1].get_ylim()[0] == 0 and axes[1].get_ylim()[1] <= cifar_figures.CUT


def test_titles_say_the_fluctuation():
    titles = [axis.get_title(loc="left") for axis in cifar_figures.draw_noise(cases.plain(), cases.smoothed(), cases.corrupted()).axes]
    assert titles[0] == "plain labels\nfluctuation 1.00 (0.00)" and titles[2].startswith("10% redrawn labels\nfluctuation 0.00")
