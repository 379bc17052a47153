"""Runs of gradient_variance/01_stratified about duplicates (Sec. 3 of the paper and its remark): every draw listed."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from sgdscope.data.synthetic import stream_generator
from sgdscope.estimators import MiniBatch, Stratified
from sgdscope.experiments.gradient_variance.stratified_small import (
    coordinates,
    distance,
    gradients,
    moments,
    random_partition,
    small_network,
    small_set,
    terms,
)
from sgdscope.runs import Result, run


@dataclass(frozen=True)
class Copies:
    """One example of a small set copied, and four ways to draw."""

    dataset: str
    model: str
    seed: int
    num_examples: int = 6  # before copying
    batch_size: int = 3
    copies: tuple[int, ...] = (1, 3, 7)  # added to the original


@run(version=1)
def draw_with_copies(config: Copies) -> Result:
    """Variance of a batch of B, by which example is copied and how often.

    ``without``: from the set before copying. ``duplicated``: with its copies. ``kept``: uniform from the set with one copy kept, gradients
    rescaled so that the mean is that of the duplicated set. ``stratified``: Eq. 1 with K = B. The first three with independent draws;
    ``*_subset`` without replacement. ``mean_error``: how far the means of ``kept`` and ``stratified`` are from it.
    """
    number, size = config.num_examples, config.batch_size
    generator = stream_generator(config.seed, "copies")
    rows = coordinates(gradients(small_network(config.dataset, config.model, config.seed), *small_set(config.dataset, config.seed, number)))
    draws, subset = MiniBatch(size, replacement=True), MiniBatch(size)
    found = []
    for example in range(number):
        others = random_partition(number - 1, size - 1, generator)
        partition = torch.cat([others[:example], torch.tensor([size - 1]), others[example:]])
        for copies in config.copies:
            full = torch.cat([rows, rows[example].expand(copies, -1)])
            times = torch.ones(number, dtype=rows.dtype)
            times[example] += copies
            kept = (number / len(full)) * times[:, None] * rows
            parts = torch.cat([partition, torch.full((copies,), size - 1)])
            mean_kept, variance_kept, _ = moments(draws, kept)
            mean_stratified, variance_stratified, _ = moments(Stratified(parts), full)
            found.append(
                {
                    "example": example,
                    "num_copies": copies,
                    "without": moments(draws, rows)[1],
                    "duplicated": moments(draws, full)[1],
                    "kept": variance_kept,
                    "stratified": variance_stratified,
                    "without_subset": moments(subset, rows)[1],
                    "duplicated_subset": moments(subset, full)[1],
                    "kept_subset": moments(subset, kept)[1],
                    "mean_error": max(distance(mean, full.mean(0)) for mean in (mean_kept, mean_stratified)),
                    "farness": float((rows[example] - rows.mean(0)).square().sum() / (rows - rows.mean(0)).square().sum(1).mean()),
                }
            )
    return Result(pd.DataFrame(found))


@dataclass(frozen=True)
class CopiesApart:
    """Copies in the cluster of their original, which holds nothing else, or one other example."""

    dataset: str
    model: str
    seed: int
    num_examples: int = 6
    num_clusters: int = 3
    copies: tuple[int, ...] = (1, 3, 7)


@run(version=1)
def draw_copies_apart(config: CopiesApart) -> Result:
    """The copies' term of Prop. 3.1, and ``N^2 V`` and V over all draws with over without copies, alone and with one other example."""
    number, clusters = config.num_examples, config.num_clusters
    generator = stream_generator(config.seed, "apart")
    model, (x, y) = small_network(config.dataset, config.model, config.seed), small_set(config.dataset, config.seed, number)
    found = []
    for example in range(number):
        others = random_partition(number - 1, clusters - 1, generator)
        alone = torch.cat([others[:example], torch.tensor([clusters - 1]), others[example:]])
        shared = alone.clone()
        shared[(example + 1) % number] = clusters - 1
        for copies in config.copies:
            rows = torch.cat([torch.arange(number), torch.full((copies,), example)])
            full = gradients(model, x[rows], y[rows])
            (scaled, ratio), (mingled, _) = (_with_over_without(full, number, partition[rows]) for partition in (alone, shared))
            found.append(
                {
                    "example": example,
                    "num_copies": copies,
                    "term": float(terms(full, alone[rows])[clusters - 1]),
                    "scaled_ratio": scaled,
                    "variance_ratio": ratio,
                    "expected_ratio": (number / len(rows)) ** 2,
                    "mingled_ratio": mingled,
                }
            )
    return Result(pd.DataFrame(found))


def _with_over_without(full: Tensor, number: int, partition: Tensor) -> tuple[float, float]:
    """``N^2 V`` and V of all examples over those of the first ``number``."""
    with_copies, without = (moments(Stratified(partition[:count]), full[:count])[1] for count in (len(full), number))
    return with_copies * len(full) ** 2 / (without * number**2), with_copies / without
