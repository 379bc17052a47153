"""Gradient rules and estimators that drive the loop."""

import sys
from contextlib import nullcontext
from math import isnan
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no neighbours
from training_cases import dense, flat, normed, problem, run

from sgdscope.errors import InvalidInput, NotFinite
from sgdscope.estimators import GradientClustering, MiniBatch
from sgdscope.gradients import PerExampleGradients
from sgdscope.training import loss_and_gradient, mean_gradient, measuring, train


class FullBatch:
    """The exact gradient, in the place of an estimate."""

    batch_size = 4

    def estimate(self, model, loss, x, y, *, generator):
        return mean_gradient(model, loss, x, y)


class OneExample:
    """Draws its own example, with a running average as its state."""

    def __init__(self):
        self.average = None

    def estimate(self, model, loss, x, y, *, generator):
        row = torch.randint(len(x), (1,), generator=generator)
        found = mean_gradient(model, loss, x[row], y[row])
        self.average = found if self.average is None else 0.9 * self.average + 0.1 * found
        return self.average

    def state(self):
        return {"average": self.average}

    def restore(self, state):
        self.average = state["average"]


def descent(steps, build=dense, rate=0.1):
    """Gradient descent by hand: parameters after each step."""
    model, x, y = problem(build)
    done = [flat(model)]
    for _ in range(steps):
        _, parts = loss_and_gradient(model, "cross_entropy", x, y)
        with torch.no_grad():
            for parameter, part in zip(model.parameters(), parts, strict=True):
                parameter -= rate * part
        done.append(flat(model))
    return done


def test_the_gradient_of_all_examples_gives_gradient_descent():
    """By a rule that looks beyond its batch, by an estimator, and by a batch of all examples."""
    _, x, y = problem()
    expected = descent(9)
    for settings in ({"gradient": lambda m, loss, *_: mean_gradient(m, loss, x, y)}, {"estimator": FullBatch()}, {"batch_size": 23}):
        _, parameters, _ = run(**settings)
        for found, theta in zip(parameters, expected, strict=True):
            torch.testing.assert_close(found, theta, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("form", ["flat", "parts"])
def test_a_rule_gets_the_batch(form):
    """The rule of autograd, handed in: the same snapshots as without it."""
    seen = []

    def rule(model, loss, x, y):
        assert loss == "cross_entropy" and model.training
        seen.append((x.clone(), y.clone()))
        _, parts = loss_and_gradient(model, loss, x, y)
        return torch.cat([part.reshape(-1) for part in parts]) if form == "flat" else parts

    _, x, y = problem(normed)
    points, parameters, model = run(normed, gradient=rule, momentum=0.9, weight_decay=0.01, loss_after=True)
    expected, same, plain = run(normed, momentum=0.9, weight_decay=0.01, loss_after=True)
    assert torch.equal(parameters[-1], same[-1])
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), plain.buffers(), strict=True))  # its loss before moves no statistics
    for point, other, (inputs, labels) in zip(points[1:], expected[1:], seen, strict=True):
        assert torch.equal(inputs, x[point.batch]) and torch.equal(labels, y[point.batch])
        assert (point.loss_after, point.gradient_norm) == (other.loss_after, other.gradient_norm)
        assert point.loss_before == pytest.approx(other.loss_before, rel=1e-14)


def test_a_rule_of_per_example_gradients():
    """Sign of the mean: the loop steps by what the rule says, whatever it is."""
    rule = lambda m, loss, x, y: PerExampleGradients.of(m, loss, x, y).mean().sign()  # noqa: E731
    points, parameters, _ = run(gradient=rule, mode="eval", num_steps=3)
    change = (parameters[1] - parameters[0]).abs()
    assert torch.allclose(change[change > 0], torch.tensor(0.1, dtype=torch.float64))
    assert points[1].gradient_norm == pytest.approx(float((change > 0).sum()) ** 0.5)


def test_an_estimator_sees_all_data_and_has_no_batch_losses():
    _, x, y = problem()
    calls = []

    class Estimator(FullBatch):
        def estimate(self, model, loss, x, y, *, generator):
            calls.append((len(x), len(y), loss, generator.device.type))
            return super().estimate(model, loss, x, y, generator=generator)

    points, _, _ = run(estimator=Estimator(), batch_size=None, full_loss=True)
    assert calls == [(23, 23, "cross_entropy", "cpu")] * 9
    assert all(point.batch is None and isnan(point.loss_before) and point.batch_size == 4 for point in points)
    assert all(point.full_loss_after < point.full_loss_before and point.gradient_norm > 0 for point in points[1:])
    assert points[5].epoch == 1.0  # 5 batches of 4 of 23 examples


def test_an_estimator_may_draw_more_than_all_examples():
    points, parameters, _ = run(estimator=MiniBatch(46, replacement=True), batch_size=None, num_steps=None, num_epochs=6)
    assert [point.epoch for point in points] == [0.0, 2.0, 4.0, 6.0] and {point.batch_size for point in points} == {46}
    assert not torch.equal(parameters[0], parameters[-1])
    with pytest.raises(InvalidInput, match="batch_size must be at most the number of examples without replacement; 46 came for 23"):
        run(estimator=MiniBatch(46), batch_size=None)


def test_clusters_of_a_model_with_batch_norm_are_refreshed_in_eval_mode():
    """As `train` says: inside `measuring`, or in a run with mode="eval"; estimates are taken in the run's mode."""
    for mode in ("train", "eval"):
        (model, x, y), clusters = problem(normed), GradientClustering(4, steps=1)
        settings = {"learning_rate": 0.1, "num_steps": 4, "estimator": clusters, "mode": mode}
        for point in train(model, "cross_entropy", x, y, **settings):
            assert model.training == (mode == "train")
            if point.step % 2 == 0:
                with measuring(model) if mode == "train" else nullcontext():
                    clusters.refresh(model, "cross_entropy", x, y, generator=torch.Generator().manual_seed(point.step))
        assert point.status == "finished" and point.step == 4


def test_an_estimator_draws_from_the_seed():
    one, two, other = (run(estimator=OneExample(), seed=seed, batch_size=1)[1][-1] for seed in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_the_caller_may_refresh_an_estimator():
    """Between two snapshots, as SVRG wants it."""
    model, x, y = problem()
    estimator = FullBatch()
    estimator.scale = 0.0
    estimator.estimate = lambda *given, generator: estimator.scale * FullBatch.estimate(estimator, *given, generator=generator)
    thetas = []
    for point in train(model, "cross_entropy", x, y, learning_rate=0.1, batch_size=4, num_steps=4, estimator=estimator):
        thetas.append(flat(model))
        estimator.scale = float(point.step == 2)
    assert torch.equal(thetas[0], thetas[2]) and not torch.equal(thetas[2], thetas[3]) and torch.equal(thetas[3], thetas[4])


@pytest.mark.parametrize("kind", ["gradient", "estimator"])
def test_a_rule_that_meets_what_is_not_finite_diverges(kind):
    """Per-example gradients refuse NaN; the run ends with a status, not with an error."""

    class Estimator:
        batch_size = 4

        def estimate(self, model, loss, x, y, *, generator):
            return PerExampleGradients.of(model, loss, x, y).mean()

    rule = lambda m, loss, x, y: PerExampleGradients.of(m, loss, x, y).mean()  # noqa: E731
    model, x, y = problem()
    steps = train(
        model, "cross_entropy", x, y, learning_rate=0.1, batch_size=4, num_steps=9, mode="eval",
        **({"gradient": rule} if kind == "gradient" else {"estimator": Estimator()}),
    )  # fmt: skip
    found = []
    for point in steps:
        found.append((point.step, point.status))
        if point.step == 3:
            with torch.no_grad():
                model[2].bias[0] = float("inf")
    assert found == [*((step, "running") for step in range(4)), (4, "diverged")]
    assert isnan(point.gradient_norm) and isnan(point.loss_before)


def test_other_errors_of_a_rule_are_errors():
    def rule(model, loss, x, y):
        raise InvalidInput("no")

    with pytest.raises(InvalidInput, match="no"):
        run(gradient=rule)
    assert issubclass(NotFinite, InvalidInput)


def test_a_gradient_of_another_size_is_refused():
    with pytest.raises(InvalidInput, match=r"a flat vector must have shape \(66,\), the trainable parameters; \(7,\) came"):
        run(gradient=lambda *_: torch.zeros(7))


@pytest.mark.parametrize("stop", [3, 5])
def test_the_state_of_an_estimator_goes_into_the_checkpoint(tmp_path, stop):
    settings = {"batch_size": 1, "learning_rate": 0.3, "num_steps": 9}
    _, expected, _ = run(estimator=OneExample(), **settings)
    model, x, y = problem()
    for point in train(model, "cross_entropy", x, y, estimator=OneExample(), checkpoint=tmp_path / "run", checkpoint_every=2, **settings):
        if point.step == stop:
            break
    _, found, _ = run(estimator=OneExample(), checkpoint=tmp_path / "run", checkpoint_every=2, **settings)
    assert len(found) == 9 - (stop - 1) // 2 * 2 and torch.equal(found[-1], expected[-1])
