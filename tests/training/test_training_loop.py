"""The loop against one written by hand; what a snapshot says; divergence; that nothing else happens."""

import sys
from itertools import islice
from math import isnan, nan
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no neighbours
from training_cases import by_hand, dense, flat, normal, normed, problem, run, seeded

from sgdscope.data.synthetic import stream_generator
from sgdscope.training import Constant, Cosine, Drops, evaluate, measuring, random_crop_and_flip, train


def same(found, expected, rtol=1e-11):
    torch.testing.assert_close(found, expected, rtol=rtol, atol=1e-13)


CASES = {
    "plain": (dense, {}),
    "momentum, decay": (dense, {"momentum": 0.9, "weight_decay": 0.01}),
    "small last batch": (dense, {"drop_last": False, "batch_size": 5}),
    "independent": (dense, {"sampling": "independent"}),
    "with replacement": (dense, {"sampling": "with_replacement"}),
    "all examples": (dense, {"batch_size": 23}),
    "batch norm": (normed, {"momentum": 0.9}),
    "batch norm, eval": (normed, {"mode": "eval"}),
    "augmentation": (normed, {"augment": random_crop_and_flip}),
    "another seed": (dense, {"seed": 3}),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_the_loop_by_hand(case):
    build, settings = CASES[case]
    settings = {"learning_rate": 0.3, "batch_size": 4, "num_steps": 14} | settings
    hand, x, y = problem(build)
    others = {name: value for name, value in settings.items() if name != "mode"}
    expected = by_hand(hand, x, y, train_mode=settings.get("mode") != "eval", **others)
    points, parameters, model = run(build, **settings)
    assert [point.step for point in points] == list(range(15))
    for point, theta, (batch, loss, norm, after) in zip(points[1:], parameters[1:], expected, strict=True):
        assert torch.equal(point.batch, batch)
        assert point.loss_before == pytest.approx(loss, rel=1e-11) and point.gradient_norm == pytest.approx(norm, rel=1e-11)
        same(theta, after)
    for ours, theirs in zip(model.buffers(), hand.buffers(), strict=True):
        same(ours, theirs)


def test_a_generator_in_place_of_the_seed_s_stream():
    """The stream itself changes nothing; whoever draws from it changes the batches to come."""
    batches = {}
    for name in ("seed", "stream", "another draws"):
        generator = stream_generator(5, "batches")
        points = []
        for point in run_lazily(seed=5, num_steps=12, generator=None if name == "seed" else generator):
            points.append(point.batch)
            if name == "another draws" and point.step == 2:
                torch.rand(1, generator=generator)
        batches[name] = [batch.tolist() for batch in points[1:]]
    assert batches["stream"] == batches["seed"]
    assert batches["another draws"][:5] == batches["seed"][:5] and batches["another draws"] != batches["seed"]


def run_lazily(**settings):
    model, x, y = problem()
    return train(model, "cross_entropy", x, y, **{"learning_rate": 0.1, "batch_size": 4} | settings)


def test_a_schedule_sets_the_rate_of_each_step():
    """By step and by epoch; 23 examples in batches of 4 are 5 steps an epoch."""
    hand, x, y = problem()
    expected = by_hand(hand, x, y, learning_rate=lambda step: 0.5 if step < 5 else 0.05, batch_size=4, num_steps=12, momentum=0.9)
    for schedule in (Drops(0.5, steps=(5,)), Drops(0.5, epochs=(1,)), lambda step, epoch: 0.5 if epoch < 1 else 0.05):
        points, parameters, _ = run(learning_rate=schedule, num_steps=12, momentum=0.9)
        assert [point.learning_rate for point in points] == pytest.approx([0.5] * 5 + [0.05] * 8)  # that of the following step
        same(parameters[-1], expected[-1][3])


def test_what_a_snapshot_says():
    model, x, y = problem()
    points, _, _ = run(learning_rate=Cosine(0.2, 9))
    assert [point.status for point in points] == ["running"] * 9 + ["finished"]
    assert [point.epoch for point in points] == [step / 5 for step in range(10)]
    assert [point.learning_rate for point in points] == [Cosine(0.2, 9)(step, 0.0) for step in range(10)]
    assert all(point.batch_size == 4 and point.num_examples == 23 and point.loss == "cross_entropy" for point in points)
    first = points[0]
    assert first.batch is None and all(
        isnan(value) for value in (first.loss_before, first.loss_after, first.gradient_norm, first.full_loss_after)
    )
    assert all(isnan(value) for point in points for value in (point.loss_after, point.full_loss_before, point.full_loss_after))
    assert repr(points[6]) == "Snapshot(step=6, epoch=1.2, status='running')"
    live = next(iter(train(model, "cross_entropy", x, y, learning_rate=0.1, batch_size=4, num_steps=1)))
    assert live.model is model and live.x is x and live.y is y


@pytest.mark.parametrize(("epochs", "steps"), [(0, 0), (1, 5), (2.4, 12), (0.2, 1)])
def test_epochs_in_all(epochs, steps):
    points, _, _ = run(num_steps=None, num_epochs=epochs)
    assert points[-1].step == steps and points[-1].status == "finished"


def test_no_steps():
    points, parameters, _ = run(num_steps=0, full_loss=True)
    assert len(points) == 1 and points[0].status == "finished" and points[0].full_loss_after > 0
    assert torch.equal(parameters[0], flat(problem()[0]))


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_losses_before_and_after_are_those_at_these_points(mode):
    """With batch norm: batch losses in the mode of training, full losses in eval mode with the statistics that each point has."""
    model, x, y = problem(normed)
    before, after, buffers = [], [], []
    for point in train(
        model, "cross_entropy", x, y, learning_rate=0.3, batch_size=4, num_steps=8, mode=mode, full_loss=True, loss_after=True, chunk_size=7
    ):
        full = evaluate(model, "cross_entropy", x, y, chunk_size=7).loss
        assert point.full_loss_after == full
        if point.step:
            assert point.full_loss_before == before[-1]
            with measuring(model, mode=mode), torch.no_grad():
                assert point.loss_after == pytest.approx(F.cross_entropy(model(x[point.batch]), y[point.batch]).item(), rel=1e-13)
            assert point.loss_after != point.loss_before
        before.append(full)
        after.append(flat(model))
        buffers.append([buffer.clone() for buffer in model.buffers()])
    points, plain, same_model = run(normed, learning_rate=0.3, num_steps=8, mode=mode)  # without measuring: the same bits
    assert all(torch.equal(a, b) for a, b in zip(after, plain, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(buffers[-1], same_model.buffers(), strict=True))


def test_losses_are_measured_when_asked():
    asked = []

    def full(step):
        asked.append(step)
        return step in (0, 4)

    points, _, _ = run(full_loss=full, loss_after=lambda step: step % 3 == 0)
    assert asked == list(range(10))
    assert [point.step for point in points if not isnan(point.full_loss_after)] == [0, 4]
    assert [point.step for point in points if not isnan(point.full_loss_before)] == [4]
    assert [point.step for point in points if not isnan(point.loss_after)] == [3, 6, 9]
    everywhere, _, _ = run(full_loss=True)
    assert points[4].full_loss_before == everywhere[3].full_loss_after and points[4].full_loss_after == everywhere[4].full_loss_after


def test_the_loss_after_is_of_the_augmented_batch():
    """Otherwise a step of rate 1e-12 would change the loss."""
    points, _, _ = run(normed, augment=random_crop_and_flip, loss_after=True, learning_rate=1e-12)
    assert all(point.loss_after == pytest.approx(point.loss_before, rel=1e-9) for point in points[1:])


def test_augmentation_has_a_stream_of_its_own():
    """The batches are those without it, and the same arguments give the same images."""
    drawn = []

    def noise(x, generator):
        drawn.append(torch.rand(2, generator=generator))
        return x + 0.1 * torch.randn(x.shape, generator=generator, dtype=x.dtype)

    plain, _, _ = run()
    points, parameters, _ = run(augment=noise)
    again, same_parameters, _ = run(augment=noise)
    assert all(
        torch.equal(a.batch, b.batch) and torch.equal(a.batch, c.batch) for a, b, c in zip(plain[1:], points[1:], again[1:], strict=True)
    )
    assert torch.equal(parameters[-1], same_parameters[-1]) and torch.equal(torch.stack(drawn[:9]), torch.stack(drawn[9:]))


def test_the_caller_may_change_modes_and_stop():
    model, x, y = problem(normed)
    states = []
    for point in train(model, "cross_entropy", x, y, learning_rate=0.1, batch_size=4, num_steps=9):
        assert model.training
        states.append(flat(model))
        model.eval()
        model(x)
        if point.step == 5:
            break
    _, parameters, _ = run(normed)
    assert all(torch.equal(a, b) for a, b in zip(states, parameters, strict=False)) and len(states) == 6


def test_frozen_parameters_and_a_norm_in_eval_mode():
    model, x, y = problem(normed)
    model[0].requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    list(train(model, "cross_entropy", x, y, learning_rate=0.3, batch_size=4, num_steps=5, mode="eval", weight_decay=0.1))
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"1.weight", "1.bias", "4.weight", "4.bias"}
    assert not model[0].weight.requires_grad


def test_only_some_parameters_decay():
    points, parameters, model = run(weight_decay=0.5, decayed=lambda name, parameter: name == "0.weight", num_steps=1)
    _, plain, _ = run(num_steps=1)
    assert isnan(points[0].gradient_norm)
    difference = plain[1] - parameters[1]
    same(difference[:35], 0.1 * 0.5 * flat(problem()[0])[:35])
    assert not difference[35:].any()


def test_dicts_of_inputs_and_targets():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.line = nn.Embedding(9, 3), nn.Linear(5, 2)

        def forward(self, tokens, more):
            return {"logits": self.line(torch.cat([self.words(tokens).sum(1), more["features"]], 1))}

    def loss(outputs, y):
        return F.cross_entropy(outputs["logits"], y["labels"], reduction="none") * y["weights"]

    x = {"tokens": torch.arange(33).view(11, 3) % 9, "more": {"features": normal(11, 2)}}
    y = {"labels": torch.arange(11) % 2, "weights": normal(11).abs()}
    model, hand = seeded(Net), seeded(Net)
    points = list(train(model, loss, x, y, learning_rate=0.2, batch_size=4, num_steps=6, full_loss=True))
    for point in points[1:]:
        batch = point.batch
        inputs = {"tokens": x["tokens"][batch], "more": {"features": x["more"]["features"][batch]}}
        value = loss(hand(**inputs), {"labels": y["labels"][batch], "weights": y["weights"][batch]}).mean()
        gradients = torch.autograd.grad(value, list(hand.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(hand.parameters(), gradients, strict=True):
                parameter -= 0.2 * gradient
    same(flat(model), flat(hand))
    assert points[-1].full_loss_after == pytest.approx(loss(hand(**x), y).mean().item())


def test_nothing_else_is_touched():
    """No global random numbers, no .grad fields, inputs as they were."""
    model, x, y = problem()
    copy, state = x.clone(), torch.get_rng_state()
    list(train(model, "cross_entropy", x, y, learning_rate=0.1, batch_size=4, num_steps=9, full_loss=True, loss_after=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(x, copy)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_same_call_gives_the_same_bits(dtype):
    results = []
    for _ in range(2):
        model, x, y = problem(normed, dtype=dtype)
        points = train(
            model, "cross_entropy", x, y, learning_rate=0.1, batch_size=4, num_steps=9, momentum=0.9, augment=random_crop_and_flip
        )
        results.append([(point.loss_before, point.gradient_norm) for point in points][1:] + [flat(model).tolist()])
    assert results[0] == results[1]


def test_a_rate_that_is_too_large_diverges():
    """Least squares with curvature 1 and rate 3: the error is multiplied by -2 each step until float32 overflows."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    x, y = torch.ones(2, 1), torch.zeros(2, 1)
    points = [(point, model.weight.item()) for point in train(model, "squared_error", x, y, learning_rate=3.0, batch_size=2, num_steps=200)]
    assert [weight for _, weight in points[:-1]] == [(-2.0) ** step for step in range(len(points) - 1)]
    last, weight = points[-1]
    assert last.status == "diverged" and last.step == 65 and weight == (-2.0) ** 64  # (2^64)^2 / 2 = 2^127, its double overflows
    assert last.loss_before == float("inf") and {point.status for point, _ in points[:-1]} == {"running"}


def test_the_largest_loss_counts_as_divergence():
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    x, y = torch.ones(2, 1), torch.zeros(2, 1)
    points = list(train(model, "squared_error", x, y, learning_rate=3.0, batch_size=2, num_steps=200, largest_loss=8.0))
    assert [point.loss_before for point in points[1:]] == [0.5, 2.0, 8.0, 32.0]  # the largest itself is allowed
    assert points[-1].status == "diverged" and points[-1].step == 4 and model.weight.item() == -8.0


def test_a_gradient_that_is_not_finite_diverges():
    """sqrt at 0: a finite loss with an infinite slope."""
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.zero_(), model.bias.zero_()
    points = list(
        train(model, lambda f, y: f[:, 0].abs().sqrt(), torch.ones(2, 1), torch.zeros(2), learning_rate=0.1, batch_size=2, num_steps=5)
    )
    assert [point.status for point in points] == ["running", "diverged"] and points[1].loss_before == 0.0
    assert not any(parameter.any() for parameter in model.parameters())


def test_divergence_at_the_last_step_is_no_finish():
    model, x, y = problem()
    with torch.no_grad():
        model[2].bias[0] = nan
    points = list(train(model, "cross_entropy", x, y, learning_rate=0.1, batch_size=4, num_steps=1))
    assert [point.status for point in points] == ["running", "diverged"] and isnan(points[-1].loss_before)


def test_a_schedule_may_give_zero():
    points, parameters, _ = run(learning_rate=lambda step, epoch: 0.0 if step > 3 else 0.1)
    assert torch.equal(parameters[4], parameters[9]) and points[-1].status == "finished"
    assert not torch.equal(parameters[3], parameters[4])


def test_it_learns():
    """Rows of three noisy classes, to an accuracy that chance does not give."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(300) % 3
    x = F.one_hot(y, 5).float() + 0.3 * torch.randn(300, 5, generator=generator)
    model = seeded(dense, dtype=torch.float32)
    for _ in train(model, "cross_entropy", x, y, learning_rate=Constant(0.3), batch_size=10, num_epochs=10, momentum=0.9):
        pass
    assert evaluate(model, "cross_entropy", x, y).accuracy > 0.95


def test_a_generator_waits():
    """Nothing is computed before it is asked for."""
    model, x, y = problem()
    steps = train(model, "cross_entropy", x, y, learning_rate=0.1, batch_size=4, num_steps=9)
    before = flat(model)
    assert torch.equal(flat(model), before)
    list(islice(steps, 2))
    assert not torch.equal(flat(model), before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize(
    "settings", [{}, {"sampling": "independent"}, {"augment": random_crop_and_flip, "momentum": 0.9, "loss_after": True, "full_loss": True}]
)
def test_on_cuda_as_on_the_cpu(settings):
    expected, parameters, _ = run(normed, **settings)
    model, x, y = problem(normed)
    points = list(train(model.cuda(), "cross_entropy", x.cuda(), y.cuda(), learning_rate=0.1, batch_size=4, num_steps=9, **settings))
    for found, point in zip(points, expected, strict=True):
        assert found.loss_before == pytest.approx(point.loss_before, rel=1e-8, nan_ok=True)
        assert found.full_loss_after == pytest.approx(point.full_loss_after, rel=1e-8, nan_ok=True)
    same(flat(model).cpu(), parameters[-1], rtol=1e-8)
