"""The page's list of runs, its descriptions of the set-ups, and the deep counterpart."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from sgdscope.errors import InvalidInput
from sgdscope.experiments.gradient_variance import random_features as page
from sgdscope.experiments.gradient_variance import random_features_deep as deep
from sgdscope.experiments.gradient_variance import random_features_setup as setup
from sgdscope.gradients import PerExampleGradients
from sgdscope.runs import run_of
from sgdscope.runs.configuration import canonical

SETTINGS = {
    "hidden": 40, "overparametrisations": [1.0, 2.0], "input_dims": [5, 50], "teacher_widths": [5, 60], "learning_rates": [0.1, 0.01],
    "batch_size": 2, "num_steps": 200, "log_every": 20, "repeats": 3, "refresh_every": 50, "seeds": [3, 4],
    "drop_overparametrisations": [0.5], "batch_hidden": 30, "batch_sizes": [2, 4], "batch_rates": [0.1], "batch_steps": 60,
    "deep_dataset": "digits", "deep_rates": [0.3, 0.1], "deep_steps": 20,
}  # fmt: skip
DEEP = deep.DeepTraining("digits", 0.3, 100, hidden=(6,), num_examples=40, batch_size=8, num_steps=9, log_every=3)


def test_the_list_of_runs():
    runs = page.runs(**SETTINGS)
    assert {name: len(configs) for name, configs in runs.items()} == {
        "sweep": 2 * 2 * 2 * 2 * 2, "setups": 2 * 2 * 2 * (2 + 1), "descriptions": 3 * 2 * 2, "drop": 2 * 2, "batches": 2 * 2, "deep": 2 * 2,
    }  # fmt: skip
    assert {(c.definition, c.teacher_hidden, c.repeats) for c in runs["setups"]} == {("paper", 5, 0), ("authors_code", 5, 0)}
    assert {c.input_dim for c in runs["setups"] if c.definition == "paper"} == {5}
    assert {(c.drop_at, c.learning_rate, c.log_every) for c in runs["drop"]} == {(0, 0.1, 2), (100, 0.1, 2)}
    assert {(c.num_examples, c.log_every, c.num_steps) for c in runs["batches"]} == {(30, 10, 60)}
    assert page.configurations(**SETTINGS) == [config for group in runs.values() for config in group]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rates": [0.1]}, r"learning_rates must be at least two distinct positive numbers, got \[0.1\]"),
        ({"overparametrisations": [1.0, 1.0]}, "overparametrisations must be at least two distinct"),
        ({"deep_rates": [0.1, -0.1]}, "deep_rates must be at least two distinct positive"),
        ({"batch_sizes": [2, 6]}, r"batch_sizes must double from one to the next, got \[2, 6\]"),
        ({"seeds": [1, 1]}, r"seeds must be distinct and not negative, got \[1, 1\]"),
        ({"num_steps": 60}, "num_steps must be at least four times log_every, got 60 and 20"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(InvalidInput, match=message):
        page.runs(**SETTINGS | changes)


def test_descriptions():
    found = {name: setup.describe(setup.Setup(name, 30, 5, 50, 400, 100)).table.iloc[0] for name in ("paper", "figures", "authors_code")}
    assert [found[name].parameters for name in ("paper", "figures", "authors_code")] == [50, 102, 102]
    assert found["paper"].feature_length == pytest.approx(1) and found["authors_code"].feature_length == pytest.approx(3**-0.5, rel=0.03)
    assert found["paper"].positives == found["figures"].positives and 0.4 < found["authors_code"].positives < 0.6


def test_the_deep_run_measures_exact_variances(monkeypatch):
    """Against the covariance of materialised gradients."""
    wanted = []
    moments = deep._moments

    def watched(network, data, config):
        rows = PerExampleGradients.of(network, "cross_entropy", data.x, data.y).dense().double()
        wanted.append(
            (rows.var(0).mean().item() / config.batch_size * (1 - config.batch_size / len(rows)), rows.mean(0).square().mean().item())
        )
        return moments(network, data, config)

    monkeypatch.setattr(deep, "_moments", watched)
    table = deep.follow(DEEP).table
    assert table.step.tolist() == [3, 6, 9] and table.loss.iloc[-1] < table.loss.iloc[0]
    torch.testing.assert_close(
        torch.tensor(table[["exact", "gradient_square"]].to_numpy()), torch.tensor(wanted, dtype=torch.float64), rtol=1e-4, atol=0
    )
    pd.testing.assert_frame_equal(table, deep.follow(DEEP).table, check_exact=True)


def test_a_deep_run_that_diverges():
    found = deep.follow(replace(DEEP, learning_rate=1e30, num_steps=40))
    assert found.status == "diverged" and found.diverged_at >= 1 and list(found.table) == ["step", "loss", "exact", "gradient_square"]


@pytest.mark.parametrize(
    ("config", "name", "key", "defaults"),
    [
        (setup.Setup("paper", 100, 100, 1000, 1000, 3), "random_features_setup.describe", "79d20e53afaafa7cf75e", {}),
        (
            deep.DeepTraining("fashion_mnist_small", 0.1, 3),
            "random_features_deep.follow",
            "79a8762059e1f00b14f9",
            {"model": "mlp", "hidden": [100, 100], "num_examples": 1000, "batch_size": 32, "num_steps": 600, "log_every": 20},
        ),
    ],
)
def test_keys_and_defaults(config, name, key, defaults):
    assert run_of(config).name == f"gradient_variance.{name}" and run_of(config).key(config) == key
    fields = canonical(config)
    assert {field: fields[field] for field in defaults} == defaults
