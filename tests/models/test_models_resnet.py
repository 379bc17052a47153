"""Residual networks against a forward pass written out by hand; shortcuts against explicit indices; what the papers say of them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sgdscope.errors import InvalidInput
from sgdscope.models import build
from sgdscope.models.resnet import BasicBlock, PaddedShortcut


def count(name, **options):
    return sum(parameter.numel() for parameter in build(name, seed=0, **options).parameters())


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def normalise(h, scale, shift):
    """Batch normalisation of images in training mode, written out."""
    mean, variance = h.mean((0, 2, 3), keepdim=True), h.var((0, 2, 3), unbiased=False, keepdim=True)
    return scale[:, None, None] * (h - mean) / (variance + 1e-5).sqrt() + shift[:, None, None]


def by_hand(model, x, *, widths, blocks, batch_norm, projection, stem):
    """The forward pass from the parameters alone, taken in their order."""
    left = iter(list(model.parameters()))

    def convolution(h, stride=1, padding=1):
        h = F.conv2d(h, next(left), stride=stride, padding=padding)
        return normalise(h, next(left), next(left)) if batch_norm else h

    h = F.max_pool2d(convolution(x, 2, 3).relu(), 3, 2, 1) if stem == "imagenet" else convolution(x).relu()
    for stage, width in enumerate(widths):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            residual = convolution(convolution(h, stride).relu())
            if stride == 1:
                shortcut = h
            elif projection:
                shortcut = convolution(h, stride, 0)
            else:
                shortcut = torch.zeros_like(residual)
                quarter = width // 4  # half of the new channels before the old ones, half behind
                shortcut[:, quarter : quarter + width // 2] = h[:, :, ::2, ::2]
            h = (residual + shortcut).relu()
    outputs = h.mean((2, 3)) @ next(left).T + next(left)
    assert next(left, None) is None
    return outputs


SMALL = {"widths": (16, 32, 64), "projection": False, "stem": "cifar"}
LARGE = {"widths": (64, 128, 256, 512), "projection": True, "blocks": 2}


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(
    ("name", "options", "plan", "side"),
    [
        ("resnet8", {}, SMALL | {"blocks": 1}, 32),
        ("resnet8", {}, SMALL | {"blocks": 1}, 13),  # odd sizes are rounded up
        ("resnet32", {}, SMALL | {"blocks": 5}, 16),
        ("resnet18", {}, LARGE | {"stem": "cifar"}, 8),
        ("resnet18", {"stem": "imagenet"}, LARGE | {"stem": "imagenet"}, 33),
    ],
)
def test_the_network_is_the_forward_pass_written_out(name, options, plan, side, batch_norm):
    model = build(name, seed=0, in_shape=(3, side, side), dtype=torch.float64, batch_norm=batch_norm, **options)
    x = normal(4, 3, side, side)
    torch.testing.assert_close(model(x), by_hand(model, x, batch_norm=batch_norm, **plan), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("resnet8", {}, 75_290),
        ("resnet8", {"batch_norm": False}, 74_810),
        ("resnet32", {}, 464_154),
        ("resnet32", {"batch_norm": False}, 461_882),
        ("resnet32", {"num_classes": 100}, 464_154 + 65 * 90),
        ("resnet18", {}, 11_173_962),
        ("resnet18", {"batch_norm": False}, 11_173_962 - 9_600),
        ("resnet18", {"stem": "imagenet", "num_classes": 1000, "in_shape": (3, 224, 224)}, 11_689_512),
    ],
)
def test_numbers_of_parameters(name, options, expected):
    assert count(name, **options) == expected


@pytest.mark.parametrize(("name", "depth"), [("resnet8", 8), ("resnet32", 32), ("resnet18", 18)])
def test_the_name_counts_the_layers_with_weights_of_the_main_path(name, depth):
    layers = [
        m for m in build(name, seed=0).modules() if isinstance(m, nn.Linear) or (isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1))
    ]
    assert len(layers) == depth


@pytest.mark.parametrize("name", ["resnet8", "resnet32", "resnet18"])
def test_convolutions_have_no_biases_and_without_batch_norm_nothing_stands_in_its_place(name):
    plain, normed = build(name, seed=0, batch_norm=False), build(name, seed=0)
    convolutions = [m for m in plain.modules() if isinstance(m, nn.Conv2d)]
    assert all(m.bias is None for m in convolutions)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in plain.modules()) and list(plain.buffers()) == []
    assert sum(isinstance(m, nn.BatchNorm2d) for m in normed.modules()) == len(convolutions)
    weights = [[m.weight for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)] for model in (plain, normed)]
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))  # normalisation draws nothing: the same start


def test_parameters_a_training_image_against_the_gradient_variance_paper():
    assert round(count("resnet32") / 50_000) == 9  # App. C.1: "9 for ResNet32"
    assert count("resnet8") / 50_000 == pytest.approx(1.5, abs=0.01)  # App. C.1 says 3; its code's network has half of that


@pytest.mark.parametrize(("channels_in", "channels_out"), [(16, 32), (32, 64), (3, 6), (2, 5), (4, 4)])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 9), (1, 2)])
def test_the_padded_shortcut_is_every_second_pixel_between_channels_of_zeros(channels_in, channels_out, height, width):
    x = normal(2, channels_in, height, width)
    found = PaddedShortcut(channels_in, channels_out)(x)
    before = (channels_out - channels_in) // 2
    assert found.shape == (2, channels_out, (height + 1) // 2, (width + 1) // 2)
    for channel in range(channels_out):
        for i in range(found.shape[2]):
            for j in range(found.shape[3]):
                inside = before <= channel < before + channels_in
                expected = x[:, channel - before, 2 * i, 2 * j] if inside else torch.zeros(2, dtype=x.dtype)
                assert torch.equal(found[:, channel, i, j], expected)
    assert list(PaddedShortcut(channels_in, channels_out).parameters()) == []


def test_shortcuts_are_of_option_a_in_the_small_networks_and_projections_in_the_large_one():
    def shortcuts(name):
        return [type(m.shortcut).__name__ for m in build(name, seed=0).modules() if isinstance(m, BasicBlock)]

    assert shortcuts("resnet8") == ["Identity", "PaddedShortcut", "PaddedShortcut"]
    assert shortcuts("resnet32") == ["Identity"] * 5 + (["PaddedShortcut"] + ["Identity"] * 4) * 2
    assert shortcuts("resnet18") == ["Identity"] * 2 + ["Sequential", "Identity"] * 3


@pytest.mark.parametrize(("name", "fan"), [("resnet8", 1), ("resnet32", 1), ("resnet18", 0)])
def test_initial_weights_are_normal_with_he_s_variance(name, fan):
    model = build(name, seed=0)
    for layer in (m for m in model.modules() if isinstance(m, nn.Conv2d)):
        inputs_or_outputs = layer.weight.shape[fan] * layer.weight[0, 0].numel()
        weights = layer.weight.detach().flatten() * (inputs_or_outputs / 2) ** 0.5
        assert weights.std() == pytest.approx(1.0, abs=3 / len(weights) ** 0.5)
        assert weights.pow(4).mean() == pytest.approx(3.0, abs=40 / len(weights) ** 0.5)  # normal, not uniform (1.8)
    last = model[-1]
    if fan:
        assert last.weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.1)
    else:
        assert last.weight.abs().max() <= 512**-0.5
    assert 0 < last.bias.abs().max() <= last.in_features**-0.5


def test_without_batch_norm_each_block_doubles_the_second_moment():
    x = normal(8, 3, 32, 32).float()
    for name, blocks in (("resnet8", 3), ("resnet32", 15)):
        with torch.no_grad():
            squares = [build(name, seed=seed, batch_norm=False)(x).square().mean() for seed in range(5)]
        assert 2 ** (blocks - 2) < torch.stack(squares).median() < 2 ** (blocks + 2)


@pytest.mark.parametrize("stem", ["tiny", None, True])
def test_unknown_stems_are_refused(stem):
    with pytest.raises(InvalidInput, match="stem must be 'cifar' or 'imagenet', got"):
        build("resnet18", seed=0, stem=stem)


def test_the_imagenet_stem_needs_larger_images():
    with pytest.raises(InvalidInput, match="resnet18 takes images .* of at least 32 x 32 pixels"):
        build("resnet18", seed=0, stem="imagenet", in_shape=(3, 31, 64))
