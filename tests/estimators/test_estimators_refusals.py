"""What the estimators refuse, and what they carry through checkpoints."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from estimator_cases import generator, normal, problem

from sgdscope.errors import InvalidInput, NotFinite
from sgdscope.estimators import SVRG, GradientClustering, MiniBatch, Stratified
from sgdscope.training import train


def estimate(estimator, model, x, y):
    return estimator.estimate(model, "cross_entropy", x, y, generator=generator())


def refreshed(estimator, number=6):
    model, x, y = problem(number=number)
    estimator.refresh(model, "cross_entropy", x, y, generator=generator())
    return model, x, y


@pytest.mark.parametrize("size", [0, -1, 2.0, True, None])
@pytest.mark.parametrize("kind", [MiniBatch, SVRG])
def test_batch_sizes(kind, size):
    with pytest.raises(InvalidInput, match="batch_size must be a whole number of at least 1"):
        kind(size)


def test_more_examples_than_there_are():
    model, x, y = problem()
    with pytest.raises(InvalidInput, match="batch_size must be at most the number of examples without replacement; 7 came for 6"):
        estimate(MiniBatch(7), model, x, y)
    assert estimate(MiniBatch(7, replacement=True), model, x, y).shape == (27,)


@pytest.mark.parametrize(
    "partition",
    [
        [0, 1],
        torch.zeros(3),
        torch.zeros(2, 2, dtype=torch.int64),
        torch.zeros(0, dtype=torch.int64),
        torch.zeros(3, dtype=torch.complex64),
    ],
)
def test_partitions(partition):
    with pytest.raises(InvalidInput, match=r"partition must be a tensor \(N,\) of whole numbers"):
        Stratified(partition)


def test_a_partition_of_other_data():
    model, x, y = problem()
    with pytest.raises(InvalidInput, match="the partition must name the set of each example; it has 5 for 6 examples"):
        estimate(Stratified(torch.zeros(5, dtype=torch.int64)), model, x, y)


def test_use_before_refresh():
    with pytest.raises(InvalidInput, match="SVRG has no snapshot yet"):
        estimate(SVRG(2), *problem())


def test_another_model():
    estimator = SVRG(2)
    model, x, y = refreshed(estimator)
    with pytest.raises(InvalidInput, match="refreshed on another model"):
        estimate(estimator, copy.deepcopy(model), x, y)


@pytest.mark.parametrize("change", ["values", "labels", "length"])
def test_other_data(change):
    estimator = SVRG(2)
    model, x, y = refreshed(estimator)
    x, y = {"values": (x + 1, y), "labels": (x, (y + 1) % 3), "length": (x[:5], y[:5])}[change]
    with pytest.raises(InvalidInput, match="refreshed on other data"):
        estimate(estimator, model, x, y)


def test_data_written_to_since():
    estimator = SVRG(2)
    model, x, y = refreshed(estimator)
    x += 1
    with pytest.raises(InvalidInput, match="x must stay as it was"):
        estimate(estimator, model, x, y)


def test_copies_and_views_of_the_data_are_the_same_data():
    estimator = SVRG(2)
    model, x, y = refreshed(estimator)
    assert torch.equal(estimate(estimator, model, x.clone(), y[:]), estimate(estimator, model, x, y))


def test_active_dropout():
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.Linear(3, 3)).double()
    _, x, y = problem()
    with pytest.raises(InvalidInput, match="Dropout '1' drops values at random"):
        estimate(MiniBatch(2), model, x, y)
    assert torch.isfinite(estimate(MiniBatch(2), model.eval(), x, y)).all()


def test_a_generator_is_needed():
    model, x, y = problem()
    with pytest.raises(InvalidInput, match="generator must be a torch.Generator; NoneType came"):
        MiniBatch(2).estimate(model, "cross_entropy", x, y, generator=None)


def test_losses_that_are_not_finite():
    model, x, y = problem()
    with torch.no_grad():
        model[0].weight.fill_(float("nan"))
    with pytest.raises(NotFinite, match="losses must be finite"):
        estimate(MiniBatch(2), model, x, y)


def test_a_frozen_parameter_is_left_out():
    model, x, y = problem()
    model[0].weight.requires_grad_(False)
    estimator = SVRG(2)
    estimator.refresh(model, "cross_entropy", x, y, generator=generator())
    assert estimate(estimator, model, x, y).shape == (15,)


ESTIMATORS = {"mini-batch": lambda: MiniBatch(3), "svrg": lambda: SVRG(3), "stratified": lambda: Stratified(torch.arange(12) % 3)}


def steps(estimator, number, file):
    """Parameters after each step; refreshed at steps 0 and 4."""
    model, x, y = problem(number=12)
    found = {}
    settings = {"learning_rate": 0.1, "num_steps": number, "estimator": estimator, "checkpoint": file, "checkpoint_every": 1}
    for point in train(model, "cross_entropy", x, y, **settings):
        if point.step in (0, 4):
            estimator.refresh(model, "cross_entropy", x, y, generator=generator(point.step))
        found[point.step] = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    return found


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_checkpoint_carries_the_estimator(name, tmp_path):
    """Six steps in one go, and in two processes' worth of objects: the same bits."""
    whole = steps(ESTIMATORS[name](), 6, tmp_path / "a.safetensors")
    steps(ESTIMATORS[name](), 2, tmp_path / "b.safetensors")
    rest = steps(ESTIMATORS[name](), 6, tmp_path / "b.safetensors")
    assert sorted(rest) == [3, 4, 5, 6] and all(torch.equal(rest[step], whole[step]) for step in rest)
    assert len({float(value.sum()) for value in whole.values()}) == 7


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (MiniBatch(3), MiniBatch(4), "batch_size was 4, is 3"),
        (SVRG(3), SVRG(3, replacement=True), "replacement was True, is False"),
        (GradientClustering(3), GradientClustering(3, centres="rank1"), "centres was 'rank1', is 'gram'"),
        (GradientClustering(3, layers=["0"]), GradientClustering(3), r"layers was None, is \['0'\]"),
    ],
)
def test_a_state_of_other_options(ours, theirs, message):
    with pytest.raises(InvalidInput, match=f"the state must be of an estimator with the same options; {message}"):
        ours.restore(theirs.state())


def test_a_restored_estimator_knows_its_data():
    estimator = SVRG(2)
    model, x, y = refreshed(estimator)
    again = SVRG(2)
    again.restore(estimator.state())
    with pytest.raises(InvalidInput, match="refreshed on other data"):
        estimate(again, model, normal(6, 4, seed=9), y)
    with pytest.raises(InvalidInput, match="refreshed on another model"):
        estimate(again, nn.Linear(4, 3).double(), x, y)
    assert torch.equal(estimate(again, model, x, y), estimate(estimator, model, x, y))
