"""Table 1's formulas against multiplications counted one by one, layer sizes against the models, and the bytes of tensors."""

import pytest
import torch
from torch import nn

from sgdscope.errors import InvalidInput
from sgdscope.experiments.gradient_variance import clustering_counts as counts
from sgdscope.experiments.gradient_variance.clustering_memory import peak_bytes


def by_loops(layer, clusters, examples, equation):
    """Multiplications of C.g and g.g with all loops written out, sums over r = 1 products left out as in the table."""
    mixed = norms = 0
    fan_in, fan_out, positions = layer.fan_in, layer.fan_out, layer.positions
    for _ in range(examples):
        if equation == 8:  # the gradient first
            gradient = positions * fan_in * fan_out
            mixed += gradient + clusters * fan_in * fan_out
            norms += gradient
        else:
            mixed += sum(fan_in + fan_out for _ in range(positions) for _ in range(clusters))
            norms += sum(fan_in + fan_out for _ in range(positions) for _ in range(positions))
    return mixed, norms


@pytest.mark.parametrize("equation", [8, 9])
@pytest.mark.parametrize("layer", [counts.Layer("a", 6, 4, 9), counts.Layer("b", 3, 5, 2)])
def test_convolutions(layer, equation):
    mixed, norms = by_loops(layer, 7, 3, equation)
    assert counts.centre_gradient(layer, 7, 3, equation=equation) == mixed
    assert counts.gradient_norms(layer, 3, equation=equation) == norms
    assert counts.assignment(layer, 7, 3, equation=equation) == mixed + norms
    assert counts.back_prop(layer, 3) == 3 * layer.positions * layer.fan_in * layer.fan_out


def test_linear_layers():
    layer = counts.Layer("a", 6, 4)
    assert counts.centre_gradient(layer, 7, 3) == 7 * 3 * 10 and counts.gradient_norms(layer, 3, equation=8) == 3 * 10
    assert counts.assignment(layer, 7, 3) == 210 and counts.update(layer, 3) == 30 and counts.back_prop(layer, 3) == 72
    assert layer.threshold == 2.4 and counts.assignment(layer, 2, 3) < 72 < counts.assignment(layer, 3, 3)


def test_the_cheaper_equation_is_taken():
    few, many = counts.Layer("few", 100, 100, 4), counts.Layer("many", 9, 4, 400)
    assert counts.assignment(few, 10) == counts.assignment(few, 10, equation=9) < counts.assignment(few, 10, equation=8)
    assert counts.assignment(many, 50) == counts.assignment(many, 50, equation=8) < counts.assignment(many, 50, equation=9)


def test_eq_8_takes_two_and_k_over_t():
    layer = counts.Layer("a", 12, 8, 16)
    assert counts.assignment(layer, 24, equation=8) / counts.back_prop(layer) == 2 + 24 / 16


def test_layers_of_the_networks():
    """Sizes multiply to the weights; positions to the maps."""
    for name, number in (("mlp", 3), ("resnet8", 8), ("resnet18", 21)):
        model, shape = counts.network(name)
        found = counts.layers_of(model, shape)
        weights = [p.numel() for n, p in model.named_parameters() if n.endswith("weight") and p.dim() > 1]
        assert len(found) == number and sorted(layer.fan_in * layer.fan_out for layer in found) == sorted(weights)
    first = counts.layers_of(*counts.network("resnet8"))[0]
    assert (first.fan_in, first.fan_out, first.positions) == (27, 16, 1024)
    assert counts.layers_of(nn.Conv2d(2, 3, 3, stride=2), (2, 7, 7))[0].positions == 9
    with pytest.raises(InvalidInput, match="must have linear layers or convolutions"):
        counts.layers_of(nn.ReLU(), (3,))


def test_peak_bytes():
    def chain():
        value = torch.zeros(1000)
        for _ in range(5):
            value = value + 1
        return value.view(10, 100)

    assert peak_bytes(chain) == 8000
    assert peak_bytes(lambda: [torch.zeros(1000) for _ in range(3)]) == 12_000
    weight = torch.zeros(10, 10, requires_grad=True)
    x = torch.zeros(100, 10)
    backward = lambda: torch.autograd.grad((x @ weight).relu().sum(), weight)  # noqa: E731
    assert 8000 <= peak_bytes(backward) <= 17_000
