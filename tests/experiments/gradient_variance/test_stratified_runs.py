"""Runs of the page on stratified sampling: columns, bits, keys, and what they must find."""

import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from sgdscope.errors import InvalidInput, NotFound
from sgdscope.estimators import Stratified, partition_objective, weighted_lloyd
from sgdscope.experiments import gradient_variance
from sgdscope.experiments.gradient_variance import (
    stratified,
    stratified_duplicates,
    stratified_enumeration,
    stratified_networks,
    stratified_plane,
    stratified_small,
    stratified_steps,
)
from sgdscope.runs import Run, run_of
from sgdscope.runs.configuration import canonical

SMALL = {"dataset": "digits", "model": "mlp", "seed": 7}
TRAINING = {**SMALL, "hidden": (6,), "stages": (0, 5), "learning_rate": 0.1, "batch_size": 16}
GOLDEN = {
    "dataset": "mnist",
    "model": "mlp",
    "hidden": (1024, 1024),
    "seed": 3,
    "stages": (0, 500),
    "learning_rate": 0.02,
    "batch_size": 128,
}
PLANE = {"seed": 3, "protocol": "paper", "stages": (0, 100), "point_set": 0}


@dataclass(frozen=True)
class Case:
    small: Any  # a configuration that takes no time
    columns: str
    rows: int
    golden: Any  # a configuration that leaves every default as it is
    name: str
    key: str
    defaults: dict[str, Any]
    arrays: str = ""


CASES = {
    "partitions": Case(
        stratified_enumeration.Partitions(**SMALL, num_examples=5, num_partitions=2),
        "num_clusters draws variance formula bias_error variance_error objective_error gram_error",
        10,
        stratified_enumeration.Partitions("mnist", "mlp", 3),
        "gradient_variance.stratified_enumeration.enumerate_partitions",
        "f2728e7ac34dd07b482f",
        {"num_examples": 10, "num_partitions": 3},
    ),
    "limits": Case(
        stratified_enumeration.Limits(**SMALL, num_examples=4, repeats=2),
        "all_clusters zero_variance full_batch one_cluster",
        1,
        stratified_enumeration.Limits("mnist", "mlp", 3),
        "gradient_variance.stratified_enumeration.check_limits",
        "4ac406f8b2ec155381a5",
        {"num_examples": 10, "repeats": 5},
    ),
    "draws": Case(
        stratified_enumeration.Draws(**SMALL, num_clusters=2, cluster_size=3, dimension=2),
        "data independent_data way draws variance formula bias_error error",
        15,
        stratified_enumeration.Draws("mnist", "mlp", 3),
        "gradient_variance.stratified_enumeration.compare_draws",
        "625580ad04d4e87c080e",
        {"num_clusters": 3, "cluster_size": 4, "dimension": 5},
    ),
    "copies": Case(
        stratified_duplicates.Copies(**SMALL, num_examples=4, batch_size=2, copies=(1, 2)),
        "example num_copies without duplicated kept stratified without_subset duplicated_subset kept_subset mean_error farness",
        8,
        stratified_duplicates.Copies("mnist", "mlp", 3),
        "gradient_variance.stratified_duplicates.draw_with_copies",
        "ab149d015a2474a11e8b",
        {"num_examples": 6, "batch_size": 3, "copies": [1, 3, 7]},
    ),
    "copies_apart": Case(
        stratified_duplicates.CopiesApart(**SMALL, num_examples=4, num_clusters=2, copies=(1, 2)),
        "example num_copies term scaled_ratio variance_ratio expected_ratio mingled_ratio",
        8,
        stratified_duplicates.CopiesApart("mnist", "mlp", 3),
        "gradient_variance.stratified_duplicates.draw_copies_apart",
        "dbe292d87e46d4148cd6",
        {"num_examples": 6, "num_clusters": 3, "copies": [1, 3, 7]},
    ),
    "counter_examples": Case(
        stratified_steps.CounterExamples(3, 3),
        "num_clusters tried raised_emptied tied_emptied numbers_emptied start_emptied end_emptied before_emptied after_emptied "
        "raised_kept tied_kept numbers_kept start_kept end_kept before_kept after_kept",
        2,
        stratified_steps.CounterExamples(3, 12),
        "gradient_variance.stratified_steps.search_counter_examples",
        "75cbca476f2e834711ac",
        {},
    ),
    "optima": Case(
        stratified_steps.Optima(**SMALL, num_sets=2, num_examples=5, num_clusters=2),
        "set rule cluster size spread variance",
        8,
        stratified_steps.Optima("mnist", "mlp", 3),
        "gradient_variance.stratified_steps.find_optima",
        "db83e7e8a5d00d6f58e4",
        {"num_sets": 40, "num_examples": 9, "num_clusters": 3},
    ),
    "training": Case(
        stratified_networks.Trained(**TRAINING),
        "step loss accuracy",
        2,
        stratified_networks.Trained(**GOLDEN),
        "gradient_variance.stratified_networks.train_network",
        "e75a2cbad52cfada07b2",
        {},
        "weights",
    ),
    "monte_carlo": Case(
        stratified_networks.MonteCarlo(**TRAINING, num_examples=40, num_clusters=4, repeats=3),
        "step partition drawn formula variance variance_error along along_error mini_batch",
        3,
        stratified_networks.MonteCarlo(**GOLDEN, num_examples=500, num_clusters=128),
        "gradient_variance.stratified_networks.sample_estimates",
        "fd9e9132504294ff37f5",
        {"repeats": 200},
    ),
    "clusters": Case(
        stratified_networks.Clusters(**TRAINING, num_examples=40, num_clusters=(3, 4), lloyd_steps=2),
        "step K sizes cluster size spread alone emptied",
        2 * 3 * 7,
        stratified_networks.Clusters(**GOLDEN, num_examples=500, num_clusters=(16, 128)),
        "gradient_variance.stratified_networks.find_clusters",
        "aa933c3e3cb13fc3a1e4",
        {"lloyd_steps": 10},
    ),
    "objective": Case(
        stratified_networks.Objective(**TRAINING, num_examples=40, num_clusters=(4,), lloyd_steps=2),
        "step K sizes iteration objective empty",
        2 * 3 * 2,
        stratified_networks.Objective(**GOLDEN, num_examples=500, num_clusters=(16, 128)),
        "gradient_variance.stratified_networks.follow_objective",
        "e059255c74044b8e1bec",
        {"lloyd_steps": 15},
    ),
    "points": Case(
        stratified_plane.Points(7, "authors_code", (0, 3), 1, num_points=20),
        "step x1 x2 label cluster g1 g2 g_bias w1 w2 b rejected separable",
        40,
        stratified_plane.Points(**PLANE),
        "gradient_variance.stratified_plane.cluster_points",
        "d1f07d64300df790db29",
        {
            "num_points": 640,
            "num_clusters": 4,
            "learning_rate": 5e-4,
            "momentum": 0.5,
            "weight_decay": 5e-4,
            "clustering_steps": 10,
        },
    ),
}

every_run = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def test_every_run_of_the_page_has_a_case():
    names = [found.name for found in pkgutil.iter_modules(gradient_variance.__path__) if found.name.startswith("stratified")]
    modules = [importlib.import_module(f"{gradient_variance.__name__}.{name}") for name in names]
    runs = {value.name for module in modules for value in vars(module).values() if isinstance(value, Run)}
    assert runs == {case.name for case in CASES.values()}


@every_run
def test_golden_keys(case):
    """Fails where a default changed: raise the run's version, then write both down here. All stored runs of it are lost, the committed too."""
    run = run_of(case.golden)
    assert (run.name, run.version, run.key(case.golden)) == (case.name, 1, case.key)
    fields = canonical(case.golden)
    assert {name: value for name, value in fields.items() if name in case.defaults} == case.defaults
    given = {name: value for name, value in fields.items() if name not in case.defaults}
    assert canonical(type(case.golden)(**given)) == fields, "a default that no golden configuration holds"


@every_run
def test_columns_and_the_same_bits_twice(case, store):
    run = run_of(case.small)
    first, second = run(case.small), run(case.small)
    assert list(first.table.columns) == case.columns.split()
    assert len(first.table) == case.rows
    assert first.status == "finished" and set(first.arrays) == set(case.arrays.split())
    pd.testing.assert_frame_equal(first.table, second.table, check_exact=True)


# Small sets


def test_moments_are_those_of_a_plain_loop():
    rows = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    partition = torch.tensor([0, 1, 0, 1, 1])
    made = [(2 * rows[i] + 3 * rows[j]) / 5 for i in (0, 2) for j in (1, 3, 4)]
    mean = sum(made) / 6
    found, variance, draws = stratified_small.moments(Stratified(partition), rows)
    assert draws == 6 and torch.allclose(found, mean, rtol=0, atol=1e-14)
    assert variance == pytest.approx(sum(float((value - mean).square().sum()) for value in made) / 6, abs=1e-14)
    by_hand = [n**2 * float(rows[partition == k].var(0, correction=0).sum()) for k, n in ((0, 2), (1, 3))]
    assert stratified_small.terms(rows, partition).tolist() == pytest.approx(by_hand, abs=1e-13)


def test_coordinates_keep_inner_products():
    rows = torch.randn(4, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    small = stratified_small.coordinates(rows)
    assert small.shape == (4, 4) and torch.allclose(small @ small.T, rows @ rows.T, rtol=0, atol=1e-12)


@pytest.mark.parametrize("clusters", [1, 3, 6])
def test_random_partitions_have_no_empty_set(clusters):
    partition = stratified_small.random_partition(6, clusters, torch.Generator().manual_seed(2))
    assert partition.shape == (6,) and partition.unique().tolist() == list(range(clusters))


def test_images_are_needed():
    with pytest.raises(InvalidInput, match="needs labelled images, 'gaussian' has none"):
        stratified_small.images("gaussian")


def test_one_number_draws_each_member_once():
    rows = torch.tensor([[3.0], [1.0], [2.0], [10.0], [30.0], [20.0]], dtype=torch.float64)
    partition = torch.tensor([0, 0, 0, 1, 1, 1])
    same = stratified_enumeration.OneNumber(rows, partition, opposite=False).index
    opposite = stratified_enumeration.OneNumber(rows, partition, opposite=True).index
    ordered = rows[same][:, :, 0].tolist()
    assert ordered in ([[1, 10], [2, 20], [3, 30]], [[3, 30], [2, 20], [1, 10]])
    assert rows[opposite][:, :, 0].tolist() in ([[1, 30], [2, 20], [3, 10]], [[3, 10], [2, 20], [1, 30]])


# Steps


def test_steps_are_those_of_the_library():
    """Exact arithmetic against `weighted_lloyd`, where no costs are equal."""
    generator, compared = torch.Generator().manual_seed(3), 0
    for _ in range(60):
        numbers = tuple(torch.randint(100, (5,), generator=generator).tolist())
        start = stratified_small.random_partition(5, 2, generator)
        ends = list(stratified_steps.steps(numbers, tuple(start.tolist())))
        g = torch.tensor(numbers, dtype=torch.float64)
        gram = torch.outer(g, g)
        assert stratified_steps.objective(numbers, tuple(start.tolist())) == pytest.approx(
            partition_objective(gram, start), rel=1e-9, abs=1e-6
        )
        if len(ends) == 1:
            found = weighted_lloyd(gram, 2, steps=1, sizes="previous", refill="none", start=start, generator=torch.Generator())
            assert tuple(found.assignment.tolist()) == ends[0]
            compared += 1
    assert compared > 40


def test_the_narrowest_counter_examples():
    three = stratified_steps.search_counter_examples(stratified_steps.CounterExamples(3, 6)).table.set_index("num_clusters")
    assert three.raised_kept.tolist() == [0, 0] and three.raised_emptied[2] > 0
    assert three.loc[2, ["start_emptied", "end_emptied", "before_emptied", "after_emptied"]].tolist() == ["{0, 3} {1}", "{0, 1, 3}", 9, 14]
    four = stratified_steps.search_counter_examples(stratified_steps.CounterExamples(4, 4)).table.set_index("num_clusters")
    assert four.loc[2, ["numbers_kept", "start_kept", "before_kept", "after_kept"]].tolist() == ["0 1 2 4", "{0, 2, 4} {1}", 24, 26]


def test_both_choices_of_a_tie_are_tried():
    assert set(stratified_steps.steps((0, 1, 2), (0, 1, 0))) == {(1, 0, 1), (1, 1, 1)}


def test_shapes_of_many_partitions_at_once():
    rows = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    partitions = torch.tensor([[0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 1]])
    sizes, spreads = stratified_steps.shapes(rows @ rows.T, partitions, 3)
    assert sizes.tolist() == [[3, 3, 0], [5, 1, 0]]
    by_hand = [[rows[p == k].var(0, correction=0).sum().item() if (p == k).any() else 0 for k in range(3)] for p in partitions]
    assert np.allclose(spreads, by_hand, atol=1e-12)


def test_the_best_partition_is_the_best():
    table = stratified_steps.find_optima(stratified_steps.Optima(**SMALL, num_sets=3, num_examples=6, num_clusters=2)).table
    best = table.drop_duplicates(["set", "rule"]).pivot(index="set", columns="rule", values="variance")
    assert (best.weighted <= best.plain + 1e-12).all()
    rows = stratified_small.gradients(
        stratified_small.small_network("digits", "mlp", 7), *stratified_small.small_set("digits", 7, 6, "optimum 0")
    )
    gram = rows @ rows.T
    costs = [partition_objective(gram, torch.tensor([int(bit) for bit in f"{code:06b}"])) for code in range(1, 63)]
    alone = float((rows - rows.mean(0)).square().sum(1).mean())
    assert best.weighted[0] == pytest.approx(min(costs) / 36 / alone, rel=1e-9)


# Networks


def test_a_run_asks_for_the_training_and_ends_like_it(store):
    wild = {**TRAINING, "learning_rate": 1e30, "stages": (0, 30)}
    trained = stratified_networks.train_network(stratified_networks.Trained(**wild))
    assert trained.status == "diverged" and trained.table.step.tolist() == [0] and len(trained.arrays["weights"]) == 1
    found = stratified_networks.find_clusters(stratified_networks.Clusters(**wild, num_examples=20, num_clusters=(2,), lloyd_steps=1))
    assert found.status == "diverged" and found.table.step.unique().tolist() == [0] and found.diverged_at == trained.diverged_at


def test_the_three_rules_start_alike(store):
    table = stratified_networks.follow_objective(
        stratified_networks.Objective(**TRAINING, num_examples=32, num_clusters=(4,), lloyd_steps=1)
    ).table
    assert table.groupby("step").objective.nunique().max() == 1, "with one chunk of 32 all weights are 1 in the first step"


def test_more_examples_than_there_are(store):
    with pytest.raises(InvalidInput, match=r"num_examples = 1,439 exceeds the 1,438 examples of digits, train"):
        next(stratified_networks.along(stratified_networks.Clusters(**TRAINING, num_examples=1439, num_clusters=(3,))))


# The plane


def test_separable():
    x = torch.tensor([[0.0, 0], [1, 1], [0, 1], [1, 0]], dtype=torch.float64)
    assert stratified_plane.separable(x, torch.tensor([0, 0, 0, 1]))
    assert not stratified_plane.separable(x, torch.tensor([0, 0, 1, 1]))


def test_gradients_and_boundary_of_the_plane():
    table = stratified_plane.cluster_points(stratified_plane.Points(7, "paper", (0, 4), 0, num_points=30)).table
    assert table.separable.all() and table.groupby("step").label.sum().tolist() == [15, 15]
    chance = 1 / (1 + np.exp(-(table.w1 * table.x1 + table.w2 * table.x2 + table.b)))
    for column, value in (("g1", table.x1), ("g2", table.x2), ("g_bias", 1.0)):
        assert np.allclose(table[column], (chance - table.label) * value, atol=1e-12)


def test_an_unknown_protocol():
    with pytest.raises(NotFound, match="unknown protocol 'code'.*authors_code"):
        stratified_plane.cluster_points(stratified_plane.Points(7, "code", (0,), 0, num_points=4))


# The page

PARAMETERS = {
    "dataset": "fashion_mnist_small", "models": ["mlp", "lenet"], "hidden": [5], "seeds": [0, 1], "stages": [0, 3], "learning_rate": 0.1,
    "batch_size": 4, "num_examples": 30, "num_clusters": [3, 5], "sampled_clusters": 4, "repeats": 5, "point_sets": 2, "point_stages": [0, 5],
}  # fmt: skip


def test_runs_of_the_page():
    runs = stratified.runs(**PARAMETERS)
    assert len(runs["clusters"]) == 4 and len(runs["points"]) == 2 * 2 * 2 and len(runs["counter_examples"]) == 3
    assert {config.hidden for config in runs["clusters"] if config.model == "lenet"} == {()}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seeds": [0, 0]}, r"seeds must be distinct and at least 0, got \[0, 0\]"),
        ({"models": []}, r"models must be distinct, got \[\]"),
        ({"num_clusters": [1]}, r"num_clusters must be distinct and at least 2"),
        ({"num_clusters": [31]}, r"1 to num_examples = 30 clusters, got \[31\]"),
        ({"sampled_clusters": 0}, "sampled_clusters = 0"),
        ({"repeats": 1}, "repeats must be at least 2, got 1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
    ],
)
def test_refused_parameters(changed, message):
    with pytest.raises(InvalidInput, match=message):
        stratified.runs(**PARAMETERS | changed)


def test_the_page_says_how_many_partitions_are_tried():
    config = stratified_steps.Optima("digits", "mlp", 0)
    tried = len(list(stratified_steps._canonical(config.num_examples, config.num_clusters)))
    page = (Path(__file__).parents[3] / "notebooks" / "gradient_variance" / "01_stratified.py").read_text(encoding="utf-8")
    assert f"{tried:,} partitions into three groups" in page and config.num_clusters == 3
