"""Networks of linear layers: parameters named in the papers and docstrings, layers, initial weights, refusals."""

import pytest
import torch
from torch import nn

from sgdscope.errors import InvalidInput, NotFound
from sgdscope.models import build


def count(name, **options):
    return sum(parameter.numel() for parameter in build(name, seed=0, **options).parameters())


def kinds(model):
    return [type(layer).__name__ for layer in model]


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("linear", {}, 7_850),
        ("linear", {"bias": False}, 7_840),
        ("linear", {"hidden": (50,)}, 784 * 50 + 50 + 50 * 10 + 10),
        ("mlp", {}, 1_863_690),
        ("mlp", {"hidden": (300, 100)}, 266_610),
        ("mlp", {"hidden": (70,), "batch_norm": True}, 785 * 70 + 2 * 70 + 71 * 10),
        ("mlp", {"hidden": (), "in_shape": (12,), "num_classes": 3}, 13 * 3),
        ("fcn", {}, 60_630),
        ("fcn", {"batch_norm": True}, 60_910),
    ],
)
def test_numbers_of_parameters(name, options, expected):
    assert count(name, **options) == expected


def test_the_mnist_network_has_31_parameters_a_training_image_as_the_gradient_variance_paper_counts():
    assert round(count("mlp") / 60_000) == 31


def test_layers_in_order():
    assert kinds(build("linear", seed=0, hidden=(4,))) == ["Flatten", "Linear", "Linear"]
    assert kinds(build("mlp", seed=0, hidden=(4, 5))) == ["Flatten", "Linear", "ReLU", "Linear", "ReLU", "Linear"]
    assert kinds(build("fcn", seed=0)) == kinds(build("mlp", seed=0))
    normed = build("mlp", seed=0, hidden=(4,), activation="tanh", batch_norm=True)
    assert kinds(normed) == ["Flatten", "Linear", "BatchNorm1d", "Tanh", "Linear"]
    assert [layer.out_features for layer in build("fcn", seed=0) if isinstance(layer, nn.Linear)] == [70, 70, 10]
    assert [layer.out_features for layer in build("mlp", seed=0) if isinstance(layer, nn.Linear)] == [1024, 1024, 10]


def test_a_deep_linear_network_is_the_product_of_its_matrices():
    model = build("linear", seed=0, in_shape=(2, 3), hidden=(5, 4), bias=False, dtype=torch.float64)
    x = torch.randn(7, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    matrices = [layer.weight for layer in model if isinstance(layer, nn.Linear)]
    torch.testing.assert_close(model(x), x.flatten(1) @ (matrices[2] @ matrices[1] @ matrices[0]).T)


@pytest.mark.parametrize(("activation", "function"), [("relu", torch.relu), ("tanh", torch.tanh)])
def test_a_perceptron_is_its_formula(activation, function):
    model = build("mlp", seed=0, in_shape=(6,), hidden=(5, 4), num_classes=3, activation=activation, dtype=torch.float64)
    x = torch.randn(7, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (w1, b1), (w2, b2), (w3, b3) = [(layer.weight, layer.bias) for layer in model if isinstance(layer, nn.Linear)]
    torch.testing.assert_close(model(x), function(function(x @ w1.T + b1) @ w2.T + b2) @ w3.T + b3)


@pytest.mark.parametrize("name", ["linear", "mlp", "fcn"])
def test_initial_weights_and_biases_are_uniform_within_one_over_the_root_of_the_inputs(name):
    for layer in build(name, seed=0):
        if isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            assert 0.99 * bound < layer.weight.abs().max() <= bound
            assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
            assert 0.5 * bound < layer.bias.abs().max() <= bound


@pytest.mark.parametrize("hidden", [5, "53", None, (5, 0), (5, True), (5.0,), iter((5, 4))])
def test_widths_are_refused(hidden):
    for name in ("mlp", "linear", "fcn"):
        with pytest.raises(InvalidInput, match=r"hidden must be a tuple of positive widths such as \(300, 100\), got"):
            build(name, seed=0, hidden=hidden)


@pytest.mark.parametrize("activation", ["gelu", None, ["relu"]])
def test_unknown_activations_are_refused(activation):
    for name in ("mlp", "fcn", "lenet"):
        with pytest.raises(NotFound, match="unknown activation .*Valid: relu, tanh"):
            build(name, seed=0, activation=activation)
