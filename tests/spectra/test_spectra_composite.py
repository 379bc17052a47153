"""Layers in plain operations against the fused functions of torch: values, first and second derivatives, options."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no neighbours
from spectra_twins import DEVICES, normal

from sgdscope.spectra.composite import COMPOSITES, composite_forms, twice_differentiable


def derivatives(function, inputs):
    """Value, gradient and a Hessian-vector product of a random function of the outputs."""
    inputs = [value.detach().clone().requires_grad_() for value in inputs]
    outputs = function(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    total = sum((torch.sin(out) * normal(*out.shape, seed=11).to(out)).sum() for out in outputs)
    gradient = torch.autograd.grad(total, inputs, create_graph=True)
    along = sum((g * normal(*g.shape, seed=12).to(g)).sum() for g in gradient)
    return [*outputs, *gradient, *torch.autograd.grad(along, inputs, allow_unused=True, materialize_grads=True)]


class Called(torch.overrides.TorchFunctionMode):
    """Notes the names of the functions that reach torch."""

    def __init__(self, names):
        super().__init__()
        self.names = names

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names.append(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {}))


def compare(function, *inputs, twin=None, fused=None):
    """The function in plain forms against itself, or its twin, in torch's; the fused function, where named, must not be reached."""
    with sdpa_kernel(SDPBackend.MATH):  # the fused attention of the CPU has no second derivative
        expected = derivatives(twin or function, inputs)
    reached = []
    with Called(reached), composite_forms():
        found = derivatives(function, inputs)
    assert fused not in reached
    for actual, exact in zip(found, expected, strict=True):
        torch.testing.assert_close(actual, exact, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(5,), (3, 5)])
@pytest.mark.parametrize("with_weight", [True, False])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_layer_norm(shape, with_weight, with_bias, eps, device):
    x, weight, bias = (value.to(device) for value in (normal(2, 4, *shape), normal(*shape, seed=1), normal(*shape, seed=2)))

    def function(x, weight, bias):
        kept = F.layer_norm(x, shape, weight if with_weight else None, bias if with_bias else None, eps)
        return kept + 0 * (weight + bias)

    def without(x, weight, bias):  # torch's second derivative fails with a bias and no weight
        return F.layer_norm(x, shape, None, None, eps) + bias + 0 * weight

    compare(function, x, weight, bias, twin=without if with_bias and not with_weight else None, fused="layer_norm")


@pytest.mark.parametrize("eps", [None, 0.1])
@pytest.mark.parametrize("with_weight", [True, False])
def test_rms_norm(with_weight, eps):
    compare(lambda x, w: F.rms_norm(x, (5,), w if with_weight else None, eps) + 0 * w, normal(3, 5), normal(5, seed=1), fused="rms_norm")


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("use_input_stats", [True, False])
def test_instance_norm(dims, affine, use_input_stats):
    x, weight, bias = normal(2, 3, *[4, 3, 2][:dims]), normal(3, seed=1), normal(3, seed=2)
    mean, var = normal(3, seed=3), normal(3, seed=4).square() + 0.5

    def function(x, weight, bias):
        settings = {"weight": weight, "bias": bias} if affine else {}
        statistics = {} if use_input_stats else {"running_mean": mean, "running_var": var}
        out = F.instance_norm(x, **statistics, **settings, use_input_stats=use_input_stats, eps=1e-3)
        return out + 0 * (weight + bias).sum()

    compare(function, x, weight, bias, fused="instance_norm")


@pytest.mark.parametrize("dim", [-1, 1, 0])
def test_glu(dim):
    compare(lambda x: F.glu(x, dim), normal(4, 6, 2), fused="glu")


@pytest.mark.parametrize("padding_idx", [None, 2, -1])
def test_embedding(padding_idx):
    words = torch.tensor([[0, 2, 4], [2, 1, 4]])
    compare(lambda weight: F.embedding(words, weight, padding_idx), normal(5, 3))


@pytest.mark.parametrize("dim", [0, 1])
def test_weight_norm(dim):
    g = normal(3, 1, seed=1) if dim == 0 else normal(1, 4, seed=1)
    plain, fused = COMPOSITES["_weight_norm"], torch._weight_norm
    v = normal(3, 4)
    torch.testing.assert_close(plain(v, g, dim), fused(v, g, dim))
    torch.autograd.gradgradcheck(lambda v, g: plain(v, g, dim), (v.requires_grad_(), g.requires_grad_()))


MASKS = {
    "none": None,
    "bool": torch.tensor([[True, False, True], [True, True, False], [True, True, True], [True, False, False]]),
    "float": normal(4, 3, seed=5),
    "causal": "causal",
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("grouped", [False, True])
def test_attention(mask, scale, grouped, device):
    heads = 2 if grouped else 4
    q, k, v = (value.to(device) for value in (normal(2, 4, 4, 5), normal(2, heads, 3, 5, seed=1), normal(2, heads, 3, 6, seed=2)))
    settings = {"is_causal": True} if mask == "causal" else {"attn_mask": MASKS[mask].to(device) if MASKS[mask] is not None else None}
    compare(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=scale, enable_gqa=grouped, **settings),
        q,
        k,
        v,
        fused="scaled_dot_product_attention",
    )


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bias": False},
        {"num_layers": 2},
        {"bidirectional": True},
        {"batch_first": True, "num_layers": 2, "bidirectional": True},
        {"proj_size": 2},
        {"proj_size": 2, "bias": False, "bidirectional": True},
        {"nonlinearity": "relu"},
    ],
)
def test_recurrences(kind, settings):
    if ("proj_size" in settings and kind is not nn.LSTM) or ("nonlinearity" in settings and kind is not nn.RNN):
        pytest.skip("no such setting")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        cell = kind(3, 4, **settings).double()
    names, weights = zip(*cell.named_parameters(), strict=True)
    layers, directions = cell.num_layers, 2 if cell.bidirectional else 1
    width = settings.get("proj_size", 4)
    hidden = (
        normal(layers * directions, 2, width, seed=3) if not settings.get("batch_first") else normal(layers * directions, 5, width, seed=3)
    )

    def function(x, h, *values):
        state = (h, 0.5 * F.pad(h, (0, 4 - width))) if kind is nn.LSTM else h
        out, last = torch.func.functional_call(cell, dict(zip(names, values, strict=True)), (x, state))
        return (out, *last) if kind is nn.LSTM else (out, last)

    fused = {nn.LSTM: "lstm", nn.GRU: "gru"}.get(kind, "rnn_" + settings.get("nonlinearity", "tanh"))
    compare(function, normal(5, 2, 3, seed=4), hidden, *weights, fused=fused)


def test_a_packed_sequence_keeps_its_kernel():
    cell = nn.LSTM(3, 4).double()
    packed = nn.utils.rnn.pack_padded_sequence(normal(5, 2, 3), torch.tensor([5, 3]))
    expected, _ = cell(packed)
    with composite_forms():
        found, _ = cell(packed)
    assert torch.equal(found.data, expected.data)


@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_modules(batch_first):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=batch_first).double().eval()
    x = normal(3, 5, 4, seed=1)
    with torch.no_grad():
        expected = layer(x)
        with composite_forms():
            torch.testing.assert_close(layer(x), expected)
    compare(layer, x)


def test_every_form_is_named_and_tried_here():
    source = Path(__file__).read_text()
    tried = {"layer_norm", "rms_norm", "instance_norm", "glu", "embedding", "_weight_norm", "scaled_dot_product_attention"}
    assert tried | {"lstm", "gru", "rnn_tanh", "rnn_relu"} == set(COMPOSITES)
    assert all(name in source for name in tried)


def test_the_fast_path_of_attention_comes_back_after_an_error():
    assert torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(ZeroDivisionError), composite_forms():
        assert not torch.backends.mha.get_fastpath_enabled()
        _ = 1 / 0
    assert torch.backends.mha.get_fastpath_enabled()


def test_nested_forward_mode_through_layer_norm_needs_the_plain_form():
    """The reason for the plain form: should torch mend this, the first assertion says so."""
    x, v = normal(3, 5), normal(3, 5, seed=1)

    def second(x):
        return torch.func.jvp(lambda a: torch.func.jvp(lambda b: F.layer_norm(b, (5,)).sin().sum(), (a,), (v,))[1], (x,), (v,))[1]

    at = x.clone().requires_grad_()
    gradient = torch.autograd.grad(F.layer_norm(at, (5,)).sin().sum(), at, create_graph=True)[0]
    exact = (torch.autograd.grad((gradient * v).sum(), at)[0] * v).sum()
    assert not torch.allclose(second(x), exact, rtol=1e-3)
    with composite_forms():
        torch.testing.assert_close(second(x), exact)


def test_backward_twice_through_attention():
    def total(q):
        return F.scaled_dot_product_attention(q, q, q).sin().sum()

    q = normal(2, 3, 4).requires_grad_()
    with twice_differentiable():
        gradient = torch.autograd.grad(total(q), q, create_graph=True)[0]
        second = torch.autograd.grad((gradient * normal(2, 3, 4, seed=1)).sum(), q)[0]
    step = 1e-5 * normal(2, 3, 4, seed=1)

    def slope(at):
        at = at.detach().requires_grad_()
        return torch.autograd.grad(total(at), at)[0]

    torch.testing.assert_close(second, (slope(q + step) - slope(q - step)) / 2e-5, rtol=1e-6, atol=1e-8)
