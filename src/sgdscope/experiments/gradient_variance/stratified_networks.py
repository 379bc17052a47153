"""Runs of gradient_variance/01_stratified on real networks: Eq. 1 by Monte Carlo, and clusterings along training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from math import isfinite

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from sgdscope.data.subset import check_count
from sgdscope.data.synthetic import stream_generator
from sgdscope.estimators import GradientClustering, Stratified, estimates, weighted_lloyd
from sgdscope.experiments.gradient_variance.stratified_small import images, network, random_partition
from sgdscope.experiments.gradient_variance.stratified_steps import shapes
from sgdscope.gradients import PerExampleGradients
from sgdscope.runs import Result, get, run
from sgdscope.training import evaluate, train

COLUMNS = ["step", "loss", "accuracy"]
SIZES = ("running", "previous", "none")  # weights of the assignment: authors' code, paper, plain k-means


@dataclass(frozen=True)
class _Training:
    dataset: str
    model: str  # mlp or lenet
    hidden: tuple[int, ...]  # widths of the perceptron
    seed: int  # of weights and mini-batches; of the examples, starts and estimates of the runs that ask for it
    stages: tuple[int, ...]  # steps of SGD after which the weights are kept
    learning_rate: float
    batch_size: int  # of training


@dataclass(frozen=True)
class Trained(_Training):
    """One training run; its weights at each stage."""


@dataclass(frozen=True)
class _Sampled(_Training):
    num_examples: int  # N of the set that is sampled from


@run(version=1)
def train_network(config: Trained) -> Result:
    """One row for each stage: step, and loss and accuracy on all training images. Arrays: ``weights`` (stages, d)."""
    x, y = images(config.dataset)
    model = network(config.dataset, config.model, config.seed, config.hidden)
    trained = train(
        model, "cross_entropy", x, y, learning_rate=config.learning_rate, batch_size=config.batch_size, num_steps=max(config.stages),
        seed=config.seed,
    )  # fmt: skip
    rows, weights = [], []
    for snapshot in trained:
        if snapshot.status != "diverged" and snapshot.step not in config.stages:
            continue
        found = evaluate(model, "cross_entropy", x, y)
        if snapshot.status == "diverged" or not isfinite(found.loss):
            return Result(pd.DataFrame(rows, columns=COLUMNS), _stacked(weights, model), status="diverged", diverged_at=snapshot.step)
        rows.append((snapshot.step, found.loss, found.accuracy))
        weights.append(nn.utils.parameters_to_vector(model.parameters()).detach().clone())
    return Result(pd.DataFrame(rows, columns=COLUMNS), _stacked(weights, model))


def _stacked(weights: list[Tensor], model: nn.Module) -> dict[str, np.ndarray]:
    size = sum(parameter.numel() for parameter in model.parameters())
    return {"weights": torch.cat([torch.empty(0, size), *(vector[None] for vector in weights)]).numpy()}


def along(config: _Sampled) -> Iterator[tuple[int, nn.Module, Tensor, Tensor]]:
    """(step, network, x, y) at each stage that the training reached; x, y are the N that are sampled from.

    Raises:
        InvalidInput: more of them than there are.
    """
    x, y = images(config.dataset)
    check_count(config.num_examples, len(x), f"{config.dataset}, train")
    rows = torch.randperm(len(x), generator=stream_generator(config.seed, "sampled"))[: config.num_examples]
    trained = _training(config)
    model = network(config.dataset, config.model, config.seed, config.hidden)
    for step, weights in zip(trained.table.step.tolist(), trained.arrays["weights"], strict=True):
        nn.utils.vector_to_parameters(torch.tensor(weights), model.parameters())
        yield step, model, x[rows], y[rows]


def _training(config: _Sampled) -> Result:
    return get(Trained(**{field.name: getattr(config, field.name) for field in fields(Trained)}))


def _result(rows: list[dict[str, object]], config: _Sampled) -> Result:
    """With the status of the training behind it."""
    trained = _training(config)
    return Result(pd.DataFrame(rows), status=trained.status, diverged_at=trained.diverged_at)


@dataclass(frozen=True)
class MonteCarlo(_Sampled):
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
        gram, full = G.gram().double(), G.mean().double()
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
            squares, shares = [], []
            for block in made:
                squares.append((block.double() - full).square().sum(1))
                shares.append((block.double() @ full) / full.square().sum())
            squares, shares = torch.cat(squares), torch.cat(shares)
            _, alone = shapes(gram, torch.zeros(1, number, dtype=torch.int64), 1)
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
                    "mini_batch": float(alone) / estimator.batch_size,
                }
            )
    return _result(found, config)


@dataclass(frozen=True)
class Clusters(_Sampled):
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
class Objective(_Sampled):
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


def _grams(config: _Sampled) -> Iterator[tuple[int, Tensor]]:
    """Inner products of the gradients at each stage, in float64."""
    for step, model, x, y in along(config):
        yield step, PerExampleGradients.of(model, "cross_entropy", x, y).gram().double()


def _starts(config: _Sampled, step: int, clusters: int) -> torch.Generator:
    """The same for each rule: the first centres are the same examples."""
    return stream_generator(config.seed, "starts", str(step), str(clusters))
