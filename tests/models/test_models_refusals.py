# ruff: noqa: E501  (tables of cases and messages, one line each)
"""What is refused of a model: each type of module, and functions that are random or couple examples."""

import re

import pytest
import torch
from torch import nn

from sgdscope.errors import InvalidInput
from sgdscope.models.refusals import check_function, check_modules, dropped_share, largest, rounding


def with_layer(layer, training=True):
    return nn.Sequential(nn.Linear(3, 3), layer).train(training)


TRAINING = {  # refused in training mode, fine in eval mode
    "batch norm": (
        nn.BatchNorm1d(3),
        "batch norm must use fixed statistics; BatchNorm1d '1' is in training mode, so that each loss depends",
    ),
    "batch norm in 3 dimensions": (nn.BatchNorm3d(3), "BatchNorm3d '1' is in training mode"),
    "instance norm": (nn.InstanceNorm1d(3, track_running_stats=True), "InstanceNorm1d '1' updates running statistics. Call model.eval()."),
    "dropout": (nn.Dropout(0.25), "must be a fixed function of the parameters; Dropout '1' drops a random share of 0.25 in training mode."),
    "feature dropout": (nn.FeatureAlphaDropout(0.1), "FeatureAlphaDropout '1' drops a random share of 0.1"),
    "recurrent": (nn.GRU(3, 3, num_layers=2, dropout=0.2), "GRU '1' drops a random share of 0.2"),
    "attention": (nn.MultiheadAttention(3, 1, dropout=0.1), "MultiheadAttention '1' drops a random share of 0.1"),
    "inside": (nn.TransformerEncoderLayer(3, 1, 4), "MultiheadAttention '1.self_attn' drops a random share of 0.1"),
    "leaky": (nn.RReLU(), "RReLU '1' is random in training mode. Call model.eval()."),
}
ALWAYS = {
    "batch norm without statistics": (nn.BatchNorm1d(3, track_running_stats=False), "BatchNorm1d '1' has no running statistics, so"),
    "max_norm": (nn.Embedding(3, 3, max_norm=1.0), "Embedding '1': max_norm rescales its weight in each forward pass. Switch that off."),
    "scaled by frequency": (nn.EmbeddingBag(3, 3, scale_grad_by_freq=True), "EmbeddingBag '1': scale_grad_by_freq mixes the examples."),
}
NEVER = {
    "linear": nn.Linear(3, 3),
    "layer norm": nn.LayerNorm(3),
    "group norm": nn.GroupNorm(1, 3),
    "instance norm": nn.InstanceNorm1d(3),
    "dropout of nothing": nn.Dropout(0.0),
    "recurrent": nn.LSTM(3, 3, num_layers=2),
    "embedding": nn.Embedding(3, 3, padding_idx=0),
    "encoder": nn.TransformerEncoderLayer(3, 1, 4, dropout=0.0),
}


@pytest.mark.parametrize("name", TRAINING)
def test_refused_in_training_mode(name):
    layer, message = TRAINING[name]
    with pytest.raises(InvalidInput, match=re.escape(message)):
        check_modules(with_layer(layer))
    check_modules(with_layer(layer, training=False))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ALWAYS)
def test_refused_in_both_modes(name, training):
    layer, message = ALWAYS[name]
    with pytest.raises(InvalidInput, match=re.escape(message)):
        check_modules(with_layer(layer, training=training))


def test_batch_norm_without_statistics_is_not_mended_by_eval():
    with pytest.raises(InvalidInput, match=r"no gradient of its own. Make it with track_running_stats=True, or use group or layer norm."):
        check_modules(with_layer(nn.BatchNorm1d(3, track_running_stats=False), training=False))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NEVER)
def test_not_refused(name, training):
    check_modules(with_layer(NEVER[name], training=training))


def test_a_single_recurrent_layer_drops_nothing():
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last"):
        layer = nn.LSTM(3, 3, dropout=0.5)
    assert dropped_share(layer) == 0.0
    check_modules(with_layer(layer))


def test_the_share_that_is_dropped_whatever_the_mode():
    shares = [
        nn.Dropout(0.25).eval(),
        nn.Dropout(0.25),
        nn.GRU(3, 3, num_layers=2, dropout=0.5),
        nn.Linear(3, 3),
        nn.TransformerEncoderLayer(3, 1, 4),
    ]
    assert [dropped_share(layer) for layer in shares] == [0.25, 0.25, 0.5, 0.0, 0.0]  # the last one's lies in its parts


def test_what_is_no_model():
    with pytest.raises(
        InvalidInput, match="model must be a torch.nn.Module; function came. Wrap a function in a module with its parameters."
    ):
        check_modules(with_layer)
    with pytest.raises(InvalidInput, match="must have trainable parameters"):
        check_modules(nn.ReLU())
    with pytest.raises(InvalidInput, match=r"parameters must be initialised; '1.weight' is lazy. Run the model once."):
        check_modules(with_layer(nn.LazyLinear(3)))
    with torch.autocast("cpu"), pytest.raises(InvalidInput, match="need one dtype throughout; an autocast region is active. Leave it"):
        check_modules(nn.Linear(3, 3))


def test_a_random_function():
    one, two = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.1])
    with pytest.raises(
        InvalidInput,
        match=re.escape("the same two examples gave the losses [1.0, 2.0] and then [1.0, 2.0999999046325684]. Switch off what is random"),
    ):
        check_function(one, two, one)


def test_a_function_that_couples_examples():
    one, two = torch.tensor([1.0, 2.0]), torch.tensor([1.5, 2.0])
    with pytest.raises(
        InvalidInput,
        match=re.escape(
            "each loss must depend on its own example only; two examples gave the losses [1.0, 2.0] together and [1.5, 2.0] alone."
        ),
    ):
        check_function(one, one, two)


def test_of_many_examples_the_two_that_differ_most_are_shown():
    one, two = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 2.5, 3.25, 6.0])
    with pytest.raises(InvalidInput, match=re.escape("two examples gave the losses [2.0, 4.0] together and [2.5, 6.0] alone.")):
        check_function(one, one, two)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_is_no_refusal(dtype):
    """sqrt(eps) of the larger loss, or 32 eps of the largest output."""
    scale = torch.finfo(dtype).eps ** 0.5
    one = torch.tensor([4.0, 1.0], dtype=dtype, requires_grad=True)
    assert rounding(one) == scale
    check_function(one, one, one + torch.tensor([0.0, 3.9 * scale], dtype=dtype))
    with pytest.raises(InvalidInput, match="on its own example only"):
        check_function(one, one, one + torch.tensor([0.0, 4.2 * scale], dtype=dtype))
    near_zero = torch.tensor([1e-9, 0.0], dtype=dtype)
    eps = torch.finfo(dtype).eps
    check_function(near_zero, near_zero, near_zero + 31 * eps * 100, largest_output=100.0)
    with pytest.raises(InvalidInput, match="on its own example only"):
        check_function(near_zero, near_zero, near_zero + 34 * eps * 100, largest_output=100.0)


def test_the_largest_output():
    assert (
        largest({"a": torch.tensor([1.0, -7.0]), "b": (torch.tensor([9]), [torch.tensor(3.0), torch.zeros(0)])}) == 7.0
    )  # integers are no outputs
    assert largest(None) == 0.0
