"""Each probe against the same numbers computed slowly by hand, in float64."""

import copy
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sgdscope.data.synthetic import stream_generator
from sgdscope.errors import InvalidInput, NotFinite
from sgdscope.gradients import draw_batches
from sgdscope.probes import (
    Accuracy,
    Alignment,
    DistanceAlongTop,
    GradientCovariance,
    GradientNorms,
    LossAlongTop,
    LossChange,
    Predictions,
    Sharpness,
    StabilityMargin,
)
from sgdscope.probes.directions import quadratic_error
from sgdscope.training import Snapshot, train


def problem(number=40, classes=3):
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.BatchNorm1d(4), nn.Linear(4, classes)).double()
    x = torch.randn(number, 5, generator=generator, dtype=torch.float64)
    return model, x, torch.randint(classes, (number,), generator=generator)


def snapshot(**changes):
    model, x, y = problem()
    return Snapshot(**{"model": model, "loss": "cross_entropy", "x": x, "y": y, "step": 3, "learning_rate": 0.5, "batch_size": 8} | changes)


def rows(model, x, y):
    """(N, d) per-example gradients by a loop, in eval mode."""
    model.eval()
    found = []
    for i in range(len(x)):
        parts = torch.autograd.grad(F.cross_entropy(model(x[i : i + 1]), y[i : i + 1]), list(model.parameters()))
        found.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(found)


def hessians(model, x, y):
    """(N, d, d) Hessians of the single losses, in eval mode."""
    model.eval()
    named = dict(model.named_parameters())
    names, shapes = list(named), [p.shape for p in named.values()]
    start = torch.cat([p.detach().flatten() for p in named.values()])

    def loss(flat, a, b):
        parts = flat.split([shape.numel() for shape in shapes])
        values = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        return F.cross_entropy(torch.func.functional_call(model, values, (a[None],)), b[None])

    return torch.stack([torch.autograd.functional.hessian(lambda flat, i=i: loss(flat, x[i], y[i]), start) for i in range(len(x))])


def test_gradient_covariance_is_that_of_the_batches():
    point = snapshot()
    found = GradientCovariance(num_batches=7, batch_size=6, num_projected=2, seed=4).measure(point)
    generator = stream_generator(4, "gradient covariance", "3")
    batches = draw_batches(40, 6, 7, generator=generator)
    each = rows(point.model, point.x, point.y)
    means = torch.stack([each[batch].mean(0) for batch in batches])
    centred = means - means.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / 7)
    values, vectors = values.flip(0), vectors.flip(1)
    torch.testing.assert_close(found["K_values"], values[:7], rtol=1e-8, atol=1e-14)
    assert found["K_top"] == pytest.approx(float(values[0]))
    assert found["K_smallest"] == pytest.approx(float(values[5]), rel=1e-6)
    assert found["K_conditioning"] == pytest.approx(float(values[5] / values[0]), rel=1e-6)
    assert found["K_trace"] == pytest.approx(float(values.sum()))
    projected = (means @ vectors[:, :2]).norm(dim=1)
    assert found["K_projected"] == pytest.approx(float((means.norm(dim=1) / projected).mean()))


def test_gradient_covariance_takes_the_training_batch_size_and_new_batches_each_step():
    first = GradientCovariance().measure(snapshot())
    assert first["K_top"] == GradientCovariance(batch_size=8).measure(snapshot())["K_top"]
    assert first["K_top"] != GradientCovariance().measure(snapshot(step=4))["K_top"]


def test_sharpness_and_margin_against_dense_hessians():
    point = snapshot()
    sharpness = Sharpness(k=2, tolerance=1e-8)
    found = sharpness.measure(point)
    each = hessians(point.model, point.x, point.y)
    values, vectors = torch.linalg.eigh(each.mean(0))
    torch.testing.assert_close(found["H_values"], values.flip(0)[:2])
    assert found["H_top"] == pytest.approx(float(values[-1]))
    assert found["H_residual"] <= 1e-8 and found["H_products"] > 0
    margin = StabilityMargin(sharpness).measure(point)
    curvature = torch.einsum("i,nij,j->n", vectors[:, -1], each, vectors[:, -1])
    mean, variance = float(curvature.mean()), float(curvature.var(correction=0))
    assert margin["curvature_mean"] == pytest.approx(mean)
    assert margin["curvature_std"] == pytest.approx(variance**0.5)
    left = (1 - 0.5 * mean) ** 2 + variance * 0.25 * (40 - 8) / (8 * 39)
    assert margin["stability_lhs"] == pytest.approx(left)
    assert margin["stability_margin"] == pytest.approx(1 - left)


def test_the_mean_curvature_is_the_sharpness_on_the_same_examples():
    point, sharpness = snapshot(), Sharpness(num_examples=20, tolerance=1e-6, seed=5)
    margin = StabilityMargin(sharpness, num_examples=20, seed=5).measure(point)
    assert margin["curvature_mean"] == pytest.approx(sharpness.measure(point)["H_top"], rel=1e-6)


def test_sharpness_computes_a_snapshot_once_and_starts_warm():
    point, sharpness = snapshot(), Sharpness(tolerance=1e-6)
    pairs = sharpness.at(point)
    assert sharpness.at(point) is pairs
    again = sharpness.at(snapshot(step=4))
    assert again is not pairs and again.products < pairs.products
    cold = Sharpness(tolerance=1e-6, warm_start=False)
    cold.at(point)
    assert cold.at(snapshot(step=4)).products == pairs.products


def test_accuracy_on_all_on_a_subset_and_on_other_data():
    point = snapshot()
    point.model.eval()
    outputs = point.model(point.x).detach()
    found = Accuracy().measure(point)
    assert found["train_loss"] == pytest.approx(float(F.cross_entropy(outputs, point.y).detach()))
    assert found["train_accuracy"] == pytest.approx(float((outputs.argmax(1) == point.y).double().mean()))
    index = torch.randperm(40, generator=stream_generator(2, "examples"))[:10]
    subset = Accuracy(num_examples=10, seed=2).measure(point)
    assert subset["train_loss"] == pytest.approx(float(F.cross_entropy(outputs[index], point.y[index])))
    other = Accuracy("test", x=point.x[:7], y=point.y[:7]).measure(point)
    assert other["test_loss"] == pytest.approx(float(F.cross_entropy(outputs[:7], point.y[:7])))


def test_gradient_norms():
    point = snapshot()
    each = rows(point.model, point.x, point.y)
    mean = each.mean(0)
    found = GradientNorms().measure(point)
    variance = (each - mean).square().sum(1).mean()
    assert found["mean_gradient_norm"] == pytest.approx(float(mean.norm()))
    assert found["example_gradient_norm"] == pytest.approx(float(each.norm(dim=1).mean()))
    assert found["gradient_variance"] == pytest.approx(float(variance / each.shape[1]))
    assert found["noise_scale"] == pytest.approx(float(variance / mean.square().sum()))


def test_predictions():
    point = snapshot()
    found = Predictions(point.x[:6]).measure(point)["predictions"]
    point.model.eval()
    torch.testing.assert_close(found, point.model(point.x[:6]).softmax(1).flatten().detach())


def test_loss_change_is_what_the_step_did():
    model, x, y = problem()
    points = list(train(model, "cross_entropy", x, y, learning_rate=0.1, batch_size=8, num_steps=1, full_loss=True, loss_after=True))
    start = points[0].full_loss_after
    found = LossChange().measure(points[1])
    model.eval()
    assert found["loss_change"] == pytest.approx(float(F.cross_entropy(model(x), y)) - start)
    assert found["batch_loss_change"] == points[1].loss_after - points[1].loss_before != 0


def test_alignment_of_the_top_eigenvectors():
    point = snapshot()
    sharpness, covariance = Sharpness(tolerance=1e-8), GradientCovariance(num_batches=7, batch_size=6, num_projected=2)
    found = Alignment(sharpness, covariance).measure(point)["alignment"]
    top = torch.linalg.eigh(hessians(point.model, point.x, point.y).mean(0)).eigenvectors[:, -1]
    each = rows(point.model, point.x, point.y)
    means = torch.stack(
        [each[batch].mean(0) for batch in draw_batches(40, 6, 7, generator=stream_generator(0, "gradient covariance", "3"))]
    )
    noise = torch.linalg.eigh(torch.cov(means.T)).eigenvectors[:, -1]
    assert found == pytest.approx(abs(float(top @ noise)), rel=1e-6)


def test_loss_along_the_top_eigenvector():
    point, sharpness = snapshot(), Sharpness(tolerance=1e-8)
    found = LossAlongTop(sharpness, num_points=5, reach=3.0).measure(point)
    pairs = sharpness.at(point)
    slope = abs(float(rows(point.model, point.x, point.y).mean(0) @ pairs.vectors[:, 0]))
    distance = slope / float(pairs.values[0])
    reach = 3 * max(distance, 0.5 * slope)
    assert DistanceAlongTop(sharpness).measure(point)["distance"] == pytest.approx(distance)
    torch.testing.assert_close(found["along_points"], torch.tensor([-1, -0.5, 0, 0.5, 1], dtype=torch.float64) * reach)
    moved = copy.deepcopy(point.model).eval()
    start = [parameter.detach().clone() for parameter in moved.parameters()]
    for t, value in zip(found["along_points"], found["along_losses"], strict=True):
        with torch.no_grad():
            offset = 0
            for parameter, old in zip(moved.parameters(), start, strict=True):
                parameter.copy_(old + t * pairs.vectors[offset : offset + old.numel(), 0].view(old.shape))
                offset += old.numel()
        assert float(value) == pytest.approx(float(F.cross_entropy(moved(point.x), point.y).detach()))


def test_quadratic_error():
    t = torch.linspace(-2, 3, 11, dtype=torch.float64)
    assert quadratic_error(t, 3 - t + 5 * t.square()) < 1e-12
    assert quadratic_error(t, torch.ones_like(t)) == 0
    fit = np.polyfit(t.numpy(), t.exp().numpy(), 2)
    residual = np.linalg.norm(np.polyval(fit, t.numpy()) - t.exp().numpy())
    assert quadratic_error(t, t.exp()) == pytest.approx(residual / float((t.exp() - t.exp().mean()).norm()))


PROBES = [
    GradientCovariance(),
    Sharpness(),
    StabilityMargin(Sharpness()),
    Alignment(Sharpness(), GradientCovariance()),
    DistanceAlongTop(Sharpness()),
    LossAlongTop(Sharpness()),
    Accuracy(),
    GradientNorms(),
    LossChange(),
    Predictions(torch.zeros(2, 5, dtype=torch.float64)),
]


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: type(probe).__name__)
def test_the_model_and_the_global_generator_are_left_alone(probe):
    point = snapshot()
    point.model.train()
    before = {name: value.clone() for name, value in point.model.state_dict().items()}
    state = torch.get_rng_state()
    probe.measure(point)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in point.model.modules())
    assert all(torch.equal(value, before[name]) for name, value in point.model.state_dict().items())
    assert all(parameter.grad is None for parameter in point.model.parameters())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GradientCovariance(num_batches=1), "num_batches must be a whole number of at least 2; 1 came."),
        (lambda: GradientCovariance(num_batches=5), "num_projected must be below num_batches, 5, the rank of K; 5 came."),
        (lambda: GradientCovariance().measure(snapshot(batch_size=None)), "batch_size is missing: give it to GradientCovariance"),
        (
            lambda: GradientCovariance(batch_size=40).measure(snapshot()),
            "batch_size must be below the 40 examples, or all gradients are equal",
        ),
        (lambda: Sharpness(k=0).measure(snapshot()), "k must be a whole number of at least 1; 0 came."),
        (lambda: Sharpness(num_examples=41).measure(snapshot()), "num_examples must be at most the 40 training examples; 41 came."),
        (lambda: StabilityMargin(Sharpness(), num_examples=1), "num_examples must be a whole number of at least 2; 1 came."),
        (lambda: StabilityMargin(Sharpness()).measure(snapshot(batch_size=None)), "needs the learning rate and the batch size"),
        (lambda: StabilityMargin(Sharpness()).measure(snapshot(learning_rate=float("nan"))), "needs the learning rate and the batch size"),
        (lambda: Accuracy(x=torch.zeros(2, 5)), "give x with y, or neither"),
        (lambda: GradientNorms(num_examples=0), "num_examples must be a whole number of at least 1; 0 came."),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InvalidInput, match=re.escape(message)):
        call()


@pytest.mark.parametrize("probe", PROBES[:8], ids=lambda probe: type(probe).__name__)
def test_diverged_parameters_are_said_to_be_not_finite(probe):
    point = snapshot()
    with torch.no_grad():
        point.model[0].weight.fill_(float("nan"))
    with pytest.raises(NotFinite, match="must be finite"):
        probe.measure(point)
