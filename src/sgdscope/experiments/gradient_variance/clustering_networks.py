"""Runs of gradient_variance/02_clustering on real gradients and on clouds: centres, cluster sizes, and the variance against K and dimension.

The variance of an estimator is exact here: that of its clusters by Prop. 3.1, and that of a mini-batch without replacement.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import lru_cache

import pandas as pd
import torch
from torch import Tensor, nn

from sgdscope.data import load_dataset
from sgdscope.data.synthetic import stream_generator
from sgdscope.estimators.centres import FactoredCentres
from sgdscope.estimators.clustering import GradientClustering
from sgdscope.estimators.lloyd import partition_objective, weighted_lloyd
from sgdscope.estimators.network import NetworkCentres
from sgdscope.gradients import PerExampleGradients
from sgdscope.gradients.convolution import Patches
from sgdscope.models import build
from sgdscope.runs import Result, get, run
from sgdscope.training import train

RULES = {"mean update": ("rank1", 1), "SVD, rank 1": ("svd", 1), "SVD, rank 2": ("svd", 2), "SVD, rank 4": ("svd", 4)}
SIZES = {"fixed": ("previous", 1), "running, 128": ("running", 128), "running, 32": ("running", 32), "none": ("none", 1)}
"""Which N_k weigh the distances: those of the previous update (paper), a count within the pass brought up to date after so many examples, none."""


@dataclass(frozen=True)
class _Network:
    dataset: str
    model: str  # mlp or lenet
    train_steps: int  # of SGD before anything is measured
    seed: int  # of weights, batches, the examples measured and all starts


@dataclass(frozen=True)
class Trained(_Network):
    """One network after some steps of SGD. The rate was chosen so that both networks learn and none diverges, at seed 100."""

    learning_rate: float = 0.1
    batch_size: int = 128


@run(version=1)
def train_network(config: Trained) -> Result:
    """One row: loss of the last batch. Arrays: the weights by name."""
    data = _data(config.dataset)
    model = _built(config)
    loss, status, step = float("nan"), "finished", None
    settings = {"learning_rate": config.learning_rate, "batch_size": config.batch_size, "num_steps": config.train_steps}
    for point in train(model, "cross_entropy", data.x, data.y, seed=config.seed, **settings) if config.train_steps else ():
        loss = point.loss_before
        if point.status == "diverged":
            status, step = "diverged", point.step
    arrays = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    return Result(pd.DataFrame([{"batch_loss": loss}]), arrays, status=status, diverged_at=step)


@lru_cache(maxsize=2)
def _data(dataset: str):
    return load_dataset(dataset)


def _built(config: _Network) -> nn.Module:
    data = _data(config.dataset)
    options = {"hidden": (100, 50)} if config.model == "mlp" else {}
    return build(config.model, seed=config.seed, in_shape=tuple(data.x.shape[1:]), num_classes=len(data.classes), **options)


def _measured(config: _Network, num_examples: int, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Tensor, Tensor, Result]:
    """The trained network, and the examples at which its gradients are taken."""
    trained = get(Trained(**{field.name: getattr(config, field.name) for field in fields(_Network)}))
    model = _built(config)
    model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in trained.arrays.items()})
    data = load_dataset(config.dataset, num_examples=num_examples, seed=config.seed)
    return model.to(dtype), data.x.to(dtype), data.y, trained


def _result(rows: list[dict[str, object]], trained: Result) -> Result:
    """With the status of the training before it."""
    return Result(pd.DataFrame(rows), status=trained.status, diverged_at=trained.diverged_at)


def mini_batch_variance(gram: Tensor, batch_size: int) -> float:
    """Trace of the covariance of the mean of B examples without replacement, ``C / B (N - B) / (N - 1)``, from inner products (N, N)."""
    number = len(gram)
    single = partition_objective(gram, torch.zeros(number, dtype=torch.int64)) / number**2
    return single / batch_size * (number - batch_size) / (number - 1)


def variance_ratio(gram: Tensor, partition: Tensor, batch_size: int) -> float:
    """Variance of one example from each cluster over that of a mini-batch of B."""
    return partition_objective(gram, partition) / len(gram) ** 2 / mini_batch_variance(gram, batch_size)


@dataclass(frozen=True)
class CentreErrors(_Network):
    """Low-rank centres of one and the same clusters, and the clusters that they lead to."""

    num_examples: int
    num_clusters: int
    steps: int = 5


@run(version=1)
def compare_centres(config: CentreErrors) -> Result:
    """One row for each rule and kind of layer: ``sum_k N_k |C_k - mean_k|^2`` over ``sum_k N_k |mean_k|^2`` on the clusters with exact centres.

    ``left_out``: the same with the squared singular values beyond the rank. ``ratio``: variance over that of SG-K of the estimator whose own
    clusters come from such centres; the same for all rows of a rule. ``exact_ratio``: by exact centres.
    """
    model, x, y, trained = _measured(config, config.num_examples, torch.float64)
    loss = "cross_entropy"
    gradients = PerExampleGradients.of(model, loss, x, y, form="factored")
    gram = PerExampleGradients.of(model, loss, x, y).gram()  # by rows or factors, whichever is cheaper; factors are forced for the centres
    exact = weighted_lloyd(gram, config.num_clusters, steps=config.steps, generator=stream_generator(config.seed, "centres"))
    rows = []
    for name, (centres, rank) in RULES.items():
        settings = {"centres": centres, "rank": rank, "steps": config.steps}
        clustering = GradientClustering(config.num_clusters, **settings)
        clustering.refresh(model, loss, x, y, generator=stream_generator(config.seed, "centres"))
        shared = {
            "rule": name,
            "ratio": variance_ratio(gram, clustering.partition, config.num_clusters),
            "exact_ratio": variance_ratio(gram, exact.assignment, config.num_clusters),
        }
        rows += [shared | row for row in _errors(gradients, exact.assignment, exact.sizes, centres, rank)]
    return _result(rows, trained)


def _errors(gradients: PerExampleGradients, partition: Tensor, sizes: Tensor, centres: str, rank: int) -> Iterator[dict[str, object]]:
    """Squared errors by kind of layer, of weights only: biases have whole centres."""
    weights = [name for name in gradients.names if name.endswith("weight")]
    low, full = (
        NetworkCentres(len(sizes), weights, rule=rule, rank=r)
        for rule, r in (("mean" if centres == "rank1" else "svd", rank), ("svd", 10_000))
    )
    for network in (low, full):
        network.add(gradients, partition)
        network.update(sizes)
    kinds = {name: "convolution" if isinstance(f, Patches) else "linear" for _, fs in gradients.factors() for name, f in fs.items()}
    for kind in sorted({kinds[name] for name in weights}):
        error = scale = left = 0.0
        for name in (name for name in weights if kinds[name] == kind):
            means = full.centres[name].dense()
            error += float((sizes * (low.centres[name].dense() - means).square().sum(1)).sum())
            scale += float((sizes * means.square().sum(1)).sum())
            left += float((sizes * _left_out(full.centres[name], rank)).sum())
        yield {"layer": kind, "error": error / scale, "left_out": left / scale, "share": scale}


def _left_out(centres: FactoredCentres, rank: int) -> Tensor:
    """(K,) squared singular values beyond the rank, summed over groups."""
    means = centres.outputs.transpose(2, 3) @ centres.inputs  # (K, G, O, I)
    small = means @ means.transpose(2, 3) if means.shape[2] <= means.shape[3] else means.transpose(2, 3) @ means
    return torch.linalg.eigvalsh(small).clamp_(min=0)[..., : max(small.shape[2] - rank, 0)].sum((1, 2))


@dataclass(frozen=True)
class KRange(_Network):
    """Gradient clustering against mini-batches over K."""

    num_examples: int
    num_clusters: tuple[int, ...]
    steps: int = 10


@run(version=1)
def vary_clusters(config: KRange) -> Result:
    """One row for each K and kind of centres (exact, rank 1): variance over that of SG-K, and clusters in use."""
    model, x, y, trained = _measured(config, config.num_examples)
    gram, rows = PerExampleGradients.of(model, "cross_entropy", x, y).gram(), []
    for clusters in config.num_clusters:
        for name, centres in (("exact", "gram"), ("rank 1", "rank1")):
            clustering = GradientClustering(clusters, centres=centres, steps=config.steps)
            clustering.refresh(model, "cross_entropy", x, y, generator=stream_generator(config.seed, "range", str(clusters)))
            ratio = variance_ratio(gram, clustering.partition, clusters)
            rows.append({"K": clusters, "centres": name, "ratio": ratio, "used": int((clustering.clustering.sizes > 0).sum())})
    return _result(rows, trained)


@dataclass(frozen=True)
class RealSizes(_Network):
    """Cluster sizes by rule of the assignment, on the gradients of a network."""

    num_examples: int
    num_clusters: int
    steps: int = 10


@run(version=1)
def compare_sizes(config: RealSizes) -> Result:
    """One row for each rule: see `sizes_of`."""
    model, x, y, trained = _measured(config, config.num_examples)
    gram = PerExampleGradients.of(model, "cross_entropy", x, y).gram()
    return _result(list(sizes_of(gram, config.num_clusters, config.steps, config.seed)), trained)


@dataclass(frozen=True)
class GaussianSizes:
    """The same on isotropic Gaussian vectors."""

    dimension: int
    num_examples: int
    num_clusters: int
    seed: int
    steps: int = 10


@run(version=1)
def compare_gaussian_sizes(config: GaussianSizes) -> Result:
    """One row for each rule: see `sizes_of`."""
    shape = config.num_examples, config.dimension
    rows = torch.randn(*shape, generator=stream_generator(config.seed, "gaussian"), dtype=torch.float64)
    return Result(pd.DataFrame(sizes_of(rows @ rows.T, config.num_clusters, config.steps, config.seed)))


def sizes_of(gram: Tensor, num_clusters: int, steps: int, seed: int) -> Iterator[dict[str, object]]:
    """After some steps without refill, exact centres: clusters in use, smallest and largest, evenness ``1 / (K sum_k (N_k / N)^2)``, collapse.

    ``ratio`` is the estimator's variance over that of SG-K, ``refilled`` the same where empty clusters are refilled at each step.
    """
    for name, (sizes, pass_batch) in SIZES.items():
        settings = {"steps": steps, "sizes": sizes, "pass_batch": pass_batch}
        found, mended = (
            weighted_lloyd(gram, num_clusters, refill=refill, generator=stream_generator(seed, "sizes"), **settings)
            for refill in ("none", "all")
        )
        shares = found.sizes.double() / len(gram)
        yield {
            "rule": name,
            "used": int((found.sizes > 0).sum()),
            "smallest": int(found.sizes[found.sizes > 0].min()),
            "largest": int(found.sizes.max()),
            "evenness": float(1 / (num_clusters * shares.square().sum())),
            "collapsed": bool(found.collapsed),
            "ratio": variance_ratio(gram, found.assignment, num_clusters),
            "refilled": variance_ratio(gram, mended.assignment, num_clusters),
        }


@dataclass(frozen=True)
class UniformCloud:
    """Vectors uniform in a cube."""

    dimension: int
    num_examples: int
    num_clusters: int
    seed: int
    steps: int = 30


@run(version=1)
def cluster_uniform(config: UniformCloud) -> Result:
    """One row: variance over that of SG-K, exact centres and running counts."""
    shape = config.num_examples, config.dimension
    rows = torch.rand(*shape, generator=stream_generator(config.seed, "uniform"), dtype=torch.float64) - 0.5
    gram = rows @ rows.T
    found = weighted_lloyd(gram, config.num_clusters, steps=config.steps, generator=stream_generator(config.seed, "uniform clusters"))
    return Result(pd.DataFrame([{"ratio": variance_ratio(gram, found.assignment, config.num_clusters)}]))
