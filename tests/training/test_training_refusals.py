"""What training refuses, before anything is computed, and that the message says what to do."""

import re
import sys
from math import inf, nan
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no neighbours
from training_cases import flat, normal, problem, run, seeded

from sgdscope.errors import InvalidInput, NotFound
from sgdscope.training import CheckpointError, train


class Nothing:
    batch_size = 4

    def estimate(self, model, loss, x, y, *, generator):
        raise AssertionError("not to be called")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": None}, "batch_size is missing: give the number of examples a step."),
        ({"batch_size": 24}, "batch_size must be a whole number from 1 to 23 (the number of examples); 24 came."),
        ({"batch_size": 0}, "batch_size must be a whole number from 1 to 23 (the number of examples); 0 came."),
        ({"num_epochs": 2}, "give num_steps or num_epochs, one of them; got 9 and 2."),
        ({"num_steps": None}, "give num_steps or num_epochs, one of them; got None and None."),
        ({"num_steps": -1}, "num_steps must be a whole number of at least 0; -1 came."),
        ({"num_steps": 2.5}, "num_steps must be a whole number of at least 0; 2.5 came."),
        ({"num_steps": True}, "num_steps must be a whole number of at least 0; True came."),
        ({"num_steps": None, "num_epochs": -1}, "num_epochs must be a finite number that is not negative, got -1."),
        ({"num_steps": None, "num_epochs": nan}, "num_epochs must be a finite number that is not negative, got nan."),
        ({"num_steps": None, "num_epochs": inf}, "num_epochs must be a finite number that is not negative, got inf."),
        ({"num_steps": None, "num_epochs": "3"}, "num_epochs must be a finite number that is not negative, got '3'."),
        ({"learning_rate": 0.0}, "rate must be a positive finite number, got 0.0."),
        ({"learning_rate": nan}, "rate must be a positive finite number, got nan."),
        ({"momentum": 1.0}, "momentum must be from 0 to below 1, got 1.0."),
        ({"weight_decay": -1.0}, "weight_decay must be finite and not negative, got -1.0."),
        ({"decayed": "bias"}, "decayed must be a function of name and parameter, got 'bias'."),
        ({"seed": 1.5}, "seed must be a whole number, got 1.5."),
        ({"seed": None}, "seed must be a whole number, got None."),
        ({"mode": "test"}, "mode must be 'train' or 'eval', got 'test'."),
        ({"largest_loss": 0.0}, "largest_loss must be positive, got 0.0."),
        ({"largest_loss": nan}, "largest_loss must be positive, got nan."),
        ({"chunk_size": 0}, "chunk_size must be a whole number of at least 1; 0 came."),
        ({"checkpoint_every": 0}, "checkpoint_every must be a whole number of at least 1; 0 came."),
        ({"checkpoint_every": True}, "checkpoint_every must be a whole number of at least 1; True came."),
        ({"augment": 3}, "augment must be a function, got 3."),
        ({"gradient": "autograd"}, "gradient must be a function, got 'autograd'."),
        ({"loss_after": 10}, "loss_after must be True, False, or a function of the step, got 10."),
        ({"full_loss": None}, "full_loss must be True, False, or a function of the step, got None."),
        ({"carry": {"table": []}}, "what is carried has methods state() and restore(state); 'table', list, lacks them."),
        ({"estimator": Nothing(), "gradient": lambda *_: 0}, "give a gradient (on the batch) or an estimator (on all data), not both."),
        ({"estimator": Nothing(), "augment": lambda *_: 0}, "an estimator draws its own examples; hand augment to the estimator."),
        ({"estimator": Nothing(), "loss_after": True}, "there is no batch whose loss_after could be taken; use full_loss."),
        ({"estimator": Nothing(), "loss_after": lambda step: False}, "there is no batch whose loss_after could be taken"),
        ({"estimator": object()}, "an estimator has a method estimate(model, loss, x, y, generator=); object has none."),
        ({"estimator": type("E", (), {"estimate": print})(), "batch_size": None}, "batch_size is missing"),
        ({"estimator": Nothing(), "batch_size": 100}, "batch_size must be that of the estimator, 4; 100 came. Leave it out."),
        ({"estimator": Nothing(), "batch_size": 24}, "batch_size must be that of the estimator, 4; 24 came. Leave it out."),
        (
            {"estimator": Nothing(), "sampling": "with_replacement"},
            "an estimator draws its own examples, from the seed; sampling='with_replacement' came. Leave it out.",
        ),
        ({"estimator": Nothing(), "drop_last": False}, "an estimator draws its own examples, from the seed; drop_last=False came."),
        ({"estimator": Nothing(), "generator": torch.Generator()}, "an estimator draws its own examples, from the seed; generator=<torch"),
        ({"estimator": type("E", (), {"estimate": print})(), "batch_size": 2.5}, "batch_size must be a whole number of at least 1; 2.5"),
        ({"loss": 3}, "loss must be a callable (outputs, y) -> (N,) losses"),
    ],
)
def test_settings(settings, message):
    with pytest.raises(InvalidInput, match=re.escape(message)):
        run(**settings)


def test_unknown_names():
    with pytest.raises(NotFound, match="unknown loss 'cross_entrpy'. Did you mean 'cross_entropy'"):
        run(loss="cross_entrpy")
    with pytest.raises(NotFound, match="unknown sampling 'shuffle'. Valid: epochs, independent, with_replacement."):
        run(sampling="shuffle")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, x, y: (m, x[:0], y[:0]), "x must hold at least one example; 0 came (empty data)"),
        (lambda m, x, y: (m, x, y[1:]), "must hold the same number of examples; x: 23, y: 22 came"),
        (lambda m, x, y: (m, x.float(), y), "must have one floating dtype; 0.weight of torch.float64, x of torch.float32 came"),
        (
            lambda m, x, y: (m, x.index_fill(0, torch.tensor([3]), nan), y),
            "x must be finite; 1 of 23 examples hold NaN or infinite values",
        ),
        (lambda m, x, y: (m, x, y + 1), "labels must lie in 0..2, for the model has 3 outputs; 3 came"),
        (lambda m, x, y: (m, x, y.int()), "cross_entropy takes outputs (N, classes) and labels y (N,) of int64"),
        (lambda m, x, y: (m.requires_grad_(False), x, y), "must have trainable parameters; none of its 4 requires a gradient"),
        (lambda m, x, y: (m, x.numpy(), y), "x must be a tensor or a (nested) dict of tensors; ndarray came"),
    ],
)
def test_data(change, message):
    model, x, y = change(*problem())
    with pytest.raises(InvalidInput, match=re.escape(message)):
        train(model, "cross_entropy", x, y, learning_rate=0.1, batch_size=4, num_steps=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, :4], "x (1, 4) of torch.float64 came and the model fails: mat1 and mat2"),
        (lambda x: {"inputs": x}, "x must fit the model; x['inputs'] of shape (N, 5) came, and the model fails on the first example: "),
    ],
)
def test_inputs_that_the_model_fails_on(change, message):
    model, x, y = problem()
    with pytest.raises(InvalidInput, match=re.escape(message)) as refused:
        train(model, "cross_entropy", change(x), y, learning_rate=0.1, batch_size=4, num_steps=1)
    assert isinstance(refused.value.__cause__, RuntimeError | TypeError)


def test_a_mean_loss_is_refused():
    with pytest.raises(InvalidInput, match=r'loss must return one number per example, shape \(1,\); a scalar .* Use reduction="none"'):
        run(loss=F.cross_entropy)


def test_refused_before_the_first_snapshot_and_before_the_model_changes():
    model, x, y = problem()
    before = flat(model)
    with pytest.raises(InvalidInput):
        train(model, "cross_entropy", x, y, learning_rate=0.1, batch_size=99, num_steps=1)  # not even iterated
    assert torch.equal(flat(model), before) and model.training


@pytest.mark.parametrize("value", [nan, inf, None, "0.1", torch.tensor(0.1)])
def test_a_schedule_that_gives_no_finite_number(value):
    model, x, y = problem()
    steps = train(model, "cross_entropy", x, y, learning_rate=lambda step, epoch: 0.1 if step < 3 else value, batch_size=4, num_steps=9)
    for _ in range(3):
        next(steps)
    with pytest.raises(InvalidInput, match=re.escape(f"the schedule must give a finite number at step 3; {value!r} came.")):
        next(steps)


def chance():
    """Modules that draw in training mode."""
    return {
        "dropout": nn.Dropout(0.5),
        "spatial dropout": nn.Dropout2d(0.1),
        "alpha dropout": nn.AlphaDropout(0.1),
        "two layers": nn.LSTM(5, 5, num_layers=2, dropout=0.2),
        "attention": nn.MultiheadAttention(5, 1, dropout=0.1),
        "encoder": nn.TransformerEncoderLayer(5, 1, 4),
        "leaky": nn.RReLU(),
    }


@pytest.mark.parametrize("name", chance())
def test_modules_that_draw_at_random(name):
    model, x, y = problem()
    model.part = chance()[name].double()
    model.forward = lambda x: model[2](model[1](model[0](x)))
    settings = {"learning_rate": 0.1, "batch_size": 4, "num_steps": 2}
    message = (
        r"module 'part[^']*' is random in training mode, by PyTorch's global generator, so the run could not be repeated. Switch that off"
    )
    with pytest.raises(InvalidInput, match=message):
        train(model, "cross_entropy", x, y, **settings)
    assert [point.step for point in train(model, "cross_entropy", x, y, mode="eval", **settings)] == [0, 1, 2]


@pytest.mark.parametrize(
    "layer", [nn.Dropout(0.0), nn.LSTM(5, 5), nn.MultiheadAttention(5, 1), nn.TransformerEncoderLayer(5, 1, 4, dropout=0.0)]
)
def test_modules_that_do_not(layer):
    model, x, y = problem()
    model.part = layer.double()
    model.forward = lambda x: model[2](model[1](model[0](x)))
    assert len(list(train(model, "cross_entropy", x, y, learning_rate=0.1, batch_size=4, num_steps=2))) == 3


def test_a_single_recurrent_layer_drops_nothing():
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last"):
        model = seeded(lambda: nn.LSTM(5, 3, dropout=0.5))
    model.forward = lambda x: nn.LSTM.forward(model, x)[0]
    _, x, y = problem()
    assert len(list(train(model, "cross_entropy", x, y, learning_rate=0.1, batch_size=4, num_steps=2))) == 3


def functional_dropout(x):
    return F.dropout(x, 0.1)


def test_random_numbers_from_the_global_generator_are_found_at_the_first_step():
    """Dropout as a function, an augmentation and a rule that leave their generator aside."""
    message = "the first step drew from PyTorch's global generator, so the run could not be repeated: dropout or noise in the model"
    model, x, y = problem()
    model.forward = lambda x: nn.Sequential.forward(model, functional_dropout(x))
    steps = train(model, "cross_entropy", x, y, learning_rate=0.1, batch_size=4, num_steps=2)
    next(steps)
    with torch.random.fork_rng(devices=[]), pytest.raises(InvalidInput, match=message):
        next(steps)
    for settings in (
        {"augment": lambda x, generator: x + torch.randn_like(x)},
        {"gradient": lambda *_: torch.randn(66, dtype=torch.float64)},
    ):
        with torch.random.fork_rng(devices=[]), pytest.raises(InvalidInput, match=message):
            run(**settings)


def test_a_checkpoint_that_is_a_folder(tmp_path):
    with pytest.raises(CheckpointError, match="could not read the checkpoint .*Give the path of a file."):
        run(checkpoint=tmp_path)


def test_targets_that_are_not_those_of_the_loss():
    model, x, _ = problem()
    with pytest.raises(InvalidInput, match=r"squared_error takes targets of the shape and dtype of the outputs, \(1, 3\)"):
        train(model, "squared_error", x, normal(23, 2), learning_rate=0.1, batch_size=4, num_steps=1)
