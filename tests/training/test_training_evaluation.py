"""Loss, accuracy, predictions and mean gradients in chunks against one pass; what measuring leaves alone."""

import sys
from math import isnan
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no neighbours
from training_cases import dense, flat, normal, normed, problem, seeded

from sgdscope.errors import InvalidInput, NotFound
from sgdscope.training import Evaluation, evaluate, loss_and_gradient, mean_gradient, measuring, predictions
from sgdscope.training.gradient import like_parameters


@pytest.mark.parametrize("build", [dense, normed])
@pytest.mark.parametrize("chunk_size", [1, 4, 22, 23, 1000])
def test_chunks_equal_one_pass(build, chunk_size):
    model, x, y = problem(build)
    outputs = model.eval()(x)
    found = evaluate(model.train(), "cross_entropy", x, y, chunk_size=chunk_size)
    assert found.loss == pytest.approx(F.cross_entropy(outputs, y).item(), rel=1e-14)
    assert found.accuracy == (outputs.argmax(1) == y).double().mean().item()
    torch.testing.assert_close(predictions(model, x, chunk_size=chunk_size), outputs.softmax(1).detach(), rtol=1e-13, atol=0)
    torch.testing.assert_close(predictions(model, x, probabilities=False, chunk_size=chunk_size), outputs.detach(), rtol=1e-12, atol=1e-14)


def test_float32_losses_are_added_in_float64():
    """A million losses of 0.1: float32 sums would be off by far more."""
    model = seeded(lambda: nn.Linear(1, 1), dtype=torch.float32)
    x = torch.zeros(1_000_000, 1)
    found = evaluate(model, lambda outputs, y: torch.full((len(y),), 0.1), x, x, chunk_size=1000)
    assert found.loss == pytest.approx(float(torch.tensor(0.1)), rel=1e-12)


def test_accuracy_is_of_classes_only():
    model, x, y = problem()
    assert isnan(evaluate(model, "squared_error", x, normal(23, 3)).accuracy)
    assert isnan(evaluate(model, lambda outputs, y: (outputs[:, 0] - y).abs(), x, normal(23)).accuracy)
    wrapped = nn.Sequential(model)
    wrapped.forward = lambda x: {"logits": model(x)}
    found = evaluate(wrapped, lambda outputs, y: F.cross_entropy(outputs["logits"], y, reduction="none"), x, y)
    assert found.loss == evaluate(model, "cross_entropy", x, y).loss and isnan(found.accuracy)


def test_nested_dicts():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.line = nn.Embedding(9, 3), nn.Linear(5, 2)

        def forward(self, tokens, more):
            return self.line(torch.cat([self.words(tokens).sum(1), more["features"]], 1))

    model = seeded(Net)
    x = {"tokens": torch.arange(21).view(7, 3) % 9, "more": {"features": normal(7, 2)}}
    y = {"labels": torch.arange(7) % 2, "weights": normal(7).abs()}
    found = evaluate(model, lambda o, y: F.cross_entropy(o, y["labels"], reduction="none") * y["weights"], x, y, chunk_size=2)
    expected = (F.cross_entropy(model(**x), y["labels"], reduction="none") * y["weights"]).mean()
    assert found.loss == pytest.approx(expected.item(), rel=1e-14)
    torch.testing.assert_close(predictions(model, x, chunk_size=3), model(**x).softmax(1).detach())


def test_a_loss_that_is_not_finite_is_a_result():
    model, x, y = problem()
    with torch.no_grad():
        model[2].bias[0] = float("inf")
    assert isnan(evaluate(model, "cross_entropy", x, y).loss)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_measuring_leaves_modes_buffers_and_gradients(mode):
    model, x, y = problem(normed)
    model.train()
    model[1].eval()  # a norm that the caller froze
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with measuring(model, mode=mode):
        assert all(module.training == (mode == "train") for module in model.modules())
        model(x)
        if mode == "train":
            assert not torch.equal(model[1].running_mean, buffers[0][1])
    assert [module.training for module in model] == [True, False, True, True, True] and model.training
    assert all(now is buffer and torch.equal(buffer, value) for now, (buffer, value) in zip(model.buffers(), buffers, strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_measuring_puts_back_replaced_buffers_and_after_errors():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))
            self.register_buffer("twice", torch.zeros(()), persistent=False)

        def forward(self, x):
            self.calls = self.calls + 1  # another tensor
            self.twice.add_(2)
            raise ZeroDivisionError

    model = Counter().eval()
    calls = model.calls
    with pytest.raises(ZeroDivisionError), measuring(model, mode="train"):
        model(0)
    assert model.calls is calls and model.calls == 0 and model.twice == 0 and not model.training


def test_loss_and_gradient():
    model, x, y = problem()
    loss, parts = loss_and_gradient(model, "cross_entropy", x, y)
    F.cross_entropy(model(x), y).backward()
    assert not loss.requires_grad and loss.item() == pytest.approx(F.cross_entropy(model(x), y).item(), rel=1e-14)
    for part, parameter in zip(parts, model.parameters(), strict=True):
        torch.testing.assert_close(part, parameter.grad, rtol=1e-12, atol=1e-15)


def test_an_unused_parameter_has_gradient_zero_and_a_frozen_one_none():
    model, x, y = problem()
    model.extra = nn.Parameter(torch.ones(2, 2, dtype=torch.float64))
    model.forward = lambda x: nn.Sequential.forward(nn.Sequential(*[model[i] for i in range(3)]), x)
    model[0].weight.requires_grad_(False)
    _, parts = loss_and_gradient(model, "cross_entropy", x, y)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert len(parts) == len(names) == 4 and not parts[names.index("extra")].any() and parts[names.index("0.bias")].any()


@pytest.mark.parametrize("chunk_size", [1, 5, 23, 100])
def test_mean_gradient_in_chunks(chunk_size):
    model, x, y = problem()
    _, parts = loss_and_gradient(model, "cross_entropy", x, y)
    expected = torch.cat([part.reshape(-1) for part in parts])
    torch.testing.assert_close(mean_gradient(model, "cross_entropy", x, y, chunk_size=chunk_size), expected, rtol=1e-12, atol=1e-15)


def test_gradients_of_any_form_fit_the_parameters():
    model, _, _ = problem()
    parameters = list(model.parameters())
    vector = torch.arange(flat(model).numel(), dtype=torch.float64)
    parts = like_parameters(vector, parameters)
    assert [part.shape for part in parts] == [parameter.shape for parameter in parameters]
    assert torch.equal(torch.cat([part.reshape(-1) for part in parts]), vector)
    assert all(torch.equal(a, b) for a, b in zip(like_parameters(tuple(parts), parameters), parts, strict=True))
    for bad, message in (
        (vector[:-1], r"a flat vector must have shape \(66,\), the trainable parameters; \(65,\) came"),
        (parts[:-1], "one tensor of its shape for each trainable parameter"),
        ([part.T if part.dim() == 2 else part for part in parts], r"for each trainable parameter: \[\(7, 5\).*; \[\(5, 7\)"),
        ([None, *parts[1:]], r"\['NoneType', \(7,\)"),
    ):
        with pytest.raises(InvalidInput, match=message):
            like_parameters(bad, parameters)


def scalar(outputs, y):
    return F.cross_entropy(outputs, y)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x, y: evaluate(m, "cross_entropy", x, y, chunk_size=0), "chunk_size must be a whole number of at least 1; 0 came"),
        (lambda m, x, y: evaluate(m, "cross_entropy", x, y, chunk_size=True), "chunk_size must be a whole number of at least 1; True came"),
        (lambda m, x, y: evaluate(m, "cross_entropy", x[:0], y[:0]), "x must hold at least one example; 0 came"),
        (lambda m, x, y: evaluate(m, "cross_entropy", x[:9], y), "must hold the same number of examples; x: 9, y: 23 came"),
        (lambda m, x, y: evaluate(m, "cross_entropy", x, y + 1), r"labels must lie in 0..2, for the model has 3 outputs; 3 came"),
        (lambda m, x, y: evaluate(m, scalar, x, y), r"loss must return one number per example, shape \(23,\); a scalar"),
        (lambda m, x, y: evaluate(m, "cross_entropy", x.tolist(), y), "x must be a tensor or a \\(nested\\) dict of tensors; list came"),
        (lambda m, x, y: predictions(m, x, chunk_size=2.5), "chunk_size must be a whole number of at least 1; 2.5 came"),
        (lambda m, x, y: predictions(m, x[:0]), "x must hold at least one example"),
        (lambda m, x, y: mean_gradient(m, "cross_entropy", x, y, chunk_size=0), "chunk_size must be a whole number of at least 1"),
        (lambda m, x, y: mean_gradient(m, "cross_entropy", x, y[1:]), "must hold the same number of examples; x: 23, y: 22 came"),
        (lambda m, x, y: measuring(m, mode="test").__enter__(), "mode must be 'eval' or 'train', got 'test'"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InvalidInput, match=message):
        call(*problem())


def test_more_refusals():
    model, x, y = problem()
    with pytest.raises(NotFound, match="unknown loss 'crossentropy'. Did you mean 'cross_entropy'"):
        evaluate(model, "crossentropy", x, y)
    model.forward = lambda x: {"logits": x}
    with pytest.raises(InvalidInput, match="predictions are of a model whose output is a tensor; dict came"):
        predictions(model, x)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_cuda():
    model, x, y = problem(normed)
    expected, outputs = evaluate(model, "cross_entropy", x, y), predictions(model, x)
    found = evaluate(model.cuda(), "cross_entropy", x.cuda(), y.cuda(), chunk_size=5)
    assert found.loss == pytest.approx(expected.loss, rel=1e-10) and isinstance(found, Evaluation)
    torch.testing.assert_close(predictions(model, x.cuda()).cpu(), outputs, rtol=1e-8, atol=1e-10)
