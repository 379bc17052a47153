"""What holds for every run of the break-even pages: its columns, its bits, its key, and the way through the store."""

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest

from sgdscope.experiments import break_even
from sgdscope.experiments.break_even import early_phase_runs, least_squares, networks, one_direction
from sgdscope.runs import Run, collect, run_of
from sgdscope.runs.configuration import canonical

IMAGES = {"dataset": "digits", "num_examples": 26}
EARLY = {
    "dataset": "digits",
    "model": "mlp",
    "batch_size": 8,
    "seed": 1,
    "stop_accuracy": 0.99,
    "num_steps": 9,
    "L": 4,
    "num_hessian_examples": 20,
}
EARLY_GOLDEN = {
    "dataset": "cifar10",
    "model": "simple_cnn",
    "batch_size": 128,
    "seed": 3,
    "stop_accuracy": 0.65,
    "num_steps": 2000,
    "L": 25,
}
EARLY_GOLDEN |= {"num_hessian_examples": 2500}


@dataclass(frozen=True)
class Case:
    small: Any  # a configuration that takes no time
    columns: str
    rows: int
    golden: Any  # a configuration that leaves every default as it is
    name: str
    key: str
    defaults: dict[str, Any]  # the fields of `golden` that it does not give itself
    arrays: str = ""


CASES = {
    "enumeration": Case(
        one_direction.Enumeration(1, num_examples=4),
        "curvatures batch_size learning_rate enumerated left_side error",
        3 * 4 * 6,
        one_direction.Enumeration(3),
        "break_even.one_direction.enumerate_batches",
        "022f19b16b58e84cd848",
        {"num_examples": 12},
    ),
    "phase_diagram": Case(
        one_direction.PhaseDiagram(
            1, 2, num_examples=10, num_rates=4, num_spreads=3, num_steps=2, num_replicas=30, log_steps=10, log_replicas=20
        ),
        "learning_rate spread left_side log_second_moment exponent measured_exponent",
        4 * 3,
        one_direction.PhaseDiagram(3, 8),
        "break_even.one_direction.simulate_phase_diagram",
        "cbdc553dedbe85ef81d4",
        {
            "num_examples": 200,
            "largest_rate": 2.4,
            "largest_spread": 2.0,
            "num_rates": 33,
            "num_spreads": 25,
            "num_steps": 5,
            "num_replicas": 20_000,
            "log_steps": 200,
            "log_replicas": 200,
        },
    ),
    "stable_case": Case(
        one_direction.StableCase(1, num_replicas=50),
        "steps growth not_converged sampled_log_second_moment left_side exponent",
        8,
        one_direction.StableCase(3),
        "break_even.one_direction.simulate_stable_case",
        "75548d66de26f7851afb",
        {"learning_rate": 1.7, "curvature_std": 0.5, "num_examples": 100, "batch_size": 1, "num_steps": 200, "num_replicas": 10_000},
    ),
    "closed_form": Case(
        one_direction.ClosedForm(num_examples=5),
        "check points violations",
        3,
        one_direction.ClosedForm(),
        "break_even.one_direction.check_closed_form",
        "f42f91896eec7385d8fc",
        {
            "num_examples": 200,
            "learning_rates": [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0],
            "alphas": [0.01, 0.1, 1.0, 10.0],
            "distances": [0.1, 0.3, 1.0, 3.0],
        },
    ),
    "early_training": Case(
        one_direction.EarlyTraining(1, "stable", (1, 4, 20), 20),
        "learning_rate batch_size crossing_sharpness distance step",
        9,
        one_direction.EarlyTraining(3, "stable", (1, 8, 200), 200),
        "break_even.one_direction.simulate_early_training",
        "311bb474479b39565b46",
        {"learning_rates": [0.05, 0.1, 0.2], "alpha": 0.05},
    ),
    "reversed_order": Case(
        one_direction.ReversedOrder(1001),  # a seed that no page uses, or the committed run would be found
        "learning_rate crossing_sharpness distance",
        2,
        one_direction.ReversedOrder(3),
        "break_even.one_direction.simulate_reversed_order",
        "bc3afd2ab6919444072a",
        {},
    ),
    "projected": Case(
        least_squares.Projected(**IMAGES, batch_size=2, seed=1, num_rates=5, num_replicas=100),
        "learning_rate left_side log_second_moment",
        5,
        least_squares.Projected("mnist", 200, 4, 3),
        "break_even.least_squares.simulate_projected",
        "3ecbd76d884590dedce0",
        {"num_rates": 20, "num_steps": 3, "num_replicas": 50_000},
    ),
    "boundary": Case(
        least_squares.Boundary(**IMAGES, batch_size=2, seed=1),
        "sharpness curvature_std top_eigenvalue_share one_direction all_directions share_along_top residual",
        1,
        least_squares.Boundary("mnist", 200, 4, 3),
        "break_even.least_squares.find_boundary",
        "e6bb44f540fdd762513f",
        {},
    ),
    "descent": Case(
        least_squares.Descent(**IMAGES, learning_rate=0.5, batch_size=2, num_steps=4, seed=1, num_replicas=20),
        "step sampled typical log_exact log_one_direction",
        5,
        least_squares.Descent("mnist", 200, 0.5, 4, 50, 3),
        "break_even.least_squares.descend",
        "edcdfd96c25034efe0ab",
        {"num_replicas": 200},
    ),
    "noise": Case(
        least_squares.Noise(**IMAGES, seed=1, num_steps=4, every=2, enumerated=5),
        "step enumeration_error top trace top_share rank smallest_non_zero largest_position smallest_position",
        3,
        least_squares.Noise("mnist", 200, 3),
        "break_even.least_squares.measure_noise",
        "4e2114e734ccf9cccc81",
        {
            "learning_rate": 0.2,
            "batch_size": 16,
            "num_steps": 60,
            "every": 10,
            "enumerated": 12,
            "num_gradients": 25,
            "measure_batch": 16,
        },
    ),
    "network": Case(
        networks.TinyNetwork("digits", 0.5, 8, 1, num_examples=20, components=4, hidden=3, num_steps=4, probe_every=2),
        "step loss sharpness curvature_std left_side noise_trace noise_top residual "
        "crossing_step crossing_sharpness sharpness_after outcome",
        3,
        networks.TinyNetwork("mnist", 0.5, 128, 3),
        "break_even.networks.train",
        "c8bda2e7a16a6e477a67",
        {"num_examples": 256, "components": 20, "hidden": 16, "scale": 0.5, "num_steps": 800, "probe_every": 20},
    ),
    "training": Case(
        early_phase_runs.Training(**EARLY, learning_rate=0.1, every=4, num_eigenvalues=2, num_points=5),
        "step epoch train_loss train_accuracy H_top H_residual H_products distance curvature_mean curvature_std stability_lhs "
        "stability_margin quadratic_error K_top K_smallest K_conditioning K_trace K_projected alignment",
        6,
        early_phase_runs.Training(**EARLY_GOLDEN, learning_rate=0.01, every=100),
        "break_even.early_phase_runs.follow",
        "ee0004e91d5ee54e4648",
        {"num_eigenvalues": 5, "num_points": 11},
        "K_values H_values along_points along_losses predictions",
    ),
    "peaks": Case(
        early_phase_runs.Peak(**EARLY, learning_rate=0.1, every=4),
        "matrix step accuracy rank eigenvalue",
        3 + 5,
        early_phase_runs.Peak(**EARLY_GOLDEN, learning_rate=0.01, every=100),
        "break_even.early_phase_runs.peak_spectra",
        "677274ab974bcdde7afb",
        {},
    ),
    "embedding": Case(
        early_phase_runs.Embedding(**EARLY, learning_rates=(0.1, 0.01), every=(4, 4), method="pca"),
        "step train_accuracy K_top K_conditioning K_trace H_top rate x y used",
        6,
        early_phase_runs.Embedding(**EARLY_GOLDEN, learning_rates=(0.01, 0.001), every=(100, 1000), method="umap"),
        "break_even.early_phase_runs.embedding",
        "6c1fc16b59ff39540800",
        {},
    ),
}

every_run = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def test_every_run_has_a_case():
    modules = [importlib.import_module(f"{break_even.__name__}.{found.name}") for found in pkgutil.iter_modules(break_even.__path__)]
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
def test_columns(case, store):
    result = run_of(case.small)(case.small)
    assert list(result.table.columns) == case.columns.split()
    assert len(result.table) == case.rows
    assert result.status == "finished" and set(result.arrays) == set(case.arrays.split())


@every_run
def test_the_same_bits_twice(case, store):
    run = run_of(case.small)
    pd.testing.assert_frame_equal(run(case.small).table, run(case.small).table, check_exact=True)


@every_run
def test_the_store_gives_back_what_was_computed(case, store):
    computed, loaded = collect([case.small]), collect([case.small])
    assert (dict(computed.attrs["sources"].origins), dict(loaded.attrs["sources"].origins)) == ({"computed": 1}, {"store": 1})
    pd.testing.assert_frame_equal(computed, loaded, check_exact=True)
    identity = pd.DataFrame(
        {name: ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in canonical(case.small).items()},
        index=range(case.rows),
    )
    expected = pd.concat([identity.assign(status="finished"), run_of(case.small)(case.small).table], axis=1)
    pd.testing.assert_frame_equal(loaded, expected, check_exact=True)
