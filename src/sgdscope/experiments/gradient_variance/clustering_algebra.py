"""Runs of gradient_variance/02_clustering that need no data: Eq. 5, 8 and 9, the algorithms of Fig. 2, and Eq. 6 where it is exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from sgdscope.data.synthetic import stream_generator
from sgdscope.estimators.centres import FactoredCentres, centres_for
from sgdscope.estimators.network import NetworkCentres
from sgdscope.estimators.partition import Assigner
from sgdscope.gradients import PerExampleGradients
from sgdscope.gradients.convolution import Geometry, Patches
from sgdscope.gradients.factors import Outer
from sgdscope.runs import Result, run

EXAMPLES, CLASSES = 12, 3


def _convolution(*settings: object, positions: int, **more: object) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Conv2d(*settings, **more), nn.Tanh(), nn.Flatten(), nn.Linear(positions, CLASSES))


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {  # a network of linear layers, and one convolution for each setting
    "linear": (lambda: nn.Sequential(nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 7), nn.Tanh(), nn.Linear(7, CLASSES)), (9,)),
    "plain": (_convolution(2, 3, 3, positions=75), (2, 7, 7)),
    "stride": (_convolution(2, 3, 3, stride=2, positions=27), (2, 7, 7)),
    "padding": (_convolution(2, 3, 3, padding=(2, 1), positions=189), (2, 7, 7)),
    "dilation": (_convolution(2, 3, 3, dilation=2, positions=27), (2, 7, 7)),
    "groups": (_convolution(4, 6, 3, groups=2, positions=150), (4, 7, 7)),
    "depthwise": (_convolution(3, 3, 3, groups=3, positions=75), (3, 7, 7)),
    "all": (_convolution(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2, positions=216), (4, 7, 7)),
    "one dimension": (lambda: nn.Sequential(nn.Conv1d(3, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(32, CLASSES)), (3, 8)),
}


def _network(name: str, seed: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A case in float64, with inputs and labels at random."""
    build, shape = CASES[name]
    generator = stream_generator(seed, "algebra", name)
    with torch.random.fork_rng(devices=[]):
        model = build().double()
    for parameter in model.parameters():
        bound = 1 if parameter.dim() == 1 else parameter[0].numel() ** -0.5
        parameter.data = bound * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    x = torch.randn(EXAMPLES, *shape, generator=generator, dtype=torch.float64)
    return model, x, torch.randint(CLASSES, (EXAMPLES,), generator=generator)


def by_autograd(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """(N, p) gradients of each parameter, one backward pass an example: nothing is shared with what they are compared with."""
    found = {name: [] for name, _ in model.named_parameters()}
    for i in range(len(x)):
        loss = nn.functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
        for name, gradient in zip(found, torch.autograd.grad(loss, list(model.parameters())), strict=True):
            found[name].append(gradient.flatten())
    return {name: torch.stack(rows) for name, rows in found.items()}


@dataclass(frozen=True)
class InnerProducts:
    """Products of rank-1 centres with gradients, layer by layer and setting by setting."""

    seed: int
    num_clusters: int = 5


@run(version=1)
def compare_products(config: InnerProducts) -> Result:
    """One row for each network, weight and product: the largest difference from autograd's gradients over the largest value."""
    rows = []
    for name in CASES:
        model, x, y = _network(name, config.seed)
        gradients = by_autograd(model, x, y)
        ((_, factors),) = PerExampleGradients.of(model, "cross_entropy", x, y, form="factored").factors()
        for key, factor in factors.items():
            if not isinstance(factor, Outer | Patches):
                continue
            centres = _random_centres(factor, config, name, key)
            dense = centres.dense()
            products = {
                "centre and gradient, eq. 8": (centres.inner_by_gradients(factor), gradients[key] @ dense.T),
                "centre and gradient, eq. 9": (centres.inner_by_positions(factor), gradients[key] @ dense.T),
                "centre and centre": (centres.squared_norms(), dense.square().sum(1)),
                "gradient and gradient": (factor.squared_norms(), gradients[key].square().sum(1)),
            }
            kind = "convolution" if isinstance(factor, Patches) else "linear"
            if kind == "linear":  # one position: Eq. 9 is Eq. 5
                products["centre and gradient, eq. 5"] = products.pop("centre and gradient, eq. 9")
            rows += [
                {"case": name, "weight": key, "layer": kind, "product": product, "error": _error(*pair)}
                for product, pair in products.items()
            ]
    return Result(pd.DataFrame(rows))


def _random_centres(factor: Outer | Patches, config: InnerProducts, *stream: str) -> FactoredCentres:
    centres, generator = centres_for(factor, config.num_clusters, "mean", 1), stream_generator(config.seed, "centres", *stream)
    centres.inputs = torch.randn(centres.inputs.shape, generator=generator, dtype=torch.float64)
    centres.outputs = torch.randn(centres.outputs.shape, generator=generator, dtype=torch.float64)
    return centres


def _error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@dataclass(frozen=True)
class Algorithms:
    """Algorithms 1 to 3, layer by layer, beside Eq. 3 and 4 on whole-network gradients."""

    seed: int
    num_clusters: int = 4


@run(version=1)
def compare_algorithms(config: Algorithms) -> Result:
    """One row for each network: errors of distances and centres, examples assigned otherwise, and those that the first layer would assign otherwise.

    Centres by the mean update for distances and assignment, at full rank for the update of Eq. 4.
    """
    return Result(pd.DataFrame([{"case": name, **_algorithms(name, config)} for name in CASES]))


def _algorithms(name: str, config: Algorithms) -> dict[str, float]:
    model, x, y = _network(name, config.seed)
    parts = by_autograd(model, x, y)
    rows, names = torch.cat(list(parts.values()), 1), list(parts)
    gradients = PerExampleGradients.of(model, "cross_entropy", x, y, form="factored")
    start = torch.arange(EXAMPLES) % config.num_clusters
    sizes = torch.bincount(start)
    rank_one, full = NetworkCentres(config.num_clusters, names), NetworkCentres(config.num_clusters, names, rule="svd", rank=10_000)
    for network in (rank_one, full):
        network.add(gradients, start)
        network.update(sizes)
    centres = torch.cat([rank_one.centres[key].dense() for key in names], 1)
    plain = torch.stack([(rows - centre).square().sum(1) for centre in centres], 1)  # (N, K)
    found = rank_one.distances(gradients)
    chosen = rank_one.assign(gradients, Assigner("previous", sizes, sizes > 0, 1))
    expected = (plain * sizes).argmin(1)
    first = NetworkCentres(config.num_clusters, names[:1])
    first.add(gradients, start)
    first.update(sizes)
    alone = first.assign(gradients, Assigner("previous", sizes, sizes > 0, 1))
    means = torch.stack([rows[start == k].mean(0) for k in range(config.num_clusters)])
    return {
        "distance_error": _error(found, plain),
        "assigned_otherwise": int((chosen != expected).sum()),
        "update_error": _error(torch.cat([full.centres[key].dense() for key in names], 1), means),
        "first_layer_otherwise": float((alone != expected).double().mean()),
    }


@dataclass(frozen=True)
class Uncorrelated:
    """One cluster whose activations and output gradients are uncorrelated or matched, for a linear layer and a convolution."""

    seed: int
    inputs: int = 6
    outputs: int = 5


@run(version=1)
def compare_updates(config: Uncorrelated) -> Result:
    """One row for each layer and pairing: relative error of the centre of Eq. 6.

    Uncorrelated: all pairs of some activations with some output gradients; for the convolution the input is the same at all positions (and pads
    nothing), so that there is no correlation over positions either. Matched: the i-th with the i-th, at each position its own.
    """
    rows = []
    for layer, pairing, factor in _pairings(config):
        centres = centres_for(factor, 1, "mean", 1)
        centres.add(factor, torch.zeros(factor.num_examples, dtype=torch.int64))
        centres.update(torch.tensor([factor.num_examples]))
        mean = factor.rows().mean(0)
        rows.append({"layer": layer, "pairing": pairing, "error": float((centres.dense()[0] - mean).norm() / mean.norm())})
    return Result(pd.DataFrame(rows))


def _pairings(config: Uncorrelated) -> Iterator[tuple[str, str, Outer | Patches]]:
    generator = stream_generator(config.seed, "uncorrelated")
    n, m = config.inputs, config.outputs

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    a, d = normal(n, 1, 8), normal(m, 1, 7)
    yield "linear", "uncorrelated", Outer(a.repeat_interleave(m, 0), d.repeat(n, 1, 1))
    yield "linear", "matched", Outer(a[:m], d)
    images, maps = normal(n, 1, 2, 1, 1).expand(n, 1, 2, 6, 6), normal(m, 1, 3, 4, 4)
    geometry = Geometry((3, 3), (1, 1), (1, 1), 1, (0, 0, 0, 0), "constant")
    yield "convolution", "uncorrelated", Patches(images.repeat_interleave(m, 0), maps.repeat(n, 1, 1, 1, 1), geometry)
    yield "convolution", "matched", Patches(normal(m, 1, 2, 6, 6), maps, geometry)
