"""Curvature of single losses along a direction: each layer type by both ways against double backward, and what is promised and refused."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sgdscope.errors import InvalidInput, NotFound
from sgdscope.models import build
from sgdscope.models.losses import LOSSES
from sgdscope.spectra import HessianOperator, hessian_eigenpairs
from sgdscope.stability import directional_curvature

sys.path.insert(0, str(Path(__file__).parents[1] / "gradients"))
from twins import CASES, Steps, case, cross_entropy, generator, normal, seeded, size, take  # noqa: E402

module = sys.modules[directional_curvature.__module__]  # the package's attribute of that name is the function


def double_backward(model, loss, x, y, direction):
    """Slow twin: for each example, autograd twice."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    vectors = [v.view(p.shape) for v, p in zip(direction.split([p.numel() for p in parameters]), parameters, strict=True)]
    curvatures = []
    for i in range(size(y)):
        one = take(x, i)
        with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):  # the fused kernel has no second derivative
            outputs = model(**one) if isinstance(one, dict) else model(one)
        gradients = torch.autograd.grad(loss(outputs, take(y, i)).sum(), parameters, create_graph=True, allow_unused=True)
        slope = sum(((g * v).sum() for g, v in zip(gradients, vectors, strict=True) if g is not None), torch.zeros(()).double())
        twice = torch.autograd.grad(slope, parameters, allow_unused=True) if slope.requires_grad else [None] * len(parameters)
        curvatures.append(sum(((h * v).sum() for h, v in zip(twice, vectors, strict=True) if h is not None), torch.zeros(()).double()))
    return torch.stack(curvatures).detach()


def direction_of(model, seed=3):
    return normal(sum(p.numel() for p in model.parameters() if p.requires_grad), seed=seed)


def agree(model, x, y, loss=cross_entropy, methods=("taylor", "nested"), name=None):
    direction = direction_of(model)
    expected = double_backward(model, loss, x, y, direction)
    assert expected.abs().max() > 1e-3, "the case would show nothing"
    for method in methods:
        found = directional_curvature(model, name or loss, x, y, direction, method=method)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11 * float(expected.abs().max()), msg=lambda m: f"{method}: {m}")  # noqa: B023


LAYERS = {  # one layer type at a time between two linear layers or convolutions: (build, shape of x)
    "linear": (lambda: nn.Linear(5, 4), (5,)),
    "linear without bias": (lambda: nn.Sequential(nn.Linear(5, 6, bias=False), nn.Tanh(), nn.Linear(6, 4, bias=False)), (5,)),
    **{
        name: (lambda layer=layer: nn.Sequential(nn.Linear(5, 6), layer(), nn.Linear(6, 4)), (5,))
        for name, layer in {
            "relu": nn.ReLU, "relu in place": lambda: nn.ReLU(inplace=True), "leaky relu": lambda: nn.LeakyReLU(0.1), "tanh": nn.Tanh,
            "sigmoid": nn.Sigmoid, "gelu": nn.GELU, "gelu tanh": lambda: nn.GELU("tanh"), "silu": nn.SiLU, "elu": nn.ELU, "celu": nn.CELU,
            "selu": nn.SELU, "mish": nn.Mish, "softplus": nn.Softplus, "hardtanh": nn.Hardtanh, "relu6": nn.ReLU6, "hardswish": nn.Hardswish,
            "prelu": nn.PReLU, "log sigmoid": nn.LogSigmoid, "softsign": nn.Softsign, "softmax": lambda: nn.Softmax(1),
            "log softmax": lambda: nn.LogSoftmax(1), "dropout off": lambda: nn.Dropout(0.5), "identity": nn.Identity,
            "batch norm": lambda: nn.BatchNorm1d(6), "layer norm": lambda: nn.LayerNorm(6), "rms norm": lambda: nn.RMSNorm(6),
            "group norm": lambda: nn.GroupNorm(2, 6),
            "layer norm alone": lambda: nn.LayerNorm(6, elementwise_affine=False),
        }.items()
    },
    "glu": (lambda: nn.Sequential(nn.Linear(5, 12), nn.GLU(), nn.Linear(6, 4)), (5,)),
    **{
        name: (lambda layer=layer, width=width: nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), layer(), nn.Flatten(), nn.Linear(width, 4)), (2, 8, 8))
        for name, (layer, width) in {
            "max-pool": (lambda: nn.MaxPool2d(2), 36), "max-pool overlapping": (lambda: nn.MaxPool2d(3, 2, 1), 36),
            "max-pool ceil": (lambda: nn.MaxPool2d(4, ceil_mode=True), 16), "max-pool dilated": (lambda: nn.MaxPool2d(2, dilation=2), 16),
            "average pool": (lambda: nn.AvgPool2d(2), 36), "average pool, padded": (lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), 36),
            "adaptive average pool": (lambda: nn.AdaptiveAvgPool2d(2), 16), "batch norm 2d": (lambda: nn.BatchNorm2d(4), 144),
            "batch norm without scale": (lambda: nn.BatchNorm2d(4, affine=False), 144), "group norm 2d": (lambda: nn.GroupNorm(2, 4), 144),
            "instance norm": (lambda: nn.InstanceNorm2d(4, affine=True), 144), "transposed": (lambda: nn.ConvTranspose2d(4, 2, 3, stride=2), 338),
            "zero padding": (lambda: nn.ZeroPad2d(1), 256), "constant padding": (lambda: nn.ConstantPad2d(1, 0.3), 256),
            "reflection padding": (lambda: nn.ReflectionPad2d(1), 256), "dropout 2d off": (lambda: nn.Dropout2d(0.5), 144),
            "convolution after convolution": (lambda: nn.Conv2d(4, 1, 1), 36), "depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4), 128),
            "unflatten": (lambda: nn.Sequential(nn.Flatten(), nn.Unflatten(1, (2, 72))), 144),
        }.items()
    },
    "max-pool 1d": (lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.MaxPool1d(2), nn.Tanh(), nn.Flatten(), nn.Linear(12, 4)), (2, 8)),
    "max-pool 3d": (lambda: nn.Sequential(nn.Conv3d(1, 3, 2), nn.MaxPool3d(2), nn.Tanh(), nn.Flatten(), nn.Linear(3, 4)), (1, 4, 4, 4)),
    "residual": (lambda: Steps(lambda s, x: s.c(F.relu(s.a(x)) + s.b(x)), a=nn.Linear(5, 6), b=nn.Linear(5, 6), c=nn.Linear(6, 4)), (5,)),
    "residual in place": (
        lambda: Steps(lambda s, x: _in_place(s, x), a=nn.Linear(5, 6), b=nn.Linear(6, 6), c=nn.Linear(6, 4)), (5,),
    ),
    "functional": (
        lambda: Steps(
            lambda s, x: s.c(F.max_pool2d(F.relu(F.pad(s.a(x)[:, :, ::2, ::2], (0, 1, 1, 0))), 2).view(len(x), -1) / 2 - 1),
            a=nn.Conv2d(2, 3, 3), c=nn.Linear(12, 4),
        ), (2, 8, 8),
    ),
}  # fmt: skip


def _in_place(self, x):
    h = self.a(x)
    out = self.b(torch.tanh(h))
    out += h
    return self.c(F.relu(out, inplace=True))


@pytest.mark.parametrize("name", LAYERS)
def test_each_layer_type_alone_is_double_backward(name):
    make, shape = LAYERS[name]
    model = seeded(make).eval()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            norm.running_mean += 0.3
            norm.running_var *= 1.7
    agree(model, normal(3, *shape, seed=1), torch.tensor([0, 3, 1]), name="cross_entropy")


@pytest.mark.parametrize("name", [name for name in CASES if name != "weight norm"])
def test_each_case_of_the_gradients_is_double_backward(name):
    agree(*case(name, number=3))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"bidirectional": True}, {"bias": False}])
def test_recurrences(kind, options):
    width = 8 if options.get("bidirectional") else 4
    model = seeded(lambda: Steps(lambda s, x: s.c(s.r(x)[0].sum(1)), r=kind(3, 4, batch_first=True, **options), c=nn.Linear(width, 4)))
    agree(model, normal(2, 5, 3, seed=1), torch.tensor([0, 3]))


def test_lstm_with_projection_and_states():
    def forward(self, x):
        out, (hidden, cell) = self.r(x, (x.new_ones(1, len(x), 2), x.new_ones(1, len(x), 4)))
        return self.c(torch.cat([out[:, -1], hidden[0], cell[0]], 1))

    agree(
        seeded(lambda: Steps(forward, r=nn.LSTM(3, 4, proj_size=2, batch_first=True), c=nn.Linear(8, 4))),
        normal(2, 5, 3, seed=1),
        torch.tensor([0, 3]),
    )


@pytest.mark.parametrize("mask", ["none", "bool", "float", "padding", "causal", "three axes", "both"])
@pytest.mark.parametrize("need_weights", [False, True])
def test_attention(mask, need_weights):
    causal = torch.ones(5, 5).triu(1).bool()
    padding = torch.tensor([[0, 0, 0, 1, 1], [0, 0, 0, 0, 1]]).bool()

    def forward(self, x, hide):
        masks = {
            "bool": {"attn_mask": causal}, "float": {"attn_mask": normal(5, 5, seed=7)}, "padding": {"key_padding_mask": hide},
            "causal": {"attn_mask": causal, "is_causal": True}, "three axes": {"attn_mask": causal.expand(2 * len(x), 5, 5)},
            "both": {"attn_mask": causal, "key_padding_mask": hide}, "none": {},
        }[mask]  # fmt: skip
        out, weights = self.a(x, x, x, need_weights=need_weights, **masks)
        return self.c(out.mean(1)) + (weights.square().sum((1, 2))[:, None] if need_weights else 0)

    model = seeded(lambda: Steps(forward, a=nn.MultiheadAttention(6, 2, batch_first=True), c=nn.Linear(6, 4)))
    agree(model, {"x": normal(2, 5, 6, seed=1), "hide": padding}, torch.tensor([0, 3]))


def test_attention_between_two_sequences_of_other_widths():
    def forward(self, x, z):
        return self.c(self.a(x, z, z.sin())[0].mean(1))

    model = seeded(lambda: Steps(forward, a=nn.MultiheadAttention(6, 3, kdim=4, vdim=4, bias=False, batch_first=True), c=nn.Linear(6, 4)))
    agree(model, {"x": normal(2, 5, 6, seed=1), "z": normal(2, 3, 4, seed=2)}, torch.tensor([0, 3]))


@pytest.mark.parametrize("options", [{"add_bias_kv": True}, {"add_zero_attn": True}])
def test_attention_without_a_rule_goes_the_other_way(options):
    model = seeded(
        lambda: Steps(
            lambda s, x: s.c(s.a(x, x, x)[0].mean(1)), a=nn.MultiheadAttention(6, 2, batch_first=True, **options), c=nn.Linear(6, 4)
        )
    )
    agree(model, normal(2, 5, 6, seed=1), torch.tensor([0, 3]), methods=("nested", "auto"))


@pytest.mark.parametrize("how", [{}, {"is_causal": True}, {"scale": 0.3}, {"attn_mask": torch.ones(5, 5).tril().bool()}])
def test_scaled_dot_product_attention(how):
    def forward(self, x):
        q, k, v = self.a(x).chunk(3, -1)
        return self.c(F.scaled_dot_product_attention(q, k, v, **how).mean(1))

    model = seeded(lambda: Steps(forward, a=nn.Linear(6, 18), c=nn.Linear(6, 4)))
    agree(model, normal(2, 5, 6, seed=1), torch.tensor([0, 3]))


@pytest.mark.parametrize("options", [{}, {"activation": "gelu", "norm_first": True}])
def test_transformer_layer(options):
    layer = lambda: nn.TransformerEncoderLayer(6, 2, 8, batch_first=True, **options)  # noqa: E731
    model = seeded(lambda: Steps(lambda s, x: s.c(s.t(x).mean(1)), t=layer(), c=nn.Linear(6, 4))).eval()
    agree(model, normal(2, 5, 6, seed=1), torch.tensor([0, 3]))


@pytest.mark.parametrize("name", ["squared_error", "mse", "binary_cross_entropy"])
def test_named_losses(name):
    model, x, _ = case("mlp", 3)
    agree(model, x, normal(3, 4, seed=5).sigmoid(), loss=LOSSES[name], name=name)


@pytest.mark.parametrize(
    "loss",
    [
        lambda f, y: F.cross_entropy(f, y, reduction="none", label_smoothing=0.1),
        lambda f, y: F.cross_entropy(f, y, reduction="none", weight=torch.arange(1.0, 5).double()),
        lambda f, y: F.cross_entropy(f, y, reduction="none", ignore_index=3),
        lambda f, y: F.cross_entropy(f, F.one_hot(y, 4).double(), reduction="none"),
        lambda f, y: torch.logsumexp(f, 1) - f.gather(1, y[:, None])[:, 0],
        lambda f, y: f.cumprod(1).sum(1),
        lambda f, y: f.square().sum(1) * (1 + torch.tensor(f.detach().sum(1).tolist()).double()),
        lambda f, y: f.square().sum(1) * torch.tensor([row.sum().item() for row in f]).double(),  # the loss alone runs in forward mode
        lambda f, y: (f.sort(1).values * torch.arange(4.0).double()).square().sum(1),  # no rule of its own
    ],
)
def test_other_losses(loss):
    model, x, y = case("mlp", 3)
    agree(model, x, y, loss=loss)


def test_outputs_in_a_dict_and_inputs_in_a_dict():
    model = seeded(
        lambda: Steps(lambda s, a, more: {"f": s.c(torch.cat([s.a(a), more["b"]], 1).tanh())}, a=nn.Linear(5, 4), c=nn.Linear(6, 4))
    )
    agree(
        model,
        {"a": normal(3, 5, seed=1), "more": {"b": normal(3, 2, seed=2)}},
        torch.tensor([0, 3, 1]),
        loss=lambda out, y: cross_entropy(out["f"], y),
    )


@settings(max_examples=40, deadline=None)
@given(
    inputs=st.sampled_from([1, 2, 4]), outputs=st.sampled_from([2, 4]), kernel=st.integers(1, 3), stride=st.integers(1, 3),
    padding=st.sampled_from([0, 1, 2, "same", "valid"]), dilation=st.integers(1, 2), groups=st.sampled_from([1, 2]), bias=st.booleans(),
    mode=st.sampled_from(["zeros", "circular", "replicate", "reflect"]), first=st.booleans(),
)  # fmt: skip
def test_convolutions_of_all_settings(inputs, outputs, kernel, stride, padding, dilation, groups, bias, mode, first):
    groups = groups if inputs % groups == 0 else 1
    stride = 1 if padding == "same" else stride

    def make():
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias, padding_mode=mode)
        before = [] if first else [nn.Conv2d(inputs, inputs, 1), nn.Tanh()]
        return nn.Sequential(*before, conv, nn.Sigmoid(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(outputs, 2))

    model = seeded(make)
    x, y, direction = normal(2, inputs, 7, 7, seed=1), torch.tensor([0, 1]), direction_of(model)
    expected = double_backward(model, cross_entropy, x, y, direction)
    found = directional_curvature(model, "cross_entropy", x, y, direction, method="taylor")
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10 * float(expected.abs().max() + 1))


@pytest.mark.parametrize("frozen", [["0.weight"], ["0.bias"], ["2.weight"], ["2.bias"], ["0.weight", "2.bias"]])
def test_frozen_parameters_are_no_part_of_the_direction(frozen):
    for layers in (
        lambda: nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4)),
        lambda: nn.Sequential(nn.Conv1d(5, 3, 2), nn.Tanh(), nn.Conv1d(3, 4, 2), nn.Flatten()),
    ):
        model = seeded(layers)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in frozen)
        x = normal(3, 5, seed=1) if isinstance(model[0], nn.Linear) else normal(3, 5, 3, seed=1)
        agree(model, x, torch.tensor([0, 3, 1]))


@pytest.mark.parametrize("kind", ["conv", "linear"])
def test_weight_norm_is_the_weight_written_out(kind):
    """PyTorch's own double backward through weight norm takes the norm as constant, so the twin is the formula."""
    layer = (lambda: nn.Conv1d(3, 4, 3)) if kind == "conv" else (lambda: nn.Linear(7, 4))
    width = 20 if kind == "conv" else 12
    wrapped = seeded(lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(layer()), nn.Tanh(), nn.Flatten(), nn.Linear(width, 4)))

    class Written(nn.Module):
        def __init__(self):
            super().__init__()
            names = ("0.bias", "0.parametrizations.weight.original0", "0.parametrizations.weight.original1", "3.weight", "3.bias")
            values = dict(wrapped.named_parameters())
            assert list(values) == list(names)
            self.b, self.g, self.v, self.w, self.o = (nn.Parameter(values[name].detach().clone()) for name in names)

        def forward(self, x):
            weight = self.g * self.v / self.v.square().sum(tuple(range(1, self.v.dim())), keepdim=True).sqrt()
            first = F.conv1d(x, weight, self.b) if kind == "conv" else F.linear(x, weight, self.b)
            return F.linear(first.tanh().flatten(1), self.w, self.o)

    x, y, direction = normal(3, 3, 7, seed=1), torch.tensor([0, 3, 1]), direction_of(wrapped)
    expected = double_backward(Written(), cross_entropy, x, y, direction)
    for method in ("taylor", "nested"):
        torch.testing.assert_close(directional_curvature(wrapped, "cross_entropy", x, y, direction, method=method), expected)
    product = HessianOperator(wrapped, "cross_entropy", x, y) @ direction
    torch.testing.assert_close(direction @ product, expected.mean())


@pytest.mark.parametrize("name", ["mlp", "norms", "lstm", "transformer", "embedding"])
def test_mean_over_examples_is_the_hessian_operator(name):
    model, x, y = case(name)
    direction = direction_of(model)
    product = HessianOperator(model, "cross_entropy", x, y) @ direction
    torch.testing.assert_close(directional_curvature(model, "cross_entropy", x, y, direction).mean(), direction @ product)


def test_mean_along_the_top_eigenvector_is_the_top_eigenvalue():
    model, x, y = case("mlp", 20)
    pairs = hessian_eigenpairs(model, "cross_entropy", x, y, k=1, seed=0)
    found = directional_curvature(model, "cross_entropy", x, y, pairs.vectors[:, 0])
    assert found.mean().item() == pytest.approx(pairs.values[0].item(), rel=1e-6)


@pytest.mark.parametrize("method", ["taylor", "nested"])
def test_scaling_and_chunks(method):
    model, x, y = case("cnn", 7)
    direction = direction_of(model)
    one = directional_curvature(model, cross_entropy, x, y, direction, method=method)
    half = directional_curvature(model, lambda f, y: cross_entropy(f, y) / 2, x, y, -3 * direction, method=method, chunk_size=2)
    torch.testing.assert_close(half, 4.5 * one)
    torch.testing.assert_close(directional_curvature(model, cross_entropy, x[:3], y[:3], direction, method=method), one[:3])


@pytest.mark.parametrize("name", ["lenet", "simple_cnn", "mlp", "fcn", "resnet8"])
def test_networks_of_linear_convolution_relu_and_pooling_take_the_fast_way(name, monkeypatch):
    """By name, so that the fast way cannot go unused unseen: the other one is taken away."""

    def never(*_):
        raise AssertionError("nested forward mode")

    monkeypatch.setattr(module, "_by_nested_jvp", never)
    model = build(name, seed=0, in_shape=(3, 16, 16)).eval()
    x, y = normal(4, 3, 16, 16, seed=1, dtype=torch.float32), torch.randint(10, (4,), generator=generator(2))
    direction = direction_of(model).float()
    found = directional_curvature(model, "cross_entropy", x, y, direction)
    assert found.shape == (4,) and found.dtype == torch.float32 and not found.requires_grad
    expected = double_backward(model.double(), cross_entropy, x.double(), y, direction.double())
    torch.testing.assert_close(found.double(), expected, rtol=2e-4, atol=2e-4 * float(expected.abs().max()))


class Sign(torch.autograd.Function):
    """Straight through: its derivative is not that of its forward."""

    @staticmethod
    def forward(ctx, x):
        return x.sign() * x

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def _no_grad(x):
    with torch.no_grad():
        return x.sin()


@pytest.mark.parametrize("constant", [_no_grad, lambda h: h.detach().sin(), lambda h: h.data.sin()], ids=["no_grad", "detach", "data"])
def test_what_autograd_takes_as_constant_is_constant(constant):
    model = seeded(lambda: Steps(lambda s, x: (lambda h: s.c(h * constant(h)))(s.a(x).tanh()), a=nn.Linear(5, 6), c=nn.Linear(6, 4)))
    agree(model, normal(3, 5, seed=1), torch.tensor([0, 3, 1]), methods=("nested", "auto"))


def test_in_place_on_what_a_view_sees_is_not_taken_for_a_copy():
    def forward(self, x):
        h = self.a(x).square() - 1
        view = h[:, ::2]
        F.relu(h, inplace=True)
        return self.c(torch.cat([view, h], 1))

    model = seeded(lambda: Steps(forward, a=nn.Linear(5, 6), c=nn.Linear(9, 4)))
    agree(model, normal(3, 5, seed=1), torch.tensor([0, 3, 1]), methods=("nested", "auto"))


def test_zero_where_the_loss_does_not_depend_on_the_direction():
    model, x, y = case("unused layer", 3)
    direction = torch.zeros(sum(p.numel() for p in model.parameters())).double()
    direction[-1] = 1.0
    for method in ("taylor", "nested"):
        assert directional_curvature(model, "cross_entropy", x, y, direction, method=method).tolist() == [0, 0, 0]


def test_under_no_grad_and_with_inputs_that_require_gradients():
    model, x, y = case("cnn", 3)
    direction = direction_of(model)
    one = directional_curvature(model, "cross_entropy", x, y, direction)
    with torch.no_grad():
        torch.testing.assert_close(directional_curvature(model, "cross_entropy", x, y, direction), one)
    again = directional_curvature(model, "cross_entropy", x.requires_grad_(), y, direction)
    assert not again.requires_grad
    torch.testing.assert_close(again, one)
    assert all(p.grad is None for p in model.parameters())


def test_refusals():
    model, x, y = case("mlp", 3)
    d = sum(p.numel() for p in model.parameters())
    good = torch.ones(d).double()

    def refused(message, direction=good, error=InvalidInput, model=model, **options):
        with pytest.raises(error, match=message):
            directional_curvature(model, "cross_entropy", x, y, direction, **options)

    refused("direction must not be zero", torch.zeros(d))
    refused(rf"direction must be a flat tensor \({d},\).*\({d - 1},\) came", good[1:])
    refused("direction must be a flat tensor .*list came", [1.0] * d)
    refused("direction must hold finite floating-point numbers", good * torch.nan)
    refused("direction must hold finite floating-point numbers; torch.int64", good.long())
    refused("unknown method 'backward'.* Valid: auto, taylor, nested", method="backward", error=NotFound)
    refused("chunk_size must be a whole number of at least 1; 0 came", chunk_size=0)
    refused("Dropout .* drops a random share", model=nn.Sequential(*model, nn.Dropout(0.5)), direction=good)
    unknown = Steps(lambda s, x: s.a(x.flatten(1)) * s.a.bias.sum().item(), a=nn.Linear(12, 4).double())
    refused(
        "method='taylor' needs a rule for each function of the model; item gives float without derivatives",
        torch.ones(52),
        model=unknown,
        method="taylor",
    )
    wrong = Steps(lambda s, x: torch.linalg.det(s.a(x.flatten(1)).view(-1, 3, 3))[:, None] * torch.ones(4), a=nn.Linear(12, 9).double())
    wrong_loss = lambda f, y: f[:, 0]  # noqa: E731
    with pytest.raises(InvalidInput, match="forward mode is wrong through a function of this model or loss"):
        directional_curvature(wrong, wrong_loss, x, y, direction_of(wrong))
    wrong = nn.Sequential(nn.Flatten(), nn.Linear(12, 9)).double()
    with pytest.raises(InvalidInput, match="the curvature of example . is .* by forward mode and .* by double backward"):
        directional_curvature(wrong, lambda f, y: torch.linalg.det(f.view(-1, 3, 3)), x, y, direction_of(wrong))
    custom = Steps(lambda s, x: Sign.apply(s.a(x.flatten(1))), a=nn.Linear(12, 4).double())
    refused("the model and the loss must be differentiable twice in forward mode", torch.ones(52), model=custom)
