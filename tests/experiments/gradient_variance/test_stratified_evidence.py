"""Tables, evidence and sentences of the page on stratified sampling, from small hand-made tables."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import stratified_cases as cases

from sgdscope.claims import judge, load_ledger
from sgdscope.experiments.gradient_variance import stratified_evidence as evidence
from sgdscope.experiments.gradient_variance import stratified_sentences as sentences
from sgdscope.experiments.gradient_variance import stratified_tables as tables
from sgdscope.runs.collect import Sources

EVIDENCE = {
    "gv-prop-3.1": lambda: evidence.proposition(cases.partitions(), cases.monte_carlo()),
    "gv-limits": lambda: evidence.limits(cases.limits()),
    "gv-duplicates-free": lambda: evidence.free_duplicates(cases.apart()),
    "gv-eq-2": lambda: evidence.weighted_clustering(cases.partitions(), cases.optima(), cases.clusters()),
    "gv-no-guarantee": lambda: evidence.no_guarantee(cases.counter_examples(), cases.objective()),
    "gv-fig-1": lambda: evidence.two_class_cluster(tables.pictures(cases.points())),
    "gv-duplicates-sgd": lambda: evidence.duplicates(cases.copies()),
    "gv-err-proof": lambda: evidence.proof(cases.draws()),
}


@pytest.mark.parametrize("claim", EVIDENCE)
def test_each_evidence_answers_to_its_rule(claim):
    found = EVIDENCE[claim]()
    assert set(found.parts) == {part.name for part in load_ledger()[claim].rule if part.kind != "note"}


def met(claim):
    return {part.name: part.met for part in judge(claim, EVIDENCE[claim](), note="An argument.").parts}


@pytest.mark.parametrize("claim", ["gv-prop-3.1", "gv-limits", "gv-duplicates-free", "gv-fig-1"])
def test_all_parts_are_met_on_good_tables(claim):
    assert set(met(claim).values()) == {True}


def test_parts_follow_what_was_measured():
    assert met("gv-eq-2") == {
        "objective": True, "optimum_variance": True, "optimum_tight": True, "variance_running": True, "variance_previous": True,
        "tight_running": True, "tight_previous": True,
    }  # fmt: skip
    independent = met("gv-err-proof")
    assert independent == {"unbiased": True, "dependent": True, "independent": True, "bounds": True}
    duplicated = evidence.duplicates(cases.copies().assign(kept=9.0))
    assert duplicated.parts["against_kept"].interval[1] < 0 and duplicated.parts["against_original"].interval[0] > 0
    worse = cases.counter_examples().assign(raised_kept=[0, 2, 1])
    assert evidence.no_guarantee(worse, cases.objective()).parts["smallest"].value == 2, "those of four numbers do not count"


def test_the_four_gradients():
    assert evidence.four_gradients() == (24.0, 26.0)


def test_deviations_in_standard_errors():
    found = evidence.proposition(cases.partitions(), cases.monte_carlo()).parts
    assert found["network_variance"].value == pytest.approx(1) and found["network_bias"].value == pytest.approx(2)


def test_summary_of_clusters():
    summary = tables.cluster_summary(cases.clusters()).set_index(["seed", "step", "sizes"])
    assert summary.variance[0, 0, "running"] == pytest.approx(2 * ((4 / 6) ** 2 * 0.1 + (2 / 6) ** 2 * 0.4))
    assert summary.correlation[0, 0].to_dict() == pytest.approx({"running": -1, "previous": -1, "none": 1})
    assert (summary.largest == 4).all()
    alike = tables.cluster_summary(cases.clusters().assign(size=3))
    assert (alike.correlation == 0).all(), "no correlation where all sizes are equal"
    gains = tables.log_gains(tables.cluster_summary(cases.clusters()))
    assert gains["none"].tolist() == [0, 0, 0] and (gains.running < gains.previous).all()


def test_shares_of_rising_steps():
    found = tables.rises(cases.objective().sample(frac=1, random_state=0)).groupby("sizes")["share"].mean()
    assert found.to_dict() == pytest.approx({"running": 1 / 3, "previous": 2 / 3, "none": 0})


def test_pictures_of_points():
    found = tables.pictures(cases.points())
    assert len(found) == 2 * 3 * 2 * 2 and (found.cluster == 0).all() and (found.rare == 0.5).all() and (found.cosine < -0.9).all()
    assert (found.far > 1).all() and (found.near < 0.1).all()
    points = cases.points()
    parted = tables.pictures(points.assign(cluster=points.label))
    assert (parted.cluster == -1).all() and parted.far.isna().all() and (parted.rare == 0).all()
    missing = evidence.two_class_cluster(parted)
    assert (
        missing.parts["two_classes"].value == 12 and np.isnan(missing.parts["far_inputs"].value) and missing.parts["far_inputs"].seeds == 0
    )


def test_the_set_that_is_shown_has_such_a_cluster():
    points = cases.points()
    first = (points.seed == 0) & (points.point_set == 0)
    points.loc[first, "cluster"] = points.label[first]
    shown = tables.shown_set(tables.pictures(points), points)
    assert shown[["protocol", "seed", "point_set"]].drop_duplicates().to_numpy().tolist() == [["paper", 0, 1]]
    nowhere = points.assign(cluster=points.label)
    assert tables.shown_set(tables.pictures(nowhere), nowhere).point_set.unique().tolist() == [0]


def test_boundaries_go_down_the_gradient_of_their_cluster():
    points = cases.points()
    shown = tables.shown_set(tables.pictures(points), points)
    lines = tables.boundaries(shown).set_index(["step", "cluster"])
    now = lines.loc[(10, -1)].to_numpy()
    assert now.tolist() == [1.0, 0.5, 0.1]
    moves = {k: lines.loc[(10, k)].to_numpy() - now for k in range(3)}
    assert max(np.linalg.norm(move) for move in moves.values()) == pytest.approx(0.5 * np.linalg.norm(now))
    share = shown[(shown.step == 10) & (shown.cluster == 0)][["g1", "g2", "g_bias"]].sum().to_numpy()
    assert moves[0] @ share == pytest.approx(-np.linalg.norm(moves[0]) * np.linalg.norm(share))


def test_pairs_of_opposite_class_in_the_cluster():
    points = cases.points()
    pairs = tables.pair_numbers(tables.shown_set(tables.pictures(points), points))
    assert pairs.groupby("kind").size().to_dict() == {"all pairs": 120, "opposite classes, one cluster": 16}


def test_sentences():
    points = cases.points()
    found = tables.pictures(points)
    numbers = sentences.sentences(
        copies=cases.copies(), copies_apart=cases.apart(), clusters=cases.clusters(), objective=cases.objective(), optima=cases.optima(),
        pictures=found, shown=tables.shown_set(found, points), draws=cases.draws(),
    )  # fmt: skip
    assert all(np.isfinite(value) for name, value in numbers.items() if not name.startswith("farness_lowered"))
    assert (numbers["kept_over"], numbers["raised"], numbers["cases"], numbers["few_copies"]) == (
        pytest.approx(0.9 / np.exp(np.log([1.2, 1.3, 1.4]).mean())), 6, 6, 2,
    )  # fmt: skip
    assert (numbers["rises_previous"], numbers["steps_previous"]) == (pytest.approx(200 / 3), 18)
    assert (numbers["both_paper"], numbers["pictures_paper"], numbers["rejected"], numbers["shown_set"]) == (6, 6, 3, 1)
    same = cases.draws()[lambda draws: draws.independent_data & (draws.way == "one number for all")]
    assert numbers["one_number"] == pytest.approx(np.exp(np.log(same.variance / same.formula).mean()))
    assert numbers["worse_than_random"] == 0


def test_numbers_are_those_of_the_pictures():
    shapes = tables.shape_numbers(cases.clusters())
    assert (shapes["size"] > 1).all() and shapes.step.unique().tolist() == [cases.clusters().step.max()] and shapes.K.nunique() == 1
    both = tables.duplicate_numbers(cases.copies(), cases.apart())
    assert {"kept", "mingled_ratio"} <= set(both) and len(both) == len(cases.copies())


def lacking(table):
    table.attrs["sources"] = Sources(expected=5, missing=2)
    return table


def test_missing_runs_are_said():
    assert sentences.sentences(copies=lacking(cases.copies())) is None
    found = evidence.two_class_cluster(tables.pictures(lacking(cases.points())))
    assert found.not_run == "2 of 5 runs are missing"
    for derived in (
        tables.cluster_summary,
        tables.rises,
        tables.pair_numbers,
        tables.counter_table,
        tables.plane_numbers,
        tables.variance_table,
        tables.objective_numbers,
        tables.shape_numbers,
    ):
        empty = lacking(pd.DataFrame(columns=["seed"]))
        assert derived(empty) is empty
    empty = lacking(pd.DataFrame(columns=["seed"]))
    assert tables.shown_set(empty, empty) is empty


def test_the_evidence_of_pictures_knows_its_runs():
    points = cases.points()
    points.attrs["sources"] = Sources(expected=12)
    assert evidence.two_class_cluster(tables.pictures(points)).sources[0].expected == 12
