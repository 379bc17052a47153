"""Eigenpairs of Hessians of networks against torch.linalg.eigvalsh of the dense Hessian in float64."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no neighbours
from spectra_twins import DEVICES, MODELS, case, cross_entropy, dense_hessian, normal, quadratic, seeded, with_spectrum

from sgdscope.spectra import HessianOperator, hessian_eigenpairs
from sgdscope.spectra.eigensolver import ENDS


def expected(matrix, k, which):
    values = torch.linalg.eigvalsh(matrix)
    if which == "magnitude":
        values = values[values.abs().argsort(descending=True)[:k]]
    else:
        low = {"largest": 0, "smallest": k, "both": k // 2}[which]
        values = torch.cat([values[:low], values[len(values) - (k - low) :]])
    return values.sort(descending=True).values


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model(name):
    model, x, y = case(name)
    matrix = dense_hessian(model, cross_entropy, x, y)
    for k in (1, 4):
        pairs = hessian_eigenpairs(model, "cross_entropy", x, y, k=k, tolerance=1e-7)
        assert pairs.converged
        torch.testing.assert_close(pairs.values, expected(matrix, k, "largest"), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("which", ENDS)
@pytest.mark.parametrize("k", [1, 2, 5, 31])
def test_all_ends(k, which):
    model, x, y = case("mlp")
    matrix = dense_hessian(model, cross_entropy, x, y)
    pairs = hessian_eigenpairs(model, cross_entropy, x, y, k=k, which=which, tolerance=1e-7)
    torch.testing.assert_close(pairs.values, expected(matrix, k, which), rtol=1e-9, atol=1e-12)
    assert pairs.values.shape == pairs.residuals.shape == (k,) and pairs.vectors.shape == (31, k)
    torch.testing.assert_close(pairs.vectors.T @ pairs.vectors, torch.eye(k, dtype=torch.float64))
    residuals = (matrix @ pairs.vectors - pairs.vectors * pairs.values).norm(dim=0)
    torch.testing.assert_close(pairs.residuals, residuals, rtol=1e-3, atol=1e-13)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["mlp", "cnn", "lstm", "attention", "layer norm"])
def test_devices_and_chunks(name, device):
    model, x, y = case(name)
    values = expected(dense_hessian(model, cross_entropy, x, y), 3, "largest")
    for keep, chunk in ((True, 2), (False, 2), (None, None)):
        pairs = hessian_eigenpairs(
            model.to(device), cross_entropy, x.to(device), y.to(device), k=3, tolerance=1e-7, keep_graph=keep, chunk_size=chunk
        )
        assert pairs.values.device.type == pairs.vectors.device.type == device
        torch.testing.assert_close(pairs.values.cpu(), values, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
def test_float32_follows_the_model(device):
    model, x, y = case("mlp")
    values = expected(dense_hessian(model, cross_entropy, x, y), 3, "largest")
    pairs = hessian_eigenpairs(model.float().to(device), cross_entropy, x.float().to(device), y.to(device), k=3, tolerance=1e-3)
    assert pairs.vectors.dtype == torch.float32 and pairs.values.dtype == torch.float64
    torch.testing.assert_close(pairs.values.cpu(), values, rtol=1e-4, atol=1e-6)


def least_squares(diagonal):
    """A linear model whose Hessian has this diagonal: one example an entry."""
    number = len(diagonal)
    x = torch.diag(torch.tensor(diagonal, dtype=torch.float64).sqrt()) * number**0.5
    return nn.Linear(number, 1, bias=False).double(), "squared_error", x, torch.zeros(number, 1, dtype=torch.float64)


@pytest.mark.parametrize("fold", [2, 3, 5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_multiple_top_eigenvalue(fold, seed):
    values = [9.0] * fold + [4.0, 4.0] + torch.linspace(2, 0, 30).tolist()
    pairs = hessian_eigenpairs(*least_squares(values), k=fold + 2, seed=seed)
    torch.testing.assert_close(pairs.values, torch.tensor(values[: fold + 2], dtype=torch.float64), rtol=1e-4, atol=0)
    start = torch.zeros(len(values), dtype=torch.float64)
    start[fold:] = 1  # orthogonal to the top eigenspace
    for warm in (start, pairs.vectors[:, :1], pairs.vectors[:, 1:], pairs):
        again = hessian_eigenpairs(*least_squares(values), k=fold + 2, seed=seed, start=warm)
        torch.testing.assert_close(again.values, pairs.values, rtol=1e-4, atol=0)


def test_a_dense_hessian_with_a_multiple_top_eigenvalue():
    values = torch.cat([torch.full((4,), 5.0), torch.linspace(3, -4, 46)])
    pairs = hessian_eigenpairs(*quadratic(with_spectrum(values)), k=5, tolerance=1e-5)
    torch.testing.assert_close(pairs.values, values[:5].double(), rtol=1e-8, atol=0)


def test_a_tight_cluster():
    values = 5 * (1 - 1e-6 * torch.arange(4, dtype=torch.float64))
    matrix = with_spectrum(torch.cat([values, torch.linspace(3, -4, 46)]))
    pairs = hessian_eigenpairs(*quadratic(matrix), k=4, tolerance=1e-8)
    torch.testing.assert_close(pairs.values, values, rtol=1e-10, atol=0)


def test_products_are_those_of_the_operator(monkeypatch):
    calls = []
    product = HessianOperator.__matmul__
    monkeypatch.setattr(HessianOperator, "__matmul__", lambda self, v: calls.append(1) or product(self, v))
    model, x, y = case("mlp")
    pairs = hessian_eigenpairs(model, cross_entropy, x, y, k=3)
    assert pairs.products == len(calls) > 3


def test_stops_at_max_products():
    model, x, y = case("cnn")
    pairs = hessian_eigenpairs(model, cross_entropy, x, y, k=3, tolerance=1e-6, max_products=4)
    assert pairs.products == 4 and not pairs.converged and len(pairs.values) == 3
    assert len(hessian_eigenpairs(model, cross_entropy, x, y, k=3, max_products=2).values) == 2


def test_same_seed_same_bits():
    model, x, y = case("cnn", dtype=torch.float32)
    first, second, other = (hessian_eigenpairs(model, cross_entropy, x, y, k=2, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.values, second.values) and torch.equal(first.vectors, second.vectors)
    assert not torch.equal(first.vectors, other.vectors)


def test_the_global_generator_is_left_alone():
    model, x, y = case("mlp")
    state = torch.get_rng_state()
    hessian_eigenpairs(model, cross_entropy, x, y, k=2)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_model_is_left_alone():
    model, x, y = case("mlp")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    hessian_eigenpairs(model, cross_entropy, x, y, k=2)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(("k", "learning_rate"), [(1, 0.03), (5, 0.003)])
def test_a_third_of_the_cold_products_along_training(k, learning_rate):
    """Gradient descent on digits, an eigenproblem every step."""
    from sgdscope.data import load_dataset

    data = load_dataset("digits", num_examples=100)
    model, x, y = (
        seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10)), dtype=torch.float32),
        data.x,
        data.y,
    )
    before, cold, warm = None, 0, 0
    for _ in range(5):
        fresh = hessian_eigenpairs(model, "cross_entropy", x, y, k=k)
        if before is not None:
            found = hessian_eigenpairs(model, "cross_entropy", x, y, k=k, start=before)
            torch.testing.assert_close(found.values, fresh.values, rtol=1e-2, atol=0)
            cold, warm = cold + fresh.products, warm + found.products
        before = fresh if before is None else found
        gradients = torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= learning_rate * gradient
    assert warm <= cold / 3, (warm, cold)


def test_a_model_that_trains_on_does_not_change_the_pairs():
    model, x, y = case("mlp")
    pairs = hessian_eigenpairs(model, cross_entropy, x, y, k=2)
    values = pairs.values.clone()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    assert torch.equal(pairs.values, values)
    assert not torch.allclose(hessian_eigenpairs(model, cross_entropy, x, y, k=2).values, values)


def test_values_are_linear_in_the_loss():
    model, x, y = case("mlp")
    one = hessian_eigenpairs(model, cross_entropy, x, y, k=3, tolerance=1e-7).values
    five = hessian_eigenpairs(model, lambda o, t: 5 * cross_entropy(o, t), x, y, k=3, tolerance=1e-7).values
    torch.testing.assert_close(five, 5 * one)


def test_duplicated_examples_change_nothing():
    model, x, y = case("mlp")
    one = hessian_eigenpairs(model, cross_entropy, x, y, k=3, tolerance=1e-7).values
    two = hessian_eigenpairs(model, cross_entropy, torch.cat([x, x]), torch.cat([y, y]), k=3, tolerance=1e-7).values
    torch.testing.assert_close(one, two)
    assert not torch.allclose(one, hessian_eigenpairs(model, cross_entropy, normal(5, 3, seed=9), y, k=3).values)
