"""Each rule of the Taylor series by itself, against autograd twice along the curve x0 + x1 t + x2 t^2."""

import pytest
import torch
import torch.nn.functional as F

from sgdscope.stability import directional_curvature  # noqa: F401  (registers the rules)
from sgdscope.stability.taylor import OTHER, RULES, NoRule, Series, constant


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def X(seed):
    return normal(2, 3, 4, seed=seed)


def IMAGES(seed):
    return normal(2, 3, 6, 6, seed=seed)


C = X(8)  # a constant
HOLES = normal(2, 3, 4, seed=9) > 0.5
WEIGHT = normal(4, 3, 3, 3, seed=5)
INDEX = torch.tensor([[0, 1], [1, 0]])

# name: functions of x (2, 3, 4), all of whose calls are of that rule; those of images and of matrices below
ON_TENSORS = {
    "view": [lambda x: x.view(2, 12)],
    "view_as": [lambda x: x.view_as(C.view(6, 4))],
    "reshape": [lambda x: torch.reshape(x, (4, 6))],
    "reshape_as": [lambda x: x.reshape_as(C.view(6, 4))],
    "flatten": [lambda x: x.flatten(1), lambda x: torch.flatten(x)],
    "unflatten": [lambda x: x.unflatten(2, (2, 2))],
    "squeeze": [lambda x: x.squeeze()],
    "unsqueeze": [lambda x: x.unsqueeze(-1)],
    "expand": [lambda x: x.expand(5, 2, 3, 4)],
    "expand_as": [lambda x: x.expand_as(C.expand(5, 2, 3, 4))],
    "permute": [lambda x: x.permute(2, 0, 1)],
    "transpose": [lambda x: x.transpose(0, 1)],
    "movedim": [lambda x: x.movedim(0, 2)],
    "T": [lambda x: x[0].T],
    "t": [lambda x: x[0].t()],
    "mT": [lambda x: x.mT],
    "__getitem__": [lambda x: x[0], lambda x: x[:, ::2, None], lambda x: x[:, torch.tensor([0, 2])], lambda x: x[HOLES]],
    "narrow": [lambda x: x.narrow(1, 1, 2)],
    "select": [lambda x: x.select(1, 2)],
    "unbind": [lambda x: x.unbind(1)[1]],
    "chunk": [lambda x: torch.chunk(x, 2, -1)[1]],
    "split": [lambda x: x.split([1, 2], 1)[1], lambda x: torch.split(x, 2, 2)[0]],
    "index_select": [lambda x: x.index_select(1, torch.tensor([0, 2]))],
    "contiguous": [lambda x: x.mT.contiguous()],
    "clone": [lambda x: x.clone()],
    "neg": [lambda x: -x],
    "roll": [lambda x: x.roll(1, 1)],
    "flip": [lambda x: x.flip(1)],
    "repeat": [lambda x: x.repeat(1, 2, 1)],
    "repeat_interleave": [lambda x: x.repeat_interleave(2, 1)],
    "tile": [lambda x: x.tile(2)],
    "sum": [lambda x: x.sum(), lambda x: x.sum((0, 2), keepdim=True)],
    "mean": [lambda x: x.mean(1), lambda x: torch.mean(x)],
    "cumsum": [lambda x: x.cumsum(1)],
    "diagonal": [lambda x: x.diagonal(0, 1, 2)],
    "to": [lambda x: x.to(torch.float64), lambda x: x.to("cpu")],
    "type_as": [lambda x: x.type_as(C)],
    "double": [lambda x: x.double()],
    "float": [lambda x: x.float().double()],
    "dropout": [lambda x: F.dropout(x, 0.5, False), lambda x: F.dropout(x, 0.0)],
    "dropout1d": [lambda x: F.dropout1d(x, training=False)],
    "alpha_dropout": [lambda x: F.alpha_dropout(x, training=False)],
    "feature_alpha_dropout": [lambda x: F.feature_alpha_dropout(x, training=False)],
    "embedding": [lambda x: F.embedding(INDEX, x[0])],
    "add": [lambda x: x + C, lambda x: 1 + x, lambda x: x[0, 0] + x, lambda x: torch.add(C, x, alpha=2), lambda x: x + C.expand(2, 2, 3, 4)],
    "__radd__": [lambda x: 2 + x],
    "sub": [lambda x: x - C, lambda x: C - x, lambda x: x - x[0], lambda x: torch.sub(C, x, alpha=3), lambda x: x - 1],
    "subtract": [lambda x: torch.subtract(C, x)],
    "__rsub__": [lambda x: 1 - x],
    "rsub": [lambda x: torch.rsub(x, C)],
    "cat": [lambda x: torch.cat([C, x, x.sin()], 1), lambda x: torch.cat([x, C])],
    "concat": [lambda x: torch.concat([x, C], dim=2)],
    "stack": [lambda x: torch.stack([x, C], -1)],
    "pad": [lambda x: F.pad(x, (1, 2), value=3.0), lambda x: F.pad(x, (1, 2)), lambda x: F.pad(x, (1, 1), mode="circular")],
    "masked_fill": [lambda x: x.masked_fill(HOLES, 5.0)],
    "mul": [lambda x: x * C, lambda x: 2 * x, lambda x: x * x[0], lambda x: C[0] * x, lambda x: x * x * x],
    "multiply": [lambda x: torch.multiply(x, x)],
    "matmul": [lambda x: x @ x.mT, lambda x: C @ x.mT, lambda x: x @ C.mT, lambda x: x @ x[0, 0]],
    "bmm": [lambda x: torch.bmm(x, x.mT)],
    "mm": [lambda x: torch.mm(x[0], C[0].T)],
    "linear": [
        lambda x: F.linear(C, x[0]), lambda x: F.linear(x, x[0]), lambda x: F.linear(x, C[0], x[0, :, 0]),
        lambda x: F.linear(x.sin(), x[1].cos(), x[0, :, 0]),
        lambda x: F.linear(C, C[0], x[0, :, 0]), lambda x: F.linear(C, x[0], C[0, :, 0]),
    ],
    "relu": [lambda x: F.relu(x), lambda x: torch.relu(x), lambda x: x.sin().relu_(), lambda x: F.relu(x.sin(), inplace=True)],
    "leaky_relu": [lambda x: F.leaky_relu(x), lambda x: F.leaky_relu(x, 0.3)],
    "tanh": [lambda x: x.tanh(), lambda x: F.relu(x).tanh()],
    "sigmoid": [lambda x: torch.sigmoid(x)],
    "rsqrt": [lambda x: (x.square() + 1).rsqrt()],
    "exp": [lambda x: x.exp()],
    "square": [lambda x: x.square()],
    "softmax": [lambda x: x.softmax(1), lambda x: F.softmax(x, -1), lambda x: torch.softmax(x.masked_fill(HOLES, -torch.inf), 0)],
    "log_softmax": [lambda x: x.log_softmax(1), lambda x: F.log_softmax(x, -1)],
    "cross_entropy": [
        lambda x: F.cross_entropy(x[0], torch.tensor([0, 3, 1]), reduction="none"),
        lambda x: F.cross_entropy(x[0], torch.tensor([0, 3, 1]), reduction="none", ignore_index=3),
        lambda x: F.cross_entropy(x, INDEX.repeat(1, 2), reduction="none"),
        lambda x: F.cross_entropy(x[0], torch.tensor([0, 3, 1]), label_smoothing=0.2),
        lambda x: F.cross_entropy(x[0], x[1].softmax(1), reduction="none"),
    ],
    "log": [lambda x: (x.square() + 1).log()],
    "log1p": [lambda x: x.square().log1p()],
    "expm1": [lambda x: x.expm1()],
    "sqrt": [lambda x: (x.square() + 1).sqrt()],
    "reciprocal": [lambda x: (x.square() + 1).reciprocal()],
    "sin": [lambda x: x.sin()],
    "cos": [lambda x: x.cos()],
    "pow": [lambda x: x**3, lambda x: torch.pow(2.0, x), lambda x: (x.square() + 1) ** x],
    "__rpow__": [lambda x: 2.0**x],
    "erf": [lambda x: x.erf()],
    "abs": [lambda x: x.abs()],
    "clamp": [lambda x: x.clamp(-0.5, 0.5), lambda x: torch.clamp(x, min=0.1)],
    "logsumexp": [lambda x: x.logsumexp(1)],
    "div": [lambda x: x / C, lambda x: C / (x.square() + 1), lambda x: x / 2, lambda x: x / (x[0].square() + 1)],
    "__rdiv__": [lambda x: 2 / (x.square() + 1)],
    "true_divide": [lambda x: torch.true_divide(x, 3)],
    "where": [lambda x: torch.where(x > 0, x, C), lambda x: torch.where(HOLES, 0.0, x)],
    "norm": [lambda x: x.norm(dim=1), lambda x: torch.norm(x)],
    "einsum": [lambda x: torch.einsum("nij,nkj->ik", x, x)],
    "addmm": [lambda x: torch.addmm(x[0, :, :3], x[0], C[0].T)],
    "baddbmm": [lambda x: torch.baddbmm(C[:, :, :3], x, x.mT)],
    "bilinear": [lambda x: F.bilinear(x[0], C[0], x[0, :2, :, None] * x[1, :2, None])],
    "prelu": [lambda x: F.prelu(x, x[0, :, 0].square())],
    "group_norm": [lambda x: F.group_norm(x, 3), lambda x: F.group_norm(x, 1, weight=x[0, :, 0], bias=C[0, :, 0])],
    "cumprod": [lambda x: x.cumprod(1), lambda x: x.cos().cumprod_(1)],
    "normalize": [lambda x: F.normalize(x, dim=1)],
    "amax": [lambda x: x.amax(1)],
    "var": [lambda x: torch.var(x, 1), lambda x: x.var((0, 2), correction=0)],
    "cosine_similarity": [lambda x: F.cosine_similarity(x, C, 1), lambda x: F.cosine_similarity(x, x[0], 2)],
    "gather": [lambda x: x.gather(1, INDEX[:, :, None])],
    "unfold": [lambda x: x.unfold(2, 2, 1), lambda x: F.unfold(x[None], 2)],
    "detach": [lambda x: x.detach() * x],
    **{
        name: [lambda x, name=name: getattr(F, name)(x)]
        for name in ("gelu", "silu", "mish", "elu", "selu", "celu", "softplus", "logsigmoid", "softsign", "hardtanh", "relu6", "hardswish")
    },
    "log_sigmoid": [lambda x: F.logsigmoid(2 * x)],
}  # fmt: skip
ON_IMAGES = {  # functions of x (2, 3, 6, 6)
    "avg_pool1d": [lambda x: F.avg_pool1d(x[0], 2)],
    "avg_pool2d": [lambda x: F.avg_pool2d(x, 2), lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)],
    "avg_pool3d": [lambda x: F.avg_pool3d(x, 2)],
    "adaptive_avg_pool1d": [lambda x: F.adaptive_avg_pool1d(x[0], 4)],
    "adaptive_avg_pool2d": [lambda x: F.adaptive_avg_pool2d(x, 4)],
    "adaptive_avg_pool3d": [lambda x: F.adaptive_avg_pool3d(x, 2)],
    "dropout2d": [lambda x: F.dropout2d(x, training=False)],
    "dropout3d": [lambda x: F.dropout3d(x, training=False)],
    "max_pool1d": [lambda x: F.max_pool1d(x[0], 2), lambda x: torch.max_pool1d(x[1], 3, 1, 1)],
    "max_pool2d": [lambda x: F.max_pool2d(x, 2), lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True), lambda x: F.max_pool2d(x, 2, dilation=2)],
    "max_pool3d": [lambda x: F.max_pool3d(x, 2)],
    "conv1d": [lambda x: F.conv1d(x[0], normal(4, 6, 2, seed=4)), lambda x: F.conv1d(x[0].sin(), x[1, :2, :, :2], x[0, 0, 0, :2])],
    "conv2d": [
        lambda x: F.conv2d(x, WEIGHT, padding=1),
        lambda x: F.conv2d(IMAGES(3), x[:, :, :2, :2], x[0, 0, 0, :2], stride=2),
        lambda x: F.conv2d(x, x[:, :, :3, :3].cos(), None), lambda x: F.conv2d(x, x[:, :, :3, :3], C[0, 0, :2], dilation=2),
        lambda x: F.conv2d(x, x[:, :, :3, :3].flatten(0, 1)[:, None], groups=3),
        lambda x: F.conv2d(x, WEIGHT, x[0, 0, 0, :4], padding="same"),
        lambda x: F.conv2d(IMAGES(3), WEIGHT, x[0, 0, 0, :4]), lambda x: F.conv2d(x, x[:, :, :3, :3], x[0, 0, 0, :2].sin()),
        lambda x: F.conv2d(x[0], x[:, :, :2, :2]),
    ],
    "conv3d": [lambda x: F.conv3d(x[:, None], x[:, None, :2, :2, :2])],
    "conv_transpose1d": [lambda x: F.conv_transpose1d(x[0], x[0, 0, :, :2, None])],
    "conv_transpose2d": [lambda x: F.conv_transpose2d(x, x[0, :, None, :2, :2].expand(3, 2, 2, 2), x[0, 0, 0, :2], 2, 1, output_padding=1)],
    "conv_transpose3d": [lambda x: F.conv_transpose3d(x[:, :2, None], x[:, None, :1, :2, :2])],
    "batch_norm": [
        lambda x: F.batch_norm(x, C[0, :, 0], C[0, :, 1].abs() + 1),
        lambda x: F.batch_norm(x, C[0, :, 0], C[0, :, 1].abs() + 1, x[0, :, 0, 0], x[1, :, 0, 0]),
        lambda x: F.batch_norm(IMAGES(3), C[0, :, 0], C[0, :, 1].abs() + 1, x[0, :, 0, 0], C[0, :, 2]),
        lambda x: F.batch_norm(x, C[0, :, 0], C[0, :, 1].abs() + 1, C[0, :, 3], x[1, :, 0, 0]),
    ],
}  # fmt: skip
ON_TENSORS[OTHER] = [
    lambda x: F.max_pool1d(x, 2, return_indices=True)[0],
    lambda x: x.sort(1).values, lambda x: x.max(1)[0], lambda x: torch.topk(x, 2, 1).values, lambda x: x.logcumsumexp(1), lambda x: torch.std(x, 1),
    lambda x: (lambda values, places: values * places)(*x.median(1)), lambda x: torch.outer(x[0, 0], x[1, 1]), lambda x: x.cos().prod(1),
]  # fmt: skip
ELSEWHERE = {"multi_head_attention_forward": "test_directional_curvature", "__rmatmul__": "same", "__rmul__": "same"}
CONSTANTS = {name for name, (function, _) in RULES.items() if function is constant}


def along(function, x):
    """Value and both derivatives of a random projection of function(x0 + x1 t + x2 t^2), by autograd twice."""
    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    value = function(sum(c * t**n for n, c in enumerate(x) if c is not None))
    weights = normal(max(value.numel(), 1), seed=11).view(value.shape)
    total = (value * weights).sum()
    (slope,) = torch.autograd.grad(total, t, create_graph=True)
    bend = torch.autograd.grad(slope, t)[0] if slope.requires_grad else torch.zeros(())
    return weights, torch.stack([total.detach(), slope.detach(), bend.detach().double() / 2])


@pytest.mark.parametrize("which", ["all", "no x2", "no x1"])
@pytest.mark.parametrize("name", [*ON_TENSORS, *ON_IMAGES])
def test_rule_is_autograd_twice(name, which):
    draw = IMAGES if name in ON_IMAGES else X
    x = (draw(1), None if which == "no x1" else draw(2), None if which == "no x2" else draw(3))
    for n, function in enumerate((ON_IMAGES if name in ON_IMAGES else ON_TENSORS)[name]):
        found = function(Series.of(*x, shared=True))
        assert isinstance(found, Series), "the derivatives are lost"
        weights, expected = along(function, x)
        assert found.shape == weights.shape
        assert all(c is None or c.shape == weights.shape for c in found.series), f"case {n}: a coefficient of another shape"
        got = torch.stack([torch.zeros(()).double() if c is None else (c * weights).sum() for c in found.series])
        tolerance = 1e-5 if name == "float" else 1e-9
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance, msg=lambda m: f"case {n}: {m}")  # noqa: B023


def test_every_rule_is_tested():
    assert set(RULES) - CONSTANTS - set(ON_TENSORS) - set(ON_IMAGES) - set(ELSEWHERE) == set()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.shape, lambda x: x.size(1), lambda x: x.dim(), lambda x: x.ndim, lambda x: x.dtype, lambda x: x.device, len, lambda x: x.numel(),
        lambda x: x.is_cuda, lambda x: x.requires_grad, lambda x: x.is_floating_point(), lambda x: x.new_zeros(3).tolist(),
        lambda x: (x > 0).tolist(),
        lambda x: torch.zeros_like(x).tolist(), lambda x: x.argmax().item(), lambda x: x.isnan().any().item(), lambda x: x.new_ones(2).tolist(),
        lambda x: x.sign().tolist(), lambda x: (x[0] <= x[1]).tolist(), lambda x: x.stride(), lambda x: x.is_contiguous(),
    ],
)  # fmt: skip
def test_what_has_no_derivative_is_that_of_the_value(function):
    assert function(Series.of(X(1), X(2))) == function(X(1))


class Same(torch.autograd.Function):
    """What it gives back may have another derivative (a reversed gradient), so that it must not pass for a constant, nor for x."""

    @staticmethod
    def forward(ctx, x):
        return x


def unseen(x):
    with torch._C.DisableTorchFunctionSubclass():
        return x + 1


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: Same.apply(x), "autograd is off"),
        (unseen, "called past the functions of Python"),
        (lambda x: Twice.apply(x), "autograd is off"),
        (lambda x: x.argsort(1), "argsort gives Tensor without"),
        (lambda x: torch.cumsum(x, 1, out=C.clone()), "cumsum has no rule"),
        (lambda x: x.retain_grad(), "retain_grad is no function"),
        (lambda x: (x.sin().unfold(2, 2, 1), x.unfold(2, 2, 1).relu_()), "memory that something else sees"),
        (lambda x: x.data, "data has no rule"),
        (lambda x: x.tolist(), "tolist gives float, .* without"),
        (lambda x: float(x.sum()), "__float__ has no rule"),
        (lambda x: bool(x.sum()), "__bool__ has no rule"),
        (lambda x: x.numpy(), "numpy gives ndarray without"),
        (lambda x: x.__setitem__(0, 1.0), "__setitem__ has no rule"),
        (lambda x: x.requires_grad_(), "requires_grad has no rule|rule of requires_grad|in place"),
        (lambda x: x.add_(1), "memory that something else sees"),
        (lambda x: C.clone().add_(x), "in place on a constant"),
        (lambda x: F.dropout(x, 0.5, True), "dropout is active"),
        (lambda x: F.batch_norm(x, None, None, training=True), "batch statistics"),
        (lambda x: torch.cat([x, x], out=C.clone()), "cat has no rule"),
        (lambda x: x.to(torch.int64), "to torch.int64"),
        (lambda x: C.index_select(0, x), "index_select of a constant"),
        (lambda x: x.masked_fill(HOLES, x.sum()), "masked_fill by a series"),
        (torch.no_grad()(lambda x: x.sin()), "autograd is off"),
    ],
)
def test_no_rule_is_said(function, message):
    with pytest.raises(NoRule, match=message):
        function(Series.of(X(1), X(2), shared=True))
