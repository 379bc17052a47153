"""Batched readouts against one linear module and autograd each, float64; refusals."""

import pytest
import torch
from torch import nn

from sgdscope.errors import InvalidInput
from sgdscope.training import SGD, Readouts, loss_and_gradient

G, M, N, P = 2, 3, 12, 5


def problem(dtype=torch.float64):
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(G, N, P, generator=draw, dtype=torch.float64).to(dtype)
    labels = torch.randint(2, (G, M, N), generator=draw)
    weights = torch.randn(G, M, P, generator=draw, dtype=torch.float64)
    rates = torch.rand(G, M, generator=draw, dtype=torch.float64)
    batches = torch.stack([torch.randperm(N, generator=draw)[:4] for _ in range(G * 6)]).view(6, G, 4)
    return features, labels, weights, rates, batches


def trained(outputs, weight_decay):
    features, labels, weights, rates, batches = problem()
    readouts = Readouts(features, labels, weights, outputs=outputs, weight_decay=weight_decay)
    for index in batches:
        readouts.step(index, rates)
    return readouts, features, labels, weights, rates, batches


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_one_module_each(outputs, weight_decay):
    """Two logits are followed by the difference of their weights."""
    readouts, features, labels, weights, rates, batches = trained(outputs, weight_decay)
    for g in range(G):
        for m in range(M):
            model = nn.Linear(P, outputs, bias=False, dtype=torch.float64)
            w = weights[g, m]
            with torch.no_grad():
                model.weight.copy_(w[None] if outputs == 1 else torch.stack([0.3 - w / 2, 0.3 + w / 2]))
            y = labels[g, m] if outputs == 2 else labels[g, m, :, None].double()
            loss, sgd = "cross_entropy" if outputs == 2 else "binary_cross_entropy", SGD(model, weight_decay=weight_decay)
            for index in batches[:, g]:
                gradient = loss_and_gradient(model, loss, features[g, index], y[index])[1]
                sgd.step(gradient, rates[g, m].item())
            own = model.weight[0] if outputs == 1 else model.weight[1] - model.weight[0]
            torch.testing.assert_close(readouts.weights[g, m], own.detach())


def test_logits_losses_residuals_and_accuracies():
    readouts, features, labels, *_ = trained(1, 0.0)
    logits = readouts.logits()
    torch.testing.assert_close(logits, torch.einsum("gmp,gnp->gmn", readouts.weights, features))
    plain = nn.functional.binary_cross_entropy_with_logits(logits, labels.double(), reduction="none")
    torch.testing.assert_close(readouts.losses(logits), plain.mean(2))
    torch.testing.assert_close(readouts.residuals(logits), torch.sigmoid(logits) - labels)
    torch.testing.assert_close(readouts.accuracies(logits), ((logits > 0) == (labels == 1)).double().mean(2))


def test_small_residuals_are_exact_in_single_precision():
    """sigmoid(f) - 1 rounds to zero from f = 17 on; the residual does not."""
    readouts = Readouts(torch.ones(1, 1, 1), torch.ones(1, 1, 1), torch.full((1, 1, 1), 40.0))
    residual = readouts.residuals(readouts.logits()).item()
    assert residual == pytest.approx(-torch.sigmoid(torch.tensor(-40.0, dtype=torch.float64)).item(), rel=1e-5) and residual < 0


def test_a_group_alone_is_the_group_among_others():
    together, features, labels, weights, rates, batches = trained(2, 0.01)
    for g in range(G):
        alone = Readouts(features[g, None], labels[g, None], weights[g, None], outputs=2, weight_decay=0.01)
        for index in batches:
            alone.step(index[g, None], rates[g, None])
        torch.testing.assert_close(alone.weights[0], together.weights[g], rtol=1e-12, atol=1e-12)


def test_features_stay_single_and_weights_are_double():
    features, labels, weights, rates, batches = problem(torch.float32)
    readouts = Readouts(features, labels, weights.float())
    readouts.step(batches[0], rates)
    assert readouts.features.dtype == readouts.logits().dtype == torch.float32 and readouts.weights.dtype == torch.float64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": torch.zeros(N, P)}, r"features must be \(G, N, p\), labels \(G, M, N\), weights \(G, M, p\); \[\(12, 5\)"),
        ({"labels": torch.zeros(G, M, N + 1)}, r"\(2, 3, 13\)"),
        ({"weights": torch.zeros(G, M + 1, P)}, r"\(2, 4, 5\)"),
        ({"weights": torch.full((G, M, P), torch.nan)}, "must be finite; NaN"),
        ({"outputs": 3}, "outputs must be 1 or 2, got 3"),
    ],
)
def test_refusals(change, message):
    features, labels, weights, *_ = problem()
    given = {"features": features, "labels": labels, "weights": weights} | change
    with pytest.raises(InvalidInput, match=message):
        Readouts(**given)
