"""Tables and evidence of the MNIST page, from hand-made runs of which every number is known."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
import mnist_cases as cases

from sgdscope import paths
from sgdscope.claims import judge, load_ledger
from sgdscope.errors import InvalidInput
from sgdscope.experiments.gradient_variance import mnist, mnist_evidence, mnist_numbers, mnist_tables
from sgdscope.experiments.gradient_variance.table_2 import TABLE_2, differences, in_force
from sgdscope.experiments.gradient_variance.trajectory_runs import Trajectory
from sgdscope.runs.collect import Sources


def met(claim, evidence):
    """Names of the parts that are met, and of those that are not."""
    parts = judge(claim, evidence, note="an argument").parts
    return {part.name for part in parts if part.met}, {part.name for part in parts if not part.met}


def test_curves_are_stale_at_updates_and_fresh_beside():
    found = mnist_tables.curves(cases.main(seeds=(0,)))
    gc = found[found.estimator == "gc"].set_index("step")
    assert np.isnan(gc.variance[10]) and gc.fresh[10] == pytest.approx(0.1e-3 / 11)
    assert gc.variance[400] == pytest.approx(0.3e-3 / 401) and gc.fresh[400] == pytest.approx(0.1e-3 / 401)
    assert gc.variance[300] == pytest.approx(0.3e-3 / 301) and np.isnan(gc.fresh[300])
    assert gc.shared[300] == pytest.approx(0.3 * (0.9 - 0.3))  # over the mean square of SG-B, average / normalised
    sgd = found[found.estimator == "sgd"].set_index("step")
    assert sgd.variance.tolist() == pytest.approx([1e-3 / (1 + step) for step in cases.STEPS[1:]])


def test_half():
    table = cases.main()
    assert mnist_tables.without_replacement(table) == pytest.approx((1 / 16 - 1 / 32) / (1 / 8 - 1 / 32)) == pytest.approx(1 / 3)
    larger = table.assign(training_size=56)  # the formula gives 3/7 - 1/84, near the 3/7 of the table
    found = mnist_evidence.half(larger)
    assert found.parts["without_replacement"].value == pytest.approx(3 / 7 / mnist_tables.without_replacement(larger) - 1)
    assert found.parts["half"].value == pytest.approx(3 / 7) and found.parts["always"].value == 0
    assert mnist_evidence.half(table.assign(sgd2_average=table.sgd_average)).parts["always"].value == 27
    said = mnist_numbers.half_said(table)
    assert (said["mean"], said["above"], said["count"]) == (pytest.approx(3 / 7), 0, 27)


def test_everything_falls():
    good, bad = met("gv-fig-3a", mnist_evidence.falls_to_nothing(cases.main()))
    assert bad == {"numerically_zero", "strong_growth"}
    parts = mnist_evidence.falls_to_nothing(cases.main()).parts
    assert parts["falls"].value == pytest.approx(-1) and parts["throughout"].value == 0
    assert parts["gc"].value == pytest.approx(np.log(0.7)) and parts["gc_throughout"].value == 0
    assert parts["svrg"].value == pytest.approx(np.log(2 / 3))
    assert parts["loss"].value == pytest.approx(2 / 801)
    assert parts["numerically_zero"].value == pytest.approx(1.01e-3 / 801)  # the mean over seeds at the last of nine measurements
    assert parts["normalised_falls"].value == pytest.approx(-0.79) and parts["authors_form_falls"].value == pytest.approx(-0.395)
    assert parts["strong_growth"].value == pytest.approx(np.log10(90 / 30.5))  # growth_max is 11, 50, 90


def test_everything_rises():
    table = cases.main()
    for name in ("sgd", "sgd2", "svrg", "gc"):
        for column in (f"{name}_average", f"{name}_before_average"):
            if column in table:
                table[column] *= (1 + table.step) ** 2
    table["gc_average"] *= 10
    table["gc_before_average"] *= 10
    table["sgd_normalised"] = table["sgd_guarded"] = 0.9 + table.step / 4000
    table["growth_max"] = 10.0 ** (table.step / 200)
    good, bad = met("gv-fig-3a", mnist_evidence.falls_to_nothing(table))
    assert {"falls", "throughout", "gc", "gc_throughout", "normalised_falls", "below_one", "well_below_one", "strong_growth"} <= bad
    assert "authors_form_well_below_one" in bad
    assert mnist_evidence.falls_to_nothing(table).parts["throughout"].value == 3 * 4 * 3


def test_a_diverged_run_meets_nothing_and_fails_nothing():
    table = cases.main()
    table.loc[
        (table.seed == 1) & (table.step == 800), [column for column in table if column.startswith(("sgd", "gc", "svrg", "train"))]
    ] = np.nan
    parts = mnist_evidence.falls_to_nothing(table).parts
    assert np.isnan(parts["loss"].value) and "loss" in met("gv-fig-3a", mnist_evidence.falls_to_nothing(table))[1]


def test_guard():
    found = mnist_evidence.guard(cases.main(), cases.noise())
    assert found.parts["ten_percent"].value == pytest.approx(0.1) and found.parts["thirty_five_percent"].value == pytest.approx(0.35)
    assert met("gv-err-eps", found)[1] == set()
    changed = cases.noise()
    changed.loc[changed.scale < 1, "normalised"] *= 1.01
    assert mnist_evidence.guard(cases.main(), changed).parts["other_forms"].value == pytest.approx(0.01)
    quiet = cases.main().assign(sgd_unguarded=0.5, sgd_rescaled_2=0.8)
    assert met("gv-err-eps", mnist_evidence.guard(quiet, cases.noise()))[1] == {"thirty_five_percent", "guard_at_work"}


def test_above_one():
    found = mnist_evidence.above_one(cases.noise(), cases.main())
    assert found.parts["ceiling_10"].value == pytest.approx(1.1251) and found.parts["ceiling_50"].value == pytest.approx(1 + 1 / 48 + 1e-4)
    assert found.parts["same_draws"].value == 0 and met("gv-err-above-1", found)[1] == set()
    over = mnist_evidence.above_one(cases.noise(), cases.main().assign(sgd_normalised_mean=1.3))  # times 4/5 is above 1
    assert over.parts["same_draws"].value == 30


def test_protocols():
    main, own = cases.main(), cases.authors()
    both = mnist_tables.protocols(main, own)
    assert both.shared.tolist() == pytest.approx(both.authors.tolist()) and mnist_tables.flipped(both) == []
    assert mnist_tables.losses_apart(own).tolist() == pytest.approx([1, 1, 1])
    assert met("gv-err-trajectory", mnist_evidence.two_protocols(main, own))[1] == set()
    worse = own.assign(**{name: own[name] * 100 for name in ("gc_average", "gc_before_average")})
    found = mnist_evidence.two_protocols(main, worse)
    assert found.parts["conclusions"].value == 2 and found.parts["conclusions"].detail == "SG-B and GC, SG-2B and GC"
    same = own.assign(train_loss=1.0)
    assert "runs_apart" in met("gv-err-trajectory", mnist_evidence.two_protocols(main, same))[1]


def test_protocols_of_seeds_that_are_complete():
    own = cases.authors()
    partial = own[~((own.seed == 2) & (own.estimators == "gc"))]
    partial.attrs["sources"] = Sources(expected=12, missing=1)
    found = mnist_tables.comparable(cases.main(seeds=(1, 2)), partial)
    assert set(found.seed) == {1} and found.attrs["sources"].missing == 1
    nothing = mnist_tables.comparable(cases.main(seeds=(2,)), partial)
    assert nothing.empty and nothing.attrs["sources"].missing == 12


def test_problems():
    found = mnist_tables.problem_table(cases.problems(seeds=(0,)))
    assert found.steps.tolist() == [10, 20, 30, 60] and found.reached.tolist() == [True, True, True, False]
    assert found.problem.tolist()[-1] == "mlp on digits, 0.02, 60% labels redrawn"
    parts = mnist_evidence.convergence(cases.problems()).parts
    assert parts["related"].value == pytest.approx(1) and parts["better"].value == pytest.approx(2)
    assert mnist_tables.problem_table(cases.problems(seeds=(0,)), 0.2).steps.tolist() == [60] * 4
    numbers = mnist_numbers.problems_said(cases.problems())
    assert (numbers["problems"], numbers["unreached"]) == (4, 3) and numbers["variance_whole"] == pytest.approx(-1)


def test_statistics_are_means_until_the_loss_is_reached():
    table = cases.problems(seeds=(0,))
    table.loc[table.step > 20, "sgd_normalised"] = 0.0
    found = mnist_tables.problem_table(table)
    assert found.normalised.tolist() == pytest.approx([0.5, 0.6, 0.7, 0.4]) and found.normalised_all[0] == pytest.approx(0.25)


def test_fresh_bound():
    found = mnist_evidence.fresh_bound(cases.main(), cases.fresh())
    assert found.parts["svrg"].value == pytest.approx(1e-15) and found.parts["gc"].value == pytest.approx(0.1)
    assert found.parts["always"].value == 1 and "isotropic" in found.parts["always"].detail
    assert met("gv-fresh-bound", found) == ({"svrg", "gc"}, {"always"})
    worse = cases.main()
    worse["gc_average"] *= 11
    assert "gc" in met("gv-fresh-bound", mnist_evidence.fresh_bound(worse, cases.fresh()))[1]
    said = mnist_numbers.fresh_said(cases.main(), cases.fresh())
    assert said["worst"] == pytest.approx(1.52) and said["gc"] == pytest.approx(0.1)


def test_the_hyperparameters_are_those_of_the_ledger():
    assert met("gv-tab-2", mnist_evidence.hyperparameters())[1] == set()
    other = mnist_evidence.hyperparameters(Trajectory(0, batch_size=64, hidden=(10,)))
    assert other.parts["defaults"].value == 1 and "B: 128 printed, 64 here" in other.parts["defaults"].detail
    assert met("gv-tab-2", other)[1] == {"defaults", "network"}
    printed = load_ledger()["gv-tab-2"].values
    assert set(printed) == set(TABLE_2) and differences(printed["cifar10_resnet8"], TABLE_2["cifar10_resnet8"]) == []
    assert differences(printed["cifar10_resnet8"], replace(TABLE_2["cifar10_resnet8"], drops=(1,))) == [
        "lr_drop: [40000, 60000] printed, (1,) here"
    ]
    shown = in_force(Trajectory(0, batch_size=64))
    assert shown[shown.paper != shown.here].setting.tolist() == ["batch_size"]


def test_the_paper_scale_takes_these_defaults():
    values = yaml.safe_load((paths.repository() / "notebooks" / "gradient_variance" / "03_mnist.paper.yaml").read_text())
    config = mnist.runs(**values)["main"][0]
    assert in_force(config).eval("paper == here").all()
    assert config == Trajectory(0, growth_every=2000, rescaled_to=mnist.RESCALED_TO)


def test_parameters_over_training_images():
    found = mnist_tables.overparametrisation().set_index("network")
    assert found.ratio.round(1).to_dict() == {"mnist_cnn": 37.8, "mlp": 31.1, "resnet8": 1.5, "resnet32": 9.3}
    assert met("gv-overparam", mnist_evidence.counted())[1] == {"resnet8"}


def test_tables_of_the_page_have_names_for_their_rows():
    plain = mnist_numbers.settings(Trajectory(0, batch_size=64))
    assert plain.loc["batch size (B, K)"].tolist() == ["128", "64"] and plain.loc["batch norm"].tolist() == ["no", "no"]
    assert plain.loc["num steps (T)"].tolist() == ["50,000", "50,000"] and "drops" not in plain.index
    dropping = mnist_numbers.settings(Trajectory(0, drops=(5,)))
    assert dropping.loc["drops"].tolist() == ["()", "(5,)"] and "drop factor" in dropping.index
    counted = mnist_numbers.counted_networks()
    assert (
        counted.loc["mlp"].tolist() == ["1,863,690", "60,000", 31.1, 31]
        and counted.columns.name == "network"
        and counted.index.name is None
    )
    noise = mnist_numbers.noise_numbers(cases.noise())
    assert len(noise) == noise.index.nunique() and {"noise, R = 10", "noise, R = 50"} <= set(noise.index)


def test_data_that_are_not_the_papers_are_labelled():
    assert "digits (stand-in)" in mnist_evidence.convergence(cases.problems()).data
    assert "stand-in" not in mnist_evidence.convergence(cases.problems().assign(dataset="cifar10")).data


def test_present_keeps_what_is_there():
    table = cases.main(seeds=(0,))
    table.attrs["sources"] = Sources(expected=3, missing=2)
    assert mnist_tables.present(table).attrs["sources"] == Sources(expected=1, missing=0)
    assert table.attrs["sources"].missing == 2 and mnist_numbers.presence(table) == {"found": 1, "expected": 3}
    assert mnist_evidence.half(table).not_run == "2 of 3 runs are missing" and not mnist_evidence.half(mnist_tables.present(table)).not_run
    nothing = table.iloc[:0]
    assert mnist_tables.present(nothing).attrs["sources"].missing == 2 and mnist_numbers.presence(nothing) is None


def test_numbers_and_sentences_of_missing_runs():
    gone = {name: getattr(cases, name)().iloc[:0] for name in ("main", "authors", "problems", "noise", "fresh", "training")}
    for table in gone.values():
        table.attrs["sources"] = Sources(expected=3, missing=3)
    said = [
        mnist_numbers.said(gone["main"]), mnist_numbers.half_said(gone["main"]), mnist_numbers.problems_said(gone["problems"]),
        mnist_numbers.fresh_said(gone["main"], gone["fresh"]), mnist_numbers.protocol_said(gone["main"], gone["authors"]),
        mnist_numbers.training_said(gone["training"]),
    ]  # fmt: skip
    assert said == [None] * 6
    numbers = {"course": "main", "normalised": "main", "half": "main", "growth": "main", "problem": "problems", "training": "training"}
    numbers |= {"noise": "noise", "fresh": "fresh"}
    for name, of in numbers.items():
        assert getattr(mnist_numbers, f"{name}_numbers")(gone[of]).empty
    assert mnist_numbers.protocol_numbers(gone["main"], gone["authors"]).empty


def test_sentences():
    numbers = mnist_numbers.said(cases.main())
    assert numbers["gc"] == pytest.approx(0.7) and numbers["svrg"] == pytest.approx(0.2) and numbers["growth_largest"] == pytest.approx(90)
    assert numbers["totals_first"] == pytest.approx(0.89) and numbers["loss"] == pytest.approx(2 / 801)
    protocol = mnist_numbers.protocol_said(cases.main(), cases.authors())
    assert protocol["loss"] == pytest.approx(np.e) and protocol["factor"] == pytest.approx(1) and protocol["flipped"] == 0
    trained = mnist_numbers.training_said(cases.training())
    assert trained["sgd"] == pytest.approx(np.exp(-2)) and trained["gc_gradients"] == 20 * 4 * 8


SETTINGS = {
    "dataset": "digits", "hidden": [8], "learning_rate": 0.1, "momentum": 0.5, "weight_decay": 0.0, "batch_size": 8, "num_steps": 20,
    "log_every": 5, "repeats": 3, "update_every": 10, "gc_steps": 2, "growth_every": 10, "protocol_steps": 10,
    "problems": ["digits mlp 0.1 0.3", "digits linear 0.1 0"], "problem_steps": 10,
    "problem_every": 5, "problem_repeats": 3, "training": ["digits mlp 0.1 20 0 2"], "seeds": [0, 1, 2],
}  # fmt: skip


def test_runs_of_the_page():
    found = mnist.runs(**SETTINGS)
    assert {name: len(configs) for name, configs in found.items()} == {
        "main": 3, "authors": 12, "problems": 6, "training": 8, "noise": 12, "fresh": 30
    }  # fmt: skip
    assert {config.protocol for config in found["authors"]} == {"authors"} and all(len(c.estimators) == 1 for c in found["authors"])
    assert found["problems"][0].corrupt_share == 0.3 and found["training"][0].num_examples is None
    assert mnist.configurations(**SETTINGS) == [config for group in found.values() for config in group]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [0, 0]}, "seeds must be distinct"),
        ({"log_every": 0}, "log_every must be at least 1"),
        ({"protocol_steps": 21}, "protocol_steps is at most num_steps, 20"),
        ({"problems": ["digits mlp 0.1", "digits mlp 0.1 0"]}, "each of problems must read 'dataset model rate share'"),
        ({"training": ["digits mlp fast 20 0 1"]}, "'fast' in .* must be a number"),
    ],
)
def test_refused_parameters(change, message):
    with pytest.raises(InvalidInput, match=message):
        mnist.runs(**SETTINGS | change)


def test_quarters_and_parts():
    values = pd.Series(range(10))
    assert mnist_tables.part_of(values, 0.9, 1).tolist() == [9] and mnist_tables.part_of(values, 0, 0.1).tolist() == [0]
    assert mnist_tables.part_of(pd.Series([3.0]), 0.8, 1).tolist() == [3]
    found = mnist_tables.quarters(cases.main(seeds=(0,)))
    assert found.groupby("estimator").size().to_dict() == {"gc": 4, "sgd": 4, "sgd2": 4, "svrg": 4}
