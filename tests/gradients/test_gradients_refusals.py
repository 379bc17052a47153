# ruff: noqa: E501, E731  (tables of cases and messages, one line each)
"""What is refused, and that the message says what was expected, what came and what to do."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from twins import Steps, case, cross_entropy, half_squares, normal, seeded

from sgdscope.errors import InvalidInput, NotFound
from sgdscope.gradients import PerExampleGradients
from sgdscope.gradients.checks import spread

of = PerExampleGradients.of


def data(number=6, width=4):
    return normal(number, width, seed=1), torch.arange(number) % 4


def net(*layers):
    return seeded(lambda: nn.Sequential(nn.Linear(4, 4), *layers, nn.Linear(4, 4)))


class Centred(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


def functional_weight():
    return seeded(lambda: Steps(lambda self, x: F.linear(self.first(x).tanh(), self.first.weight), first=nn.Linear(4, 4)))


def functional_only():
    return seeded(lambda: Steps(lambda self, x: F.linear(x, self.inner.weight), inner=nn.Linear(4, 4)))


class Standardised(nn.Module):
    def forward(self, x):
        return F.batch_norm(x, None, None, training=True)


class SwappedAxes(nn.Module):
    """A layer that sees positions first, then examples, along one axis."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(4, 4)

    def forward(self, x):
        rows = torch.stack([x, 2 * x + 1]).flatten(0, 1)  # (2 N, 4), positions first
        return self.line(rows).tanh().view(2, len(x), 4).sum(0)


class RootAtZero(nn.Module):
    def forward(self, x):
        return (x * 0).abs().sqrt() + x


class PerExampleLoop(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(4, 4)

    def forward(self, x):
        return torch.stack([self.line(row) for row in x])


def nan(x):
    x = x.clone()
    x[2] = float("nan")
    return x


X, Y = data()
CALLS = [
    (
        "batch norm",
        lambda: of(net(nn.BatchNorm1d(4)).train(), "cross_entropy", X, Y),
        r"batch norm must use fixed statistics; BatchNorm1d '1' is in training mode.*model\.eval\(\)",
    ),
    (
        "no statistics",
        lambda: of(net(nn.BatchNorm1d(4, track_running_stats=False)).eval(), "cross_entropy", X, Y),
        r"BatchNorm1d '1' has no running statistics.*track_running_stats=True",
    ),
    (
        "instance norm",
        lambda: of(nn.Sequential(nn.InstanceNorm2d(2, track_running_stats=True), nn.Linear(4, 4)), "cross_entropy", X, Y),
        "updates running statistics",
    ),
    (
        "dropout",
        lambda: of(net(nn.Dropout(0.3)).train(), "cross_entropy", X, Y),
        r"Dropout '1' drops a random share of 0\.3 in training mode.*eval",
    ),
    ("lstm dropout", lambda: of(nn.LSTM(4, 4, 2, dropout=0.5), "cross_entropy", X, Y), r"LSTM '' drops a random share of 0\.5"),
    ("attention dropout", lambda: of(nn.MultiheadAttention(4, 2, dropout=0.5), "cross_entropy", X, Y), "drops a random share"),
    (
        "functional dropout",
        lambda: of(
            seeded(lambda: Steps(lambda s, x: s.b(F.dropout(s.a(x), 0.5)), a=nn.Linear(4, 64), b=nn.Linear(64, 4))), "cross_entropy", X, Y
        ),
        "the same two examples gave the losses .* and then .*functional dropout",
    ),
    ("scalar", lambda: of(net(), F.cross_entropy, X, Y), r'one number per example, shape \(2,\); a scalar.*reduction="none"'),
    ("scalar module", lambda: of(net(), nn.CrossEntropyLoss(), X, Y), "one number per example.*a scalar of torch.float64 came"),
    ("wrong shape", lambda: of(net(), lambda o, y: o, X, Y), r"one number per example, shape \(2,\); \(2, 4\) of torch.float64 came"),
    ("not a tensor", lambda: of(net(), lambda o, y: [0.0], X, Y), "one number per example.*list came"),
    (
        "accuracy",
        lambda: of(net(), lambda o, y: (o.argmax(1) == y).long(), X, Y),
        "losses must be floating-point numbers; torch.int64 came",
    ),
    ("NaN loss", lambda: of(net(), lambda o, y: o.sum(1).sub(1e9).log(), X, Y), "losses must be finite; 2 of 2 are NaN"),
    ("detached", lambda: of(net(), lambda o, y: o.detach().sum(1), X, Y), "losses must depend on trainable parameters"),
    (
        "coupled model",
        lambda: of(net(Centred()), "cross_entropy", X, Y),
        r"each loss must depend on its own example only; two examples gave the losses .* together and .* alone",
    ),
    ("coupled loss", lambda: of(net(), lambda o, y: cross_entropy(o, y) / cross_entropy(o, y).sum(), X, Y), "own example only"),
    (
        "functional use",
        lambda: of(functional_weight(), "cross_entropy", X, Y),
        r"parameter 'first\.weight' must be used only by calling the module.*Is it tied",
    ),
    (
        "only functional",
        lambda: of(functional_only(), "cross_entropy", X, Y),
        r"parameter 'inner\.weight' must be used only|losses must depend",
    ),
    (
        "penalty",
        lambda: (lambda m: of(m, lambda o, y: cross_entropy(o, y) + m[0].weight.square().sum(), X, Y))(net()),
        r"parameter '0\.weight' must be used only",
    ),
    ("positions first", lambda: of(seeded(SwappedAxes), "cross_entropy", X, Y), r"parameter 'line\.weight'.*positions mixed"),
    ("loop over examples", lambda: of(seeded(PerExampleLoop), "cross_entropy", X, Y), "the same layers for any number of examples"),
    (
        "integers",
        lambda: of(net(), "cross_entropy", torch.ones(6, 4, dtype=torch.int64), Y),
        r"x must have the dtype that the model takes; x is torch.int64.*x\.float\(\)",
    ),
    (
        "features",
        lambda: of(net(), "cross_entropy", X[:, :3], Y),
        r"x must have the shape .*; x \(2, 3\) of torch.float64 came and the model fails: mat1",
    ),
    (
        "batch statistics by function",
        lambda: of(net(Standardised()), "cross_entropy", X, Y),
        "own example only; the model takes several examples together, and fails on one of them alone: Expected more than 1 value",
    ),
    ("NaN input", lambda: of(net(), "cross_entropy", nan(X), Y), "x must be finite; 1 of 6 examples hold NaN"),
    (
        "NaN gradients",
        lambda: of(net(RootAtZero()), "cross_entropy", X, Y),
        "gradients must be finite; NaN or infinite values came at the output of layer '0'",
    ),
    ("labels", lambda: of(net(), "cross_entropy", X, Y + 1), r"labels must lie in 0\.\.3.*4 outputs; 4 came"),
    ("negative labels", lambda: of(net(), "cross_entropy", X, Y - 1), r"labels must lie in 0\.\.3.*-1 came"),
    (
        "labels of a callable",
        lambda: of(net(), cross_entropy, X, Y + 7),
        "labels must lie within the outputs of the model; the loss says: Target",
    ),
    ("float labels", lambda: of(net(), "cross_entropy", X, Y.double()), r"labels y \(N,\) of int64; .*float64 came"),
    ("targets", lambda: of(net(), "mse", X, X[:, :3]), r"mse takes targets of the shape and dtype of the outputs, \(2, 4\).*\(2, 3\)"),
    (
        "mixed dtypes",
        lambda: of(net(), "cross_entropy", X.float(), Y),
        r"must have one floating dtype; .*of torch.float64, x of torch.float32 came",
    ),
    ("mixed target", lambda: of(net(), "mse", X, X.float()), "one floating dtype.*y of torch.float32"),
    (
        "mixed devices",
        lambda: of(net(), "cross_entropy", X.to("meta"), Y),
        r"must have one device; .*on cpu, x on meta came.*\.to\(device\)",
    ),
    ("empty", lambda: of(net(), "cross_entropy", X[:0], Y[:0]), r"at least one example; 0 came \(empty data\)"),
    ("empty dict", lambda: of(net(), "cross_entropy", {}, Y), "x must hold at least one tensor"),
    ("sizes", lambda: of(net(), "cross_entropy", X, Y[:5]), "same number of examples; x: 6, y: 5 came"),
    ("scalar target", lambda: of(net(), "cross_entropy", X, Y[0]), "along the first axis of each tensor; y has none"),
    ("lists", lambda: of(net(), "cross_entropy", X.tolist(), Y), r"x must be a tensor or a \(nested\) dict of tensors; list came"),
    ("complex", lambda: of(net(), "cross_entropy", X.to(torch.complex64), Y), "x must be real; torch.complex64 came"),
    ("no parameters", lambda: of(net().requires_grad_(False), "cross_entropy", X, Y), "none of its 4 requires a gradient"),
    ("no module", lambda: of(lambda x: x, "cross_entropy", X, Y), "model must be a torch.nn.Module; function came"),
    ("lazy", lambda: of(nn.LazyLinear(4), "cross_entropy", X, Y), "'weight' is lazy"),
    ("max_norm", lambda: of(nn.Embedding(4, 4, max_norm=1.0), "cross_entropy", Y, Y), "max_norm rescales its weight"),
    (
        "by frequency",
        lambda: of(nn.Embedding(4, 4, scale_grad_by_freq=True), "cross_entropy", Y, Y),
        "scale_grad_by_freq mixes the examples",
    ),
    ("form", lambda: of(net(), "cross_entropy", X, Y, form="dense"), "form must be one of auto, factored, materialised; 'dense' came"),
    ("chunk", lambda: of(net(), "cross_entropy", X, Y, chunk=0), "chunk must be a whole number of at least 1; 0 came"),
    ("memory", lambda: of(net(), "cross_entropy", X, Y, memory=1e9), "memory must be a whole number"),
    ("loss", lambda: of(net(), 3, X, Y), r"loss must be a callable \(outputs, y\)"),
    (
        "vector",
        lambda: of(net(), "cross_entropy", X, Y) @ X[0],
        r"G @ v takes v of shape \(40,\) or \(40, k\), for G is \(6, 40\); \(4,\) came",
    ),
    ("weights", lambda: of(net(), "cross_entropy", X, Y).T @ X[0], r"G\.T @ w takes w of shape \(6,\) or \(6, k\).*\(4,\) came"),
    ("dtype of weights", lambda: of(net(), "cross_entropy", X, Y).T @ X[:, 0].float(), "float64 on cpu; torch.float32 on cpu came"),
    ("out", lambda: of(net(), "cross_entropy", X, Y).dense(out=X), r"out must be \(6, 40\) of torch.float64"),
    (
        "other",
        lambda: of(net(), "cross_entropy", X, Y).gram(of(net(nn.Linear(4, 4)), "cross_entropy", X, Y)),
        "other must hold gradients of the same 40 parameters",
    ),
]


@pytest.mark.parametrize(("call", "message"), [entry[1:] for entry in CALLS], ids=[entry[0] for entry in CALLS])
def test_refusals(call, message):
    with pytest.raises(InvalidInput, match=f"(?s){message}"):
        call()


def test_an_unknown_loss_lists_the_valid_ones():
    with pytest.raises(NotFound, match="unknown loss 'crossentropy'. Did you mean 'cross_entropy'.*squared_error"):
        of(net(), "crossentropy", X, Y)


def test_autocast_is_refused():
    with torch.autocast("cpu"), pytest.raises(InvalidInput, match="autocast region is active"):
        of(net(), "cross_entropy", X, Y)


def test_overflow_is_refused():
    model = net().float()
    G = of(model, lambda o, y: o.sum(1) * 1e25, X.float(), Y)
    with pytest.raises(InvalidInput, match="gram must be finite.*overflow"):
        G.gram()


def test_nan_in_a_later_chunk():
    model = net()

    def loss(outputs, y):
        return torch.where(y == 3, float("nan"), outputs.square().sum(1))

    x, labels = data(40)[0], torch.arange(40) % 2
    labels[22] = 3
    assert 22 not in spread(labels, 40)
    with pytest.raises(InvalidInput, match="losses must be finite; 1 of 2"):
        of(model, loss, x, labels, chunk=2)


def test_branches_are_refused():
    def forward(self, x):
        return self.b(x) if bool((x > 100).any()) else self.a(x)

    model = seeded(lambda: Steps(forward, a=nn.Linear(4, 4), b=nn.Linear(4, 4)))
    model.b.load_state_dict(model.a.state_dict())  # or the losses would depend on other examples
    x = X.clone()
    x[3] = 200
    with pytest.raises(InvalidInput, match="same layers in the same order whatever the values"):
        of(model, half_squares, x, Y, chunk=2)


@pytest.mark.parametrize(
    "layer",
    [nn.Dropout(0.0), nn.Dropout(0.5).eval(), nn.BatchNorm1d(4).eval(), nn.LayerNorm(4), nn.GroupNorm(2, 4)],
    ids=["share 0", "eval", "batch norm in eval mode", "layer norm", "group norm"],
)
def test_what_is_not_refused(layer):
    model = seeded(lambda: nn.Sequential(nn.Linear(4, 4), layer, nn.Linear(4, 4)))
    of(model, "cross_entropy", X, Y).gram()


@pytest.mark.parametrize("name", ["squared_error", "mse", "binary_cross_entropy"])
def test_constants_of_the_losses(name):
    x, y = normal(5, 4), torch.rand(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model = seeded(lambda: nn.Linear(4, 3))
    outputs = model(x).detach()
    residual = {"squared_error": outputs - y, "mse": 2 / 3 * (outputs - y), "binary_cross_entropy": outputs.sigmoid() - y}[name]
    expected = torch.cat([(residual[:, :, None] * x[:, None]).flatten(1), residual], 1)
    torch.testing.assert_close(of(model, name, x, y).dense(), expected)


def test_case_table_is_used():
    assert case("mlp")[0](case("mlp")[1]).shape == (6, 4)
