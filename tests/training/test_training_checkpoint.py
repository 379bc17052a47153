"""Going on from a checkpoint, bit for bit; kills, damage, other settings, disks that cannot be written."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no neighbours
from training_cases import dense, flat, normal, normed, problem, run

import sgdscope
from sgdscope.errors import InvalidInput
from sgdscope.training import CheckpointError, Cosine, Drops, random_crop_and_flip, train
from sgdscope.training.checkpoint import load, save
from sgdscope.training.describe import describe


class Collector:
    """What a probe's recorder does: keeps numbers and tensors."""

    def __init__(self):
        self.rows, self.arrays = [], []

    def __call__(self, point):
        self.rows.append({"step": point.step, "loss": point.loss_before, "status": point.status})
        self.arrays.append(flat(point.model))

    def state(self):
        return {"rows": self.rows, "arrays": self.arrays}

    def restore(self, state):
        self.rows, self.arrays = state["rows"], state["arrays"]


def described(point):
    """All numbers of a snapshot, comparable."""
    values = [getattr(point, field.name) for field in fields(point) if field.name not in ("model", "x", "y", "batch")]
    return repr(values), None if point.batch is None else point.batch.tolist()


CASES = {
    "plain": (dense, {}),
    "momentum and a schedule": (dense, {"momentum": 0.9, "weight_decay": 0.01, "learning_rate": Drops(0.3, steps=(4, 7))}),
    "independent": (dense, {"sampling": "independent"}),
    "with replacement": (dense, {"sampling": "with_replacement"}),
    "small last batch": (dense, {"drop_last": False, "batch_size": 5, "momentum": 0.5}),
    "all examples": (dense, {"batch_size": 23, "momentum": 0.9}),
    "batch norm, augmentation": (normed, {"momentum": 0.9, "augment": partial(random_crop_and_flip, padding=2)}),
    "losses": (normed, {"full_loss": lambda step: step % 3 == 0, "loss_after": True}),
}


@pytest.mark.parametrize("stop", [1, 2, 3, 5, 6, 8, 11, 12])
@pytest.mark.parametrize("case", CASES)
def test_an_interrupted_run_gives_the_same_snapshots(case, stop, tmp_path):
    """5 steps an epoch, a checkpoint every 3 and at the end: killed anywhere, also while step `stop` is looked at."""
    build, settings = CASES[case]
    settings = {"learning_rate": 0.2, "batch_size": 4, "num_steps": 12, "checkpoint_every": 3} | settings
    whole, (model, x, y) = Collector(), problem(build)
    expected = []
    for point in train(model, "cross_entropy", x, y, **settings):
        expected.append(described(point))
        whole(point)

    settings |= {"checkpoint": tmp_path / "folder" / "run.safetensors"}
    first, (model, x, y) = Collector(), problem(build)
    for point in train(model, "cross_entropy", x, y, carry={"collector": first}, **settings):
        first(point)
        if point.step == stop:
            break
    saved = (stop - 1) // 3 * 3  # the step of the last saving, made once its snapshot is done with
    second, (model, x, y) = Collector(), problem(build)
    with torch.no_grad():
        for value in model.state_dict().values() if saved else ():
            value.zero_()  # whatever the model was
    found = []
    for point in train(model, "cross_entropy", x, y, carry={"collector": second}, **settings):
        found.append(described(point))
        second(point)
    assert found == (expected[saved + 1 :] if saved else expected)
    assert json.dumps(second.rows) == json.dumps(whole.rows)
    assert all(torch.equal(a, b) for a, b in zip(second.arrays[saved + 1 :], whole.arrays[saved + 1 :], strict=True))
    assert len(second.arrays) == 13 and not (saved and torch.equal(second.arrays[0], second.arrays[1]))


def test_buffers_are_bit_identical_too(tmp_path):
    settings = {"learning_rate": 0.2, "num_steps": 12, "checkpoint_every": 3}
    _, _, whole = run(normed, **settings)
    model, x, y = problem(normed)
    for point in train(model, "cross_entropy", x, y, batch_size=4, checkpoint=tmp_path / "run", **settings):
        if point.step == 7:
            break
    _, _, resumed = run(normed, checkpoint=tmp_path / "run", **settings)
    for (name, ours), theirs in zip(resumed.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_a_finished_run_gives_nothing_again_and_may_be_made_longer(tmp_path):
    path = tmp_path / "run"
    expected, _, _ = run(num_steps=15)
    run(num_steps=9, checkpoint=path)
    points, _, model = run(num_steps=9, checkpoint=path)
    assert points == []
    points, _, _ = run(num_steps=15, checkpoint=path)
    assert [described(point) for point in points] == [described(point) for point in expected[10:]]
    with pytest.raises(InvalidInput, match="is at step 15, beyond the 9 asked for. Use another file or delete it"):
        run(num_steps=9, checkpoint=path)


def test_a_diverging_run_diverges_again(tmp_path):
    """It saves nothing at the end, so that the last snapshot comes again."""
    settings = {"num_steps": 200, "checkpoint": tmp_path / "run", "checkpoint_every": 2, "largest_loss": 30.0, "learning_rate": 40.0}
    points, _, _ = run(**settings)
    again, _, _ = run(**settings)
    assert points[-1].status == "diverged" and points[-1].step > 2
    assert described(again[-1]) == described(points[-1]) and len(again) <= 2


def test_tied_weights(tmp_path):
    def tied():
        model = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5))
        model[2].weight = model[0].weight
        return model

    def once(stop=None, **more):
        model, x, y = tied().double(), normal(23, 5), torch.arange(23) % 5
        with torch.no_grad():
            for i, parameter in enumerate(model.parameters()):
                parameter.copy_(normal(*parameter.shape, seed=i))
        for point in train(model, "cross_entropy", x, y, learning_rate=0.1, batch_size=4, num_steps=8, momentum=0.9, **more):
            if point.step == stop:
                break
        assert model[2].weight is model[0].weight
        return flat(model)

    expected = once()
    once(stop=5, checkpoint=tmp_path / "run", checkpoint_every=2)
    assert torch.equal(once(checkpoint=tmp_path / "run", checkpoint_every=2), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 5}, "batch_size was 4, is 5"),
        ({"momentum": 0.9}, "momentum was 0.0, is 0.9"),
        ({"weight_decay": 0.1}, r"parameter 0.weight was '\(7, 5\), .*, weight decay 0.0', is '\(7, 5\), .*, weight decay 0.1'"),
        ({"seed": 1}, "seed was 0, is 1"),
        ({"sampling": "independent"}, "sampling was 'epochs', is 'independent'"),
        ({"drop_last": False}, "drop_last was True, is False"),
        ({"mode": "eval"}, "mode was 'train', is 'eval'"),
        ({"learning_rate": 0.2}, r"learning_rate was 'Constant\(rate=0.1\)', is 'Constant\(rate=0.2\)'"),
        ({"learning_rate": Cosine(0.1, 9)}, "learning_rate was 'Constant"),
        ({"largest_loss": 9.0}, "largest_loss was inf, is 9.0"),
        ({"full_loss": True}, "full_loss was False, is True"),
        ({"chunk_size": 10}, "chunk_size was 1000, is 10"),
        ({"loss": "mine"}, r"loss was 'cross_entropy', is .*test_training_checkpoint.mine\(code='[0-9a-f]{8}'\)"),
        ({"augment": random_crop_and_flip}, r"augment was None, is .*augmentation.random_crop_and_flip\(code='[0-9a-f]{8}', padding=4\)"),
        ({"carry": {"collector": Collector()}}, r"carries \[\], the run \['collector'\]. Give the same ones"),
    ],
)  # fmt: skip
def test_a_checkpoint_of_other_settings_is_refused(change, message, tmp_path):
    path = tmp_path / "run"
    run(checkpoint=path)
    before = path.read_bytes()
    if change.get("loss") == "mine":
        change = {"loss": mine}
    with pytest.raises(InvalidInput, match=message):
        run(checkpoint=path, **change)
    assert path.read_bytes() == before


def mine(outputs, y):
    return nn.functional.cross_entropy(outputs, y, reduction="none")


def scaled(c):
    return lambda outputs, y: c * mine(outputs, y)


class Scaled:
    """A loss with a setting, that counts its calls."""

    def __init__(self, c):
        self.c, self._calls = c, 0

    def __call__(self, outputs, y):
        self._calls += 1
        return self.c * mine(outputs, y)


def weighted(weights):
    return lambda outputs, y: nn.functional.cross_entropy(outputs, y, weight=weights, reduction="none")


@pytest.mark.parametrize(
    ("saved", "other", "message"),
    [
        (scaled(1), scaled(5), r"c=1\).*c=5\)"),
        (Scaled(1), Scaled(5), r"loss was .*Scaled\(c=1\).*is .*Scaled\(c=5\)"),
        (partial(lambda a, b, c=1: c * mine(a, b)), partial(lambda a, b, c=1: c * mine(a, b), c=5), "c=5"),
        (lambda a, b: mine(a, b), lambda a, b: mine(a, b) * 2, r"<lambda>\(code=.*<lambda>\(code="),
        (lambda a, b, c=1: c * mine(a, b), lambda a, b, c=5: c * mine(a, b), r"c=1\).*c=5\)"),
        (Scaled(1).__call__, Scaled(5).__call__, r"of .*Scaled\(c=1\).*of .*Scaled\(c=5\)"),
        (weighted(torch.ones(3).double()), weighted(torch.tensor([1.0, 1, 2]).double()), r"weights=tensor \(3,\) [0-9a-f]{8}"),
    ],
)
def test_a_checkpoint_of_another_loss_is_refused(saved, other, message, tmp_path):
    run(loss=saved, checkpoint=tmp_path / "run")
    assert run(loss=saved, checkpoint=tmp_path / "run", num_steps=11)[0][0].step == 10
    with pytest.raises(InvalidInput, match=message):
        run(loss=other, checkpoint=tmp_path / "run")


def test_functions_made_anew_are_the_same():
    """What the text of a setting says does not depend on the process, the order of sets or where objects lie."""

    def make(number):
        def inner(x, kinds=frozenset({"a", "b", "c"})):
            return outer if x in {"one", "two", "three"} else number  # closes over itself by way of the other

        def outer(x):
            return inner(x), [y for y in x if y is not Ellipsis], b"bytes"

        return partial(outer, key=inner)

    assert describe(make(1)) == describe(make(1)) != describe(make(2))
    script = (
        "import test_training_checkpoint as t; print(t.describe(t.scaled(3)), t.describe({'x', 'y', 'z', 2.5}), t.describe(t.Scaled('a')))"
    )
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(sgdscope.__file__).parents[1])])
    texts = {
        subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": seed}, stdout=-1).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1 and b"c=3" in texts.pop()


def test_the_message_says_what_to_do(tmp_path):
    run(checkpoint=tmp_path / "run")
    with pytest.raises(InvalidInput, match="run is of another run: seed was 0, is 1. Use another file or delete it."):
        run(checkpoint=tmp_path / "run", seed=1)


def test_a_checkpoint_of_another_model_or_other_data_is_refused(tmp_path):
    path = tmp_path / "run"
    settings = {"learning_rate": 0.1, "batch_size": 4, "num_steps": 3, "checkpoint": path}
    model, x, y = problem()
    list(train(model, "cross_entropy", x, y, **settings))
    other = x.clone()
    other[3, 2] += 1e-9
    wide = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    frozen = problem()[0]
    frozen[0].bias.requires_grad_(False)
    deeper = nn.Sequential(*problem()[0], nn.PReLU()).double()
    for model, inputs, message in (
        (problem()[0], other, "data was '"),
        (wide, x, r"parameter 0.weight was '\(7, 5\), torch.float64, weight decay 0.0', is '\(8, 5\)"),
        (frozen, x, "parameter 0.bias was .*, is .*frozen'"),
        (deeper, x, r"parameter 3.weight was None, is '\(1,\)"),
    ):
        with pytest.raises(InvalidInput, match=message):
            train(model, "cross_entropy", inputs, y, **settings)


def damages():
    def cut(data):
        return data[: len(data) // 2]

    def flip(at):
        def change(data):
            data = bytearray(data)
            data[at] ^= 1
            return bytes(data)

        return change

    return {
        "truncated": cut,
        "empty": lambda data: b"",
        "last byte": flip(-1),
        "first byte": flip(0),
        "header": flip(100),
        "text": lambda data: b"hello",
    }


@pytest.mark.parametrize("damage", damages())
def test_a_damaged_checkpoint_is_set_aside_and_training_starts_anew(damage, tmp_path):
    path = tmp_path / "run.safetensors"
    expected, _, _ = run(checkpoint=path)
    path.write_bytes(damages()[damage](path.read_bytes()))
    with pytest.warns(
        RuntimeWarning, match=r"checkpoint .*run.safetensors is damaged \(.+\); set aside as run.safetensors.damaged, training starts anew"
    ):
        points, _, _ = run(checkpoint=path)
    assert [described(point) for point in points] == [described(point) for point in expected]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run.safetensors", "run.safetensors.damaged"]
    assert run(checkpoint=path)[0] == []  # the new one is whole


def test_every_byte_counts(tmp_path):
    """A flipped bit anywhere in the tensors or the description is found."""
    path = tmp_path / "run"
    state = {"a": normal(5), "b": {"c": [1, 2.5, None, "x"], "d": torch.arange(3)}}
    save(path, state)
    whole = path.read_bytes()
    for at in range(0, len(whole), 3):
        data = bytearray(whole)
        data[at] ^= 4
        path.write_bytes(bytes(data))
        with pytest.warns(RuntimeWarning, match="is damaged"):
            assert load(path) is None


def test_another_kind_of_file(tmp_path):
    path = tmp_path / "run"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.warns(RuntimeWarning, match="it is no checkpoint of a training run"):
        assert load(path) is None
    save(path, {})
    text = path.read_bytes()
    path.write_bytes(text.replace(b'\\"format\\": 1', b'\\"format\\": 9'))
    with pytest.warns(RuntimeWarning, match="its checksum does not match"):
        assert load(path) is None


def test_a_format_of_the_future(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("sgdscope.training.checkpoint.FORMAT", 2)
        save(tmp_path / "run", {})
    with pytest.warns(RuntimeWarning, match="its format is 2, not 1"):
        assert load(tmp_path / "run") is None


def test_what_a_state_may_hold(tmp_path):
    shared = normal(4)
    state = {
        "tensors": [
            shared,
            shared,
            shared[1:3],
            torch.tensor(3),
            torch.zeros(0, 2),
            torch.tensor([True, False]),
            torch.arange(6).view(2, 3).T,
        ],
        "numbers": {"inf": math.inf, "nan": math.nan, "large": 2**70, "small": 5e-324, "tenth": 0.1, "yes": True, "none": None},
        "names": {1: "one", "tensor": {"dict": "not a marker"}, "ä": "ö"},
        "empty": [{}, [], ""],
        "tuple": (1, (2, 3)),
    }
    save(tmp_path / "run", state)
    found = load(tmp_path / "run")
    assert list(found) == list(state)
    for tensor, back in zip(state["tensors"], found["tensors"], strict=True):
        assert torch.equal(tensor, back) and tensor.dtype == back.dtype
    assert repr(found["numbers"]) == repr(state["numbers"]) and found["names"] == state["names"] and found["empty"] == state["empty"]
    assert found["tuple"] == [1, [2, 3]]
    assert load(tmp_path / "other") is None


@pytest.mark.parametrize("value", [{1, 2}, object(), torch.float32, b"bytes", 1j])
def test_what_a_state_may_not_hold(value, tmp_path):
    with pytest.raises(InvalidInput, match=f"tensors, numbers, texts, None, lists and dicts; {type(value).__name__} came"):
        save(tmp_path / "run", {"a": [value]})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["save_file", "fsync", "replace"])
def test_an_error_while_saving_leaves_the_old_checkpoint(where, tmp_path, monkeypatch):
    path = tmp_path / "run"
    save(path, {"step": 1})

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr({"save_file": "sgdscope.training.checkpoint.save_file", "fsync": "os.fsync", "replace": "os.replace"}[where], full)
    with pytest.raises(
        CheckpointError, match="could not write the checkpoint .*run: .*No space left on device. The one before, if any, is intact"
    ):
        save(path, {"step": 2})
    monkeypatch.undo()
    assert load(path) == {"step": 1} and [file.name for file in tmp_path.iterdir()] == ["run"]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="could not write the checkpoint"):
        save(tmp_path / "file" / "run", {})
    with pytest.raises(CheckpointError, match="could not write the checkpoint"):
        list(train(*problem_with_loss(), learning_rate=0.1, batch_size=4, num_steps=3, checkpoint="/proc/no/such/run", checkpoint_every=1))


def problem_with_loss():
    model, x, y = problem()
    return model, "cross_entropy", x, y


KILLED = """
import os, signal, sys
import torch
from pathlib import Path
sys.path.insert(0, {tests!r})
from training_cases import problem
from sgdscope.training import checkpoint, train
saved = 0
{how}
model, x, y = problem()
for point in train(model, "cross_entropy", x, y, learning_rate=0.1, batch_size=4, num_steps=12, momentum=0.9,
                   checkpoint={path!r}, checkpoint_every=2):
    print(point.step, flush=True)
"""
BEFORE_RENAMING = """
real = os.replace
def replace(a, b):
    global saved
    saved += 1
    if saved == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    real(a, b)
os.replace = replace
"""
HALF_WRITTEN = """
real = checkpoint.save_file
def save_file(tensors, path, metadata):
    global saved
    saved += 1
    real(tensors, path, metadata=metadata)
    if saved == 3:
        os.truncate(path, os.path.getsize(path) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
checkpoint.save_file = save_file
"""


@pytest.mark.parametrize("how", [BEFORE_RENAMING, HALF_WRITTEN])
def test_killed_while_saving(how, tmp_path):
    """kill -9 within the third saving, that of step 6: the second one is there, and the run goes on from it."""
    path = tmp_path / "run"
    script = KILLED.format(tests=str(Path(__file__).parent), path=str(path), how=how)
    environment = os.environ | {"PYTHONPATH": str(Path(sgdscope.__file__).parents[1])}
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=120)
    assert ended.returncode == -signal.SIGKILL and ended.stdout.split()[-1] == "6", ended.stderr
    assert load(path)["step"] == 4 and len(list(tmp_path.iterdir())) == 2  # beside what the kill left
    expected, _, _ = run(num_steps=12, momentum=0.9)
    points, _, _ = run(num_steps=12, momentum=0.9, checkpoint=path, checkpoint_every=2)
    assert [described(point) for point in points] == [described(point) for point in expected[5:]]
    assert [file.name for file in tmp_path.iterdir()] == ["run"]  # which is gone


def test_killed_at_any_time(tmp_path):
    """A process that saves all the time, killed from outside: the file is whole."""
    path = tmp_path / "run"
    script = f"""
from sgdscope.training.checkpoint import save
import torch, itertools
for step in itertools.count():
    save(__import__("pathlib").Path({str(path)!r}), {{"step": step, "values": torch.full((100_000,), float(step))}})
    if step == 3:
        print("ready", flush=True)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(sgdscope.__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment)
    try:
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    state = load(path)
    assert state["step"] >= 3 and (state["values"] == state["step"]).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_run_goes_on_on_cuda(tmp_path):
    settings = {
        "learning_rate": 0.2,
        "batch_size": 4,
        "num_steps": 8,
        "momentum": 0.9,
        "checkpoint": tmp_path / "run",
        "checkpoint_every": 2,
    }
    model, x, y = problem(normed)
    for point in train(model.cuda(), "cross_entropy", x.cuda(), y.cuda(), **settings):
        if point.step == 5:
            break
    model, x, y = problem(normed)
    points = list(train(model.cuda(), "cross_entropy", x.cuda(), y.cuda(), **settings))
    assert [point.step for point in points] == [5, 6, 7, 8] and next(model.parameters()).device.type == "cuda"
    _, parameters, _ = run(normed, **(settings | {"checkpoint": None}))
    torch.testing.assert_close(flat(model).cpu(), parameters[-1], rtol=1e-7, atol=1e-9)
