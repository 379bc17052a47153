"""The runs of 02_clustering: golden keys, columns, laws that their numbers obey, refusals."""

import importlib
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest
import torch

from sgdscope.errors import InvalidInput, NotFound
from sgdscope.experiments.gradient_variance import clustering, clustering_algebra, clustering_costs, clustering_networks
from sgdscope.runs import collect, run_of
from sgdscope.runs.configuration import canonical
from sgdscope.runs.run import Run

MODULES = ("clustering_algebra", "clustering_networks", "clustering_costs")


@dataclass
class Case:
    small: Any
    columns: str
    rows: int
    golden: Any
    name: str
    key: str
    defaults: dict[str, Any]
    timed: bool = False


NETWORK = ("digits", "mlp", 2, 1)
CASES = {
    "products": Case(
        clustering_algebra.InnerProducts(1001), "case weight layer product error", 19 * 4, clustering_algebra.InnerProducts(3),
        "gradient_variance.clustering_algebra.compare_products", "ebc07512082ff5c849db", {"num_clusters": 5},
    ),
    "algorithms": Case(
        clustering_algebra.Algorithms(1001), "case distance_error assigned_otherwise update_error first_layer_otherwise", 9,
        clustering_algebra.Algorithms(3), "gradient_variance.clustering_algebra.compare_algorithms", "1327b5c2a8dddfe560b2", {"num_clusters": 4},
    ),
    "updates": Case(
        clustering_algebra.Uncorrelated(1001), "layer pairing error", 4, clustering_algebra.Uncorrelated(3),
        "gradient_variance.clustering_algebra.compare_updates", "8182f7a59c46d10e2893", {"inputs": 6, "outputs": 5},
    ),
    "trained": Case(
        clustering_networks.Trained(*NETWORK), "batch_loss", 1, clustering_networks.Trained("mnist", "mlp", 200, 3),
        "gradient_variance.clustering_networks.train_network", "efbd5fa2b086ecc67509", {"learning_rate": 0.1, "batch_size": 128},
    ),
    "centres": Case(
        clustering_networks.CentreErrors("digits", "mlp", 2, 1, 20, 3, 2), "rule ratio exact_ratio layer error left_out share", 4,
        clustering_networks.CentreErrors("mnist", "mlp", 200, 3, 200, 16),
        "gradient_variance.clustering_networks.compare_centres", "4a0a953ee24f344e6974", {"steps": 5},
    ),
    "range": Case(
        clustering_networks.KRange("digits", "mlp", 2, 1, 20, (2, 5), 2), "K centres ratio used", 4,
        clustering_networks.KRange("mnist", "mlp", 200, 3, 500, (10, 100)),
        "gradient_variance.clustering_networks.vary_clusters", "b63d66e282f2cf5c3d99", {"steps": 10},
    ),
    "sizes": Case(
        clustering_networks.RealSizes("digits", "mlp", 0, 1, 20, 3, 2), "rule used smallest largest evenness collapsed ratio refilled", 4,
        clustering_networks.RealSizes("mnist", "mlp", 200, 3, 500, 16),
        "gradient_variance.clustering_networks.compare_sizes", "01a514949db79b0d3191", {"steps": 10},
    ),
    "gaussian": Case(
        clustering_networks.GaussianSizes(5, 30, 3, 1), "rule used smallest largest evenness collapsed ratio refilled", 4,
        clustering_networks.GaussianSizes(100, 1000, 16, 3),
        "gradient_variance.clustering_networks.compare_gaussian_sizes", "491b2c5eff3076deca87", {"steps": 10},
    ),
    "uniform": Case(
        clustering_networks.UniformCloud(2, 30, 3, 1), "ratio", 1, clustering_networks.UniformCloud(10, 1000, 10, 3),
        "gradient_variance.clustering_networks.cluster_uniform", "7f8dc556f46090b6ce75", {"steps": 30},
    ),
    "steps": Case(
        clustering_costs.StepCosts("mlp", 4, 2, 1, 1), "part ratio seconds memory", 7, clustering_costs.StepCosts("mlp", 128, 128, 3, 3),
        "gradient_variance.clustering_costs.time_steps", "9ac65ad618012569c52d", {}, timed=True,
    ),
    "layers": Case(
        clustering_costs.LayerCosts(1, 2, 1, 1), "layer fan_in fan_out positions K product ratio", 2 * 2 + 6 * 4,
        clustering_costs.LayerCosts(16, 32, 3, 6), "gradient_variance.clustering_costs.time_layers", "89eebb07d9bbc8a296ae", {}, timed=True,
    ),
}  # fmt: skip

every_run = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def test_every_run_has_a_case():
    modules = [importlib.import_module(f"sgdscope.experiments.gradient_variance.{name}") for name in MODULES]
    runs = {value.name for module in modules for value in vars(module).values() if isinstance(value, Run)}
    assert runs == {case.name for case in CASES.values()}


@every_run
def test_golden_keys(case):
    """Fails where a default changed: raise the run's version, then write both down here. All stored runs of it are lost."""
    run, fields = run_of(case.golden), canonical(case.golden)
    assert (run.name, run.version, run.key(case.golden)) == (case.name, 1, case.key)
    assert {name: value for name, value in fields.items() if name in case.defaults} == case.defaults
    given = {name: value for name, value in fields.items() if name not in case.defaults}
    assert canonical(type(case.golden)(**given)) == fields, "a default that no golden configuration holds"


@every_run
def test_columns_and_bits(case, store):
    run = run_of(case.small)
    one, two = run(case.small).table, run(case.small).table
    assert list(one.columns) == case.columns.split() and len(one) == case.rows
    if case.timed:
        assert (one.ratio > 0).all()
        untimed = [name for name in one if name not in ("ratio", "seconds")]
        one, two = one[untimed], two[untimed]
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_trained_weights_are_stored(store):
    result = clustering_networks.train_network(clustering_networks.Trained(*NETWORK))
    assert "1.weight" in result.arrays and result.status == "finished"


def test_a_diverged_training(store):
    config = clustering_networks.Trained("digits", "mlp", 30, 1, learning_rate=1e6)
    result = clustering_networks.train_network(config)
    assert result.status == "diverged" and 0 < result.diverged_at <= 30


def test_exact_variances():
    """Ratios against rows written out: strata one by one, and a mini-batch without replacement."""
    rows = torch.randn(12, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    partition = torch.arange(12) % 3
    single = (rows - rows.mean(0)).square().sum() / 12
    strata = sum((4 / 12) ** 2 * (of - of.mean(0)).square().sum() / 4 for of in (rows[partition == k] for k in range(3)))
    assert clustering_networks.mini_batch_variance(rows @ rows.T, 3) == pytest.approx(float(single / 3 * 9 / 11))
    assert clustering_networks.variance_ratio(rows @ rows.T, partition, 3) == pytest.approx(float(strata / (single / 3 * 9 / 11)))


def test_centre_errors(store):
    """Errors fall with the rank; those of the decomposition are what the singular values leave out; the mean update is never better than rank 1."""
    table = collect([clustering_networks.CentreErrors("fashion_mnist_small", "lenet", 1, 1001, 20, 3, 2)])
    for _, rows in table.groupby("layer"):
        errors = rows.set_index("rule").error
        assert errors.is_monotonic_decreasing
        svd = rows[rows.rule.str.startswith("SVD")]
        assert (svd.error - svd.left_out).abs().max() < 1e-9
    assert set(table.layer) == {"linear", "convolution"}


def test_a_uniform_line_is_cut_into_equal_pieces():
    """K pieces of 1/K have 1/K^2 of the variance, against a mini-batch of K."""
    found = clustering_networks.cluster_uniform(clustering_networks.UniformCloud(1, 400, 5, 1)).table.ratio[0]
    assert found == pytest.approx(1 / 25 * 399 / 395, rel=0.2)


def test_sizes_of_a_collapse():
    found = clustering_networks.compare_gaussian_sizes(clustering_networks.GaussianSizes(200, 300, 8, 2)).table.set_index("rule")
    assert found.used["fixed"] == 1 and found.evenness["fixed"] == pytest.approx(1 / 8) and found.collapsed["fixed"]
    assert found.evenness["running, 32"] > 0.9 and found.ratio["fixed"] == pytest.approx(8 * 299 / 292)


VALUES = {
    "dataset": "digits",
    "models": ["mlp"],
    "train_steps": [0],
    "num_examples": 30,
    "centre_examples": 10,
    "num_clusters": 3,
    "cluster_range": [5, 10],
    "gc_steps": 2,
    "dimensions": [4],
    "timed_networks": ["mlp"],
    "timing_repeats": 1,
    "seeds": [0, 1],
}


def test_the_page_s_runs():
    found = clustering.runs(**VALUES)
    assert {config.dimension for config in found["uniform"]} == {1, 2, 4, 1000}
    assert len(clustering.configurations(**VALUES)) == sum(len(group) for group in found.values())


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"timed_networks": ["vgg"]}, NotFound, "unknown timed network 'vgg'"),
        ({"models": ["resnet8"]}, NotFound, "unknown model 'resnet8'"),
        ({"seeds": [0, 0]}, InvalidInput, "seeds must be distinct and not negative"),
        ({"train_steps": [-1]}, InvalidInput, "train_steps must be distinct and not negative"),
        ({"cluster_range": [0]}, InvalidInput, "cluster_range must be two or more increasing numbers from 1"),
        ({"cluster_range": [10]}, InvalidInput, "two or more increasing numbers"),
        ({"cluster_range": [20, 10]}, InvalidInput, "two or more increasing numbers"),
        ({"cluster_range": [2, 9]}, InvalidInput, r"must hold a K from 10 to 100, of which a claim is; got \[2, 9\]"),
        ({"gc_steps": 0}, InvalidInput, "gc_steps, timing_repeats and num_clusters must be at least 1"),
        ({"cluster_range": [10, 30]}, InvalidInput, "more examples than clusters; 30, 10 and 1000 came"),
        ({"num_clusters": 10}, InvalidInput, "more examples than clusters"),
    ],
)
def test_refused(settings, error, message):
    with pytest.raises(error, match=message):
        clustering.runs(**(VALUES | settings))
