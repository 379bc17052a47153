"""Tables, evidence, figures and sentences of the page on duplicates, from small hand-made tables."""

import inspect
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no neighbours
import duplicates_cases as made

from sgdscope.claims import judge, load_ledger
from sgdscope.experiments.gradient_variance import duplicates_evidence as evidence
from sgdscope.experiments.gradient_variance import duplicates_figures as figures
from sgdscope.experiments.gradient_variance import duplicates_numbers as numbers
from sgdscope.experiments.gradient_variance import duplicates_tables as tables
from sgdscope.figures import PAGE_WIDTH, Missing, show
from sgdscope.figures.style import CSS_NAMES
from sgdscope.runs.collect import Sources

EVIDENCE = {"gv-fig-7": lambda **k: evidence.images(made.images(**k)), "gv-fig-8": lambda **k: evidence.features(made.features(**k))}
TAU = "overparametrisation"


def met(claim, **changes):
    return {part.name: part.met for part in judge(claim, EVIDENCE[claim](**changes)).parts}


@pytest.mark.parametrize("claim", EVIDENCE)
def test_every_part_is_measured_and_met_on_good_tables(claim):
    assert set(EVIDENCE[claim]().parts) == {part.name for part in load_ledger()[claim].rule}
    assert set(met(claim).values()) == {True}


def test_parts_of_the_features_can_fail():
    worse = met("gv-fig-8", gain={0.0: 0.9, 0.1: 0.9, 0.5: 0.8, 0.9: 0.7}, tilt=-0.5)
    assert not any(worse[name] for name in ("gap_at_10", "gap_grows_10_50", "gap_grows_50_90", "gap_stays", "never_worse", "like_double"))
    better = met("gv-fig-8", gain={0.0: 4.0, 0.1: 4.0, 0.5: 4.0, 0.9: 4.0})
    assert not better["never_better_than_double"] and not better["like_double"] and better["gap_at_10"]


def test_without_a_share_its_parts_meet_nothing():
    found = evidence.features(made.features(gain={0.0: 1.9, 0.1: 2.0}))
    assert np.isnan(found.parts["gap_grows_50_90"].value) and found.parts["gap_at_10"].value > 0


def test_parts_of_the_images_can_fail():
    swapped = made.images()
    swapped["duplicate_copies"] = 40 - swapped.duplicate_copies
    parts = {part.name: part.met for part in judge("gv-fig-7", evidence.images(swapped)).parts}
    assert parts["exact"] and not parts["by_duplicates"] and not parts["by_duplicates_augmented"] and not parts["below_double"]


def test_diverged_trajectories_leave_parts_without_a_number():
    found = evidence.images(made.images(status="diverged"))
    assert all(np.isnan(part.value) for part in found.parts.values())
    one = made.images()
    one.loc[one.augment == "none", "status"] = "diverged"
    found = evidence.images(one).parts
    assert np.isnan(found["exact"].value) and found["augmented"].seeds == 3


def test_gc_counts_before_its_updates():
    """1, 1.1, 1, 1.1 times the ratio at the four log points; 0.1 times right after an update."""
    value = tables.case_means(made.images())[True, "none"][0]
    assert value == pytest.approx(np.log(0.1) + np.log(1.1) / 2)


def test_cells_without_more_distinct_points_than_clusters_are_left_out():
    kept = tables.comparable(made.features()).groupby("share")[TAU].max()
    assert kept[0.9] == 5.0 and kept[0.5] == kept[0.0] == 10.0
    zero = made.features()
    at = (zero.share == 0.9) & (zero[TAU] == 10) & (zero.estimator == "GC")
    zero.loc[at, "exact"] = 0.0
    assert np.isfinite(tables.gaps(zero)[["single", "double"]]).all().all()


def test_means_are_over_the_last_seventy_per_cent():
    found = tables.means(made.features())
    first = found[(found.share == 0) & (found[TAU] == 1) & (found.seed == 0)]
    assert first["SG-B"].tolist() == pytest.approx([1e-3, 1e-3]), "the first log point is a hundred times larger"


def test_slope_of_the_gap():
    found = tables.gaps(made.features(tilt=0.5))
    assert tables.slopes(found, 0.9).tolist() == pytest.approx([0.45] * 3)
    assert tables.slopes(found[found[TAU] == 1], 0.9).empty


def test_gap_table_and_the_authors_numbers():
    found = tables.gap_table(made.features()).set_index(["share", TAU])
    assert found.loc[(0.5, 1.0), "sgb_over_gc"] == pytest.approx(2.6 * 1.01, rel=1e-3)
    assert found.loc[(0.5, 1.0), "low"] < found.loc[(0.5, 1.0), "sgb_over_gc"] < found.loc[(0.5, 1.0), "high"]
    assert found.loc[(0.9, 2.0), "authors"] == pytest.approx(1.3e-5 / 1.3e-6)
    assert all(len(values) == len(tables.RATIOS) for both in tables.AUTHORS.values() for values in both)
    beside = tables.beside_authors(made.features(), made.code()).set_index(["share", TAU])
    assert beside.loc[(0.0, 1.0), "SG-B"] == pytest.approx(1.1e-3 * 1.01) and beside.loc[(0.0, 1.0), "SG-B, authors"] == 1.2e-3
    assert np.isnan(beside.loc[(0.0, 1.0), "SG-B, code"]) and beside.loc[(0.5, 1.0), "SG-B, code"] == pytest.approx(4.6e-4)
    shown = tables.reference_table(made.features(), made.code()).sort_index()
    assert shown.xs(("0% copies", "SG-B")).index.tolist() == ["authors", "here"]
    assert shown.xs(("50% copies", "SG-B"))["1"].tolist() == ["460", "610", "460"]
    assert shown.loc[("0% copies", "SG-B", "authors"), "1"] == "1,200" and shown.loc[("90% copies", "GC", "authors"), "10"] == ""


def test_prices():
    found = tables.prices(made.features(), made.images()).set_index("problem")
    exact = found.loc["images, with copies, not augmented"]
    assert exact.price == pytest.approx(4 * 120 / (20 * 8)) and exact.gain == pytest.approx(1 / (0.1 * 1.01 * 1.1**0.5), rel=1e-3)
    assert bool(exact.pays) and not bool(found.loc["images, no copies, augmented"].pays)
    few = found.loc["random features, 0% copies"].set_index(TAU)
    assert few.price.to_dict() == pytest.approx({0.5: 8.0, 1.0: 4.0, 2.0: 2.0, 5.0: 0.8, 10.0: 0.4})
    assert few.pays.tolist() == [False, False, False, True, True]


SENTENCES = {
    numbers.gap_numbers: ("features",), numbers.plain_numbers: ("features",), numbers.level_numbers: ("features", "code"),
    numbers.image_numbers: ("images",), numbers.cluster_numbers: ("clusters",), numbers.price_numbers: ("features", "images"),
}  # fmt: skip
DRAWINGS = {
    figures.draw_features: ("features",), figures.draw_gaps: ("features",), figures.draw_images: ("images",),
    figures.draw_ratios: ("images",), figures.draw_prices: ("features", "images"),
}  # fmt: skip
by_name = {"ids": lambda value: getattr(value, "__name__", None)}


def tables_for(names, missing=0):
    found = [made.MAKERS[name]() for name in names]
    found[-1].attrs["sources"] = Sources(expected=5, missing=missing)
    return found


def test_all_are_tried():
    assert set(DRAWINGS) == {function for name, function in vars(figures).items() if name.startswith("draw_")}
    assert set(SENTENCES) == {f for name, f in vars(numbers).items() if name.endswith("_numbers") and inspect.isfunction(f)}


@pytest.mark.parametrize(("function", "names"), SENTENCES.items(), **by_name)
def test_sentences(function, names):
    assert all(np.isfinite(value) for value in function(*tables_for(names)).values())
    assert function(*tables_for(names, missing=1)) is None


def test_some_of_their_numbers():
    found = numbers.cluster_numbers(made.clusters())
    assert (found["left"], found["of_copies"], found["holding"], found["holding_shuffled"]) == pytest.approx((10, 10, 2, 3))
    assert numbers.image_numbers(made.images())["percent"] == pytest.approx(100 * 2 / 3)
    assert numbers.gap_numbers(made.features())["left_out"] == 1
    found = numbers.level_numbers(made.features(), made.code())
    assert (found["code_low"], found["code_high"]) == pytest.approx((1, 1)) and found["copies_high"] > 10


@pytest.mark.parametrize(("function", "names"), DRAWINGS.items(), **by_name)
def test_drawn_in_house_style(function, names):
    found = tables_for(names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing = function(*found)
        shown = show(drawing, name="x", alt="Lines that say what a reader who cannot see them must know.", numbers=found[0].head())
    assert isinstance(drawing, Figure) and drawing.get_size_inches()[0] <= PAGE_WIDTH
    assert set(re.findall(r"#[0-9a-f]{6}\b", re.sub(r"base64,[^\"]*", "", shown.html))) <= {*CSS_NAMES}
    assert function(*tables_for(names, missing=2)) == Missing(2, 5)


def test_tables_of_missing_runs_are_empty_or_themselves():
    for names, table in (
        (["features"], tables.gap_table),
        (both := ["features", "code"], tables.beside_authors),
        (both, tables.reference_table),
    ):
        assert table(*tables_for(names, missing=1)).empty
    assert tables.ratio_curves(*tables_for(["images"], missing=1)).empty and tables.curve_table(*tables_for(["images"], missing=1)).empty
    assert tables.prices(*tables_for(["features", "images"], missing=1)).empty
    assert evidence.features(*tables_for(["features"], missing=1)).not_run == "1 of 5 runs are missing"
    nothing = pd.DataFrame(columns=["seed"])
    assert tables.gap_table(nothing).empty
