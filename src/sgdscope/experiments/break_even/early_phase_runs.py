"""Runs of break_even/02_early_phase: training with probes up to an accuracy, spectra at the peak, and the trajectories embedded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import torch

from sgdscope import models
from sgdscope.data import load_dataset
from sgdscope.errors import InvalidInput
from sgdscope.probes import (
    Accuracy,
    Alignment,
    DistanceAlongTop,
    Every,
    GradientCovariance,
    LossAlongTop,
    Pairs,
    Predictions,
    Reaches,
    Recorder,
    Sharpness,
    StabilityMargin,
    record,
)
from sgdscope.runs import Result, checkpoint, get, run
from sgdscope.training import train
from sgdscope.trajectories import embed

OPTIONS = {"mlp": {"hidden": (300, 100)}}  # of the models: the paper's App. E perceptron
ACCURACY_EXAMPLES, EMBEDDED_EXAMPLES = 2000, 200  # of the training set for loss and accuracy; of the test set for predictions


@dataclass(frozen=True)
class _Training:
    dataset: str
    model: str  # mlp (784-300-100-10, App. E), lenet, simple_cnn
    learning_rate: float
    batch_size: int  # S, of training and of the mini-batch gradients of K
    seed: int  # of the initial weights, the mini-batches and the examples measured
    stop_accuracy: float  # training accuracy at which the run ends
    num_steps: int  # at which it ends at the latest
    every: int  # steps between probes
    L: int  # mini-batch gradients behind K
    num_hessian_examples: int


@dataclass(frozen=True)
class Training(_Training):
    """One trajectory, probed every so many steps and one step later."""

    num_eigenvalues: int = 5  # of H
    num_points: int = 11  # of the loss along the top eigenvector


@lru_cache(maxsize=2)
def examples(dataset: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Training inputs and labels, and test inputs.

    Grey images stay in [0, 1] (paper, App. D, for FashionMNIST). From colour images the mean of each pixel is subtracted, then they are
    divided by one standard deviation, both of the training set (the authors' earlier code, for CIFAR-10).

    Raises:
        InvalidInput: no labelled images.
    """
    data = load_dataset(dataset)
    if not isinstance(data.x, torch.Tensor) or data.x.dim() != 4 or data.y is None:
        raise InvalidInput(f"this page needs labelled images, {dataset!r} has none. Use fashion_mnist_small, mnist, cifar10, ...")
    x, test = data.x, load_dataset(dataset, split="test", num_examples=EMBEDDED_EXAMPLES, seed=0).x
    if x.shape[1] == 3:
        mean = x.mean(0)
        std = (x - mean).std()
        x, test = (x - mean) / std, (test - mean) / std
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return x.to(device), data.y.to(device), test.to(device)


@run(version=1)
def follow(config: Training) -> Result:
    """One row a probe, two probes an interval: at a step, and after the step that follows it.

    Columns in all rows: step, epoch, ``train_loss`` and ``train_accuracy`` on a fixed subset of 2,000, ``H_top`` and ``distance`` on
    ``num_hessian_examples``. At the first row of each two also ``curvature_mean``, ``curvature_std``, ``stability_lhs``, ``stability_margin``,
    ``quadratic_error``, ``K_top``, ``K_smallest``, ``K_conditioning``, ``K_trace``, ``K_projected``, ``alignment``.
    Arrays: spectra of K and H, predictions, loss along the top eigenvector.
    """
    x, y, test = examples(config.dataset)
    model = models.build(
        config.model, seed=config.seed, in_shape=tuple(x.shape[1:]), num_classes=int(y.max()) + 1, device=x.device,
        **OPTIONS.get(config.model, {}),
    )  # fmt: skip
    probe, after = Every(config.every), Every(config.every, first=1)  # at a step, and once the step that follows is made
    few = {"num_examples": min(config.num_hessian_examples, len(x)), "seed": config.seed}
    sharpness, sharpness_after = Sharpness(k=config.num_eigenvalues, **few), Sharpness(**few)
    covariance = GradientCovariance(num_batches=config.L, num_projected=min(5, config.L - 1), seed=config.seed)
    recorder = Recorder(
        [
            (Accuracy(num_examples=min(ACCURACY_EXAMPLES, len(x)), seed=config.seed), Pairs(config.every)),
            (sharpness, probe),
            (sharpness_after, after),
            (DistanceAlongTop(sharpness), probe),
            (DistanceAlongTop(sharpness_after), after),
            (StabilityMargin(sharpness, **few), probe),
            (LossAlongTop(sharpness, num_points=config.num_points), probe),
            (covariance, probe),
            (Alignment(sharpness, covariance), probe),
            (Predictions(test), probe),
        ],
        until=Reaches("train_accuracy", config.stop_accuracy),
    )
    trained = train(
        model, "cross_entropy", x, y, learning_rate=config.learning_rate, batch_size=config.batch_size, num_steps=config.num_steps,
        seed=config.seed, checkpoint=checkpoint(config), checkpoint_every=config.every, carry={"recorder": recorder},
    )  # fmt: skip
    table = record(trained, recorder)
    status = table.status.iloc[-1]
    arrays = {name: value.numpy() for name, value in recorder.arrays.items()}
    return Result(
        table.drop(columns=["status", "learning_rate"]),
        arrays,
        status="diverged" if status == "diverged" else "finished",
        diverged_at=int(table.step.iloc[-1]) if status == "diverged" else None,
    )


def trajectory(config: _Training) -> Result:
    """The trajectory that a run about it asks for."""
    names = _Training.__dataclass_fields__
    return get(Training(**{name: value for name, value in asdict(config).items() if name in names}))


@dataclass(frozen=True)
class Peak(_Training):
    """Spectra where they are largest."""


@run(version=1)
def peak_spectra(config: Peak) -> Result:
    """Columns: matrix (K, H), step and training accuracy where its largest eigenvalue is highest along the run, rank, eigenvalue.

    All L - 1 eigenvalues of K that centring leaves, the ``num_eigenvalues`` largest of H.
    """
    found = trajectory(config)
    table = found.table[found.table.step % config.every == 0].reset_index(drop=True)
    rows = []
    for matrix, count in (("K", config.L - 1), ("H", None)):
        top = table[f"{matrix}_top"].to_numpy()
        at = int(np.nanargmax(top))
        values = found.arrays[f"{matrix}_values"][at][:count]
        rows += [
            {"matrix": matrix, "step": int(table.step[at]), "accuracy": table.train_accuracy[at], "rank": rank + 1, "eigenvalue": value}
            for rank, value in enumerate(values.tolist())
        ]
    return Result(pd.DataFrame(rows))


@dataclass(frozen=True)
class Embedding:
    """Trajectories of several learning rates from one initialisation, embedded together."""

    dataset: str
    model: str
    learning_rates: tuple[float, ...]
    batch_size: int
    seed: int
    stop_accuracy: float
    num_steps: int
    every: tuple[int, ...]  # one a learning rate
    L: int
    num_hessian_examples: int
    method: str  # umap or pca


@run(version=1)
def embedding(config: Embedding) -> Result:
    """Columns: learning_rate, step, train_accuracy, K_top, K_conditioning, K_trace, H_top; x and y of the embedded predictions; method used."""
    tables, predictions = [], []
    for rate, every in zip(config.learning_rates, config.every, strict=True):
        found = get(
            Training(
                config.dataset,
                config.model,
                rate,
                config.batch_size,
                config.seed,
                config.stop_accuracy,
                config.num_steps,
                every,
                config.L,
                config.num_hessian_examples,
            )  # fmt: skip
        )
        table = found.table[found.table.K_top.notna()]
        tables.append(table[["step", "train_accuracy", "K_top", "K_conditioning", "K_trace", "H_top"]].assign(rate=rate))
        predictions.append(torch.tensor(found.arrays["predictions"]))
    points = embed(torch.cat(predictions), method=config.method, seed=config.seed)
    table = pd.concat(tables, ignore_index=True)
    return Result(table.assign(x=points.points[:, 0].numpy(), y=points.points[:, 1].numpy(), used=points.method))
