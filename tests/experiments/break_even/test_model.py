"""The page's list of runs."""

import ast
import inspect
from collections import Counter

import pytest

from sgdscope.errors import InvalidInput
from sgdscope.experiments.break_even import least_squares, model, networks, one_direction
from sgdscope.runs import run_of

SETTING = {
    "dataset": "digits",
    "learning_rates": [0.25, 1.0],
    "batch_sizes": [1, 8],
    "num_examples": 40,
    "num_steps": 10,
    "seeds": [0, 1, 2],
}


def test_configurations_are_all_runs_once():
    groups = model.runs(**SETTING)
    configs = model.configurations(**SETTING)
    assert configs == [config for group in groups.values() for config in group]
    keys = Counter((run_of(config).name, run_of(config).key(config)) for config in configs)
    assert set(keys.values()) == {1}
    assert all(len({type(config) for config in group}) == 1 for group in groups.values()), "a group makes one table"


def test_each_group_has_its_grid():
    groups = model.runs(**SETTING)
    assert {name: len(group) for name, group in groups.items()} == {
        "enumeration": 3,
        "phase_diagram": 2 * 3,
        "stable_case": 3,
        "projected": 2 * 3,
        "descent": 2 * 2 * 3,
        "boundary": 7 * 3,  # powers of two below 40, and 40
        "closed_form": 1,
        "early_training": 2 * 3,
        "reversed_order": 3,
        "network": 3 * 2 * 3,
        "small_batches": 3 * 2 * 3,
        "noise": 3,
    }
    assert sorted({config.batch_size for config in groups["boundary"]}) == [1, 2, 4, 8, 16, 32, 40]
    assert {config.batch_sizes for config in groups["early_training"]} == {(1, 8, 40)}, "the full batch is added"
    assert {config.start for config in groups["early_training"]} == {"stable", "unstable"}
    full = networks.TinyNetwork("digits", 0.4, 256, 0)
    assert full in groups["network"] and full.batch_size == full.num_examples, "the theorem compares with the full batch"
    assert max(model.SMALL_BATCHES) < min(model.NETWORK_BATCHES)


def test_each_parameter_reaches_its_runs():
    changes = {
        "dataset": ("mnist", {"projected", "descent", "boundary", "network", "small_batches", "noise"}),
        "learning_rates": ([0.3], {"descent"}),
        "batch_sizes": ([3], {"phase_diagram", "projected", "descent", "boundary", "early_training"}),
        "num_examples": (42, {"phase_diagram", "projected", "descent", "boundary", "closed_form", "early_training", "noise"}),
        "num_steps": (11, {"descent"}),
        "seeds": ([7], set(model.runs(**SETTING)) - {"closed_form"}),
    }
    assert set(changes) == set(SETTING) == set(inspect.signature(model.runs).parameters)
    before = model.runs(**SETTING)
    for name, (value, expected) in changes.items():
        after = model.runs(**{**SETTING, name: value})
        assert {group for group in before if before[group] != after[group]} == expected, name


def test_seeds_only_add_runs():
    """A page with more seeds finds all its old runs in the store."""
    fewer, more = (set(model.configurations(**{**SETTING, "seeds": seeds})) for seeds in ([0, 1], [0, 1, 2]))
    assert fewer < more


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_examples": 41}, "num_examples must be even and at least 26 .25 gradients are compared., got 41"),
        ({"num_examples": 24}, "num_examples must be even and at least 26 .25 gradients are compared., got 24"),
        ({"batch_sizes": [1, 41]}, r"batch sizes must be 1 to num_examples = 40, got \[41\]"),
        ({"batch_sizes": [0, 8, -1]}, r"batch sizes must be 1 to num_examples = 40, got \[0, -1\]"),
        ({"batch_sizes": [4, 4]}, "batch sizes and learning rates must be distinct"),
        ({"learning_rates": [0.5, 0.5]}, "batch sizes and learning rates must be distinct"),
        ({"learning_rates": [0.5, 0.0]}, "learning rates and num_steps must be positive"),
        ({"num_steps": 0}, "learning rates and num_steps must be positive"),
        ({"seeds": [0, 1, 0]}, r"seeds must be distinct and not negative, got \[0, 1, 0\]"),
        ({"seeds": [0, -1]}, r"seeds must be distinct and not negative, got \[0, -1\]"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(InvalidInput, match=message):
        model.configurations(**{**SETTING, **changes})


def test_the_smallest_setting_fits():
    groups = model.runs(**{**SETTING, "num_examples": 26, "batch_sizes": [26]})
    least = groups["noise"][0]
    assert least.num_gradients <= least.num_examples and max(least.batch_size, least.measure_batch, least.enumerated) <= 26


def test_the_run_modules_do_not_import_the_pages():
    """An edit of the list of runs, of evidence or figures must change no run's fingerprint."""
    for module in (one_direction, least_squares, networks):
        source = inspect.getsource(module)
        names = {
            name
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
        }
        assert not any("experiments" in name for name in names), module.__name__
