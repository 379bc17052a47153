"""The variance of estimates: against the plain loop, closed forms and the authors' formula."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from estimator_cases import close, dense, generator, images, normal, normed, problem, rows_of, scatter

from sgdscope.errors import InvalidInput, NotFinite, NotFound
from sgdscope.estimators import SVRG, MiniBatch, Stratified, estimates, gradient_variance, variance_of_estimates
from sgdscope.probes import EstimatorVariance, Recorder
from sgdscope.training import Snapshot


def moved(estimator, build, number=9):
    """An estimator refreshed at one point, and the model at another."""
    model, x, y = problem(build, number)
    estimator.refresh(model, "cross_entropy", x, y, generator=generator())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * normal(*parameter.shape, seed=3)
    return model, x, y


ESTIMATORS = {
    "mini-batch": lambda: MiniBatch(4),
    "with replacement": lambda: MiniBatch(4, replacement=True),
    "stratified": lambda: Stratified(torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])),
    "svrg": lambda: SVRG(4),
}


@pytest.mark.parametrize("build", [dense, images])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_shared_work_equals_the_loop(name, build):
    """Sampling weights times per-example gradients, and one call an estimate."""
    estimator = ESTIMATORS[name]()
    model, x, y = moved(estimator, build)
    found = [
        torch.cat(list(estimates(estimator, model, "cross_entropy", x, y, repeats=7, generator=generator(2), method=method)))
        for method in ("weights", "batches", "auto")
    ]
    source = generator(2)
    loop = torch.stack([estimator.estimate(model, "cross_entropy", x, y, generator=source) for _ in range(7)])
    for one in found:
        close(one, loop)


class Given:
    """Estimates from a list."""

    def __init__(self, rows):
        self.rows = iter(rows)

    def estimate(self, model, loss, x, y, *, generator):
        return next(self.rows)


def of_size(number):
    """A model of so many parameters, with a loss and data, for estimates from a list."""
    model = nn.Module()
    model.weights = nn.Parameter(torch.zeros(number))
    return model, "cross_entropy", torch.zeros(1), torch.zeros(1)


def test_definitions():
    """All numbers of the result, written out."""
    rows = normal(10, 15, seed=4) * torch.linspace(0.001, 1, 15, dtype=torch.float64)
    rows[:, 3] = 0
    found = gradient_variance(Given(rows), *of_size(15), repeats=5, generator=generator(), guard=1e-3)
    first, second = rows[:5], rows[5:]
    variance, square = first.var(0), first.square().mean(0)
    loud = square > 0
    ratio = (second - first.mean(0)).square().sum(0) / (second.square().sum(0) + 1e-3)
    expected = {
        "average": variance.mean(),
        "normalised": variance.sum() / square.sum(),
        "normalised_mean": (variance[loud] / square[loud]).mean(),
        "normalised_guarded": ratio.mean(),
        "average_two_pass": (second - first.mean(0)).square().sum() / 5 / 15,
        "mean_square": square.mean(),
        "silent": 1 / 15,
    }
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(float(value), rel=1e-12), name
    assert found.normalised == pytest.approx(found.average / found.mean_square) and found.repeats == 5


def test_their_form_without_the_guard_and_rescaled():
    """Rescaled: the same as to multiply all gradients so that the average variance is the one asked for."""
    rows = normal(10, 15, seed=4) * torch.linspace(0.001, 1, 15, dtype=torch.float64)
    rows[:, 3], rows[5:, 4] = 0, 0  # silent in both passes, and in the second only
    settings = {"repeats": 5, "guard": 1e-3}
    found = gradient_variance(Given(rows), *of_size(15), generator=generator(), rescaled_to=(0.5, 1e-4), **settings)
    first, second = rows[:5], rows[5:]
    some = second.square().sum(0) > 0
    ratio = (second - first.mean(0)).square().sum(0)[some] / second.square().sum(0)[some]
    assert int(some.sum()) == 13 and found.normalised_unguarded == pytest.approx(float(ratio.mean()), rel=1e-12)
    for target, value in zip((0.5, 1e-4), found.normalised_rescaled, strict=True):
        scaled = rows * (target / found.average) ** 0.5
        other = gradient_variance(Given(scaled), *of_size(15), generator=generator(), **settings)
        assert other.average == pytest.approx(target) and value == pytest.approx(other.normalised_guarded, rel=1e-10)


def test_one_pass_leaves_the_authors_form_out():
    rows = normal(5, 27)
    found = gradient_variance(Given(rows), *of_size(27), repeats=5, generator=generator(), two_pass=False)
    assert found.average == pytest.approx(float(rows.var(0).mean())) and found.normalised_guarded != found.normalised_guarded


def test_pure_noise_through_the_authors_formula():
    """1 + 1/(R - 2), which the printed definition cannot reach; two passes raise the variance by 1 + 1/R."""
    rows = normal(20, 40_000, seed=7)
    found = gradient_variance(Given(rows), *of_size(40_000), repeats=10, generator=generator())
    assert found.normalised_guarded == pytest.approx(1.125, abs=0.01)
    assert found.normalised == pytest.approx(1, abs=0.01)
    assert found.average == pytest.approx(1, abs=0.01) and found.average_two_pass == pytest.approx(1.1, abs=0.015)


def test_only_the_guarded_form_depends_on_the_scale():
    rows = normal(20, 2000, seed=7) + 1
    one, small = (gradient_variance(Given(rows * s), *of_size(2000), repeats=10, generator=generator()) for s in (1, 1e-4))
    assert small.average == pytest.approx(1e-8 * one.average) and small.normalised == pytest.approx(one.normalised)
    assert small.normalised_mean == pytest.approx(one.normalised_mean) and small.normalised_guarded < 0.8 * one.normalised_guarded


@pytest.mark.parametrize("name", ["mini-batch", "stratified", "svrg"])
def test_converges_to_the_exact_variance(name):
    """Of 3,000 estimates, within 10 percent of the closed form."""
    estimator = ESTIMATORS[name]()
    model, x, y = problem(number=9)
    estimator.refresh(model, "cross_entropy", x, y, generator=generator())
    old = rows_of(model, x, y)
    with torch.no_grad():
        model[0].weight += 0.5 * normal(3, 4, seed=3)
    rows = rows_of(model, x, y)
    if name == "stratified":
        exact = sum(len(s) ** 2 * scatter(s) for s in (rows[:3], rows[3:5], rows[5:])) / 81
    else:
        exact = scatter(rows - old if name == "svrg" else rows) / 4 * 5 / 8
    found = gradient_variance(estimator, model, "cross_entropy", x, y, repeats=3000, generator=generator(5), two_pass=False)
    assert found.average * rows.shape[1] == pytest.approx(float(exact), rel=0.1)


def test_batch_norm_in_training_mode_keeps_its_statistics():
    model, x, y = problem(normed, 8)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = gradient_variance(MiniBatch(4), model, "cross_entropy", x, y, repeats=4, generator=generator())
    assert found.average > 0 and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_augmentation_is_drawn_anew_each_time():
    """A full batch varies by its augmentation only."""
    model, x, y = problem()
    jitter = lambda x, generator: x + 0.1 * torch.randn(x.shape, generator=generator, dtype=x.dtype)  # noqa: E731
    plain, noisy = (
        gradient_variance(MiniBatch(6, augment=augment), model, "cross_entropy", x, y, repeats=5, generator=generator())
        for augment in (None, jitter)
    )
    assert plain.average < 1e-30 < 1e-8 < noisy.average


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"repeats": 1}, InvalidInput, "repeats must be a whole number of at least 2; 1 came"),
        ({"generator": 3}, InvalidInput, "generator must be a torch.Generator; int came"),
        ({"method": "fast"}, NotFound, "unknown method 'fast'"),
        ({"estimator": Given([]), "method": "weights"}, InvalidInput, "method 'weights' is for estimators of this package"),
        ({"estimator": MiniBatch(2, augment=lambda x, g: x), "method": "weights"}, InvalidInput, "without augmentation"),
        ({"two_pass": "no"}, InvalidInput, "two_pass must be True or False; 'no' came"),
        ({"guard": -1}, InvalidInput, "guard must be a number from 0 on; -1 came"),
        ({"guard": float("nan")}, InvalidInput, "guard must be a number from 0 on; nan came"),
        ({"rescaled_to": [0]}, InvalidInput, r"rescaled_to must be a list of variances above 0; \[0\] came"),
        ({"rescaled_to": 1e-8}, InvalidInput, "rescaled_to must be a list of variances above 0; 1e-08 came"),
        ({"estimator": MiniBatch(2, augment=lambda x, g: None)}, InvalidInput, "as many examples as it takes, .*; nothing came"),
        ({"estimator": MiniBatch(2, augment=lambda x, g: torch.cat([x, x]))}, InvalidInput, "as many examples as it takes, 6; 12 came"),
    ],
)
def test_refusals(settings, error, message):
    model, x, y = problem()
    settings = {"estimator": MiniBatch(2), "generator": generator()} | settings
    with pytest.raises(error, match=message):
        gradient_variance(settings.pop("estimator"), model, "cross_entropy", x, y, **settings)


@pytest.mark.parametrize("kind", [MiniBatch, SVRG])
def test_gradients_that_are_not_finite_end_a_run(kind):
    """The square root has a finite value and an infinite slope at 0; large data, so that estimates are made one by one."""
    x, y = normal(500, 3), torch.randint(2, (500,), generator=generator(1))

    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.offset = (
                nn.Parameter(torch.ones(3, 2, dtype=torch.float64)),
                nn.Parameter(torch.zeros(2, dtype=torch.float64)),
            )

        def forward(self, x):
            return x @ self.weight + (self.offset - self.offset.detach()).sqrt()

    settings = {"repeats": 3, "method": "batches", "generator": generator()}
    model, estimator = Root(), kind(4)
    estimator.refresh(model, "cross_entropy", x, y, generator=generator())
    with pytest.raises(NotFinite, match="estimates of the gradient must be finite; .* Has the training diverged"):
        gradient_variance(estimator, model, "cross_entropy", x, y, **settings)
    recorder = Recorder(EstimatorVariance({"one": kind(4)}, refresh=lambda step: step == 0, repeats=3), when=True)
    recorder(Snapshot(model=model, loss="cross_entropy", x=x, y=y, step=0, learning_rate=0.1, batch_size=4))
    assert recorder.finished and recorder.table.status.tolist() == ["diverged"]


def test_estimates_that_are_there_already():
    first, second = normal(10, 4, seed=1), normal(10, 4, seed=2)
    whole, blocks = variance_of_estimates(first, second), variance_of_estimates(first.split(3), second.split(4))
    assert whole == blocks and whole.repeats == 10 and whole.average == pytest.approx(float(first.var(0).mean()))
    with pytest.raises(InvalidInput, match=r"tensor \(R, d\), or in blocks \(r, d\) of one length d; shape \(4,\) came"):
        variance_of_estimates(list(first))
    with pytest.raises(InvalidInput, match=r"shape \(10, 3\) came"):
        variance_of_estimates([first, first[:, :3]])
    with pytest.raises(InvalidInput, match=r"shape \(10, 3\) came"):
        variance_of_estimates(first, second[:, :3])
    with pytest.raises(InvalidInput, match="as many as the first, 10; 5 came"):
        variance_of_estimates(first, second[:5])


def passes(model, **settings):
    """Examples in forward passes of 12 estimates."""
    seen = []
    hook = model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    list(estimates(loss="cross_entropy", model=model, generator=generator(), **({"repeats": 12} | settings)))
    hook.remove()
    return sum(seen)


def test_the_shared_way_is_taken_where_it_saves():
    """12 batches of 4 of 9 examples take 9; few of many, an augmentation, batch norm in training mode or little memory take every batch."""
    model, x, y = problem(dense, 9)
    data = {"x": x, "y": y}
    passes(model, estimator=MiniBatch(4), **data)  # the check of the model
    assert passes(model, estimator=MiniBatch(4), **data) == 9
    assert passes(model, estimator=MiniBatch(4), method="batches", **data) == 48
    assert passes(model, estimator=MiniBatch(4), memory=2000, **data) == 48
    assert passes(model, estimator=MiniBatch(4, augment=lambda x, g: x), **data) == 48
    assert passes(model, estimator=MiniBatch(1), repeats=5, **data) == 5
    model, x, y = problem(normed, 9)
    assert passes(model.train(), estimator=MiniBatch(4), x=x, y=y) == 48
