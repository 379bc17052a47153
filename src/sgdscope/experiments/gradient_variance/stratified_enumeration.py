"""Runs of gradient_variance/01_stratified about Eq. 1 itself: every draw listed (Prop. 3.1, its limits, and what its proof needs)."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from sgdscope.data.synthetic import stream_generator
from sgdscope.estimators import MiniBatch, Stratified, partition_objective
from sgdscope.experiments.gradient_variance.stratified_small import (
    distance,
    gradients,
    moments,
    random_partition,
    small_network,
    small_set,
    terms,
)
from sgdscope.runs import Result, run
from sgdscope.training import mean_gradient


@dataclass(frozen=True)
class Partitions:
    """Random partitions of the gradients of a small network."""

    dataset: str
    model: str
    seed: int  # of weights, examples and partitions
    num_examples: int = 10
    num_partitions: int = 3  # for each K


@run(version=1)
def enumerate_partitions(config: Partitions) -> Result:
    """Mean and variance of Eq. 1 over all draws beside the formula and the objective of Eq. 2, for each K and random partition."""
    generator = stream_generator(config.seed, "partitions")
    number = config.num_examples
    rows = gradients(small_network(config.dataset, config.model, config.seed), *small_set(config.dataset, config.seed, number))
    full, gram = rows.mean(0), rows @ rows.T
    alone = float((rows - full).square().sum(1).mean())  # of one example, K = 1
    found = []
    for clusters in range(1, number + 1):
        for _ in range(config.num_partitions):
            partition = random_partition(number, clusters, generator)
            mean, variance, draws = moments(Stratified(partition), rows)
            formula = float(terms(rows, partition).sum()) / number**2
            objective = sum(_cost(rows[partition == k]) for k in range(clusters))
            scaled = number**2 * variance
            found.append(
                {
                    "num_clusters": clusters,
                    "draws": draws,
                    "variance": variance,
                    "formula": formula,
                    "bias_error": distance(mean, full),
                    "variance_error": abs(variance - formula) / alone,
                    "objective_error": abs(scaled - objective) / (number**2 * alone),
                    "gram_error": abs(scaled - partition_objective(gram, partition)) / (number**2 * alone),
                }
            )
    return Result(pd.DataFrame(found))


def _cost(members: Tensor) -> float:
    """A cluster's ``N_k sum_i |C_k - g_i|^2``."""
    return float(len(members) * (members - members.mean(0)).square().sum())


@dataclass(frozen=True)
class Limits:
    """K = N and K = 1."""

    dataset: str
    model: str
    seed: int
    num_examples: int = 10
    repeats: int = 5  # estimates at K = N


@run(version=1)
def check_limits(config: Limits) -> Result:
    """One row: ``all_clusters``, ``one_cluster`` (0 where the draws are the right ones), ``zero_variance``, ``full_batch``."""
    number, model = config.num_examples, small_network(config.dataset, config.model, config.seed)
    x, y = small_set(config.dataset, config.seed, number)
    generator = stream_generator(config.seed, "limits")
    apart, together = Stratified(torch.randperm(number, generator=generator)), Stratified(torch.zeros(number, dtype=torch.int64))
    index, weights = apart.outcomes(number)
    whole = len(index) == 1 and index[0].sort().values.equal(torch.arange(number)) and bool((weights == 1 / number).all())
    ours, plain = together.outcomes(number), MiniBatch(1).outcomes(number)
    single = all(a.equal(b) for a, b in zip(ours, plain, strict=True))
    made = torch.stack([apart.estimate(model, "cross_entropy", x, y, generator=generator) for _ in range(config.repeats)])
    return Result(
        pd.DataFrame(
            {
                "all_clusters": [int(not whole)],
                "zero_variance": [float((made - made[0]).abs().max())],
                "full_batch": [distance(made[0], mean_gradient(model, "cross_entropy", x, y))],
                "one_cluster": [int(not single)],
            }
        )
    )


@dataclass(frozen=True)
class Draws:
    """Draws that are, and are not, independent from cluster to cluster; data that are, and are not, i.i.d."""

    dataset: str
    model: str
    seed: int
    num_clusters: int = 3
    cluster_size: int = 4
    dimension: int = 5  # of the computed sets


@run(version=1)
def compare_draws(config: Draws) -> Result:
    """Enumerated variance over Eq. 7 for five sets, three of them not i.i.d., and three ways to draw."""
    number = config.num_clusters * config.cluster_size
    generator = stream_generator(config.seed, "draws")
    noise = torch.randn(number, config.dimension, generator=generator, dtype=torch.float64)
    chain = noise.clone()
    for step in range(1, number):
        chain[step] += 0.9 * chain[step - 1]
    sets = {
        "images, i.i.d.": gradients(
            small_network(config.dataset, config.model, config.seed), *small_set(config.dataset, config.seed, number)
        ),
        "Gaussian, i.i.d.": noise,
        "arithmetic progression": torch.arange(number, dtype=torch.float64)[:, None] + torch.zeros(config.dimension, dtype=torch.float64),
        "autoregressive chain": chain,
        "one cluster copied": noise[: config.cluster_size].repeat(config.num_clusters, 1),
    }
    found = []
    for data, rows in sets.items():
        partition = torch.arange(config.num_clusters).repeat_interleave(config.cluster_size)
        if data != "one cluster copied":
            partition = partition[torch.randperm(number, generator=generator)]
        full, formula = rows.mean(0), float(terms(rows, partition).sum()) / number**2
        alone = float((rows - full).square().sum(1).mean())
        ways = {
            "independent": Stratified(partition),
            "one number for all": OneNumber(rows, partition, opposite=False),
            "opposite": OneNumber(rows, partition, opposite=True),
        }
        for way, estimator in ways.items():
            mean, variance, draws = moments(estimator, rows)
            found.append(
                {
                    "data": data,
                    "independent_data": data.endswith("i.i.d."),
                    "way": way,
                    "draws": draws,
                    "variance": variance,
                    "formula": formula,
                    "bias_error": distance(mean, full),
                    "error": abs(variance - formula) / alone,
                }
            )
    return Result(pd.DataFrame(found))


class OneNumber:
    """Eq. 1 with one random number for all clusters, which have equal sizes: the j-th member of each, j uniform.

    The members of a cluster stand in the order of their coordinate along the widest direction of the gradients; with ``opposite``, of every
    second cluster in reverse order. Each cluster's draw alone is uniform, as Eq. 1 asks.
    """

    def __init__(self, rows: Tensor, partition: Tensor, *, opposite: bool):
        centred = rows - rows.mean(0)
        place = torch.linalg.svd(centred, full_matrices=False).U[:, 0]
        members = []
        for k in partition.unique():
            ordered = (partition == k).nonzero()[:, 0]
            members.append(ordered[place[ordered].argsort(descending=opposite and bool(k % 2))])
        self.index = torch.stack(members, 1)  # (size, K)

    def outcomes(self, number: int) -> tuple[Tensor, Tensor]:
        """As many as a cluster has members, each with all weights 1/K."""
        return self.index, torch.full(self.index.shape, 1 / self.index.shape[1], dtype=torch.float64)
