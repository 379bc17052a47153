"""The recorder: schedules, rows, arrays, divergence, own loops, checkpoints."""

import re

import pandas as pd
import pytest
import torch
from torch import nn

from sgdscope.errors import InvalidInput
from sgdscope.probes import (
    Accuracy,
    Every,
    GradientCovariance,
    LossChange,
    Predictions,
    Probe,
    Reaches,
    Recorder,
    Sharpness,
    StabilityMargin,
    record,
)
from sgdscope.training import Snapshot, train


def problem(number=60):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(number, 6, generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    return model, x, (x[:, :3] + 0.5 * torch.randn(number, 3, generator=generator)).argmax(1)


def run(recorder, **options):
    model, x, y = problem()
    settings = {"learning_rate": 0.2, "batch_size": 10, "num_steps": 12, "full_loss": Every(3)} | options
    return record(train(model, "cross_entropy", x, y, **settings), recorder)


class Steps(Probe):
    """Notes when it was called."""

    def __init__(self, column="calls"):
        self.column = column
        self.called = []

    def measure(self, snapshot):
        self.called.append(snapshot.step)
        return {self.column: float(len(self.called))}


def test_each_probe_at_its_own_steps():
    often, seldom = Steps("often"), Steps("seldom")
    table = run(Recorder([often, (seldom, Every(6))], when=Every(3)))
    assert often.called == [0, 3, 6, 9, 12] and seldom.called == [0, 6, 12]
    assert table.step.tolist() == [0, 3, 6, 9, 12]
    assert table.seldom.isna().tolist() == [False, True, False, True, False]
    assert table.status.tolist() == ["running"] * 4 + ["finished"]
    assert table.learning_rate.tolist() == [0.2] * 5


def test_arrays_and_their_steps():
    _, x, _ = problem()
    recorder = Recorder([GradientCovariance(num_batches=6), (Predictions(x[:4]), Every(6))], when=Every(4))
    table = run(recorder)
    assert recorder.arrays["K_values"].shape == (4, 6) and recorder.steps["K_values"] == [0, 4, 8, 12]
    assert recorder.arrays["predictions"].shape == (3, 12) and recorder.steps["predictions"] == [0, 6, 12]
    assert table.K_top[0] == float(recorder.arrays["K_values"][0, 0])


def test_until_an_accuracy():
    recorder = Recorder([Accuracy()], until=Reaches("train_accuracy", 0.7))
    table = run(recorder, num_steps=500)
    assert recorder.finished and table.train_accuracy.iloc[-1] >= 0.7 and (table.train_accuracy[:-1] < 0.7).all()


def test_divergence_ends_the_run_and_is_in_the_table():
    recorder = Recorder([Accuracy(), Sharpness()])
    table = run(recorder, learning_rate=1e20, num_steps=40)
    assert recorder.finished
    assert table.status.tolist()[-1] == "diverged" and set(table.status[:-1]) <= {"running"}
    assert table.iloc[-1][["train_loss", "H_top"]].isna().all()


def test_a_snapshot_that_cannot_be_measured_has_diverged():
    """The loop notices at the next step only; a probe at once."""
    model, x, y = problem()
    with torch.no_grad():
        model[0].weight.fill_(float("inf"))
    recorder = Recorder([Steps(), Accuracy()])
    row = recorder(Snapshot(model=model, loss="cross_entropy", x=x, y=y, step=7))
    assert row["step"] == 7 and row["status"] == "diverged" and "calls" not in row and recorder.finished
    assert recorder(Snapshot(model=model, loss="cross_entropy", x=x, y=y, step=8)) is None


def test_in_a_loop_of_one_s_own_it_measures_the_same():
    """A plain PyTorch loop over the same batches."""
    probes = lambda: [Accuracy(), GradientCovariance(num_batches=6), StabilityMargin(Sharpness())]  # noqa: E731
    ours = Recorder(probes(), when=Every(4))
    model, x, y = problem()
    batches = []
    for point in train(model, "cross_entropy", x, y, learning_rate=0.2, batch_size=10, num_steps=12):
        ours(point)
        if point.batch is not None:
            batches.append(point.batch.clone())
    theirs = Recorder(probes(), when=Every(4))
    model, x, y = problem()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    for step in range(13):
        theirs(Snapshot(model=model, loss="cross_entropy", x=x, y=y, step=step, learning_rate=0.2, batch_size=10))
        if step < 12:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batches[step]]), y[batches[step]]).backward()
            optimizer.step()
    columns = ["step", "train_loss", "K_top", "curvature_std", "stability_lhs"]
    pd.testing.assert_frame_equal(ours.table[columns], theirs.table[columns])


@pytest.mark.parametrize("stop", [1, 5, 8])
def test_a_resumed_run_gives_the_same_table_bit_for_bit(tmp_path, stop):
    _, x, _ = problem()

    def recorder():
        probes = [Accuracy(), LossChange(), GradientCovariance(num_batches=6), StabilityMargin(sharpness := Sharpness()), sharpness]
        return Recorder([*probes, (Predictions(x[:3]), Every(6))], when=Every(3))

    whole = recorder()
    expected = run(whole)
    path = tmp_path / "run.safetensors"
    settings = {"learning_rate": 0.2, "batch_size": 10, "num_steps": 12, "full_loss": Every(3), "checkpoint": path, "checkpoint_every": 2}
    first = recorder()
    model, inputs, y = problem()
    for point in train(model, "cross_entropy", inputs, y, carry={"recorder": first}, **settings):
        first(point)
        if point.step == stop:
            break  # killed
    second = recorder()
    model, inputs, y = problem()
    found = record(train(model, "cross_entropy", inputs, y, carry={"recorder": second}, **settings), second)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert second.steps == whole.steps
    assert all(torch.equal(second.arrays[name], whole.arrays[name]) for name in whole.arrays)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Recorder([]), "probes must be probes, or pairs of a probe and a schedule, at least one; [] came."),
        (lambda: Recorder([Accuracy]), "probes must be probes, or pairs of a probe and a schedule"),
        (lambda: Recorder([(Accuracy(), 10)]), "probes must be probes, or pairs of a probe and a schedule"),
        (lambda: run(Recorder([Accuracy(), Accuracy()])), "each column must come from one probe; 'train_loss' came from two."),
        (lambda: Recorder([Steps()]).restore({"probes": []}), "the checkpoint holds 0 probes, the recorder 1."),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InvalidInput, match=re.escape(message)):
        call()


def test_steps_must_increase():
    recorder = Recorder([Steps()])
    model, x, y = problem()
    point = Snapshot(model=model, loss="cross_entropy", x=x, y=y, step=5)
    recorder(point)
    with pytest.raises(InvalidInput, match="steps must increase; step 5 came after step 5"):
        recorder(point)
