"""Run of gradient_variance/01_stratified for the paper's Fig. 1: two classes in the plane, a linear classifier, four clusters of gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from sgdscope import models
from sgdscope.data.synthetic import stream_generator
from sgdscope.errors import InvalidInput, unknown_name
from sgdscope.estimators import GradientClustering
from sgdscope.gradients import PerExampleGradients
from sgdscope.runs import Result, run
from sgdscope.training import train

PROTOCOLS = {  # what the paper says, and what the authors' code does
    "paper": {"centres": "gram", "pass_batch": 32, "biases": True},
    "authors_code": {"centres": "rank1", "pass_batch": 10, "biases": False},
}
MOST_SETS = 200  # drawn before giving up on a separable one


@dataclass(frozen=True)
class Points:
    """Points in the plane with their clusters, at several stages of training."""

    seed: int  # of the points, the weights, the mini-batches and the clusters
    protocol: str  # paper: full-batch descent, exact centres; authors_code: B = 10, rank-1 centres without the biases
    stages: tuple[int, ...]  # steps of training that are shown; the authors show 100, 200 and 400
    point_set: int  # which of the seed's point sets
    num_points: int = 640
    num_clusters: int = 4
    learning_rate: float = 5e-4
    momentum: float = 0.5
    weight_decay: float = 5e-4
    clustering_steps: int = 10


@run(version=1)
def cluster_points(config: Points) -> Result:
    """One row for each stage and point: place, class, cluster, the gradient of the second class's row (that of the first is its negative).

    The boundary at the stage is ``w1 x1 + w2 x2 + b = 0``. ``rejected``: point sets drawn before one that a line separates; ``separable``:
    whether one does.
    """
    x, y, rejected = _points(config)
    found = []
    for step, weights, partition, gradient in _along(config, x, y):
        found.append(
            pd.DataFrame(
                {
                    "step": step, "x1": x[:, 0].numpy(), "x2": x[:, 1].numpy(), "label": y.numpy(), "cluster": partition.numpy(),
                    "g1": gradient[:, 2].numpy(), "g2": gradient[:, 3].numpy(), "g_bias": gradient[:, 5].numpy(),
                    "w1": float(weights[2] - weights[0]), "w2": float(weights[3] - weights[1]), "b": float(weights[5] - weights[4]),
                }
            )
        )  # fmt: skip
    return Result(pd.concat(found, ignore_index=True).assign(rejected=rejected, separable=separable(x, y)))


def _points(config: Points) -> tuple[Tensor, Tensor, int]:
    """The first separable set of points of the seed, labels, and how many were rejected.

    As in the authors' code: class means 5 N(0, 1), points mean + 1.5 N(0, 1) matrix times N(0, 1). Half of the points in each class.
    """
    y = torch.arange(config.num_points) % 2
    generator = stream_generator(config.seed, "points", str(config.point_set))
    for rejected in range(MOST_SETS):
        means = 5 * torch.randn(2, 2, generator=generator, dtype=torch.float64)
        factors = 1.5 * torch.randn(2, 2, 2, generator=generator, dtype=torch.float64)
        noise = torch.randn(config.num_points, 2, generator=generator, dtype=torch.float64)
        x = means[y] + (factors[y] @ noise[:, :, None])[:, :, 0]
        if separable(x, y):
            return x, y, rejected
    raise InvalidInput(f"none of {MOST_SETS} sets of {config.num_points} points was separable by a line. Use fewer points.")


def separable(x: Tensor, y: Tensor) -> bool:
    """Whether a line separates the classes: a linear programme finds ``s_i (w . x_i + b) >= 1`` for all i."""
    sign = 2 * y.numpy() - 1
    rows = -sign[:, None] * np.column_stack([x.numpy(), np.ones(len(x))])
    return bool(linprog(np.zeros(3), A_ub=rows, b_ub=-np.ones(len(x)), bounds=(None, None)).success)


def _along(config: Points, x: Tensor, y: Tensor) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """(step, weights (6,), clusters (N,), gradients (N, 6)) at each stage."""
    if config.protocol not in PROTOCOLS:
        raise unknown_name("protocol", config.protocol, PROTOCOLS)
    model = models.build("linear", seed=config.seed, in_shape=(2,), num_classes=2, dtype=torch.float64)
    generator = stream_generator(config.seed, "clusters")
    clustering = GradientClustering(config.num_clusters, steps=config.clustering_steps, **PROTOCOLS[config.protocol])
    trained = train(
        model, "cross_entropy", x, y, learning_rate=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay,
        batch_size=len(x) if config.protocol == "paper" else 10, num_steps=max(config.stages), seed=config.seed,
    )  # fmt: skip
    for snapshot in trained:
        if snapshot.step in config.stages:
            clustering.refresh(model, "cross_entropy", x, y, generator=generator)
            gradient = PerExampleGradients.of(model, "cross_entropy", x, y).dense()
            yield snapshot.step, nn.utils.parameters_to_vector(model.parameters()).detach().clone(), clustering.partition, gradient
