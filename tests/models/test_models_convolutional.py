"""LeNet and SimpleCNN: parameters named in the papers, layers in order, padding, Glorot's bounds, refusals."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sgdscope.errors import InvalidInput
from sgdscope.models import build


def count(name, **options):
    return sum(parameter.numel() for parameter in build(name, seed=0, **options).parameters())


def kinds(model):
    return [type(layer).__name__ for layer in model]


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("lenet", {}, 61_706),  # 28 x 28 padded to the original's 32 x 32
        ("lenet", {"in_shape": (3, 32, 32)}, 62_006),  # the gradient-structure paper's number
        ("lenet", {"padding": 0}, 44_426),  # 28 x 28 as it is
        ("lenet", {"in_shape": (1, 32, 32), "num_classes": 10}, 61_706),
        ("mnist_cnn", {}, 2_265_602),  # 37.8 a training image: 37 in App. C.1 of the gradient-variance paper
        ("mnist_cnn", {"in_shape": (3, 16, 20), "num_classes": 3}, 64 * 76 + 128 * 1601 + 1000 * (128 * 1 * 2 + 1) + 3 * 1001),
        ("simple_cnn", {}, 361_898),
        ("simple_cnn", {"batch_norm": True}, 361_898 + 2 * (32 + 32 + 64 + 64 + 128)),
        ("simple_cnn", {"dense": 512}, 1_250_858),
    ],
)
def test_numbers_of_parameters(name, options, expected):
    assert count(name, **options) == expected


def test_mnist_cnn_layers_in_order():
    model = build("mnist_cnn", seed=0)
    assert kinds(model) == ["Conv2d", "ReLU", "MaxPool2d", "Conv2d", "ReLU", "MaxPool2d", "Flatten", "Linear", "ReLU", "Linear"]
    assert [tuple(layer.weight.shape) for layer in model if hasattr(layer, "weight")] == [
        (64, 1, 5, 5), (128, 64, 5, 5), (1000, 2048), (10, 1000)
    ]  # fmt: skip
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    with pytest.raises(InvalidInput, match="mnist_cnn takes images .* of at least 16 x 16 pixels"):
        build("mnist_cnn", seed=0, in_shape=(1, 15, 28))


def test_lenet_is_its_formula():
    model = build("lenet", seed=0, dtype=torch.float64, activation="tanh", pool="mean")
    (w1, b1), (w2, b2), (w3, b3), (w4, b4), (w5, b5) = [(layer.weight, layer.bias) for layer in model if hasattr(layer, "weight")]
    x = normal(3, 1, 28, 28)
    h = F.avg_pool2d(torch.tanh(F.conv2d(F.pad(x, (2, 2, 2, 2)), w1, b1)), 2)
    h = F.avg_pool2d(torch.tanh(F.conv2d(h, w2, b2)), 2).flatten(1)
    torch.testing.assert_close(model(x), torch.tanh(torch.tanh(h @ w3.T + b3) @ w4.T + b4) @ w5.T + b5)


def test_lenet_s_layers_in_order():
    dense = ["Flatten", "Linear", "ReLU", "Linear", "ReLU", "Linear"]
    assert kinds(build("lenet", seed=0)) == ["Conv2d", "ReLU", "MaxPool2d"] * 2 + dense
    assert kinds(build("lenet", seed=0, pool="mean"))[2::3][:2] == ["AvgPool2d"] * 2


def test_simple_cnn_s_layers_in_order():
    block = ["Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d"]
    assert kinds(build("simple_cnn", seed=0)) == block * 2 + ["Flatten", "Linear", "ReLU", "Linear"]
    block = ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]  # normalised before the activation
    assert kinds(build("simple_cnn", seed=0, batch_norm=True)) == block * 2 + ["Flatten", "Linear", "BatchNorm1d", "ReLU", "Linear"]


def test_simple_cnn_s_convolutions_are_of_the_same_size_and_valid_in_turn():
    model, x, sizes = build("simple_cnn", seed=0).eval(), torch.zeros(1, 3, 32, 32), []
    for layer in model:
        x = layer(x)
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            sizes.append(tuple(x.shape[1:]))
    assert sizes == [(32, 32, 32), (32, 30, 30), (32, 15, 15), (64, 15, 15), (64, 13, 13), (64, 6, 6)]
    assert [layer.out_features for layer in model if isinstance(layer, nn.Linear)] == [128, 10]


def test_simple_cnn_is_its_formula():
    model = build("simple_cnn", seed=0, dtype=torch.float64)
    (w1, b1), (w2, b2), (w3, b3), (w4, b4), (w5, b5), (w6, b6) = [(layer.weight, layer.bias) for layer in model if hasattr(layer, "weight")]
    x = normal(2, 3, 32, 32)
    h = F.max_pool2d(torch.relu(F.conv2d(torch.relu(F.conv2d(x, w1, b1, padding=1)), w2, b2)), 2)
    h = F.max_pool2d(torch.relu(F.conv2d(torch.relu(F.conv2d(h, w3, b3, padding=1)), w4, b4)), 2).flatten(1)
    torch.testing.assert_close(model(x), torch.relu(h @ w5.T + b5) @ w6.T + b6)


def test_batch_normalisation_is_keras_s():
    norms = [layer for layer in build("simple_cnn", seed=0, batch_norm=True) if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d)]
    assert [layer.num_features for layer in norms] == [32, 32, 64, 64, 128]
    assert all(layer.eps == 1e-3 and layer.momentum == 0.01 for layer in norms)  # Keras' momentum 0.99 is the share that is kept


@pytest.mark.parametrize("batch_norm", [False, True])
def test_glorot_s_uniform_weights_and_zero_biases(batch_norm):
    for layer in build("simple_cnn", seed=0, batch_norm=batch_norm):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            area = 9 if isinstance(layer, nn.Conv2d) else 1
            inputs, outputs = layer.weight.shape[1] * area, layer.weight.shape[0] * area
            bound = (6 / (inputs + outputs)) ** 0.5
            assert 0.98 * bound < layer.weight.abs().max() <= bound
            assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
            assert (layer.bias == 0).all()


def test_lenet_s_weights_are_pytorch_s_default():
    for layer in build("lenet", seed=0):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = layer.weight[0].numel() ** -0.5
            assert 0.95 * bound < layer.weight.abs().max() <= bound and 0 < layer.bias.abs().max() <= bound


@pytest.mark.parametrize(("name", "least"), [("lenet", 12), ("simple_cnn", 10), ("resnet8", 4), ("resnet32", 4), ("resnet18", 8)])
def test_the_smallest_image_is_taken_and_a_smaller_one_refused(name, least):
    assert build(name, seed=0, in_shape=(1, least, least)).eval()(torch.zeros(2, 1, least, least)).shape == (2, 10)
    for shape in ((1, least, least - 1), (1, least - 1, least), (least, least), (1, 1, least, least)):
        message = rf"{name} takes images \(channels, height, width\) of at least {least} x {least} pixels, got in_shape"
        with pytest.raises(InvalidInput, match=message):
            build(name, seed=0, in_shape=shape)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lenet", {"pool": "median"}, "pool must be 'max' or 'mean', got 'median'"),
        ("lenet", {"padding": -1}, "padding must be a number of pixels, zero or more, got -1"),
        ("lenet", {"padding": "same"}, "padding must be a number of pixels, zero or more, got 'same'"),
        ("lenet", {"padding": True}, "padding must be a number of pixels, zero or more, got True"),
        ("lenet", {"in_shape": (1, 12, 12), "padding": 0}, r"no pixel left after its convolutions: in_shape \(1, 12, 12\) with padding 0"),
        ("simple_cnn", {"dense": 0}, "dense must be a whole number of at least 1 .the width.; 0 came"),
        ("simple_cnn", {"dense": True}, "dense must be a whole number of at least 1 .the width.; True came"),
        ("simple_cnn", {"dense": (128,)}, r"dense must be a whole number of at least 1 .the width.; \(128,\) came"),
    ],
)
def test_refusals(name, options, message):
    with pytest.raises(InvalidInput, match=message):
        build(name, seed=0, **options)
