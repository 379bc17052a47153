"""What `build` promises for every model: names, shapes, weights from the seed alone, nothing global changed, refusals."""

import inspect

import pytest
import torch
from torch import nn

from sgdscope.errors import InvalidInput, NotFound
from sgdscope.models import build, names
from sgdscope.models.build import seeded_initialisation
from sgdscope.models.parameters import trainable

GREY, COLOUR = (1, 28, 28), (3, 32, 32)
SHAPES = {"fcn": GREY, "lenet": GREY, "linear": GREY, "mlp": GREY, "mnist_cnn": GREY, "random_features": (100,)} | {
    "resnet18": COLOUR,
    "resnet32": COLOUR,
    "resnet8": COLOUR,
    "simple_cnn": COLOUR,
}
OPTIONS = {  # each option of each model, off its default
    "fcn": [{"hidden": (8,)}, {"activation": "tanh"}, {"batch_norm": True}],
    "lenet": [{"activation": "tanh"}, {"pool": "mean"}, {"padding": 0}],
    "linear": [{"hidden": (6, 5)}, {"bias": False}],
    "mlp": [{"hidden": (8,)}, {"activation": "tanh"}, {"batch_norm": True}],
    "mnist_cnn": [],
    "random_features": [{"hidden": 8}, {"definition": "authors_code"}, {"bias": False}],
    "resnet18": [{"batch_norm": False}, {"stem": "imagenet"}],
    "resnet32": [{"batch_norm": False}],
    "resnet8": [{"batch_norm": False}],
    "simple_cnn": [{"batch_norm": True}, {"dense": 16}],
}
CASES = [(name, options) for name in SHAPES for options in [{}, *OPTIONS[name]]]


def same(first, second):
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_names_are_those_of_the_models_and_their_options_are_all_tried_here():
    assert names() == tuple(sorted(SHAPES))
    for name, tried in OPTIONS.items():
        with pytest.raises(InvalidInput, match="has no option") as refusal:
            build(name, seed=0, nonsense=1)
        takes = str(refusal.value).split("It takes ")[1].rstrip(".").split(", ")
        assert set(takes) == ({key for options in tried for key in options} or {"none"})


@pytest.mark.parametrize(("name", "options"), CASES)
def test_outputs_are_one_row_an_example_and_one_column_a_class(name, options):
    model = build(name, seed=0, num_classes=7, **options)
    assert model.training and not any(parameter.dtype != torch.float32 for parameter in model.parameters())
    outputs = model.eval()(torch.zeros(2, *SHAPES[name]))
    assert outputs.shape == (2, 7) and torch.isfinite(outputs).all()


@pytest.mark.parametrize("name", SHAPES)
def test_gradients_reach_every_parameter(name):
    model = build(name, seed=0)
    x = torch.randn(4, *SHAPES[name], generator=torch.Generator().manual_seed(0))
    model(x).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in trainable(model).values())


@pytest.mark.parametrize("name", SHAPES)
def test_other_sizes_and_one_class_are_taken(name):
    shape = (2, 40, 36)
    assert build(name, seed=0, in_shape=shape, num_classes=1).eval()(torch.zeros(3, *shape)).shape == (3, 1)
    assert build(name, seed=0, in_shape=list(shape)).eval()(torch.zeros(1, *shape)).shape == (1, 10)


@pytest.mark.parametrize("name", SHAPES)
def test_the_seed_alone_decides_the_weights(name):
    first = build(name, seed=3)
    torch.rand(5)  # moves the global generator on
    assert same(first, build(name, seed=3))
    changed = [not torch.equal(a, b) for a, b in zip(first.parameters(), build(name, seed=4).parameters(), strict=True)]
    drawn = [parameter.std() > 0 if parameter.numel() > 1 else True for parameter in first.parameters()]
    assert changed == [bool(is_drawn) for is_drawn in drawn]  # all but constants (norms, Keras' biases)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_in_float64_the_weights_are_those_of_float32_converted(name, options):
    wide = build(name, seed=1, dtype=torch.float64, **options)
    assert all(parameter.dtype == torch.float64 for parameter in wide.parameters())
    assert same(wide, build(name, seed=1, **options).double())


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16])
def test_the_default_dtype_neither_matters_nor_changes(default):
    expected = build("lenet", seed=0)
    torch.set_default_dtype(default)
    try:
        found = build("lenet", seed=0)
        assert torch.get_default_dtype() == default
    finally:
        torch.set_default_dtype(torch.float32)
    assert same(found, expected)


def test_the_default_device_does_not_matter():
    with torch.device("meta"):
        found = build("lenet", seed=0)
    assert same(found, build("lenet", seed=0))
    assert {parameter.device.type for parameter in build("lenet", seed=0, device="meta").parameters()} == {"meta"}


def test_the_global_generator_is_left_alone_also_where_a_model_refuses():
    before = torch.get_rng_state()
    build("resnet8", seed=3)
    with pytest.raises(InvalidInput):
        build("lenet", seed=3, pool="median")
    assert torch.equal(before, torch.get_rng_state()) and torch.get_default_dtype() == torch.float32


def test_own_networks_get_the_same_promise():
    before = torch.get_rng_state()
    with seeded_initialisation(7):
        first = nn.Linear(3, 4)
    with pytest.raises(RuntimeError, match="mine"), seeded_initialisation(8):
        raise RuntimeError("mine")
    with seeded_initialisation(7):
        second = nn.Linear(3, 4)
    assert same(first, second) and torch.equal(before, torch.get_rng_state())


def test_every_constructor_s_options_are_keywords_with_defaults():
    from sgdscope.models.build import _MODELS

    for constructor, _ in _MODELS.values():
        for key, parameter in inspect.signature(constructor).parameters.items():
            assert parameter.kind is parameter.KEYWORD_ONLY
            assert (parameter.default is parameter.empty) == (key in ("in_shape", "num_classes"))


@pytest.mark.parametrize("name", ["lenett", None, ["lenet"]])
def test_unknown_names_list_the_valid_ones(name):
    with pytest.raises(
        NotFound,
        match="unknown model .*Valid: fcn, lenet, linear, mlp, mnist_cnn, random_features, resnet18, resnet32, resnet8, simple_cnn.",
    ):
        build(name, seed=0)


def test_near_names_are_suggested():
    with pytest.raises(NotFound, match="unknown model 'lenett'. Did you mean 'lenet'?"):
        build("lenett", seed=0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mlp", {"seed": -1}, "seed must be a whole number from 0 to 9223372036854775807; -1 came"),
        ("mlp", {"seed": 2**63}, "seed must be"),
        ("mlp", {"seed": 1.0}, "seed must be .*; 1.0 came"),
        ("mlp", {"seed": True}, "seed must be .*; True came"),
        ("mlp", {"num_classes": 0}, "num_classes must be a whole number of at least 1; 0 came"),
        ("mlp", {"num_classes": True}, "num_classes must be .*; True came"),
        ("mlp", {"dtype": torch.int64}, "dtype must be a floating type such as torch.float32, got torch.int64"),
        ("mlp", {"dtype": "float32"}, "dtype must be a floating type .* got 'float32'"),
        ("mlp", {"in_shape": ()}, r"in_shape must be a tuple of positive whole numbers such as \(1, 28, 28\), got \(\)"),
        ("mlp", {"in_shape": 784}, "in_shape must be a tuple .* got 784"),
        ("mlp", {"in_shape": (0, 3)}, "in_shape must be a tuple"),
        ("mlp", {"in_shape": (2.0, 3)}, "in_shape must be a tuple"),
        ("mlp", {"in_shape": "abc"}, "in_shape must be a tuple"),
        ("mlp", {"widths": (3,)}, "model 'mlp' has no option 'widths'. It takes hidden, activation, batch_norm"),
        ("resnet8", {"stem": "cifar"}, "model 'resnet8' has no option 'stem'. It takes batch_norm."),
        ("resnet8", {"batch_norm": "no"}, "batch_norm must be True or False, got 'no'"),
        ("linear", {"bias": 0}, "bias must be True or False, got 0"),
    ],
)
def test_refusals(name, options, message):
    with pytest.raises(InvalidInput, match=message):
        build(name, **({"seed": 0} | options))
