"""What other rooms take from per-example gradients: factors by name, Gram matrices of some parameters, several weighted sums."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from twins import case, cross_entropy, loop, normal

from sgdscope.errors import NotFound
from sgdscope.gradients import PerExampleGradients, weighted_gradients


@pytest.mark.parametrize("name", ["cnn", "frozen layers", "unused layer", "tied modules", "lstm"])
def test_factors_by_name(name):
    model, x, y = case(name, number=7)
    rows, names = loop(model, cross_entropy, x, y), {}
    start = 0
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            names[key] = rows[:, start : start + parameter.numel()]
            start += parameter.numel()
    gradients = PerExampleGradients.of(model, cross_entropy, x, y, chunk=3, form="factored")
    places = []
    for place, factors in gradients.factors():
        places.append((place.start, place.stop))
        for key, expected in names.items():
            found = factors[key].rows() if key in factors else torch.zeros_like(expected[place])
            torch.testing.assert_close(found, expected[place], rtol=1e-9, atol=1e-12)
    assert places == [(0, 3), (3, 6), (6, 7)]


@pytest.mark.parametrize("memory", [1 << 30, 20_000])
@pytest.mark.parametrize("name", ["cnn", "mlp", "tied modules"])
def test_gram_of_some_parameters(name, memory):
    model, x, y = case(name, number=7)
    gradients = PerExampleGradients.of(model, cross_entropy, x, y, memory=memory)
    dense, start = loop(model, cross_entropy, x, y), 0
    parts = {}
    for key, parameter in model.named_parameters():
        parts[key] = dense[:, start : start + parameter.numel()]
        start += parameter.numel()
    for chosen in [[key] for key in parts] + [list(parts)[::2], list(parts)]:
        rows = torch.cat([parts[key] for key in chosen], 1)
        torch.testing.assert_close(gradients.gram(parameters=chosen), rows @ rows.T, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(gradients.gram(gradients, parameters=chosen), rows @ rows.T, rtol=1e-9, atol=1e-12)
    with pytest.raises(NotFound, match="unknown parameter '9.weight'"):
        gradients.gram(parameters=["9.weight"])


@pytest.mark.parametrize("name", ["cnn", "mlp", "lstm"])
def test_weighted_sums(name):
    model, x, y = case(name, number=9)
    weights = normal(4, 9, seed=5)
    weights[:, [0, 4]] = 0  # not computed
    rows = loop(model, cross_entropy, x, y)
    seen = []
    model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    weighted_gradients(model, cross_entropy, x, y, weights)
    seen.clear()
    found = weighted_gradients(model, cross_entropy, x, y, weights, out=torch.ones_like(rows[:4]))
    torch.testing.assert_close(found, weights @ rows, rtol=1e-9, atol=1e-12)
    assert sum(seen) == 7


@pytest.mark.parametrize("by_rows", [True, False])
@pytest.mark.parametrize("name", ["lenet", "linear on sequences", "embedding", "tied embedding", "reused layers", "unused layer"])
def test_both_ways_of_a_weighted_sum(name, by_rows, monkeypatch):
    monkeypatch.setattr("sgdscope.gradients.weighted.rows_are_cheaper", lambda *_: by_rows)
    monkeypatch.setattr("sgdscope.gradients.weighted.WORK", 5000)
    model, x, y = case(name, number=5)
    weights = normal(3, 5, seed=5) * (normal(3, 5, seed=6) > 0)
    found = weighted_gradients(model, cross_entropy, x, y, weights)
    torch.testing.assert_close(found, weights @ loop(model, cross_entropy, x, y), rtol=1e-9, atol=1e-12)
