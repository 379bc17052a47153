"""Small runs of gradient_variance/03_mnist: synthetic estimates through the statistics, and clusters just found on constructed gradients."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from sgdscope.data.synthetic import stream_generator
from sgdscope.errors import unknown_name
from sgdscope.estimators import gradient_variance, partition_objective, weighted_lloyd
from sgdscope.runs import Result, run
from sgdscope.stability import without_replacement_factor

SETS = ("isotropic", "uniform", "one outlier", "line", "two scales")


@dataclass(frozen=True)
class Noise:
    """Estimates that are independent Gaussian numbers, through the formulas for the normalised variance."""

    seed: int
    repeats: int  # R
    signal: float = 0.0  # mean of each coordinate, in standard deviations
    scale: float = 1.0  # all estimates are multiplied by this
    dimension: int = 40_000


class Gaussian:
    """Stands for an estimator: mean ``signal``, variance 1, times ``scale``, in each coordinate."""

    def __init__(self, signal: float, scale: float, dimension: int):
        self.signal, self.scale, self.dimension = signal, scale, dimension

    def estimate(self, model: nn.Module, loss: object, x: object, y: object, *, generator: torch.Generator) -> Tensor:
        """(d,) a draw."""
        return self.scale * (self.signal + torch.randn(self.dimension, generator=generator, dtype=torch.float64))


@run(version=1)
def measure_noise(config: Noise) -> Result:
    """One row: average, normalised, normalised_mean, guarded, unguarded as of `GradientVariance`.

    ``same_draws`` is the mean over coordinates of the ratio whose variance has 1/R, which cannot exceed 1.
    """
    found = gradient_variance(
        Gaussian(config.signal, config.scale, config.dimension), nn.Identity(), "mse", None, None, repeats=config.repeats,
        generator=stream_generator(config.seed, "noise", str(config.repeats)),
    )  # fmt: skip
    row = {
        "average": found.average,
        "normalised": found.normalised,
        "normalised_mean": found.normalised_mean,
        "guarded": found.normalised_guarded,
        "unguarded": found.normalised_unguarded,
        "same_draws": found.normalised_mean * (config.repeats - 1) / config.repeats,
    }
    return Result(pd.DataFrame([row]))


@dataclass(frozen=True)
class FreshClusters:
    """Clusters just found on a constructed set of gradients, against a mini-batch of as many examples."""

    seed: int
    gradients: str  # one of SETS
    sizes: str  # N_k in the assignment: running (authors' code) or previous (paper)
    num_examples: int = 200
    num_clusters: int = 20
    steps: int = 10


def constructed(name: str, number: int, generator: torch.Generator) -> Tensor:
    """(N, d) gradients of float64.

    ``isotropic``: N(0, I) in 300 dimensions; ``uniform``: in a cube of as many; ``one outlier``: isotropic, one example 100 times as long;
    ``line``: N(0, 1) in one dimension; ``two scales``: isotropic, half of the examples ten times as long.

    Raises:
        NotFound: an unknown name.
    """
    if name not in SETS:
        raise unknown_name("set of gradients", name, SETS)
    if name == "uniform":
        return torch.rand(number, 300, generator=generator, dtype=torch.float64) - 0.5
    rows = torch.randn(number, 1 if name == "line" else 300, generator=generator, dtype=torch.float64)
    if name == "one outlier":
        rows[0] *= 100
    if name == "two scales":
        rows[: number // 2] *= 10
    return rows


@run(version=1)
def cluster_afresh(config: FreshClusters) -> Result:
    """One row: ``ratio``, the exact variance of one example a cluster over that of a mini-batch without replacement; clusters used, largest."""
    generator = stream_generator(config.seed, "constructed gradients", config.gradients)
    rows = constructed(config.gradients, config.num_examples, generator)
    gram, number, size = rows @ rows.T, config.num_examples, config.num_clusters
    found = weighted_lloyd(gram, size, steps=config.steps, sizes=config.sizes, generator=generator)
    mini_batch = float((rows - rows.mean(0)).square().sum()) / number * without_replacement_factor(number, size)
    row = {
        "ratio": partition_objective(gram, found.assignment) / number**2 / mini_batch,
        "clusters": int((found.sizes > 0).sum()),
        "largest": int(found.sizes.max()) / number,
    }
    return Result(pd.DataFrame([row]))
