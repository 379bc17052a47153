# ruff: noqa: E501  (tables of cases and messages, one line each)
"""What Hessian products and eigenpairs refuse, and that the message says what was expected, what came and what to do."""

import dataclasses
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no neighbours
from spectra_twins import Steps, cross_entropy, mlp, normal, seeded

from sgdscope.errors import InvalidInput, NotFound
from sgdscope.spectra import HessianOperator, hessian_eigenpairs, hessian_vector_product

X, Y = normal(6, 3, seed=1), torch.arange(6) % 3
CE = "cross_entropy"


def net(*layers, dtype=torch.float64):
    return seeded(lambda: nn.Sequential(nn.Linear(3, 4), *layers, nn.Linear(4, 3)), dtype=dtype)


def nan_at(x, i):
    x = x.clone()
    x[i] = float("nan")
    return x


class Coupled(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


class OnceDifferentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * gradient


class WrongTwice(torch.autograd.Function):
    """a b, whose backward takes b as constant, but not a."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b

    @staticmethod
    def backward(ctx, gradient):
        a, b = ctx.saved_tensors
        return gradient * b.detach(), gradient * a


class Wrong(nn.Module):
    def forward(self, x):
        a, b = x.chunk(2, 1)
        return torch.cat([WrongTwice.apply(a, b), a], 1)


class Once(nn.Module):
    def forward(self, x):
        return OnceDifferentiable.apply(x)


def with_nan():
    model = net()
    with torch.no_grad():
        model[0].bias[1] = float("nan")
    return model


COMMON = [
    (
        "batch norm",
        lambda: (net(nn.BatchNorm1d(4)).train(), CE, X, Y),
        r"batch norm must use fixed statistics; BatchNorm1d '1' is in training mode.*model\.eval\(\)",
    ),
    ("dropout", lambda: (net(nn.Dropout(0.3)).train(), CE, X, Y), r"Dropout '1' drops a random share of 0\.3 in training mode.*eval"),
    (
        "functional dropout",
        lambda: (seeded(lambda: Steps(lambda s, x: s.b(F.dropout(s.a(x), 0.5)), a=nn.Linear(3, 64), b=nn.Linear(64, 3))), CE, X, Y),
        "the same two examples gave the losses .* and then",
    ),
    ("coupled", lambda: (net(Coupled()), CE, X, Y), "each loss must depend on its own example only"),
    (
        "balanced classes",
        lambda: (
            net(),
            lambda o, y: F.cross_entropy(o, y, reduction="none") / (y[:, None] == y).sum(1),
            X,
            torch.tensor([0, 1, 2, 0, 1, 1]),
        ),
        "each loss must depend on its own example only",
    ),
    ("scalar loss", lambda: (net(), F.cross_entropy, X, Y), r'one number per example, shape \(6,\); a scalar.*reduction="none"'),
    ("loss of outputs", lambda: (net(), lambda o, y: o, X, Y), r"one number per example, shape \(6,\); \(6, 3\) of torch.float64 came"),
    ("accuracy", lambda: (net(), lambda o, y: (o.argmax(1) == y).long(), X, Y), "losses must be floating-point numbers; torch.int64 came"),
    ("labels above", lambda: (net(), CE, X, Y + 1), r"labels must lie in 0\.\.2, for the model has 3 outputs; 3 came"),
    ("labels below", lambda: (net(), CE, X, Y - 1), r"labels must lie in 0\.\.2.*-1 came"),
    (
        "labels of a callable",
        lambda: (net(), cross_entropy, X, Y + 5),
        "labels must lie within the outputs of the model; the loss says: Target 5 is out of bounds",
    ),
    ("floating labels", lambda: (net(), CE, X, Y.double()), r"labels y \(N,\) of int64.*Pass y\.long\(\)"),
    (
        "squares of other shape",
        lambda: (net(), "squared_error", X, normal(6, 2)),
        "squared_error takes targets of the shape and dtype of the outputs",
    ),
    ("empty", lambda: (net(), CE, X[:0], Y[:0]), r"x must hold at least one example; 0 came \(empty data\)"),
    ("lengths", lambda: (net(), CE, X, Y[:4]), r"the same number of examples; x: 6, y: 4 came"),
    ("nan", lambda: (net(), CE, nan_at(X, 2), Y), "x must be finite; 1 of 6 examples hold NaN or infinite values"),
    (
        "nan loss",
        lambda: (net(), lambda o, y: cross_entropy(o, y) / 0 * 0, X, Y),
        r"losses must be finite; 6 of 6 are NaN or infinite\. Has the training diverged\?",
    ),
    ("nan weights", lambda: (with_nan(), CE, X, Y), "losses must be finite"),
    (
        "integers",
        lambda: (net(), CE, torch.ones(6, 3, dtype=torch.int64), Y),
        r"x must have the dtype that the model takes; x is torch\.int64.*x\.float\(\)",
    ),
    (
        "integers in a dict",
        lambda: (Steps(lambda s, a: s.line(a), line=nn.Linear(3, 3)), CE, {"a": torch.ones(6, 3, dtype=torch.int64)}, Y),
        r"x\['a'\] is torch\.int64",
    ),
    (
        "dtypes",
        lambda: (net(), CE, X.float(), Y),
        r"must have one floating dtype; 0\.weight of torch\.float64, x of torch\.float32 came\. Convert",
    ),
    ("devices", lambda: (net(), CE, X.to("meta"), Y), r"must have one device; 0\.weight on cpu, x on meta came\. Move"),
    (
        "complex",
        lambda: (Steps(lambda s, x: s.line(x.real), line=nn.Linear(3, 3)).to(torch.complex128), CE, X.to(torch.complex128), Y),
        "x must be real",
    ),
    ("not a module", lambda: (lambda x: x, CE, X, Y), r"model must be a torch\.nn\.Module; function came"),
    ("frozen", lambda: (net().requires_grad_(False), CE, X, Y), "must have trainable parameters; none of its 4 requires a gradient"),
    ("not a loss", lambda: (net(), 3, X, Y), r"loss must be a callable \(outputs, y\) -> \(N,\) losses, or one of cross_entropy"),
    ("lists", lambda: (net(), CE, [[1.0, 2, 3]], Y), "x must be a tensor or a .nested. dict of tensors; list came"),
    (
        "no gradient",
        lambda: (seeded(lambda: Steps(lambda s, x: s.a(x).detach(), a=nn.Linear(3, 3))), CE, X, Y),
        r"losses must depend on the parameters; they do not.*detach",
    ),
    (
        "once differentiable",
        lambda: (net(Once()), CE, X, Y),
        r"must be twice differentiable; a function in it is marked with @once_differentiable\. Write that layer from other operations",
    ),
]


@pytest.mark.parametrize(("name", "make", "message"), COMMON, ids=[name for name, _, _ in COMMON])
def test_what_both_refuse(name, make, message):
    with pytest.raises(InvalidInput, match=message):
        hessian_eigenpairs(*make(), k=1)
    with pytest.raises(InvalidInput, match=message):
        operator = HessianOperator(*make(), keep_graph=False)
        operator @ torch.ones(operator.shape[0], dtype=torch.float64)


def test_a_hessian_that_is_not_symmetric():
    assert HessianOperator(net(Wrong()), CE, X, Y).shape == (31, 31)  # nothing in the graph tells
    with pytest.raises(InvalidInput, match=r"must be those of a symmetric matrix.*custom autograd\.Function differentiate wrongly\?"):
        hessian_eigenpairs(net(Wrong()), CE, X, Y, k=1)


def test_an_unknown_loss():
    with pytest.raises(NotFound, match="cross_entropi.*cross_entropy, squared_error, mse, binary_cross_entropy"):
        hessian_eigenpairs(net(), "cross_entropi", X, Y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be a whole number of at least 1; 0 came"),
        ({"k": True}, "k must be a whole number of at least 1; True came"),
        ({"k": 32}, r"k must be at most the number of trainable parameters, 31; 32 came\. Ask for fewer eigenvalues"),
        ({"max_products": 0}, "max_products must be a whole number of at least 1; 0 came"),
        ({"check_products": -1}, "check_products must be a whole number of at least 0; -1 came"),
        ({"tolerance": 0.0}, "tolerance must lie between 0 and 1"),
        ({"tolerance": 1.0}, "tolerance must lie between 0 and 1"),
        ({"basis_size": 3}, r"basis_size must be a whole number of at least 4 \(k \+ 2, room for a step\)"),
        ({"chunk_size": 0}, "chunk_size must be a whole number of at least 1; 0 came"),
        ({"chunk_size": 2.0}, "chunk_size must be a whole number of at least 1; 2.0 came"),
        ({"keep_graph": "all"}, "keep_graph must be True, False or None; 'all' came"),
        ({"memory": -1}, "memory must be a number of bytes, zero or more; -1 came"),
        ({"start": torch.zeros(31)}, "start must not be zero"),
        ({"start": torch.ones(30)}, r"start must be \(31,\), \(31, p\) or the eigenpairs of this model; \(30,\) came"),
        ({"start": torch.ones(31, 2)}, "start must have independent columns; 2 came"),
        ({"start": torch.full((31,), float("nan"))}, "start must hold finite floating-point numbers"),
        ({"start": torch.ones(31, dtype=torch.int64)}, "start must hold finite floating-point numbers"),
        ({"start": "warm"}, "start must be.*str came"),
    ],
)
def test_options_of_eigenpairs(options, message):
    with pytest.raises(InvalidInput, match=message):
        hessian_eigenpairs(net(), CE, X, Y, **{"k": 2} | options)


def test_eigenpairs_of_another_model():
    small = hessian_eigenpairs(nn.Linear(3, 3).double(), CE, X, Y, k=1)
    with pytest.raises(InvalidInput, match=r"the eigenpairs of this model; \(12, 1\) came"):
        hessian_eigenpairs(net(), CE, X, Y, k=1, start=small)


def test_an_unknown_end():
    with pytest.raises(NotFound, match="largest, smallest, both, magnitude"):
        hessian_eigenpairs(net(), CE, X, Y, which="LA")


def test_half_precision():
    model = net(dtype=torch.bfloat16)
    with pytest.raises(InvalidInput, match=r"float32 or float64; torch\.bfloat16 came.*model\.float\(\)"):
        hessian_eigenpairs(model, CE, X.bfloat16(), Y, k=1)


@pytest.mark.parametrize(
    ("v", "message"),
    [
        (torch.ones(30), r"H @ v takes a flat v \(31,\) one entry a trainable parameter; \(30,\) came"),
        (torch.ones(31, 1), r"\(31, 1\) came"),
        ([1.0] * 31, "list came"),
        (torch.full((31,), float("inf")), "v must be finite"),
    ],
)
def test_vectors(v, message):
    with pytest.raises(InvalidInput, match=message):
        HessianOperator(seeded(mlp), CE, X, Y) @ v


def test_a_diverged_hessian():
    """Losses and gradients are finite, second derivatives are not."""
    model = seeded(lambda: Steps(lambda s, x: s.line(x), line=nn.Linear(3, 1, bias=False)))
    with torch.no_grad():
        model.line.weight.zero_()
    with pytest.raises(InvalidInput, match="product of the Hessian with a vector must be finite"):
        hessian_eigenpairs(model, lambda o, y: (o[:, 0].square() + 0.0).pow(0.75), X, Y, k=1)


def test_losses_without_a_hash_are_taken():
    """The check of a model is remembered by its loss, where that can be."""

    @dataclasses.dataclass
    class Scaled:
        factor: float

        def __call__(self, outputs, y):
            return self.factor * cross_entropy(outputs, y)

    model = net()
    one, two = (hessian_eigenpairs(model, Scaled(factor), X, Y, k=1, tolerance=1e-6).values for factor in (1.0, 2.0))
    torch.testing.assert_close(two, 2 * one)


def test_a_model_is_checked_once_but_in_each_mode():
    model = net(nn.Dropout(0.3))
    hessian_eigenpairs(model, CE, X, Y, k=1)
    calls = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    hessian_vector_product(model, CE, X, Y, torch.ones(31, dtype=torch.float64))
    handle.remove()
    assert len(calls) == 2  # one example for the targets, and the gradient
    with pytest.raises(InvalidInput, match="drops a random share"):
        hessian_eigenpairs(model.train(), CE, X, Y, k=1)
