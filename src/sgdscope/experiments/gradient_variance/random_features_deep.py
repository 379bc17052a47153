"""The deep counterpart of a random-features run: exact variance of a mini-batch gradient along the training of a network on images."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from torch import nn

from sgdscope.data.dataset import Dataset
from sgdscope.data.load import load_dataset
from sgdscope.gradients.per_example import PerExampleGradients
from sgdscope.models.build import build
from sgdscope.runs.files import Result
from sgdscope.runs.run import run
from sgdscope.stability.theory import without_replacement_factor
from sgdscope.training.evaluation import evaluate
from sgdscope.training.loop import train


@dataclass(frozen=True)
class DeepTraining:
    """SGD at a constant rate."""

    dataset: str
    learning_rate: float
    seed: int  # of weights, images and mini-batches
    model: str = "mlp"
    hidden: tuple[int, ...] = (100, 100)
    num_examples: int = 1000
    batch_size: int = 32
    num_steps: int = 600
    log_every: int = 20


@run(version=1)
def follow(config: DeepTraining) -> Result:
    """At each log point ``loss``, ``exact`` average variance of a mini-batch without replacement, and ``gradient_square`` a coordinate."""
    data = load_dataset(config.dataset, num_examples=config.num_examples, seed=config.seed)
    shape, classes = tuple(data.x.shape[1:]), len(data.classes)
    network = build(config.model, seed=config.seed, in_shape=shape, num_classes=classes, hidden=config.hidden)
    steps = train(
        network,
        "cross_entropy",
        data.x,
        data.y,
        learning_rate=config.learning_rate,
        batch_size=config.batch_size,
        num_steps=config.num_steps,
        seed=config.seed,
    )
    rows, diverged = [], None
    for snapshot in steps:
        if snapshot.status == "diverged":
            diverged = snapshot.step
            break
        if snapshot.step and snapshot.step % config.log_every == 0:
            rows.append(
                {"step": snapshot.step, "loss": evaluate(network, "cross_entropy", data.x, data.y).loss} | _moments(network, data, config)
            )
    table = pd.DataFrame(rows, columns=["step", "loss", "exact", "gradient_square"])
    return Result(table, status="finished" if diverged is None else "diverged", diverged_at=diverged)


def _moments(network: nn.Module, data: Dataset, config: DeepTraining) -> dict[str, float]:
    """Exact variance of a mini-batch and square of the gradient, means over the parameters."""
    gradients = PerExampleGradients.of(network, "cross_entropy", data.x, data.y)
    size, square = gradients.shape[1], float(gradients.mean().double().square().sum())
    spread = float(gradients.squared_norms().double().mean()) - square
    factor = without_replacement_factor(config.num_examples, config.batch_size)
    return {"exact": spread * factor / size, "gradient_square": square / size}
