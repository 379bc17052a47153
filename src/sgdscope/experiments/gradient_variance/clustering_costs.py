"""Timed runs of gradient_variance/02_clustering: what A and U steps cost in time and memory beside a forward and backward pass.

All times of one row are taken in turns in one process, and only their ratios are used: a busy machine slows all of them. They are no exact
numbers, and are not the same twice.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from sgdscope.data.synthetic import stream_generator
from sgdscope.estimators.centres import FactoredCentres
from sgdscope.estimators.network import NetworkCentres
from sgdscope.estimators.partition import Assigner
from sgdscope.experiments.gradient_variance.clustering_counts import Layer, layers_of, network
from sgdscope.experiments.gradient_variance.clustering_memory import peak_bytes
from sgdscope.gradients import PerExampleGradients
from sgdscope.gradients.convolution import Geometry, Patches
from sgdscope.gradients.factors import Factor, Outer
from sgdscope.runs import Result, run

LOSS = "cross_entropy"


def medians(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each call, taken in turns after one call each that does not count."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if repeat:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


@dataclass(frozen=True)
class StepCosts:
    """Steps of gradient clustering on one network, images at random."""

    network: str  # mlp, resnet8, resnet18
    batch_size: int  # samples
    num_clusters: int
    seed: int  # of weights, samples and clusters
    repeats: int


@run(version=1, repeatable=False)
def time_steps(config: StepCosts) -> Result:
    """One row for each step: its time over that of a forward and backward pass of the same samples, and (A and U) its peak memory.

    ``A``, ``U``: on factors that are there. ``A, hidden layers`` (mlp). ``A and U``; ``A and U, subset``: without the layers at full image size
    (mlp: without the first). ``iteration``: A and U in one pass, the pass included. ``incremental``: an update by this batch, the pass included.
    ``memory``: peak bytes beyond those of the pass over what K more samples add to a forward and backward pass.
    """
    model, shape = network(config.network, config.seed)
    generator = stream_generator(config.seed, "costs", config.network)
    x = torch.randn(config.batch_size + config.num_clusters, *shape, generator=generator)
    y = torch.randint(10, (len(x),), generator=generator)
    layers = layers_of(model, shape)
    steps = _Steps(model, x[: config.batch_size], y[: config.batch_size], config.num_clusters, [f"{layer.name}.weight" for layer in layers])
    calls = steps.calls(_subset(layers), [f"{layer.name}.weight" for layer in layers[:-1]] if config.network == "mlp" else None)
    seconds = medians(calls, config.repeats)
    rows = [{"part": name, "ratio": found / seconds["pass"], "seconds": found} for name, found in seconds.items() if name != "pass"]
    return Result(pd.DataFrame(rows).assign(memory=_memory(steps, model, x, y, config)))


def _subset(layers: Sequence[Layer]) -> list[str]:
    most = max(layer.positions for layer in layers)
    kept = [layer for layer in layers if layer.positions < most] if most > 1 else layers[1:]
    return [f"{layer.name}.weight" for layer in kept]


class _Steps:
    """A network, samples, and clusters to which they are given in turn."""

    def __init__(self, model: nn.Module, x: Tensor, y: Tensor, num_clusters: int, weights: list[str]):
        self.model, self.x, self.y, self.num_clusters, self.weights = model, x, y, num_clusters, weights
        self.partition = torch.arange(len(x)) % num_clusters
        self.sizes = torch.bincount(self.partition, minlength=num_clusters)
        self.gradients = self.taken()

    def taken(self) -> PerExampleGradients:
        """Factors of the samples' gradients, from one pass."""
        return PerExampleGradients.of(self.model, LOSS, self.x, self.y, form="factored")

    def centres(self, weights: list[str], gradients: PerExampleGradients) -> NetworkCentres:
        """Rank-1 centres of the clusters."""
        centres = NetworkCentres(self.num_clusters, weights)
        centres.add(gradients, self.partition)
        centres.update(self.sizes)
        return centres

    def assigner(self) -> Assigner:
        """By running counts; a cluster without samples has a centre of zeros, which costs the same."""
        return Assigner("running", self.sizes, torch.ones_like(self.sizes, dtype=torch.bool), 32)

    def forward_backward(self) -> object:
        """What the ratios are to."""
        return self.backward(self.x, self.y)

    def backward(self, x: Tensor, y: Tensor) -> object:
        """Gradients of the mean loss."""
        return torch.autograd.grad(nn.functional.cross_entropy(self.model(x), y), list(self.model.parameters()))

    def both(self, centres: NetworkCentres, gradients: PerExampleGradients) -> None:
        """A and U in one pass over the factors."""
        centres.step(gradients, self.assigner(), None)
        centres.update(self.sizes)

    def calls(self, subset: list[str], hidden: list[str] | None) -> dict[str, Callable[[], object]]:
        """What is timed, by name."""
        whole, part, moved = (self.centres(names, self.gradients) for names in (self.weights, subset, self.weights))

        def update() -> None:
            whole.add(self.gradients, self.partition)
            whole.update(self.sizes)

        def incremental() -> None:
            gradients = self.taken()
            moved.move(gradients, moved.assign(gradients, self.assigner()), keep=0.9)

        calls = {
            "pass": self.forward_backward,
            "A": lambda: whole.assign(self.gradients, self.assigner()),
            "U": update,
            "A and U": lambda: self.both(whole, self.gradients),
            "A and U, subset": lambda: self.both(part, self.gradients),
            "iteration": lambda: self.both(whole, self.taken()),
            "incremental": incremental,
        }
        if hidden is not None:
            inner = self.centres(hidden, self.gradients)
            calls["A, hidden layers"] = lambda: inner.assign(self.gradients, self.assigner())
        return calls


def _memory(steps: _Steps, model: nn.Module, x: Tensor, y: Tensor, config: StepCosts) -> float:
    first, _ = config.batch_size, len(x)
    more = peak_bytes(lambda: steps.backward(x, y)) - peak_bytes(lambda: steps.backward(x[:first], y[:first]))
    samples = more + x[first:].nbytes

    def iteration() -> PerExampleGradients:
        gradients = steps.taken()
        centres = steps.centres(steps.weights, gradients)
        steps.both(centres, gradients)
        return gradients

    return (peak_bytes(iteration) - peak_bytes(steps.taken)) / samples


@dataclass(frozen=True)
class LayerCosts:
    """Products of the A step on single layers: of the MLP's hidden layer, and of ResNet8."""

    batch_size: int
    num_clusters: int  # on convolutions
    seed: int
    repeats: int


@run(version=1, repeatable=False)
def time_layers(config: LayerCosts) -> Result:
    """One row for each layer, K and product: its time over that of the layer's weight gradient for the same samples.

    Products: ``C.g`` of Eq. 5, 8 or 9, ``g.g`` by 8 or 9, and ``U``. The hidden layer at K = IO/(I+O)/4 and at 0.9 min(I, O).
    """
    hidden = Layer("hidden", 1024, 1024)
    rows = []
    for clusters in (round(hidden.threshold / 4), round(0.9 * min(hidden.fan_in, hidden.fan_out))):
        rows += _layer_times(hidden, clusters, config, batch_size=32 * config.batch_size)
    model, shape = network("resnet8")
    for layer in dict.fromkeys(_nameless(layer) for layer in layers_of(model, shape) if not layer.linear):
        rows += _layer_times(layer, config.num_clusters, config, batch_size=config.batch_size)
    return Result(pd.DataFrame(rows))


def _nameless(layer: Layer) -> Layer:
    return Layer(f"{layer.fan_in} to {layer.fan_out}, {layer.positions} positions", layer.fan_in, layer.fan_out, layer.positions)


def _layer_times(layer: Layer, clusters: int, config: LayerCosts, batch_size: int) -> list[dict[str, object]]:
    factor = _factor(layer, batch_size, stream_generator(config.seed, "layers", layer.name))
    centres = FactoredCentres(factor, clusters, "mean", 1)
    partition = torch.arange(batch_size) % clusters
    centres.add(factor, partition)
    centres.update(torch.bincount(partition, minlength=clusters))
    weights = torch.ones(batch_size)
    calls: dict[str, Callable[[], object]] = {
        "weight gradient": lambda: factor.rmatvec(weights),
        "U": lambda: centres.add(factor, partition),
        "C.g, eq. 5" if layer.linear else "C.g, eq. 9": lambda: centres.inner_by_positions(factor),
    }
    if not layer.linear:
        calls |= {"C.g, eq. 8": lambda: centres.inner_by_gradients(factor), "g.g": factor.squared_norms}
    seconds = medians(calls, config.repeats)
    shared = {"layer": layer.name, "fan_in": layer.fan_in, "fan_out": layer.fan_out, "positions": layer.positions, "K": clusters}
    unit = seconds.pop("weight gradient")
    return [shared | {"product": name, "ratio": found / unit} for name, found in seconds.items()]


def _factor(layer: Layer, batch_size: int, generator: torch.Generator) -> Factor:
    """Inputs and output gradients at random; a convolution is one of 3 x 3 with padding."""
    if layer.linear:
        return Outer(*(torch.randn(batch_size, 1, size, generator=generator) for size in (layer.fan_in, layer.fan_out)))
    side = round(layer.positions**0.5)
    inputs = torch.randn(batch_size, 1, layer.fan_in // 9, side, side, generator=generator)
    gradients = torch.randn(batch_size, 1, layer.fan_out, side, side, generator=generator)
    return Patches(inputs, gradients, Geometry((3, 3), (1, 1), (1, 1), 1, (1, 1, 1, 1), "constant"))
