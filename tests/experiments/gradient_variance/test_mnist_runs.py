"""The small runs of the MNIST page, and training with each estimator: columns, keys, twins."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from sgdscope.data.synthetic import stream_generator
from sgdscope.errors import NotFound
from sgdscope.estimators import weighted_lloyd
from sgdscope.experiments.gradient_variance import training_runs
from sgdscope.experiments.gradient_variance.mnist_runs import SETS, FreshClusters, Noise, cluster_afresh, constructed, measure_noise
from sgdscope.experiments.gradient_variance.training_runs import Training, gradients_computed, train_with
from sgdscope.runs import checkpoint, collect, run_of

SMALL = Training(101, "sgd", "digits", "mlp", 0.1, 12, hidden=(6,), num_examples=60, batch_size=6, update_every=5, log_every=4, gc_steps=2)


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("SGDSCOPE_STORE", str(tmp_path / "store"))


@pytest.mark.parametrize(
    ("config", "name", "key"),
    [
        (Noise(3, 10), "gradient_variance.mnist_runs.measure_noise", "63f816009b52e2bf77c2"),
        (FreshClusters(3, "line", "running"), "gradient_variance.mnist_runs.cluster_afresh", "856722bc6a57fb53fbc8"),
        (Training(3, "gc", "mnist", "mlp", 0.02, 5000), "gradient_variance.training_runs.train_with", "563c13ce96b33ab23251"),
    ],
)
def test_golden_keys(config, name, key):
    """Fails where a default changed: raise the run's version, then write both down here."""
    run = run_of(config)
    assert (run.name, run.version, run.key(config)) == (name, 1, key)


def test_pure_noise():
    """1 + 1/(R - 2) by the authors' formula; the same draws written out."""
    row = measure_noise(Noise(101, 10, dimension=20_000)).table.iloc[0]
    assert row.unguarded == pytest.approx(1.125, abs=0.01)
    generator = stream_generator(101, "noise", "10")
    draws = torch.stack([torch.randn(20_000, generator=generator, dtype=torch.float64) for _ in range(10)])
    assert row.same_draws == pytest.approx(float((draws.var(0, correction=0) / draws.square().mean(0)).mean()))
    assert row.same_draws < 1 and row.average == pytest.approx(float(draws.var(0).mean()))


def test_scale_and_signal():
    one, small = (measure_noise(Noise(101, 6, 1.0, scale, dimension=5000)).table.iloc[0] for scale in (1.0, 2.0**-10))
    assert one.normalised == pytest.approx(0.5, abs=0.02) and small.normalised == one.normalised and small.unguarded == one.unguarded
    assert small.guarded < one.guarded


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("sizes", ["running", "previous"])
def test_ratio_against_the_gradients_themselves(name, sizes):
    """Stratified variance over each cluster's rows, and a mini-batch without replacement."""
    config = FreshClusters(101, name, sizes, num_examples=40, num_clusters=5, steps=3)
    row = cluster_afresh(config).table.iloc[0]
    generator = stream_generator(101, "constructed gradients", name)
    rows = constructed(name, 40, generator)
    found = weighted_lloyd(rows @ rows.T, 5, steps=3, sizes=sizes, generator=generator)
    spread = lambda part: (part - part.mean(0)).square().sum() / len(part)  # noqa: E731
    parts = [rows[found.assignment == k] for k in found.assignment.unique()]
    stratified = sum((len(part) / 40) ** 2 * spread(part) for part in parts)
    assert row.ratio == pytest.approx(float(stratified / (spread(rows) / 5 * 35 / 39)), rel=1e-8)
    assert row.clusters == len(parts) and row.largest == max(map(len, parts)) / 40


def test_sets_of_gradients():
    make = lambda name: constructed(name, 20, torch.Generator().manual_seed(0))  # noqa: E731
    assert make("line").shape == (20, 1) and make("uniform").abs().max() <= 0.5
    assert make("one outlier")[0].norm() == pytest.approx(100 * make("isotropic")[0].norm())
    assert torch.equal(make("two scales")[10:], make("isotropic")[10:])
    with pytest.raises(NotFound, match="set of gradients 'circle'"):
        make("circle")


@pytest.mark.parametrize("name", ["sgd", "sgd2", "svrg", "gc"])
def test_training_with_each(name):
    result = train_with(replace(SMALL, estimator=name))
    assert result.table.step.tolist() == [0, 4, 8, 12] and result.status == "finished"
    assert list(result.table.columns) == ["step", "epoch", "train_loss", "train_accuracy", "gradients"]
    assert result.table.train_loss.iloc[-1] < result.table.train_loss.iloc[0]
    pd.testing.assert_frame_equal(train_with(replace(SMALL, estimator=name, seed=101)).table, result.table, check_exact=True)


def test_gradients_computed():
    """Counted along a run: refreshes before steps 1, 6 and 11."""
    of = lambda name, step: gradients_computed(replace(SMALL, estimator=name), step, 60)  # noqa: E731
    assert [of("sgd", step) for step in (0, 4)] == [0, 24] and of("sgd2", 4) == 48
    assert [of("svrg", step) for step in (0, 1, 5, 6, 12)] == [0, 72, 120, 192, 324]
    assert [of("gc", step) for step in (0, 5, 12)] == [0, 5 * 6 + 2 * 60, 12 * 6 + (2 + 3 + 3) * 60]


def test_refreshes_happen_when_they_are_counted(monkeypatch):
    steps = []
    real = training_runs.estimator

    def watched(name, config):
        chosen = real(name, config)
        refresh = chosen.refresh
        chosen.refresh = lambda *args, **kwargs: (steps.append(1), refresh(*args, **kwargs))
        return chosen

    monkeypatch.setattr(training_runs, "estimator", watched)
    train_with(replace(SMALL, estimator="svrg"))
    assert len(steps) == 3


def test_divergence_and_the_store():
    result = train_with(replace(SMALL, learning_rate=1e25))
    assert result.status == "diverged" and result.diverged_at <= 3
    table = collect([SMALL])
    assert np.isfinite(table.train_loss).all() and (table.learning_rate == 0.1).all() and not checkpoint(SMALL).exists()
