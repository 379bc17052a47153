"""Evidence on hand-made tables: every part of every rule is met where it should be, and fails where the table is spoilt."""

import math

import numpy as np
import pandas as pd
import pytest

from sgdscope import stability
from sgdscope.claims import judge, load_ledger
from sgdscope.errors import InvalidInput
from sgdscope.experiments.break_even import model, model_evidence, one_direction
from sgdscope.pages import find
from sgdscope.runs import collect
from sgdscope.stability import derivations

CLAIMS = {  # the runs that each claim is judged from, and the function
    "be-eq-1": (model_evidence.equation_1, ["enumeration", "phase_diagram", "projected"]),
    "be-err-stable": (model_evidence.stable_case, ["stable_case"]),
    "be-thm-1": (model_evidence.theorem_1, ["closed_form", "early_training", "network", "reversed_order"]),
    "be-thm-2": (model_evidence.theorem_2, ["early_training"]),
    "be-variance": (model_evidence.gradient_noise, ["noise"]),
    "be-err-smallest": (model_evidence.smallest_eigenvalue, ["noise"]),
    "be-err-psi": (model_evidence.critical_sharpness_as_printed, []),
    "be-err-sn": (model_evidence.assumptions_as_printed, []),
    "be-err-max-min": (model_evidence.reading, []),
    "be-err-refs": (model_evidence.cross_references, []),
}
every_claim = pytest.mark.parametrize("claim", CLAIMS)


def judged(claim, tables, note="An argument."):
    function, names = CLAIMS[claim]
    return judge(claim, function(*(tables[name] for name in names)), note=note)


def unmet(verdict):
    return [part.name for part in verdict.parts if not part.met]


def test_the_page_judges_these_claims():
    assert set(find("break_even/01_model").claims) == set(CLAIMS)


@every_claim
def test_each_rule_can_be_met(claim, tables):
    verdict = judged(claim, tables)
    assert (verdict.verdict, unmet(verdict)) == ("reproduced", [])
    assert {part.name for part in verdict.parts} == {part.name for part in load_ledger()[claim].rule}


# Spoilt tables: which one, how, and the parts that are not met then. All other parts stay met.


def flipped(table):
    """One cell that moves against Eq. 1, at all seeds."""
    cell = (table.batch_size == 4) & (table.learning_rate == 1.5) & (table.left_side > 1.2)
    assert cell.any()
    table.loc[cell, "log_second_moment"] *= -1


def reversed_by(column, start):
    def spoil(table):
        chosen = table.start == start
        table.loc[chosen, "crossing_sharpness"] = 1000 + (table[column] if column == "learning_rate" else -table[column])[chosen]

    return spoil


def column(name, value):
    def spoil(table):
        table[name] = value(table) if callable(value) else value

    return spoil


def first(name, value):
    def spoil(table):
        table.loc[table.index[-1], name] = value

    return spoil


SPOILT = [
    ("be-eq-1", "enumeration", first("error", 2e-10), ["enumeration"]),
    ("be-eq-1", "phase_diagram", flipped, ["simulation"]),
    ("be-eq-1", "projected", flipped, ["images"]),
    ("be-err-stable", "stable_case", column("left_side", 1.0), ["left_side"]),
    ("be-err-stable", "stable_case", column("growth", lambda t: 0.1 * (t.seed - 1)), ["exponent"]),
    ("be-err-stable", "stable_case", column("growth", lambda t: -t.growth), ["exponent"]),
    ("be-err-stable", "stable_case", first("not_converged", 0.001), ["converged"]),
    ("be-thm-1", "closed_form", first("violations", 1), ["closed_form"]),
    ("be-thm-1", "early_training", reversed_by("learning_rate", "stable"), ["simulated_rate", "simulated_batch"]),
    ("be-thm-1", "early_training", reversed_by("batch_size", "stable"), ["simulated_rate", "simulated_batch"]),
    ("be-thm-1", "network", column("sharpness_after", lambda t: 2.3 / t.learning_rate), ["full_batch"]),
    ("be-thm-1", "network", column("sharpness_after", np.nan), ["full_batch"]),
    ("be-thm-1", "network", column("crossing_sharpness", lambda t: t.crossing_sharpness + 20 * t.learning_rate), ["real_rate"]),
    ("be-thm-1", "network", column("crossing_sharpness", lambda t: t.crossing_sharpness - t.batch_size / 100), ["real_batch"]),
    ("be-thm-1", "reversed_order", column("crossing_sharpness", lambda t: t.learning_rate * (1 - 2 * (t.seed != 1))), ["as_stated"]),
    ("be-thm-1", "reversed_order", column("crossing_sharpness", lambda t: t.learning_rate + t.seed), ["as_stated"]),
    ("be-thm-1", "reversed_order", first("crossing_sharpness", 9.0), ["as_stated"]),
    ("be-thm-2", "early_training", reversed_by("learning_rate", "unstable"), ["rate", "batch"]),
    ("be-thm-2", "early_training", reversed_by("batch_size", "unstable"), ["rate", "batch"]),
    ("be-variance", "noise", first("enumeration_error", 2e-10), ["enumeration"]),
    ("be-variance", "noise", column("top_share", lambda t: 1.0 - 0.7 * (t.seed == 0)), ["rest"]),
    ("be-err-smallest", "noise", column("rank", lambda t: 24 - (t.seed == 1)), ["rank"]),
    ("be-err-smallest", "noise", column("largest_position", lambda t: 0.01 * (1 + 1e-11 * (t.seed == 1))), ["largest"]),
    ("be-err-smallest", "noise", column("smallest_position", lambda t: 0.01 * 3.0 ** (t.seed - 1)), ["smallest"]),
]


@pytest.mark.parametrize(("claim", "name", "spoil", "expected"), SPOILT, ids=lambda value: value if isinstance(value, str) else "")
def test_each_part_can_fail(claim, name, spoil, expected, tables):
    spoil(tables[name])
    verdict = judged(claim, tables)
    assert unmet(verdict) == expected
    assert verdict.verdict == ("not reproduced" if len(expected) == len(verdict.parts) else "partly")


def test_the_two_theorems_look_at_their_own_start(tables):
    reversed_by("learning_rate", "unstable")(tables["early_training"])
    assert judged("be-thm-1", tables).verdict == "reproduced"
    tables["early_training"] = tables["early_training"][::-1]
    assert judged("be-thm-2", tables).verdict == "not reproduced"


def test_rate_and_batch_are_told_apart(tables):
    """Sharpness that falls with the rate and with the batch size: one half of each theorem."""
    table = tables["early_training"]
    table["crossing_sharpness"] = 2 / table.learning_rate - table.batch_size / 100
    assert unmet(judged("be-thm-1", tables)) == ["simulated_batch"] and unmet(judged("be-thm-2", tables)) == ["batch"]
    table["crossing_sharpness"] = 2 * table.learning_rate + table.batch_size / 100
    assert unmet(judged("be-thm-1", tables)) == ["simulated_rate"] and unmet(judged("be-thm-2", tables)) == ["rate"]


def spoilt_derivation(right):
    wrong = derivations.Derivation(right.statement, right.symbol, right.left, right.right + 1, (right.left - right.right - 1,))
    return lambda: wrong


@pytest.mark.parametrize(
    ("claim", "name", "part"),
    [
        ("be-err-psi", "critical_sharpness_solution", "solution"),
        ("be-err-psi", "printed_noise_term", "printed"),
        ("be-err-sn", "second_derivative", "hessian"),
        ("be-err-sn", "gradient_variance", "variance"),
        ("be-err-sn", "mended_gradient_variance", "mended"),
    ],
)
def test_algebra_can_fail(claim, name, part, tables, monkeypatch):
    monkeypatch.setattr(derivations, name, spoilt_derivation(getattr(derivations, name)()))
    verdict = judged(claim, tables)
    assert (verdict.verdict, unmet(verdict)) == ("partly", [part])


def test_the_cross_references_are_measured(tables, monkeypatch):
    evidence = model_evidence.cross_references()
    assert evidence.parts["share"].value == pytest.approx(0.064) and evidence.parts["row_vectors"].value < 1e-14
    monkeypatch.setattr(model_evidence, "gradient_covariance", lambda rows: stability.mean_outer_product(rows) * 1.0001)
    assert unmet(judged("be-err-refs", tables)) == ["row_vectors"]


@pytest.mark.parametrize("claim", ["be-err-sn", "be-err-max-min", "be-err-refs"])
def test_an_argument_must_be_shown(claim, tables):
    (part,) = [part for part in judged(claim, tables, note="  ").parts if not part.met]
    assert part.kind == "note"


@pytest.mark.parametrize(("claim", "name"), [(claim, name) for claim, (_, names) in CLAIMS.items() for name in names])
def test_missing_runs_are_not_judged(claim, name, tables, with_a_run_missing):
    tables[name] = with_a_run_missing(tables[name])
    verdict = judged(claim, tables)
    assert (verdict.verdict, verdict.reason, verdict.parts) == ("not run", "1 of 9 runs are missing", ())


@pytest.mark.parametrize("claim", [claim for claim, (_, names) in CLAIMS.items() if names])
def test_nothing_collected_is_not_judged(claim, store, monkeypatch):
    monkeypatch.setenv("SGDSCOPE_COMPUTE", "never")
    runs = model.runs(dataset="digits", learning_rates=[0.5], batch_sizes=[1], num_examples=26, num_steps=2, seeds=[1001])
    function, names = CLAIMS[claim]
    verdict = judge(claim, function(*(collect(runs[name]) for name in names)))
    assert verdict.verdict == "not run" and verdict.reason.endswith("runs are missing")


@pytest.mark.parametrize(("claim", "parts"), [("be-err-stable", "exponent"), ("be-variance", "rest"), ("be-err-smallest", "smallest")])
def test_two_seeds_are_too_few(claim, parts, tables):
    tables = {name: table[table.seed < 2] if "seed" in table else table for name, table in tables.items()}
    verdict = judged(claim, tables)
    assert (verdict.verdict, verdict.reason) == ("not run", f"a direction needs 3 seeds: {parts}")


def test_data_and_details_are_said(tables):
    evidence = model_evidence.equation_1(*(tables[name] for name in CLAIMS["be-eq-1"][1]))
    assert evidence.data == "simulated curvatures; digits, 40 images"
    assert evidence.parts["enumeration"].detail == "3 cases"
    assert evidence.parts["images"].detail == "of 12 settings"
    cells = tables["phase_diagram"].drop_duplicates(["batch_size", "learning_rate", "spread"])
    undecided = int((np.log(cells.left_side).abs() < 0.05).sum())
    assert evidence.parts["simulation"].detail == f"of {len(cells) - undecided} cells ({undecided} too close to 1)"
    assert model_evidence.stable_case(tables["stable_case"]).parts["exponent"].detail == "exactly −0.729"


def test_what_is_measured(tables):
    """Numbers of the parts whose size no rule bounds."""
    rest = model_evidence.gradient_noise(tables["noise"]).parts["rest"]
    assert rest.value == pytest.approx(1 - (0.2 + 0.01 + 0.005)) and rest.seeds == 3, "mean along training, then over seeds"
    ratio = model_evidence.smallest_eigenvalue(tables["noise"]).parts["smallest"]
    assert ratio.value == pytest.approx(np.mean(np.log([50, 60, 70]))) and ratio.detail == "L = 25"
    stable = model_evidence.stable_case(tables["stable_case"]).parts
    assert (stable["exponent"].value, stable["left_side"].value) == pytest.approx((-0.72, 1.2125))


# contradictions


def moves(*cells):
    """A table with one row for (cell, left side, log of the second moment)."""
    return pd.DataFrame(cells, columns=["cell", "left_side", "log_second_moment"])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_contradictions_counts_cells_that_move_the_wrong_way():
    table = moves(
        (0, 0.5, -1.0),  # shrinks as it should
        (1, 2.0, 1.0),  # grows as it should
        (2, 0.5, 0.1),  # grows, wrong
        (3, 2.0, -0.1),  # shrinks, wrong
        (4, 1.02, -1.0),  # too close to call
        (5, 0.98, 1.0),  # too close to call
        (6, 0.0, -np.inf),  # one step to the minimum
        (7, 1e9, 800.0),  # overflows, and grows
        (8, 1.5, np.nan),  # no number is no growth
    )
    assert model_evidence.contradictions(table, band=0.05, by=["cell"]) == (3, 7, 9)
    assert model_evidence.contradictions(table, band=0.01, by=["cell"]) == (5, 9, 9)
    assert model_evidence.contradictions(table[:2], band=0.05, by=["cell"]) == (0, 2, 2)


def test_the_edge_of_the_band_is_decided():
    assert model_evidence.contradictions(moves((0, math.exp(0.05) * (1 + 1e-12), -1.0)), band=0.05, by=["cell"]) == (1, 1, 1)
    assert model_evidence.contradictions(moves((0, math.exp(0.05) * (1 - 1e-12), -1.0)), band=0.05, by=["cell"]) == (0, 0, 1)


def test_second_moments_are_averaged_over_seeds_not_their_logs():
    """Two seeds of one cell: the mean square grew, though the mean of its log fell."""
    table = moves((0, 1.5, math.log(3.0)), (0, 1.5, math.log(0.1)))
    assert model_evidence.contradictions(table, band=0.05, by=["cell"]) == (0, 1, 1)
    assert model_evidence.contradictions(table.assign(seed=[0, 1]), band=0.05, by=["seed", "cell"]) == (1, 2, 2)


# extremes


def crossings(*rows):
    return pd.DataFrame(rows, columns=["seed", "learning_rate", "batch_size", "crossing_sharpness"])


PAIRS = crossings(
    (0, 0.1, 1, 10.0), (0, 0.1, 8, 14.0), (0, 0.2, 1, 7.0), (0, 0.2, 8, 8.0), (0, 0.15, 1, 99.0), (0, 0.1, 4, 77.0), (0, 0.2, 4, 70.0),
    (1, 0.1, 1, 11.0), (1, 0.1, 8, 15.0), (1, 0.2, 1, 6.0), (1, 0.2, 8, 9.0), (1, 0.15, 1, -9.0), (1, 0.1, 4, 77.0), (1, 0.2, 4, 70.0),
)  # fmt: skip


def test_extremes_pairs_by_seed_and_the_other_column():
    rate = model_evidence.extremes(PAIRS, "learning_rate", larger_first=False)
    means = [(10 - 7 + 14 - 8 + 77 - 70) / 3, (11 - 6 + 15 - 9 + 77 - 70) / 3]  # 0.15 lies between and is left out
    assert rate.value == pytest.approx(np.mean(means)) and rate.seeds == 2
    half = 12.7062 * abs(means[0] - means[1]) / 2  # Student's t with one degree of freedom, standard error of two values
    assert rate.interval == pytest.approx((rate.value - half, rate.value + half), rel=1e-4)
    assert rate.detail == "0.1 against 0.2, 6 of 6 pairs crossed"
    batch = model_evidence.extremes(PAIRS[PAIRS.learning_rate != 0.15], "batch_size", larger_first=True)
    assert batch.value == pytest.approx(np.mean([(4 + 1) / 2, (4 + 3) / 2]))
    assert batch.detail == "1 against 8, 4 of 4 pairs crossed"


@pytest.mark.parametrize("column", ["learning_rate", "batch_size"])
def test_extremes_has_two_signs(column):
    table = PAIRS[PAIRS.learning_rate != 0.15]
    one, other = (model_evidence.extremes(table, column, larger_first=larger) for larger in (True, False))
    assert one.value == -other.value != 0 and one.detail == other.detail


def test_extremes_does_not_depend_on_the_order_of_rows():
    assert model_evidence.extremes(PAIRS[::-1], "learning_rate", larger_first=False) == model_evidence.extremes(
        PAIRS, "learning_rate", larger_first=False
    )


def test_pairs_that_did_not_cross_are_left_out_and_counted():
    table = PAIRS[PAIRS.learning_rate != 0.15].copy()
    table.loc[(table.seed == 0) & (table.batch_size != 1) & (table.learning_rate == 0.1), "crossing_sharpness"] = np.nan
    found = model_evidence.extremes(table, "learning_rate", larger_first=False)
    assert found.detail == "0.1 against 0.2, 4 of 6 pairs crossed" and found.seeds == 2
    assert found.value == pytest.approx(np.mean([10 - 7, (5 + 6 + 7) / 3]))
    table.loc[table.seed == 0, "crossing_sharpness"] = np.nan
    found = model_evidence.extremes(table, "learning_rate", larger_first=False)
    assert (found.seeds, found.interval, found.detail) == (1, None, "0.1 against 0.2, 3 of 6 pairs crossed")


def test_one_rate_alone_has_no_extremes():
    found = model_evidence.extremes(PAIRS[PAIRS.learning_rate == 0.1], "learning_rate", larger_first=False)
    assert math.isnan(found.value) and (found.interval, found.seeds) == (None, 0), "no difference, rather than one of zero"


def test_nothing_crossed(tables):
    found = model_evidence.extremes(PAIRS.assign(crossing_sharpness=np.nan), "batch_size", larger_first=True)
    assert math.isnan(found.value) and (found.interval, found.seeds) == (None, 0) and "0 of " in found.detail
    for name in ("crossing_sharpness", "sharpness_after"):
        tables["network"][name] = np.nan
    verdict = judged("be-thm-1", tables)
    assert (verdict.verdict, verdict.reason) == ("not run", "a direction needs 3 seeds: real_rate, real_batch")


# the real network


def test_full_batch_ratio_is_the_mean_over_rates_then_seeds():
    table = pd.DataFrame(
        [(0, 0.5, 256, 4.0), (0, 1.0, 256, 2.2), (1, 0.5, 256, 4.4), (1, 1.0, 256, np.nan), (0, 0.5, 128, 99.0)],
        columns=["seed", "learning_rate", "batch_size", "sharpness_after"],
    ).assign(num_examples=256)
    found = model_evidence.full_batch_ratio(table)
    assert found.value == pytest.approx(((1.0 + 1.1) / 2 + 1.1) / 2) and found.seeds == 2
    assert found.detail == "at the first probe past it, 3 of 4 runs; by rate 1.050 at 0.5, 1.100 at 1"
    none = model_evidence.full_batch_ratio(table.assign(sharpness_after=np.nan))
    assert math.isnan(none.value) and "0 of 4 runs" in none.detail


def test_a_network_counts_once_however_often_it_was_probed(tables):
    table = tables["network"]
    once = model_evidence.one_row_a_run(table)
    assert len(table) == 4 * len(once) == 4 * 18
    assert model_evidence.network_numbers(table)[["learning_rate", "batch_size", "seed"]].duplicated().sum() == 0
    assert list(model_evidence.network_numbers(table).outcome) == ["crossed"] * 18


# numbers of figures and sentences


def test_boundary_numbers(tables):
    found = model_evidence.boundary_numbers(tables["boundary"])
    assert found == pytest.approx({"smallest": 1, "one": 1.0, "all": 0.5, "factor": 2.0, "largest": 4, "factor_largest": 2.0}), (
        "means over seeds; the full batch is not the largest batch"
    )


def test_reversed_numbers(tables):
    found = model_evidence.reversed_numbers(tables["reversed_order"][::-1])
    assert found == pytest.approx({"small_rate": 1.0, "large_rate": 1.8, "small_sharpness": 2.5, "large_sharpness": 2.0})


def test_reversals_are_counted_over_seeds():
    table = pd.DataFrame(
        [(0, 1.0, 3.0), (0, 1.8, 2.0), (1, 1.0, 3.0), (1, 1.8, 4.0), (2, 1.8, 5.0), (2, 1.0, 1.0), (3, 1.0, 3.0), (3, 1.8, 3.0)],
        columns=["seed", "learning_rate", "crossing_sharpness"],
    )
    found = model_evidence.reversals(table)
    assert (found.value, found.detail) == (2, "of 4 seeds")


def test_the_counter_example_is_one(store):
    """Computed, not hand-made: at every seed the larger rate loses stability at the larger sharpness."""
    found = model_evidence.reversals(collect([one_direction.ReversedOrder(seed) for seed in (1001, 1002, 1003)]))
    assert found.value == 3


def test_small_batch_numbers(tables):
    found = model_evidence.small_batch_numbers(tables["small_batches"])
    assert found == pytest.approx(
        {
            "smallest": 16,
            "largest": 64,
            "runs": 18,
            "reached": 3,
            "unstable": 0,
            "diverged": 0,
            "others": 15,
            "steps": 30,
            "late": 0.5,
            "late_largest": 0.6,
        }
    )
    all_reach = model_evidence.small_batch_numbers(tables["network"])
    assert all_reach["reached"] == all_reach["runs"] == 18 and math.isnan(all_reach["late"]) and math.isnan(all_reach["late_largest"])


def test_small_batch_numbers_count_every_outcome(tables):
    table = tables["small_batches"]
    table.loc[table.seed == 1, "outcome"] = "started unstable"
    table.loc[(table.seed == 2) & (table.batch_size == 16), "outcome"] = "diverged"
    found = model_evidence.small_batch_numbers(table)
    counts = {name: found[name] for name in ("reached", "unstable", "diverged", "others")}
    assert counts == {"reached": 3, "unstable": 6, "diverged": 3, "others": 6} and sum(counts.values()) == found["runs"]


def test_past_the_point_numbers(tables):
    found = model_evidence.past_the_point_numbers(tables["network"])
    below = np.mean([(0.2 + 0.01 * seed) * rate / 2 for rate in (0.4, 0.5, 0.6) for seed in range(3)])
    assert found == pytest.approx({"median": 1.03, "largest": 1.04, "deficit": 100 * below, "small_batch": 128}), "only after the point"
    table = tables["network"]
    table.loc[(table.seed == 2) & (table.batch_size == 256), ["crossing_step", "crossing_sharpness"]] = np.nan
    assert model_evidence.past_the_point_numbers(table)["largest"] == pytest.approx(1.03), "a run that never reaches it has no afterwards"


def test_phase_and_growth_numbers_are_means_over_seeds(tables):
    phase, growth = (function(tables["phase_diagram"]) for function in (model_evidence.phase_numbers, model_evidence.growth_numbers))
    assert len(phase) == len(growth) == 2 * 4 * 3
    np.testing.assert_allclose(phase.log_second_moment, 5 * np.log(phase.left_side), atol=1e-12)
    np.testing.assert_allclose(growth.measured_growth, growth.left_side, rtol=1e-4)


def test_descent_numbers_are_the_first_seed(tables):
    found = model_evidence.descent_numbers(tables["descent"])
    assert len(found) == 2 * 2 * 6 and "seed" not in found
    assert set(found.status[found.learning_rate == 1.5]) == {"diverged"}, "a diverged run shows"


def test_noise_numbers(tables):
    assert list(model_evidence.noise_numbers(tables["noise"])) == ["seed", "step", "top", "trace", "top_share"]


SENTENCES = {
    model_evidence.boundary_numbers: "boundary",
    model_evidence.past_the_point_numbers: "network",
    model_evidence.reversed_numbers: "reversed_order",
    model_evidence.small_batch_numbers: "small_batches",
}
NUMBERS = {
    model_evidence.phase_numbers: "phase_diagram",
    model_evidence.growth_numbers: "phase_diagram",
    model_evidence.descent_numbers: "descent",
    model_evidence.network_numbers: "network",
    model_evidence.noise_numbers: "noise",
}


@pytest.mark.parametrize(("function", "name"), [*SENTENCES.items(), *NUMBERS.items()], ids=lambda value: getattr(value, "__name__", ""))
def test_numbers_of_missing_runs(function, name, tables, with_a_run_missing):
    """One run missing, or all of them: a sentence is not said, and the numbers of a figure that is not drawn do not matter."""
    nothing = pd.DataFrame(columns=["seed", "status"])
    for table in (with_a_run_missing(tables[name]), nothing, with_a_run_missing(nothing)):
        found = function(table)
        assert found is None if function in SENTENCES else isinstance(found, pd.DataFrame)


def test_data_of_names_data_and_size(tables):
    assert model_evidence.data_of(tables["projected"]) == "digits, 40 images"


def test_estimates_refuse_what_is_not_a_number(tables):
    tables["noise"].loc[0, "top_share"] = np.inf
    with pytest.raises(InvalidInput, match="an estimate needs finite values"):
        judged("be-variance", tables)
