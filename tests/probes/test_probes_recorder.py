"""The recorder: schedules, rows, arrays, divergence, own loops, checkpoints."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from sgdscope.errors import InvalidInput, NotFinite
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
    StrongGrowth,
    record,
)
from sgdscope.training import Snapshot, checkpoint, train


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
        (lambda: Recorder([Accuracy()]).restore(None), "the state must be what state() of a recorder returned; NoneType came."),
        (lambda: Recorder([]), "probes must be probes, or pairs of a probe and a schedule, at least one; [] came."),
        (lambda: Recorder([Accuracy]), "probes must be probes, or pairs of a probe and a schedule"),
        (lambda: Recorder([(Accuracy(), 10)]), "the schedule of Accuracy must be True, False, or a function of the step, got 10."),
        (lambda: Recorder([(Accuracy(), True, 3)]), "probes must be probes, or pairs of a probe and a schedule"),
        (lambda: Recorder([Accuracy()], when=10), "when must be True, False, or a function of the step, got 10. For every 10 steps, give"),
        (
            lambda: Recorder([Accuracy()], until="x"),
            "until must be a function of the row, such as Reaches('train_accuracy', 0.65); 'x' came.",
        ),
        (
            lambda: run(Recorder([Accuracy(), (Steps(), Every(4, first=1))], until=Reaches("train_acuracy", 0.7))),
            "until must name a column that is measured, step, epoch, learning_rate, status, train_loss, train_accuracy, calls; "
            "'train_acuracy' came.",
        ),
        (lambda: run(Recorder([Accuracy(), Accuracy()])), "each column must come from one probe; 'train_loss' came from two."),
        (lambda: Recorder([Steps()]).restore({"probes": [{}]}), "it holds probes without settings where the recorder has"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InvalidInput, match=re.escape(message)):
        call()


def states():
    """Name to the probes of a recorder."""
    _, x, _ = problem()
    sharpness = Sharpness()
    return {
        "accuracy": [Accuracy()],
        "growth": [StrongGrowth()],
        "subset": [Accuracy(num_examples=20)],
        "seed": [Accuracy(num_examples=20, seed=1)],
        "test": [Accuracy("test", x=x[:5], y=torch.zeros(5, dtype=torch.int64))],
        "other test": [Accuracy("test", x=x[1:6], y=torch.zeros(5, dtype=torch.int64))],
        "eigenvalues": [Sharpness(k=2)],
        "two": [sharpness, StabilityMargin(sharpness)],
        "other order": [StabilityMargin(sharpness), sharpness],
        "more": [sharpness, StabilityMargin(sharpness), Accuracy()],
        "mine": [Steps()],
        "my column": [Steps("steps")],
    }


@pytest.mark.parametrize("saved", states())
def test_the_state_of_other_probes_is_refused(saved):
    state = Recorder(states()[saved]).state()
    for name, probes in states().items():
        recorder = Recorder(probes)
        if name == saved:
            recorder.restore(state)
        else:
            with pytest.raises(
                InvalidInput, match="the state must be of the same probes, in the same order and with the same settings; it"
            ):
                recorder.restore(state)


def test_a_probe_that_has_measured_is_the_same_probe():
    """Also one that keeps its notes in a public attribute; schedules may change."""
    recorder = Recorder([Steps()])
    run(recorder)
    other = Recorder([Steps()], when=Every(5), until=Reaches("calls", 20))
    other.restore(recorder.state())
    assert other.table.equals(recorder.table)


class Weights(Probe):
    """Hands out live weights."""

    def measure(self, snapshot):
        return {"weights": next(snapshot.model.parameters())}


def test_what_was_measured_and_its_state_stay_as_they_are():
    _, x, _ = problem()
    recorder, kept = Recorder([Accuracy(), Weights(), (Predictions(x[:3]), Every(2))]), []
    model, x, y = problem()
    for point in train(model, "cross_entropy", x, y, learning_rate=0.2, batch_size=10, num_steps=6):
        recorder(point)
        kept.append(recorder.state())
    for step, state in enumerate(kept):
        assert [row["step"] for row in state["rows"]] == list(range(step + 1)) == state["steps"]["weights"]
        assert len(state["arrays"]["predictions"]) == step // 2 + 1 == len(state["steps"]["predictions"])
    first, second = (Recorder([Accuracy(), Weights(), (Predictions(x[:3]), Every(2))]) for _ in range(2))
    for other in (first, second):  # from one state, and without an influence on each other
        other.restore(kept[3])
    first(Snapshot(model=model, loss="cross_entropy", x=x, y=y, step=4))
    assert len(first.table) == 5 and len(second.table) == 4 == len(kept[3]["rows"]) == len(second.steps["weights"])
    weights = recorder.arrays["weights"]
    assert not torch.equal(weights[0], weights[1]) and torch.equal(weights[-1], model[0].weight.detach())


def test_an_own_loop_goes_on_from_a_state_taken_before_the_call_or_at_the_step_after(tmp_path):
    def loop(last, path=None, early=True):
        recorder, (model, x, y), first = Recorder([Accuracy(), Sharpness()]), problem(), 0
        saved = None if path is None else checkpoint.load(path)
        if saved is not None:
            recorder.restore(saved["recorder"])
            model.load_state_dict(saved["model"])
            first = saved["step"]
        for step in range(first, last):
            state = lambda: {"step": step, "model": model.state_dict(), "recorder": recorder.state()}  # noqa: B023, E731
            if path and early and step == 3:
                checkpoint.save(path, state())
            recorder(Snapshot(model=model, loss="cross_entropy", x=x, y=y, step=step))
            if path and not early and step == 3:
                checkpoint.save(path, state())
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter *= 0.9
        return recorder.table

    whole, path = loop(7), str(tmp_path / "run.safetensors")
    loop(5, path)
    pd.testing.assert_frame_equal(loop(7, path), whole, check_exact=True)
    path = tmp_path / "other"
    loop(5, path, early=False)
    with pytest.raises(
        InvalidInput, match="A loop that goes on from a state that holds step 3 begins with step 4, unless the state is taken"
    ):
        loop(7, path, early=False)


def test_until_waits_for_probes_that_have_measured_nothing():
    """A column may be that of a probe whose first measurement is late."""
    late = (Steps("late"), Every(5, first=6))
    table = run(Recorder([Accuracy(), late], until=Reaches("late", 2)))
    assert table.step.iloc[-1] == 11


class Passed(Steps):
    """Notes where it was passed over, too."""

    def pass_over(self, snapshot):
        self.passed = [*getattr(self, "passed", []), snapshot.step]
        if snapshot.step == 8:
            raise NotFinite("must be finite")


def test_a_probe_hears_of_steps_that_it_does_not_measure():
    probe = Passed()
    table = run(Recorder([(probe, Every(3))], when=False))
    assert probe.called == [0, 3, 6] and probe.passed == [1, 2, 4, 5, 7, 8]
    assert table.step.tolist() == [0, 3, 6, 8] and table.status.iloc[-1] == "diverged"


@pytest.mark.parametrize("step", [-1, 1.5, True, None, "3"])
def test_a_step_is_a_whole_number(step):
    model, x, y = problem()
    with pytest.raises(InvalidInput, match=f"step must be a whole number of at least 0; {step!r} came."):
        Snapshot(model=model, loss="cross_entropy", x=x, y=y, step=step)


def test_a_step_of_numpy_goes_into_a_checkpoint(tmp_path):
    model, x, y = problem()
    recorder = Recorder([Steps()])
    recorder(Snapshot(model=model, loss="cross_entropy", x=x, y=y, step=np.int64(3)))
    checkpoint.save(tmp_path / "state", recorder.state())
    assert recorder.table.step.tolist() == [3]


def test_steps_must_increase():
    recorder = Recorder([Steps()])
    model, x, y = problem()
    point = Snapshot(model=model, loss="cross_entropy", x=x, y=y, step=5)
    recorder(point)
    with pytest.raises(InvalidInput, match="steps must increase; step 5 came after step 5"):
        recorder(point)
