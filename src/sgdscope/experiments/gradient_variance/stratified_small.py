"""Small sets of per-example gradients, and exact moments of an estimator over all of its draws. Shared by the runs of the page."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor, nn

from sgdscope import models
from sgdscope.data import load_dataset
from sgdscope.data.synthetic import stream_generator
from sgdscope.errors import InvalidInput
from sgdscope.training import mean_gradient, train

HIDDEN = (8,)  # of the small perceptron
WARM_UP = 20  # steps of SGD before gradients are taken, so that the network is no longer random
RATE, BATCH = 0.05, 32


class HasOutcomes(Protocol):
    """An estimator whose draws can be listed."""

    def outcomes(self, number: int) -> tuple[Tensor, Tensor]:
        """Indices (M, B) and weights (M, B) of all draws, each equally likely."""


@lru_cache(maxsize=2)
def images(dataset: str) -> tuple[Tensor, Tensor]:
    """All training images, centred and divided by one standard deviation, and their labels.

    Raises:
        InvalidInput: no labelled images.
    """
    data = load_dataset(dataset)
    if not isinstance(data.x, Tensor) or data.x.dim() != 4 or data.y is None:
        raise InvalidInput(f"this page needs labelled images, {dataset!r} has none. Use fashion_mnist_small, mnist, digits, ...")
    return (data.x - data.x.mean()) / data.x.std(), data.y


def network(dataset: str, name: str, seed: int, hidden: Sequence[int], dtype: torch.dtype = torch.float32) -> nn.Module:
    """A fresh network for these images; ``hidden`` widths for a perceptron."""
    x, y = images(dataset)
    options = {"hidden": tuple(hidden)} if name == "mlp" else {}
    return models.build(name, seed=seed, in_shape=tuple(x.shape[1:]), num_classes=int(y.max()) + 1, dtype=dtype, **options)


@lru_cache(maxsize=4)
def small_network(dataset: str, name: str, seed: int) -> nn.Module:
    """A small network in float64 after a few steps of SGD."""
    x, y = images(dataset)
    model, rows = network(dataset, name, seed, HIDDEN), torch.randperm(len(x), generator=stream_generator(seed, "warm up"))[:500]
    for _ in train(model, "cross_entropy", x[rows], y[rows], learning_rate=RATE, batch_size=BATCH, num_steps=WARM_UP, seed=seed):
        pass
    return model.double()


def small_set(dataset: str, seed: int, number: int, stream: str = "") -> tuple[Tensor, Tensor]:
    """``number`` independent random images in float64, with labels."""
    x, y = images(dataset)
    rows = torch.randint(len(x), (number,), generator=stream_generator(seed, "examples", stream))
    return x[rows].double(), y[rows]


def gradients(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """(N, d) gradients, one example at a time: copies of an example have the same bits."""
    return torch.stack([mean_gradient(model, "cross_entropy", x[i : i + 1], y[i : i + 1]) for i in range(len(x))])


def coordinates(rows: Tensor) -> Tensor:
    """(N, N) coordinates of N vectors in an orthonormal basis of their span: the same inner products, in a small space."""
    return torch.linalg.qr(rows.T).R.T


def moments(estimator: HasOutcomes, rows: Tensor) -> tuple[Tensor, float, int]:
    """Mean (d,) of the estimate over all draws, trace of its covariance, and the number of draws; ``rows`` are the gradients (N, d)."""
    index, weights = estimator.outcomes(len(rows))
    matrix = torch.zeros(len(index), len(rows), dtype=rows.dtype).scatter_add_(1, index, weights.to(rows.dtype))
    values = matrix @ rows  # (M, d)
    mean = values.mean(0)
    return mean, float((values - mean).square().sum(1).mean()), len(index)


def terms(rows: Tensor, partition: Tensor) -> Tensor:
    """(K,) ``N_k^2 V[g_jk]``, from the squared distances of all pairs: ``V = (1 / 2 N_k^2) sum_ij |g_i - g_j|^2``. Exactly 0 for copies."""
    found = []
    for k in partition.unique():
        members = rows[partition == k]
        found.append((members[:, None] - members).square().sum() / 2)
    return torch.stack(found)


def random_partition(number: int, clusters: int, generator: torch.Generator) -> Tensor:
    """(N,) a random partition into exactly so many sets, none empty."""
    labels = torch.cat([torch.arange(clusters), torch.randint(clusters, (number - clusters,), generator=generator)])
    return labels[torch.randperm(number, generator=generator)]


def distance(a: Tensor, b: Tensor) -> float:
    """``|a - b| / |b|``."""
    return float((a - b).norm() / b.norm())
