"""Runs of SGD on least squares with real images, where all assumptions of the break-even paper's Sec. 3 hold exactly.

Learning rates are multiples of the inverse sharpness: full-batch descent is stable below 2 on any data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd
import torch

from sgdscope.data import load_dataset
from sgdscope.errors import InvalidInput
from sgdscope.runs import Result, run
from sgdscope.stability import (
    LeastSquares,
    covariance_rank,
    critical_learning_rate_all_directions,
    exact_second_moments,
    gradient_covariance_spectrum,
    gradient_noise,
    gradient_noise_closed_form,
    random_batches,
    simulate_curvatures,
    simulate_least_squares,
    smallest_non_zero,
)


@lru_cache(maxsize=8)
def least_squares_problem(dataset: str, num_examples: int, seed: int) -> LeastSquares:
    """Linear least squares on images of a data set, with the mean image subtracted and targets that some w* fits exactly.

    Any targets will do: with at least as many pixels as images (and linearly independent images) the labels themselves are fitted.

    Raises:
        InvalidInput: a data set without a feature vector for each example.
    """
    images = load_dataset(dataset, num_examples=num_examples, seed=seed).x
    if not isinstance(images, torch.Tensor):
        raise InvalidInput(
            f"least squares needs images or feature vectors, {dataset!r} has text. Use fashion_mnist_small, mnist, cifar10, ..."
        )
    features = images.flatten(1).double()
    return LeastSquares.of(features - features.mean(0))


@dataclass(frozen=True)
class Projected:
    """SGD on least squares with every step projected onto the top eigenvector, at rates around the boundary of Eq. 1."""

    dataset: str
    num_examples: int
    batch_size: int
    seed: int  # of the images and of the mini-batches
    num_rates: int = 20  # from 0.5 to 1.5 times the boundary
    num_steps: int = 3
    num_replicas: int = 50_000


@run(version=1)
def simulate_projected(config: Projected) -> Result:
    """Change of the mean square over a few steps, beside Eq. 1, for real curvatures ``(x_i . e)^2``."""
    problem = least_squares_problem(config.dataset, config.num_examples, config.seed)
    boundary = problem.critical_learning_rate(config.batch_size)
    rates = boundary * torch.linspace(0.5, 1.5, config.num_rates, dtype=torch.float64)
    done = simulate_curvatures(
        problem.curvatures, rates, config.batch_size, num_steps=config.num_steps, num_replicas=config.num_replicas, seed=config.seed
    )
    table = {
        "learning_rate": (rates * problem.sharpness).numpy(),
        "left_side": problem.stability_lhs(rates, config.batch_size).numpy(),
        "log_second_moment": done.log_second_moment.numpy(),
    }
    return Result(pd.DataFrame(table))


@dataclass(frozen=True)
class Boundary:
    """Where SGD on least squares becomes unstable: by Eq. 1 along the top eigenvector, and in all directions together."""

    dataset: str
    num_examples: int
    batch_size: int
    seed: int  # of the images


@run(version=1)
def find_boundary(config: Boundary) -> Result:
    """Both boundaries as multiples of the inverse sharpness, and how much of the unstable mode lies along the top eigenvector."""
    problem = least_squares_problem(config.dataset, config.num_examples, config.seed)
    exact = critical_learning_rate_all_directions(problem, config.batch_size)
    row = {
        "sharpness": problem.sharpness,
        "curvature_std": problem.curvature_std,
        "top_eigenvalue_share": float(problem.eigenvalues[0] / problem.eigenvalues.sum()),
        "one_direction": problem.critical_learning_rate(config.batch_size) * problem.sharpness,
        "all_directions": exact.value * problem.sharpness,
        "share_along_top": exact.share_along_top,
        "residual": exact.residual,
    }
    return Result(pd.DataFrame([row]))


@dataclass(frozen=True)
class Descent:
    """SGD on least squares from the top eigenvector: the second moment along it over steps."""

    dataset: str
    num_examples: int
    learning_rate: float  # times the sharpness
    batch_size: int
    num_steps: int
    seed: int  # of the images and of the mini-batches
    num_replicas: int = 200


def descend_at_rates(configs: Sequence[Descent]) -> list[Result]:
    """Descents that differ in the rate only: they share images and mini-batches. Equal to single ones to 1e-9 relative."""
    first = configs[0]
    problem = least_squares_problem(first.dataset, first.num_examples, first.seed)
    rates = torch.tensor([config.learning_rate for config in configs], dtype=torch.float64) / problem.sharpness
    setting = {"num_steps": first.num_steps, "num_replicas": first.num_replicas, "seed": first.seed}
    free = simulate_least_squares(problem, rates, first.batch_size, **setting)
    exact = exact_second_moments(problem, rates, first.batch_size, num_steps=first.num_steps)
    left_side = problem.stability_lhs(rates, first.batch_size)
    steps = torch.arange(first.num_steps + 1)
    results = []
    for i in range(len(configs)):
        table = {
            "step": steps.numpy(),
            "sampled": free.along_top[:, i].numpy(),
            "typical": (2 * free.log_along_top[:, i]).exp().numpy(),
            "log_exact": exact.log_along_top[:, i].numpy(),
            "log_one_direction": torch.where(steps == 0, 0.0, steps * left_side[i].log()).numpy(),
        }
        diverged = int(free.diverged_at[i])
        results.append(Result(pd.DataFrame(table), status="finished" if diverged < 0 else "diverged", diverged_at=max(diverged, 0) or None))
    return results


@run(version=1, batch=descend_at_rates, together=("learning_rate",))
def descend(config: Descent) -> Result:
    """``E <u_t, e>^2`` over steps: sampled, typical (geometric mean), exact in all directions, and by Eq. 1 alone; ``u_0 = e``."""
    return descend_at_rates([config])[0]


@dataclass(frozen=True)
class Noise:
    """Distance of mini-batch gradients from the full one, and the spectrum of K, along SGD on least squares."""

    dataset: str
    num_examples: int
    seed: int  # of the images, the starting point and the mini-batches
    learning_rate: float = 0.2  # times the sharpness
    batch_size: int = 16
    num_steps: int = 60
    every: int = 10
    enumerated: int = 12  # examples whose mini-batches are enumerated
    num_gradients: int = 25  # L
    measure_batch: int = 16  # M


@run(version=1)
def measure_noise(config: Noise) -> Result:
    """At each probe: error of ``Tr(K) (N-S)/(S(N-1))`` against enumeration, share of lambda_K^1 in Tr K; and K from L gradients at the start."""
    problem = least_squares_problem(config.dataset, config.num_examples, config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    rows, rate = problem.coordinates, config.learning_rate / problem.sharpness
    if rows.shape[1] < config.num_gradients:
        raise InvalidInput(
            f"K from {config.num_gradients} gradients needs as many directions; the features of {config.dataset!r} span {rows.shape[1]}. "
            "Use images, or more of them."
        )
    point = torch.randn(rows.shape[1], generator=generator, dtype=torch.float64)
    table = []
    for step in range(config.num_steps + 1):
        gradients = rows * (rows @ point)[:, None]  # (N, k): g_i = x_i (x_i . u)
        if step == 0:
            of_l = _of_mini_batches(gradients, config, generator)
        if step % config.every == 0:
            spectrum = gradient_covariance_spectrum(gradients)
            few = gradients[: config.enumerated]
            errors = []
            for size in range(1, config.enumerated):
                closed = gradient_noise_closed_form(few, size)
                errors.append(abs(gradient_noise(few, size) / closed - 1))
            top, trace = float(spectrum[0]), float(spectrum.sum())
            table.append({"step": step, "enumeration_error": max(errors), "top": top, "trace": trace, "top_share": top / trace, **of_l})
        batch = random_batches(config.num_examples, config.batch_size, 1, generator=generator)[0]
        point = point - rate * gradients[batch].mean(0)
    return Result(pd.DataFrame(table))


def _of_mini_batches(gradients: torch.Tensor, config: Noise, generator: torch.Generator) -> dict[str, float]:
    """K from L mini-batch gradients: its rank, its smallest non-zero eigenvalue, and those at the positions that the paper's words name."""
    batches = random_batches(len(gradients), config.measure_batch, config.num_gradients, generator=generator)
    spectrum = gradient_covariance_spectrum(gradients[batches].mean(1))
    return {
        "rank": covariance_rank(spectrum),
        "smallest_non_zero": smallest_non_zero(spectrum),
        "largest_position": float(spectrum[config.num_gradients - 2]),  # the (L-1)th largest
        "smallest_position": float(spectrum.sort().values[config.num_gradients - 2]),  # the (L-1)th smallest
    }
