"""Batch norm and its mode under SVRG: the full-batch gradient, the estimates and the snapshot are of one mode."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from estimator_cases import generator, normed, problem

from sgdscope.errors import InvalidInput
from sgdscope.estimators import SVRG, MiniBatch, gradient_variance
from sgdscope.probes import EstimatorVariance, Recorder
from sgdscope.training import measuring, train


def refreshed(training, number=40):
    model, x, y = problem(normed, number)
    model.train(training)
    estimator = SVRG(8)
    estimator.refresh(model, "cross_entropy", x, y, generator=generator())
    return estimator, model, x, y


@pytest.mark.parametrize("training", [False, True])
def test_another_mode_of_batch_norm_is_refused(training):
    estimator, model, x, y = refreshed(training)
    model.train(not training)
    with pytest.raises(InvalidInput, match="refreshed with batch norm in another mode .* Call refresh in the mode of the estimates"):
        estimator.estimate(model, "cross_entropy", x, y, generator=generator())
    again = SVRG(8)
    again.restore(estimator.state())
    with pytest.raises(InvalidInput, match="batch norm in another mode"):
        again.estimate(model, "cross_entropy", x, y, generator=generator())
    model.train(training)
    assert torch.isfinite(again.estimate(model, "cross_entropy", x, y, generator=generator())).all()


def test_the_mode_of_a_model_without_norms_does_not_matter():
    model, x, y = problem()
    estimator = SVRG(3)
    estimator.refresh(model.train(), "cross_entropy", x, y, generator=generator())
    one, two = (estimator.estimate(model.train(mode), "cross_entropy", x, y, generator=generator()) for mode in (True, False))
    assert torch.equal(one, two)


def test_estimates_in_training_mode_leave_the_snapshot_alone():
    estimator, model, x, y = refreshed(True)
    before = {name: value.clone() for name, value in estimator.state()["weights"].items()}
    moved = model[1].running_mean.clone()
    for seed in range(5):
        estimator.estimate(model, "cross_entropy", x, y, generator=generator(seed))
    after = estimator.state()["weights"]
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not torch.equal(model[1].running_mean, moved)  # the present model's do move, as in training


def test_unbiased_in_training_mode_up_to_its_batches():
    """At the snapshot the difference is zero, so each estimate is the full-batch gradient in the mode of the refresh."""
    estimator, model, x, y = refreshed(True)
    one, two = (estimator.estimate(model, "cross_entropy", x, y, generator=generator(seed)) for seed in (1, 2))
    torch.testing.assert_close(one, two)
    full = MiniBatch(40).estimate(model, "cross_entropy", x, y, generator=generator())
    torch.testing.assert_close(one, full)
    assert gradient_variance(estimator, model, "cross_entropy", x, y, repeats=4, generator=generator()).average < 1e-25


def test_one_svrg_for_training_and_measurement_is_refused_with_batch_norm():
    model, x, y = problem(normed, 40)
    estimator = SVRG(8)
    recorder = Recorder(EstimatorVariance({"svrg": estimator}, refresh=lambda step: step == 0, repeats=3), when=True)
    with pytest.raises(InvalidInput, match="give training and measurement an SVRG each"):
        for point in train(model, "cross_entropy", x, y, learning_rate=0.1, batch_size=8, num_steps=3, estimator=estimator):
            recorder(point)
    own, recorder = SVRG(8), Recorder(EstimatorVariance({"svrg": SVRG(8)}, refresh=lambda step: step == 0, repeats=3), when=True)
    for point in train(model, "cross_entropy", x, y, learning_rate=0.1, batch_size=8, num_steps=3, estimator=own):
        if point.step == 0:
            own.refresh(point.model, point.loss, x, y, generator=generator())
        recorder(point)
    assert (recorder.table.svrg_average.iloc[1:] > 0).all()
    with measuring(model), pytest.raises(InvalidInput, match="batch norm in another mode"):
        own.estimate(model, "cross_entropy", x, y, generator=generator())
