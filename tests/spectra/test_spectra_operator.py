"""Hessian-vector products against dense Hessians by two loops of autograd, in float64."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no neighbours
from spectra_twins import DEVICES, MODELS, Steps, case, cross_entropy, dense_hessian, mlp, normal, quadratic, seeded, with_spectrum

from sgdscope.spectra import HessianOperator, hessian_vector_product
from sgdscope.spectra.hessian_operator import LEAST


def same(actual, expected, rtol=1e-9):
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=rtol * float(expected.abs().max().clamp_min(1e-300)))


def matrix_of(operator):
    return torch.stack([operator @ unit for unit in torch.eye(operator.shape[0], dtype=torch.float64)], 1)


@pytest.mark.parametrize("name", MODELS)
def test_the_dense_hessian(name):
    model, x, y = case(name)
    expected = dense_hessian(model, cross_entropy, x, y)
    operator = HessianOperator(model, "cross_entropy", x, y)
    assert operator.shape == expected.shape and operator.kept == 5
    same(matrix_of(operator), expected)
    v = normal(len(expected), seed=7)
    same(hessian_vector_product(model, cross_entropy, x, y, v), expected @ v)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_autograd_functional(name):
    model, x, y = case(name)
    names, values = zip(*model.named_parameters(), strict=True)

    def mean_loss(flat):
        parts = [part.view_as(value) for part, value in zip(flat.split([v.numel() for v in values]), values, strict=True)]
        return cross_entropy(torch.func.functional_call(model, dict(zip(names, parts, strict=True)), (x,)), y).mean()

    flat = torch.cat([value.detach().flatten() for value in values])
    same(matrix_of(HessianOperator(model, cross_entropy, x, y)), torch.autograd.functional.hessian(mean_loss, flat))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["mlp", "cnn", "lstm", "fused attention", "layer norm"])
def test_chunks_and_kept_graphs_change_nothing(name, device):
    model, x, y = case(name)
    expected = dense_hessian(model, cross_entropy, x, y)
    v = normal(len(expected), seed=7)
    model, x, y = model.to(device), x.to(device), y.to(device)
    for keep in (True, False, None):
        for chunk in (None, 1, 2, 3, 5, 99):
            operator = HessianOperator(model, cross_entropy, x, y, keep_graph=keep, chunk_size=chunk)
            assert operator.kept == (0 if keep is False else 5)
            for _ in range(2):  # a kept graph is still there
                same((operator @ v.to(device)).cpu(), expected @ v)


def test_memory_limits_what_is_kept():
    model, x, y = case("mlp", number=40)
    expected = dense_hessian(model, cross_entropy, x, y)
    v = normal(len(expected), seed=7)
    each = HessianOperator(model, cross_entropy, x, y, keep_graph=False).graph_bytes()
    for memory, kept in ((0, 0), (each * 9, 5), (each * 17, 15), (each * 40, 40)):
        operator = HessianOperator(model, cross_entropy, x, y, memory=memory, chunk_size=5)
        assert operator.kept == kept
        same(operator @ v, expected @ v)
    assert HessianOperator(model, cross_entropy, x, y, memory=0, chunk_size=5, keep_graph=True).kept == 40


def test_graph_bytes_grow_with_the_activations():
    def bytes_of(width, number=6):
        model = seeded(lambda: nn.Sequential(nn.Linear(10, width), nn.Tanh(), nn.Linear(width, 3)))
        return HessianOperator(model, cross_entropy, normal(number, 10), torch.arange(number) % 3, keep_graph=False).graph_bytes()

    narrow, wide = bytes_of(100), bytes_of(1000)
    assert 100 * 8 < narrow < 20 * 100 * 8  # at least tanh's output, and not the parameters
    assert 5 * narrow < wide < 10 * narrow
    assert bytes_of(100, number=60) == narrow
    assert bytes_of(100, number=1) > 0


def test_default_chunks_follow_the_bytes(monkeypatch):
    model, x, y = case("mlp", number=40)
    each = HessianOperator(model, cross_entropy, x, y).graph_bytes()
    sizes = []
    chunks = "sgdscope.spectra.objective.Objective.chunks"
    monkeypatch.setattr(chunks, lambda self, size: sizes.append(size) or [(0, 40)])
    monkeypatch.setattr("sgdscope.spectra.hessian_operator.ON_CPU", 20 * each)
    HessianOperator(model, cross_entropy, x, y)
    monkeypatch.setattr("sgdscope.spectra.hessian_operator.ON_CPU", each)
    HessianOperator(model, cross_entropy, x, y)
    HessianOperator(model, cross_entropy, x, y, chunk_size=7)
    assert sizes == [20, LEAST, 7]


def test_inputs_as_dicts():
    model = seeded(
        lambda: Steps(
            lambda self, words, scale: self.head((self.words(words) * scale["by"]).mean(1)), words=nn.Embedding(5, 3), head=nn.Linear(3, 3)
        )
    )
    x = {"words": torch.tensor([[0, 1], [2, 2], [3, 4], [1, 0]]), "scale": {"by": normal(4, 1, 3, seed=2)}}
    y = torch.tensor([0, 1, 2, 0])
    expected = dense_hessian(model, cross_entropy, x, y)
    same(matrix_of(HessianOperator(model, cross_entropy, x, y, chunk_size=3)), expected)


@pytest.mark.parametrize("loss", ["squared_error", "mse", "binary_cross_entropy"])
def test_other_losses(loss):
    from sgdscope.models import LOSSES

    model, x, _ = case("mlp")
    y = torch.rand(5, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    same(matrix_of(HessianOperator(model, loss, x, y)), dense_hessian(model, LOSSES[loss], x, y))


def test_the_hessian_is_linear_in_the_loss_and_a_mean_over_examples():
    model, x, y = case("mlp")
    v = normal(31, seed=7)
    full = HessianOperator(model, cross_entropy, x, y) @ v
    same(HessianOperator(model, lambda o, t: 3 * cross_entropy(o, t), x, y) @ v, 3 * full)
    single = torch.stack([HessianOperator(model, cross_entropy, x[i : i + 1], y[i : i + 1]) @ v for i in range(5)])
    same(single.mean(0), full)


def test_losses_without_curvature():
    model = seeded(lambda: nn.Linear(3, 3))
    x, y = normal(4, 3), torch.arange(4) % 3
    for keep in (True, False):
        operator = HessianOperator(model, lambda outputs, _: outputs.sum(1), x, y, keep_graph=keep)
        assert torch.equal(operator @ torch.ones(12, dtype=torch.float64), torch.zeros(12, dtype=torch.float64))


def test_later_training_changes_nothing():
    model, x, y = case("mlp")
    v = normal(31, seed=7)
    kept, again = (HessianOperator(model, cross_entropy, x, y, keep_graph=keep) for keep in (True, False))
    before = kept @ v
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    assert torch.equal(kept @ v, before)
    same(again @ v, before)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_gradients_may_be_switched_off_around():
    model, x, y = case("mlp")
    v = normal(31, seed=7)
    expected = HessianOperator(model, cross_entropy, x, y) @ v
    with torch.no_grad():
        for keep in (True, False):
            found = HessianOperator(model, cross_entropy, x, y, keep_graph=keep) @ v
            same(found, expected)
            assert not found.requires_grad


def test_v_of_another_dtype_is_converted():
    model, x, y = case("mlp")
    v = normal(31, seed=7).float()
    found = HessianOperator(model, cross_entropy, x, y) @ v
    assert found.dtype == torch.float64
    same(found, HessianOperator(model, cross_entropy, x, y) @ v.double())


@pytest.mark.parametrize("device", DEVICES)
def test_float32(device):
    model, x, y = case("cnn", number=20)
    expected = dense_hessian(model, cross_entropy, x, y)
    v = normal(len(expected), seed=7)
    found = HessianOperator(model.float().to(device), "cross_entropy", x.float().to(device), y.to(device)) @ v.float().to(device)
    assert found.dtype == torch.float32
    same(found.double().cpu(), expected @ v, rtol=2e-5 if device == "cpu" else 2e-3)  # TF32 convolutions


def test_a_quadratic_has_its_matrix():
    matrix = with_spectrum([3.0, 1.0, 0.0, -2.0])
    same(matrix_of(HessianOperator(*quadratic(matrix))), matrix)


def test_a_model_in_training_mode_stays_so():
    model, x, y = seeded(mlp), normal(4, 3), torch.arange(4) % 3
    model.train()
    HessianOperator(model, cross_entropy, x, y) @ normal(31)
    assert model.training and F.relu is torch.nn.functional.relu
