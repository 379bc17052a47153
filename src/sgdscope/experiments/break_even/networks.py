"""Runs of a tiny network on images, small enough to measure the left side of Eq. 1 itself along training (Theorem 1 on a real network)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd
import torch

from sgdscope.data import load_dataset
from sgdscope.errors import InvalidInput
from sgdscope.runs import Result, run
from sgdscope.stability import train_tiny_networks


@dataclass(frozen=True)
class TinyNetwork:
    """One training run of a network with one hidden layer of tanh units and squared error on principal components of images.

    The settings were chosen at seed 100, which no page uses, so that training starts stable, sharpens, and reaches the point.
    """

    dataset: str
    learning_rate: float
    batch_size: int  # num_examples: the full batch
    seed: int  # of the initialisation and the mini-batches; the images are the same for all
    num_examples: int = 256
    components: int = 20
    hidden: int = 16
    scale: float = 0.5  # of the initial weights, over 1 / sqrt(fan in)
    num_steps: int = 800
    probe_every: int = 20


@lru_cache(maxsize=4)
def components_and_targets(dataset: str, num_examples: int, components: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Principal components ``(N, components)`` of the centred images, scaled to mean square 1, and targets ``(N, 1)``.

    The target is 1 for the first half of the classes and -1 for the others.

    Raises:
        InvalidInput: a data set without images or labels, or with fewer features or examples than components.
    """
    data = load_dataset(dataset, num_examples=num_examples, seed=0)
    if not isinstance(data.x, torch.Tensor) or data.y is None:
        raise InvalidInput(
            f"the small network needs labelled images or feature vectors, {dataset!r} has none. Use fashion_mnist_small, mnist, ..."
        )
    features = data.x.flatten(1).double()
    if (most := min(features.shape)) < components:
        raise InvalidInput(
            f"the small network takes {components} principal components, {len(features)} examples of {dataset!r} have {most} only."
        )
    left, singular, _ = torch.linalg.svd(features - features.mean(0), full_matrices=False)
    projected = left[:, :components] * singular[:components]
    targets = torch.where(data.y < len(data.classes) / 2, 1.0, -1.0).double()[:, None]
    return projected / projected.square().mean().sqrt(), targets


def train_together(configs: Sequence[TinyNetwork]) -> list[Result]:
    """Runs of one batch size, as one batched model. Equal to single runs up to rounding in batched products."""
    first = configs[0]
    x, y = components_and_targets(first.dataset, first.num_examples, first.components)
    trained = train_tiny_networks(
        x,
        y,
        [(config.learning_rate, config.batch_size, config.seed) for config in configs],
        num_steps=first.num_steps,
        probe_every=first.probe_every,
        hidden=first.hidden,
        scale=first.scale,
    )
    results = []
    for done in trained:
        table = pd.DataFrame({name: column.numpy() for name, column in done.table.items()})
        table = table.assign(
            crossing_step=done.step, crossing_sharpness=done.sharpness, sharpness_after=done.sharpness_after, outcome=done.status
        )
        diverged = done.diverged_at >= 0
        results.append(Result(table, status="diverged" if diverged else "finished", diverged_at=done.diverged_at if diverged else None))
    return results


@run(version=1, batch=train_together, together=("learning_rate", "seed"))
def train(config: TinyNetwork) -> Result:
    """Probes along training (loss, sharpness, spread, left side of Eq. 1, trace and top eigenvalue of K), and the break-even point."""
    return train_together([config])[0]
