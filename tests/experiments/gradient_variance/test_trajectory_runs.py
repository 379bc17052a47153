"""The runs of a trajectory with estimators along it: columns, bits, key, settings, checkpoints, divergence."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from sgdscope.errors import InvalidInput, NotFound
from sgdscope.experiments.gradient_variance import trajectory_runs as runs
from sgdscope.experiments.gradient_variance.trajectory_runs import Trajectory, follow
from sgdscope.models.losses import SmoothedCrossEntropy
from sgdscope.runs import checkpoint, collect, run_of

SMALL = Trajectory(
    101,
    "digits",
    hidden=(12,),
    num_examples=80,
    batch_size=8,
    num_steps=12,
    update_start=2,
    update_every=6,
    log_every=4,
    gc_steps=2,
    repeats=3,
    growth_every=6,
    rescaled_to=(1e-7,),
)


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("SGDSCOPE_STORE", str(tmp_path / "store"))


def test_rows_and_columns():
    result = follow(SMALL)
    table = result.table
    assert table.step.tolist() == [0, 2, 4, 6, 8, 12] and result.status == "finished"
    of_each = {"average", "normalised", "normalised_mean", "age"}
    expected = {"step", "epoch", "rate", "train_loss", "train_accuracy", "training_size", "parameters"}
    expected |= {f"{name}_{column}" for name in runs.ESTIMATORS for column in of_each}
    expected |= {f"sgd_{column}" for column in ("guarded", "unguarded", "average_two_pass", "rescaled_0")}
    expected |= {f"{name}_before_{column}" for name in ("svrg", "gc") for column in ("average", "normalised")}
    expected |= {f"gc_{column}" for column in ("clusters", "largest", "collapsed", "objective")}
    expected |= {f"growth_{column}" for column in ("max", "mean_square", "gradient_norm", "variance")}
    assert set(table.columns) == expected
    assert (table.training_size == 80).all() and (table.parameters == 12 * 65 + 10 * 13).all()
    assert table.step[table.gc_before_average.notna()].tolist() == [6, 12]
    assert table.step[table.growth_max.notna()].tolist() == [2, 6, 12]
    assert table.train_loss.notna().all() and table.sgd_average[1:].notna().all()


def test_through_the_store():
    """No column has the name of a field; the second time nothing is computed."""
    first, second = collect([SMALL]), collect([SMALL])
    assert second.attrs["sources"].origins == {"store": 1} and (first.learning_rate == 0.02).all()
    pd.testing.assert_frame_equal(first, second)


def test_golden_key():
    """Fails where a default changed: raise the run's version, then write it down here. All stored runs are lost then, the committed too."""
    run = run_of(Trajectory(3))
    assert (run.name, run.version, run.key(Trajectory(3))) == ("gradient_variance.trajectory_runs.follow", 1, "a40421ec2e020604cf8b")
    config = Trajectory(3)
    assert (config.dataset, config.model, config.hidden, config.batch_size, config.num_steps) == ("mnist", "mlp", (1024, 1024), 128, 50_000)
    assert (config.learning_rate, config.momentum, config.weight_decay) == (0.02, 0.5, 5e-4)
    assert (config.log_every, config.repeats, config.update_every, config.gc_steps) == (500, 50, 2000, 10)


def test_an_estimator_changes_neither_the_trajectory_nor_the_others():
    whole, one = follow(SMALL).table, follow(replace(SMALL, estimators=("svrg",))).table
    pd.testing.assert_frame_equal(whole[list(one.columns)], one, check_exact=True)


def test_in_the_authors_protocol_it_does():
    authors = replace(SMALL, protocol="authors", num_steps=24, growth_every=0)
    one, other = (follow(replace(authors, estimators=(name,))).table for name in ("sgd", "svrg"))
    assert one.train_loss[:5].tolist() == other.train_loss[:5].tolist() and one.train_loss.iloc[-1] != other.train_loss.iloc[-1]
    pd.testing.assert_frame_equal(follow(replace(authors, estimators=("svrg",))).table, other, check_exact=True)


def test_goes_on_after_an_interruption(monkeypatch):
    monkeypatch.setattr(runs, "CHECKPOINT_EVERY", 5)
    whole = follow(SMALL).table
    checkpoint(SMALL).unlink()
    steps = iter(range(100))

    def interrupted(trained, recorder):
        for point in trained:
            recorder(point)
            if next(steps) == 7:
                raise KeyboardInterrupt
        return recorder.table

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(runs, "record", interrupted)
        follow(SMALL)
    assert checkpoint(SMALL).exists()
    pd.testing.assert_frame_equal(follow(SMALL).table, whole, check_exact=True)


def test_divergence_ends_the_run():
    result = follow(replace(SMALL, learning_rate=1e25))
    assert result.status == "diverged" and result.diverged_at == result.table.step.iloc[-1] <= 3


def test_inputs_are_standardised_over_the_whole_training_set():
    x, _ = runs.images("fashion_mnist_small", None)
    assert float(x.mean()) == pytest.approx(0, abs=1e-5) and float(x.std()) == pytest.approx(1, abs=1e-5)
    few, labels = runs.images("fashion_mnist_small", 50)
    assert len(few) == 50 and torch.bincount(labels).tolist() == [5] * 10
    assert any(torch.equal(few[0], image) for image in x)


def test_corruption_duplicates_and_smoothing():
    plain = runs.problem(SMALL)
    changed = replace(SMALL, corrupt_share=0.5, duplicate_originals=2, duplicate_copies=3, label_smoothing=0.1)
    model, loss, x, y = runs.problem(changed)
    assert loss == SmoothedCrossEntropy(0.1) and len(x) == len(y) == 80 + 6
    assert torch.equal(x[:80], plain[2]) and 20 <= int((y[:80] != plain[3]).sum()) <= 40
    for copies in (slice(80, 83), slice(83, 86)):
        at = next(i for i in range(80) if torch.equal(x[i], x[copies][0]))
        assert (x[copies] == x[at]).all() and (y[copies] == y[at]).all()
    first = runs.problem(replace(SMALL, corrupt_share=0.5, corrupt_rows="first"))[3]
    assert torch.equal(first[40:], plain[3][40:])


def test_augmented_and_dropping_and_without_kept_factors():
    config = replace(
        SMALL,
        model="resnet8",
        augment="crop_flip",
        num_examples=24,
        drops=(4, 8),
        memory=1,
        estimators=("sgd", "svrg", "gc"),
        growth_every=0,
    )
    table = follow(config).table
    assert table.rate.tolist() == pytest.approx([0.02, 0.02, 0.002, 0.002, 0.0002, 0.0002])
    assert table.svrg_average[2] > 0 and table.gc_clusters[1] == 8


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"estimators": ("sgd", "sag")}, NotFound, "estimator.*sag.*sgd2"),
        ({"protocol": "both"}, NotFound, "protocol.*both.*authors"),
        ({"augment": "jitter"}, NotFound, "augmentation.*jitter.*crop_flip"),
        ({"dataset": "gaussian"}, InvalidInput, "labelled images"),
    ],
)
def test_refusals(change, error, message):
    with pytest.raises(error, match=message):
        follow(replace(SMALL, **change))
