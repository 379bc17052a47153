"""Runs of gradient_variance/01_stratified on real networks: Eq. 1 by Monte Carlo, and clusterings along training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from sgdscope.data.synthetic import stream_generator
from sgdscope.estimators import GradientClustering, Stratified, estimates, weighted_lloyd
from sgdscope.experiments.gradient_variance.stratified_small import images, network, random_partition
from sgdscope.experiments.gradient_variance.stratified_steps import shapes
from sgdscope.gradients import PerExampleGradients
from sgdscope.runs import Result, run
from sgdscope.training import train

SIZES = ("running", "previous", "none")  # weights of the assignment: authors' code, paper, plain k-means


@dataclass(frozen=True)
class _Network:
    dataset: str
    model: str  # mlp or lenet
    hidden: tuple[int, ...]  # widths of the perceptron
    seed: int  # of weights, mini-batches, clustered examples and starts
    stages: tuple[int, ...]  # steps of SGD after which gradients are taken
    learning_rate: float
    batch_size: int  # of training
    num_examples: int  # N of the set that is sampled from


def along(config: _Network) -> Iterator[tuple[int, nn.Module, Tensor, Tensor]]:
    """(step, network, x, y) at each stage of one training run on all images; x, y are the N that are sampled from. Ends if it diverges."""
    x, y = images(config.dataset)
    model = network(config.dataset, config.model, config.seed, config.hidden)
    rows = torch.randperm(len(x), generator=stream_generator(config.seed, "sampled"))[: config.num_examples]
    trained = train(
        model, "cross_entropy", x, y, learning_rate=config.learning_rate, batch_size=config.batch_size, num_steps=max(config.stages),
        seed=config.seed,
    )  # fmt: skip
    for snapshot in trained:
        if snapshot.status == "diverged":
            return
        if snapshot.step in config.stages:
            yield snapshot.step, model, x[rows], y[rows]


def _result(rows: list[dict[str, object]], config: _Network) -> Result:
    """Diverged, if a stage was not reached."""
    table = pd.DataFrame(rows)
    reached = table.step.max() if len(table) else -1
    if reached == max(config.stages):
        return Result(table)
    return Result(table, status="diverged", diverged_at=int(reached) + 1)


@dataclass(frozen=True)
class MonteCarlo(_Network):
    """Estimates of a network's gradient by Eq. 1, over three partitions."""

    num_clusters: int
    repeats: int = 200


@run(version=1)
def sample_estimates(config: MonteCarlo) -> Result:
    """Bias and variance of ``repeats`` estimates beside Prop. 3.1, at the last stage, for partitions at random, by class and by gradient.

    ``variance`` is the mean of ``|estimate - g|^2``, which needs no estimate of the mean; ``along`` the mean of ``<estimate, g> / <g, g>``.
    Both with their standard errors. ``mini_batch``: the exact variance of as many independent draws.
    """
    found = []
    for step, model, x, y in along(config):
        if step != max(config.stages):
            continue
        G, number = PerExampleGradients.of(model, "cross_entropy", x, y), len(x)
        gram, full = G.gram().double(), G.mean()
        generator = stream_generator(config.seed, "monte carlo")
        clustering = GradientClustering(config.num_clusters)
        clustering.refresh(model, "cross_entropy", x, y, generator=generator)
        for name, partition in (
            ("at random", random_partition(number, config.num_clusters, generator)),
            ("by class", y),
            ("by gradient", clustering.partition),
        ):
            sizes, spreads = shapes(gram, partition[None], int(partition.max()) + 1)
            estimator = Stratified(partition)
            made = estimates(
                estimator, model, "cross_entropy", x, y, repeats=config.repeats, generator=generator, method="batches"
            )  # by ordinary backward passes, not by weights on known gradients
            rows = torch.cat([block for block in made])
            squares = (rows - full).double().square().sum(1)
            shares = (rows.double() @ full.double()) / full.double().square().sum()
            whole, _ = shapes(gram, torch.zeros(1, number, dtype=torch.int64), 1), None
            found.append(
                {
                    "step": step,
                    "partition": name,
                    "drawn": estimator.batch_size,
                    "formula": float((sizes.square() * spreads).sum()) / number**2,
                    "variance": float(squares.mean()),
                    "variance_error": float(squares.std() / config.repeats**0.5),
                    "along": float(shares.mean()),
                    "along_error": float(shares.std() / config.repeats**0.5),
                    "mini_batch": float(whole[1]) / estimator.batch_size,
                }
            )
    return _result(found, config)


@dataclass(frozen=True)
class Clusters(_Network):
    """Clusters of one and the same set of gradients by three rules, from the same starts."""

    num_clusters: tuple[int, ...]
    lloyd_steps: int = 10


@run(version=1)
def find_clusters(config: Clusters) -> Result:
    """One row for each stage, K, rule (sizes) and cluster: its size, its variance V_k over that of a single example, and that variance.

    Empty clusters are refilled by the authors' rule, at each step. The estimator's variance is ``sum_k (N_k / N)^2 V_k``.
    """
    found = []
    for step, gram in _grams(config):
        _, alone = shapes(gram, torch.zeros(1, len(gram), dtype=torch.int64), 1)
        for clusters in config.num_clusters:
            for sizes in SIZES:
                made = weighted_lloyd(gram, clusters, steps=config.lloyd_steps, sizes=sizes, generator=_starts(config, step, clusters))
                counts, spreads = shapes(gram, made.assignment[None], clusters)
                found += [
                    {
                        "step": step,
                        "K": clusters,
                        "sizes": sizes,
                        "cluster": cluster,
                        "size": int(count),
                        "spread": spread / float(alone),
                        "alone": float(alone),
                        "emptied": max(made.empty[1:], default=0),
                    }
                    for cluster, (count, spread) in enumerate(zip(counts[0].tolist(), spreads[0].tolist(), strict=True))
                ]
    return _result(found, config)


@dataclass(frozen=True)
class Objective(_Network):
    """The objective of Eq. 2 step by step, by three rules, from the same starts, without refills."""

    num_clusters: tuple[int, ...]
    lloyd_steps: int = 15


@run(version=1)
def follow_objective(config: Objective) -> Result:
    """One row for each stage, K, rule (sizes) and step: the objective over that of K = 1, and how many clusters are empty after it."""
    found = []
    for step, gram in _grams(config):
        sizes_one, alone = shapes(gram, torch.zeros(1, len(gram), dtype=torch.int64), 1)
        whole = float(sizes_one.square() * alone)
        for clusters in config.num_clusters:
            for sizes in SIZES:
                made = weighted_lloyd(
                    gram, clusters, steps=config.lloyd_steps, sizes=sizes, refill="none", generator=_starts(config, step, clusters)
                )
                found += [
                    {"step": step, "K": clusters, "sizes": sizes, "iteration": i + 1, "objective": value / whole, "empty": empty}
                    for i, (value, empty) in enumerate(zip(made.objective, made.empty, strict=True))
                ]
    return _result(found, config)


def _grams(config: _Network) -> Iterator[tuple[int, Tensor]]:
    """Inner products of the gradients at each stage, in float64."""
    for step, model, x, y in along(config):
        yield step, PerExampleGradients.of(model, "cross_entropy", x, y).gram().double()


def _starts(config: _Network, step: int, clusters: int) -> torch.Generator:
    """The same for each rule: the first centres are the same examples."""
    return stream_generator(config.seed, "starts", str(step), str(clusters))
