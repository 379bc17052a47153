# ruff: noqa: E501, E731  (tables of cases and messages, one line each)
"""Per-example gradients against a loop of autograd.grad in float64: a table of models, and layer settings by hypothesis."""

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no neighbours
from twins import CASES, case, cross_entropy, half_squares, loop, normal, seeded

from sgdscope.errors import InvalidInput
from sgdscope.gradients import PerExampleGradients


def same(actual, expected, rtol=1e-9):
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=rtol * float(expected.abs().max().clamp_min(1e-300)))


def compare(G, expected):
    """All that G offers, from the dense matrix."""
    N, d = expected.shape
    v, V, w, W = normal(d, seed=3), normal(d, 2, seed=4), normal(N, seed=5), normal(N, 3, seed=6)
    assert tuple(G.shape) == (N, d) and len(G) == N and tuple(G.T.shape) == (d, N)
    same(G.dense(), expected)
    same(G.gram(), expected @ expected.T)
    same(G.gram(G), expected @ expected.T)
    same(G.squared_norms(), expected.square().sum(1))
    same(G.mean(), expected.mean(0))
    same(G @ v, expected @ v)
    same(G @ V, expected @ V)
    same(G.T @ w, expected.T @ w)
    same(G.T @ W, expected.T @ W)
    same(torch.cat([rows.clone() for rows, _ in G.blocks()]), expected)
    assert torch.equal(G.gram(), G.gram().T)


@pytest.mark.parametrize("form", ["auto", "factored", "materialised"])
@pytest.mark.parametrize("name", CASES)
def test_the_loop(name, form):
    model, x, y = case(name)
    loss = cross_entropy if name not in ("reused layers", "same convolution twice") else half_squares
    expected = loop(model, loss, x, y)
    compare(PerExampleGradients.of(model, loss, x, y, form=form), expected)


@pytest.mark.parametrize("name", ["lenet", "transformer", "reused layers", "lstm", "tied embedding", "linear on sequences", "cnn"])
def test_chunks_and_memory_change_nothing(name):
    model, x, y = case(name, number=7)
    loss = half_squares if name == "reused layers" else cross_entropy
    expected = loop(model, loss, x, y)
    for chunk, memory, form in (
        (1, 1 << 30, "auto"),
        (3, 1 << 30, "materialised"),
        (2, 1, "auto"),
        (3, 100, "factored"),
        (7, 1, "materialised"),
    ):
        G = PerExampleGradients.of(model, loss, x, y, chunk=chunk, memory=memory, form=form)
        assert G.kept == (memory == 1 << 30) and G.chunk == chunk
        compare(G, expected)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_few_examples(number):
    model, x, y = case("cnn", number=number)
    compare(PerExampleGradients.of(model, cross_entropy, x, y), loop(model, cross_entropy, x, y))


@settings(max_examples=60, derandomize=True)
@given(
    groups=st.sampled_from([1, 2, 3]),
    channels=st.integers(1, 2),
    outputs=st.integers(1, 2),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.one_of(st.sampled_from(["same", "valid"]), st.tuples(st.integers(0, 3), st.integers(0, 3))),
    mode=st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
    bias=st.booleans(),
    form=st.sampled_from(["auto", "factored", "materialised"]),
)
def test_settings_of_convolutions(groups, channels, outputs, kernel, stride, dilation, padding, mode, bias, form):
    if padding == "same":
        stride = (1, 1)
    build = lambda: nn.Conv2d(  # noqa: E731
        groups * channels,
        groups * outputs,
        kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=bias,
        padding_mode=mode,
    )
    model = seeded(build)
    x, y = normal(3, groups * channels, 7, 8, seed=1), torch.zeros(3)
    compare(PerExampleGradients.of(model, half_squares, x, y.double(), form=form, chunk=2), loop(model, half_squares, x, y))


@settings(max_examples=30, derandomize=True)
@given(
    middle=st.lists(st.integers(1, 4), max_size=2),
    fan_in=st.integers(1, 5),
    fan_out=st.integers(1, 5),
    bias=st.booleans(),
    times=st.integers(1, 3),
    form=st.sampled_from(["auto", "factored", "materialised"]),
)
def test_settings_of_linear_layers(middle, fan_in, fan_out, bias, times, form):
    """Sequences, grids of positions, and layers used up to three times."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.again = nn.Linear(fan_in, fan_out, bias=bias), nn.Linear(fan_out, fan_out, bias=bias)

        def forward(self, x):
            x = self.first(x)
            for _ in range(times):
                x = self.again(x.tanh())
            return x.flatten(1)

    model = seeded(Net)
    x, y = normal(4, *middle, fan_in, seed=1), torch.zeros(4)
    compare(PerExampleGradients.of(model, half_squares, x, y.double(), form=form, chunk=3), loop(model, half_squares, x, y))


def test_nested_dicts():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.line = nn.Embedding(9, 3), nn.Linear(5, 2)

        def forward(self, tokens, more):
            return {"logits": self.line(torch.cat([self.words(tokens).sum(1), more["features"]], 1))}

    model = seeded(Net)
    x = {"tokens": torch.arange(12).view(4, 3) % 9, "more": {"features": normal(4, 2)}}
    y = {"labels": torch.tensor([0, 1, 1, 0]), "weights": normal(4).abs()}

    def loss(outputs, y):
        return cross_entropy(outputs["logits"], y["labels"]) * y["weights"]

    compare(PerExampleGradients.of(model, loss, x, y), loop(model, loss, x, y))


def test_gram_between_two_sets():
    model, x, y = case("cnn", number=9)
    expected = loop(model, cross_entropy, x, y)
    for memory in (1 << 30, 1):
        left = PerExampleGradients.of(model, cross_entropy, x[:5], y[:5], chunk=2, memory=memory)
        right = PerExampleGradients.of(model, cross_entropy, x[5:], y[5:], chunk=3)
        same(left.gram(right), expected[:5] @ expected[5:].T)
        same(right.gram(left), expected[5:] @ expected[:5].T)


@pytest.mark.parametrize("name", ["lenet", "transformer", "lstm", "norms"])
def test_float32_is_accurate(name):
    """To 2e-5 of the largest entry in float32; the Gram matrix of given float32 factors in float64 to 1e-6."""
    model, x, y = case(name, number=20)
    expected = loop(model, cross_entropy, x, y)
    single = case(name, number=20, dtype=torch.float32)[0]
    single.load_state_dict(model.state_dict())
    x = x.float() if x.is_floating_point() else x
    G = PerExampleGradients.of(single, cross_entropy, x, y)
    assert G.dense().dtype == G.gram().dtype == torch.float32 and G.gram(dtype=torch.float64).dtype == torch.float64
    for actual, exact in ((G.dense(), expected), (G.gram(), expected @ expected.T), (G.squared_norms(), expected.square().sum(1))):
        same(actual.double(), exact, rtol=2e-5)
    same(G.gram(dtype=torch.float64), G.dense().double() @ G.dense().double().T, rtol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("name", sorted(set(CASES) - {"transformer"}))  # its positions are made on the CPU
def test_the_loop_on_cuda(name):
    model, x, y = case(name)
    loss = cross_entropy if name not in ("reused layers", "same convolution twice") else half_squares
    expected = loop(model, loss, x, y)
    G = PerExampleGradients.of(model.cuda(), loss, x.cuda(), y.cuda(), chunk=4)
    for actual, exact in ((G.dense(), expected), (G.gram(), expected @ expected.T), (G.mean(), expected.mean(0))):
        same(actual.cpu(), exact, rtol=1e-7)


@pytest.mark.parametrize("training", [False, True])
def test_recurrences_in_eval_mode_go_without_cudnn(training):
    """PyTorch differentiates them in training mode only. The setting is back afterwards, also after an error."""
    model, x, y = case("lstm")
    seen = []
    for module in model.modules():
        module.register_forward_pre_hook(lambda *_: seen.append(torch.backends.cudnn.enabled))
    PerExampleGradients.of(model.train(training), cross_entropy, x, y).dense()
    assert seen and set(seen) == {training} and torch.backends.cudnn.enabled
    with pytest.raises(InvalidInput, match="x must have the shape"):
        PerExampleGradients.of(model, cross_entropy, x[:, :, :2], y)
    assert torch.backends.cudnn.enabled
