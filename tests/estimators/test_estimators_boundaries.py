# ruff: noqa: E501  (tables of cases and messages, one line each)
"""What the estimators and their variance refuse at the boundary, whatever the way the estimates are made in."""

import copy
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from estimator_cases import close, generator, normal, problem, seeded

from sgdscope.errors import InvalidInput
from sgdscope.estimators import SVRG, GradientClustering, MiniBatch, Sampled, Stratified, estimates, gradient_variance
from sgdscope.models.losses import SmoothedCrossEntropy, cross_entropy


def fresh(estimator, problem, loss="cross_entropy"):
    model, x, y = problem
    estimator.refresh(model, loss, x, y, generator=generator())
    return estimator


# The loss of SVRG


def squares(outputs, y):
    return outputs.square().sum(1)


def same_name():
    def squares(outputs, y):
        return 2 * outputs.square().sum(1)

    squares.__qualname__ = "squares"
    return squares


@pytest.mark.parametrize(
    ("first", "then", "came"),
    [
        ("cross_entropy", squares, r"the loss sgdscope.models.losses.cross_entropy; \S*squares came"),
        (squares, "cross_entropy", r"the loss \S*squares; sgdscope.models.losses.cross_entropy came"),
        (squares, same_name(), r"the loss \S*squares; another object of this name came"),
        (SmoothedCrossEntropy(0.1), SmoothedCrossEntropy(0.2), r"the loss \S*SmoothedCrossEntropy; another object of this name came"),
    ],
)
def test_another_loss_would_bias_svrg(first, then, came):
    given = model, x, y = problem()
    estimator = fresh(SVRG(2), given, first)
    with pytest.raises(InvalidInput, match=f"the estimator was refreshed with {came}"):
        estimator.estimate(model, then, x, y, generator=generator())
    for method in ("batches", "weights"):
        with pytest.raises(InvalidInput, match="the estimator was refreshed with"):
            gradient_variance(estimator, model, then, x, y, generator=generator(), method=method)
    fresh(estimator, given, then).estimate(model, then, x, y, generator=generator())


@pytest.mark.parametrize("names", [("cross_entropy", cross_entropy), (SmoothedCrossEntropy(0.1), SmoothedCrossEntropy(0.1))])
def test_the_same_loss_by_another_name(names):
    given = model, x, y = problem()
    estimator = fresh(SVRG(2), given, names[0])
    one, two = (estimator.estimate(model, loss, x, y, generator=generator()) for loss in names)
    assert torch.equal(one, two)


def test_a_restored_svrg_knows_its_loss_by_name():
    given = model, x, y = problem()
    estimator, again = fresh(SVRG(2), given, squares), SVRG(2)
    again.restore(estimator.state())
    with pytest.raises(InvalidInput, match=r"refreshed with the loss \S*squares; sgdscope.models.losses.cross_entropy came"):
        again.estimate(model, "cross_entropy", x, y, generator=generator())
    one, two = (which.estimate(model, squares, x, y, generator=generator()) for which in (estimator, again))
    assert torch.equal(one, two)
    with pytest.raises(InvalidInput, match="another object of this name came"):  # from its first use on the object counts
        again.estimate(model, same_name(), x, y, generator=generator())


def test_clusters_serve_another_loss():
    """The estimate stays unbiased."""
    given = model, x, y = problem()
    estimator = fresh(GradientClustering(3), given)
    index, weights = estimator.outcomes(len(x))
    found = []
    for draw in zip(index, weights, strict=True):
        estimator.draw = lambda number, generator, draw=draw: draw
        found.append(estimator.estimate(model, squares, x, y, generator=generator()))
    expected = torch.autograd.grad(squares(model(x), y).mean(), list(model.parameters()))
    close(torch.stack(found).mean(0), torch.cat([part.flatten() for part in expected]))


# Either way of making estimates


class Functional(nn.Module):
    """A weight that is used behind the back of its layer as well."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.last(F.linear(self.first(x).tanh(), self.first.weight.T))


@pytest.mark.parametrize("kind", [MiniBatch, SVRG])
def test_models_without_per_example_gradients_are_measured_by_batches(kind):
    """Whatever the number of repeats; with the same draws."""
    x, y = problem(number=9)[1:]
    model = seeded(Functional)
    estimator = fresh(kind(4), (model, x, y))
    with torch.no_grad():
        model.last.weight += 0.1
    for repeats in (2, 12):
        sources = [generator(7) for _ in range(2)]
        one, two = (
            torch.cat(list(estimates(estimator, model, "cross_entropy", x, y, repeats=repeats, generator=source, method=method)))
            for source, method in zip(sources, ("auto", "batches"), strict=True)
        )
        assert torch.equal(one, two) and torch.equal(sources[0].get_state(), sources[1].get_state())
    with pytest.raises(InvalidInput, match="parameter 'first.weight' must be used only by calling .* use method='batches'"):
        gradient_variance(estimator, model, "cross_entropy", x, y, generator=generator(), method="weights")


def broadcast(outputs, y):
    """(N, 1) less (N,) is (N, N)."""
    return (outputs[:, :1] - y).square().mean(1)


def shifted(x, generator):
    return x + torch.rand(1, generator=generator, dtype=x.dtype)


@pytest.mark.parametrize(
    ("augment", "method"), [(None, "auto"), (None, "batches"), (None, "weights"), (shifted, "auto"), (shifted, "batches")]
)
@pytest.mark.parametrize("repeats", [2, 50])
def test_coupled_losses_are_refused_in_any_way(method, repeats, augment):
    model, x, y = problem(number=40)
    settings = {"repeats": repeats, "method": method, "generator": generator()}
    with pytest.raises(InvalidInput, match="each loss must depend on its own example only"):
        gradient_variance(MiniBatch(4, augment=augment), model, broadcast, x, y, **settings)


@pytest.mark.parametrize("repeats", [2, 50])
@pytest.mark.parametrize("norm", [nn.BatchNorm1d(3), nn.BatchNorm1d(3, track_running_stats=False).eval()])
def test_batch_statistics_are_meant(norm, repeats):
    model = seeded(lambda: nn.Sequential(nn.Linear(4, 3), norm))
    x, y = problem(number=9)[1:]
    assert gradient_variance(MiniBatch(4), model, "cross_entropy", x, y, repeats=repeats, generator=generator()).average > 0


def test_the_check_draws_nothing_and_moves_nothing():
    """No generator, and no buffer of a model in training mode."""
    model, x, y = problem(number=20)
    source, state = generator(3), torch.get_rng_state()
    list(estimates(MiniBatch(2), model, squares, x, y, repeats=3, generator=source, method="batches"))
    expected = generator(3)
    for _ in range(3):
        MiniBatch(2).estimate(model, squares, x, y, generator=expected)
    assert torch.equal(source.get_state(), expected.get_state()) and torch.equal(state, torch.get_rng_state())
    spectral = seeded(lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)))).train()
    rows = []
    for method in (None, "batches"):
        twin = seeded(lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)))).train()
        twin.load_state_dict(spectral.state_dict())
        loss = lambda outputs, y: 0 * outputs.sum(1) + 1  # noqa: E731  (the same for all, so that the check has nothing to refuse)
        if method:
            next(estimates(MiniBatch(2), twin, loss, x, y, repeats=1, generator=generator(), method=method))
        else:
            MiniBatch(2).estimate(twin, loss, x, y, generator=generator())
        rows.append(torch.cat([buffer.flatten() for buffer in twin.buffers()]))
    assert torch.equal(*rows)


@pytest.mark.parametrize(
    "kind", [lambda: MiniBatch(2), lambda: SVRG(2), lambda: Stratified(torch.arange(6) % 2), lambda: GradientClustering(3)]
)
def test_estimates_without_gradient_mode(kind):
    given = model, x, y = problem()
    expected = fresh(kind(), given).estimate(model, "cross_entropy", x, y, generator=generator(1))
    with torch.no_grad():
        estimator = fresh(kind(), given)
        assert torch.equal(estimator.estimate(model, "cross_entropy", x, y, generator=generator(1)), expected)
        assert gradient_variance(estimator, model, "cross_entropy", x, y, generator=generator(), method="batches").average >= 0


# What an estimate is


class Returns:
    def __init__(self, value):
        self.value = value

    def estimate(self, model, loss, x, y, *, generator):
        return self.value


@pytest.mark.parametrize(
    ("value", "came"),
    [(torch.zeros(26), r"shape \(26,\)"), (torch.zeros(()), r"shape \(\)"), (torch.zeros(1, 27), r"shape \(1, 27\)"), ([0.0] * 27, "list")],
)
def test_estimates_of_another_shape(value, came):
    model, x, y = problem()
    with pytest.raises(
        InvalidInput, match=rf"an estimate must be a tensor \(27,\), one entry a trainable parameter of the model; {came} came"
    ):
        gradient_variance(Returns(value), model, "cross_entropy", x, y, generator=generator())


def test_draws_without_a_model_have_any_length():
    """Such as pure noise in place of estimates."""

    class Noise:
        def estimate(self, model, loss, x, y, *, generator):
            return torch.randn(5000, generator=generator)

    found = gradient_variance(Noise(), nn.Identity(), "mse", None, None, generator=generator(), two_pass=False)
    assert found.average == pytest.approx(1, abs=0.02)


class EachHalf(Sampled):
    """One example of each half: an estimator of somebody else's."""

    batch_size = 2

    def draw(self, number, *, generator):
        half = number // 2
        index = torch.randint(half, (2,), generator=generator)
        return index + torch.tensor([0, half]), torch.full((2,), 0.5, dtype=torch.float64)


def test_an_estimator_of_ones_own():
    """The same as `Stratified`, in both ways."""
    model, x, y = problem(number=8)
    found = [
        gradient_variance(which, model, "cross_entropy", x, y, repeats=2000, generator=generator(), method=method, two_pass=False).average
        for which, method in ((EachHalf(), "weights"), (EachHalf(), "batches"), (Stratified(torch.arange(8) // 4), "weights"))
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-8) and found[0] == pytest.approx(found[2], rel=0.1)
    state = EachHalf().state()
    EachHalf().restore(state)


# Arguments


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"estimator": MiniBatch}, r"estimator must be an object with estimate\(.*\); the class MiniBatch came. Pass MiniBatch\(20\)"),
        ({"estimator": 5}, r"estimator must be an object with estimate\(model, loss, x, y, generator=\); 5 came"),
        ({"model": 5}, "model must be a torch.nn.Module; int came"),
        ({"y": None}, r"y must be a tensor or a \(nested\) dict of tensors; NoneType came"),
        ({"memory": 0}, "memory must be a whole number of at least 1; 0 came"),
        ({"x": torch.zeros(6, 4)}, "x must have the shape and dtype that the model takes, whose parameters are of torch.float64; x .* of torch.float32 came"),
        ({"x": normal(6, 5)}, r"x must have the shape and dtype that the model takes, .* x \(\d, 5\) of torch.float64 came and the model fails: mat1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["auto", "batches"])
def test_arguments_of_the_variance(change, message, method):
    model, x, y = problem()
    given = {"estimator": MiniBatch(2), "model": model, "loss": "cross_entropy", "x": x, "y": y, "repeats": 4, "method": method} | change
    with pytest.raises(InvalidInput, match=message):
        gradient_variance(generator=generator(), **given)


def test_x_that_the_model_does_not_take():
    model, x, y = problem()
    for wrong in (x.float(), x[:, :3]):
        with pytest.raises(InvalidInput, match="x must have the shape and dtype that the model takes"):
            MiniBatch(2).estimate(model, "cross_entropy", wrong, y, generator=generator())


KINDS = {"mini-batch": lambda: MiniBatch(3), "svrg": lambda: SVRG(3), "stratified": lambda: Stratified(torch.arange(6) % 3)}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("which", ["x", "y"])
def test_values_that_are_not_finite_at_a_refresh(name, which):
    model, x, _ = problem()
    data = {"x": x.clone(), "y": normal(6, 3)}
    data[which][2, 1] = float("nan")
    with pytest.raises(InvalidInput, match=f"{which} must be finite; 1 of 6 examples hold NaN"):
        KINDS[name]().refresh(model, "mse", **data, generator=generator())


@pytest.mark.parametrize("name", KINDS)
def test_targets_are_needed_at_a_refresh(name):
    model, x, _ = problem()
    with pytest.raises(InvalidInput, match=r"y must be a tensor or a \(nested\) dict"):
        KINDS[name]().refresh(model, "mse", x, None, generator=generator())


@pytest.mark.parametrize("kind", [MiniBatch, SVRG])
def test_more_examples_than_there_are_at_a_refresh(kind):
    with pytest.raises(InvalidInput, match="batch_size must be at most the number of examples without replacement; 7 came for 6"):
        fresh(kind(7), problem())
    fresh(kind(7, replacement=True), problem())


@pytest.mark.parametrize(
    ("outcomes", "many"),
    [
        (lambda: MiniBatch(20).outcomes(200), r"about 10\^27"),
        (lambda: MiniBatch(3).outcomes(200), "1,313,400"),
        (lambda: MiniBatch(3, replacement=True).outcomes(101), "1,030,301"),
        (lambda: MiniBatch(5000, replacement=True).outcomes(1000), r"about 10\^15000"),
        (lambda: Stratified(torch.arange(200) // 20).outcomes(200), "10,240,000,000,000"),
    ],
)
def test_outcomes_that_fill_the_memory(outcomes, many):
    with pytest.raises(InvalidInput, match=f"outcomes are listed up to 1,000,000; there are {many} here"):
        outcomes()


def test_whole_numbers_of_numpy():
    """As Python's, so that they go into checkpoints."""
    estimator = GradientClustering(np.int64(3), steps=np.int32(2))
    assert type(MiniBatch(np.int64(3)).batch_size) is int
    assert [type(estimator.options()[name]) for name in ("num_clusters", "steps")] == [int, int] and estimator.batch_size == 3
    for wrong in (True, np.bool_(True), 3.0, np.float64(3), "3", np.int64(0)):
        with pytest.raises(InvalidInput, match="num_clusters must be a whole number of at least 1"):
            GradientClustering(wrong)


@pytest.mark.parametrize("layers", [[0], 0, [], "0", [None]])
def test_layers_that_are_no_names(layers):
    with pytest.raises(InvalidInput, match="layers must be a list of names" + (r".*Pass \['0'\]" if layers == "0" else "")):
        GradientClustering(3, layers=layers)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: GradientClustering(3, biases="no"), "biases"),
        (lambda: GradientClustering(3, warm=1), "warm"),
        (lambda: SVRG(3, replacement=float("nan")), "replacement"),
    ],
)
def test_switches_that_are_neither_on_nor_off(make, name):
    with pytest.raises(InvalidInput, match=f"{name} must be True or False; .* came"):
        make()


def test_shares_of_numpy():
    assert type(GradientClustering(3, share=np.float32(0.5)).share) is float


def test_models_that_are_none():
    _, x, y = problem()
    for model in (None, lambda x: x):
        for estimator in (MiniBatch(3), SVRG(3), GradientClustering(3)):
            with pytest.raises(InvalidInput, match="model must be a torch.nn.Module; .* came"):
                estimator.refresh(model, "cross_entropy", x, y, generator=generator())


@pytest.mark.parametrize("make", [lambda: SVRG(3), lambda: GradientClustering(3), lambda: GradientClustering(3, centres="rank1")])
@pytest.mark.parametrize("way", [copy.deepcopy, lambda estimator: pickle.loads(pickle.dumps(estimator))])
def test_copies_and_pickles_go_on(make, way):
    """Alone on the same model and data, or with copies of these."""
    given = model, x, y = problem()
    estimator = fresh(make(), given)
    again = way(estimator)
    expected = estimator.estimate(model, "cross_entropy", x, y, generator=generator(3))
    assert torch.equal(again.estimate(model, "cross_entropy", x, y, generator=generator(3)), expected)
    together, other = copy.deepcopy((estimator, model))
    assert torch.equal(together.estimate(other, "cross_entropy", x, y, generator=generator(3)), expected)
    with pytest.raises(InvalidInput, match="refreshed on other data"):
        way(estimator).estimate(model, "cross_entropy", x + 1, y, generator=generator(3))


@pytest.mark.parametrize(
    "make",
    [
        lambda: MiniBatch(2, augment=3),
        lambda: SVRG(2, augment="flip"),
        lambda: Stratified(torch.arange(3), augment=[]),
        lambda: GradientClustering(3, centres="rank1", augment=True),
    ],
)
def test_augmentations_that_are_no_functions(make):
    with pytest.raises(InvalidInput, match=r"augment must be a function \(x, generator\) -> x; .* came"):
        make()


def test_a_model_that_svrg_cannot_copy():
    model = nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 3))).double()
    _, x, y = problem()
    model(x)
    with pytest.raises(InvalidInput, match=r"SVRG keeps a copy of the model, which cannot be copied: .*\. Make the model copyable"):
        SVRG(2).refresh(model, "cross_entropy", x, y, generator=generator())


# States


@pytest.mark.parametrize(
    ("ours", "state", "came"),
    [
        (GradientClustering(3), SVRG(3).state(), "that of SVRG"),
        (SVRG(3), GradientClustering(3).state(), "that of GradientClustering"),
        (MiniBatch(3), SVRG(3).state(), "that of SVRG"),
        (SVRG(3), MiniBatch(3).state(), "that of MiniBatch"),
        (Stratified(torch.arange(3)), MiniBatch(3).state(), "that of MiniBatch"),
        (MiniBatch(3), {}, "one without options"),
        (Stratified(torch.arange(3)), {}, "one without partition"),
        (SVRG(3), MiniBatch(3).state() | {"kind": "SVRG"}, "one without on, weights, mean, modes"),
        (GradientClustering(3), None, "that of NoneType"),
    ],
)
def test_states_of_others(ours, state, came):
    with pytest.raises(InvalidInput, match=f"the state must be what state\\(\\) of {type(ours).__name__} returned; {came} came"):
        ours.restore(state)


def test_restored_before_the_kind_was_written():
    """States from before: without kind and without loss."""
    given = model, x, y = problem()
    estimator, again = fresh(SVRG(2), given), SVRG(2)
    state = estimator.state()
    del state["kind"], state["on"]["loss"]
    again.restore(state)
    one, two = (which.estimate(model, "cross_entropy", x, y, generator=generator()) for which in (estimator, again))
    assert torch.equal(one, two)
