"""Runs in one dimension: Eq. 1 enumerated and simulated, and the paper's model of early training (Sec. 3 and App. B of the break-even paper).

The sharpness is 1 in the phase diagram, so learning rates are multiples of its inverse: full-batch descent is stable below 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch

from sgdscope.runs import Result, run
from sgdscope.stability import (
    critical_sharpness,
    reversed_order,
    second_moment_factor,
    simulate_two_point,
    stability_lhs,
    two_point_exponent,
)
from sgdscope.stability import simulate_early_training as simulate_the_model


@dataclass(frozen=True)
class Enumeration:
    """Eq. 1 against every mini-batch of a small set."""

    seed: int
    num_examples: int = 12  # 4,095 mini-batches of all sizes


@run(version=1)
def enumerate_batches(config: Enumeration) -> Result:
    """Relative difference between Eq. 1's left side and the enumerated mean square, for all batch sizes, rates, and three spreads."""
    generator = torch.Generator().manual_seed(config.seed)
    draw = torch.rand(config.num_examples, generator=generator, dtype=torch.float64)
    shapes = {"uniform": draw, "heavy-tailed": draw ** (-0.7), "indefinite": draw - 0.2}
    rates = torch.tensor([0.1, 0.5, 1.0, 1.7, 2.5, 4.0], dtype=torch.float64)
    rows = []
    for shape, curvatures in shapes.items():
        sharpness, spread = float(curvatures.mean()), float(curvatures.std(correction=0))
        for batch_size in range(1, config.num_examples + 1):
            exact = second_moment_factor(curvatures, rates, batch_size)
            left = stability_lhs(rates, sharpness, spread, config.num_examples, batch_size)
            rows += [
                {
                    "curvatures": shape,
                    "batch_size": batch_size,
                    "learning_rate": rate,
                    "enumerated": e,
                    "left_side": f,
                    "error": abs(e - f) / e,
                }
                for rate, e, f in zip(rates.tolist(), exact.tolist(), left.tolist(), strict=True)
            ]
    return Result(pd.DataFrame(rows))


@dataclass(frozen=True)
class PhaseDiagram:
    """Simulated SGD in one dimension over a grid of learning rate and spread of the curvature; the sharpness is 1."""

    seed: int  # of the mini-batches
    batch_size: int
    num_examples: int = 200
    largest_rate: float = 2.4
    largest_spread: float = 2.0  # curvature_std over sharpness
    num_rates: int = 33
    num_spreads: int = 25
    num_steps: int = 5  # for the second moment
    num_replicas: int = 20_000
    log_steps: int = 200  # for the growth of log |psi|
    log_replicas: int = 200


@run(version=1)
def simulate_phase_diagram(config: PhaseDiagram) -> Result:
    """Measured growth of the second moment and of ``log |psi|`` at each cell, beside Eq. 1 and the exact almost-sure exponent."""
    rates = torch.linspace(0, config.largest_rate, config.num_rates + 1, dtype=torch.float64)[1:]
    spreads = torch.linspace(0, config.largest_spread, config.num_spreads, dtype=torch.float64)
    rate, spread = (grid.reshape(-1) for grid in torch.meshgrid(rates, spreads, indexing="ij"))
    setting = {"num_examples": config.num_examples, "seed": config.seed}
    few = simulate_two_point(rate, 1.0, spread, config.batch_size, num_steps=config.num_steps, num_replicas=config.num_replicas, **setting)
    many = simulate_two_point(rate, 1.0, spread, config.batch_size, num_steps=config.log_steps, num_replicas=config.log_replicas, **setting)
    columns = {
        "learning_rate": rate,
        "spread": spread,
        "left_side": stability_lhs(rate, 1.0, spread, config.num_examples, config.batch_size),
        "log_second_moment": few.log_second_moment,
        "exponent": two_point_exponent(rate, 1.0, spread, config.num_examples, config.batch_size),
        "measured_exponent": many.log_growth,
    }
    return Result(pd.DataFrame({name: column.numpy() for name, column in columns.items()}))


@dataclass(frozen=True)
class StableCase:
    """A setting whose mean square grows while almost every trajectory converges (erratum be-err-stable)."""

    seed: int
    learning_rate: float = 1.7
    curvature_std: float = 0.5  # curvatures 0.5 and 1.5 in equal halves
    num_examples: int = 100
    batch_size: int = 1
    num_steps: int = 200
    num_replicas: int = 10_000


@run(version=1)
def simulate_stable_case(config: StableCase) -> Result:
    """Growth of ``log |psi|``, the share of trajectories that have not fallen below 1e-6, and the second moment over 1 to 200 steps."""
    case = (config.learning_rate, 1.0, config.curvature_std)
    rows = []
    for num_steps in (1, 2, 5, 10, 20, 50, 100, config.num_steps):
        done = simulate_two_point(
            *case,
            config.batch_size,
            num_examples=config.num_examples,
            num_steps=num_steps,
            num_replicas=config.num_replicas,
            seed=config.seed,
        )
        rows.append(
            {
                "steps": num_steps,
                "growth": float(done.log_growth),
                "not_converged": 1 - float(done.share_below),
                "sampled_log_second_moment": float(done.log_second_moment),
            }
        )
    table = pd.DataFrame(rows)
    table["left_side"] = stability_lhs(*case, config.num_examples, config.batch_size)
    table["exponent"] = two_point_exponent(*case, config.num_examples, config.batch_size)
    return Result(table)


@dataclass(frozen=True)
class ClosedForm:
    """The root of Eq. 3 over a grid of rates, batch sizes, noise levels and distances."""

    num_examples: int = 200
    learning_rates: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    alphas: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0)
    distances: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)


@run(version=1)
def check_closed_form(config: ClosedForm) -> Result:
    """Points at which the root fails to fall with the rate, to rise with the batch size, or to be ``2 / eta`` at full batch (1e-12)."""
    rates, alphas, distances = (torch.tensor(v, dtype=torch.float64) for v in (config.learning_rates, config.alphas, config.distances))
    sizes = torch.arange(1, config.num_examples + 1)
    root = critical_sharpness(
        rates[:, None, None, None], config.num_examples, sizes[:, None, None], alpha=alphas[:, None], distance=distances
    )  # (rates, sizes, alphas, distances)
    full = root[:, -1]
    checks = {
        "falls with the rate": root.diff(dim=0) < 0,
        "rises with the batch size": root.diff(dim=1) > 0,
        "full batch": (full * rates[:, None, None] / 2 - 1).abs() <= 1e-12,
    }
    rows = [{"check": name, "points": held.numel(), "violations": int((~held).sum())} for name, held in checks.items()]
    return Result(pd.DataFrame(rows))


@dataclass(frozen=True)
class EarlyTraining:
    """The paper's model of early training (Assumptions 2 to 4), from one start for all rates and batch sizes."""

    seed: int  # of the speeds at which sharpness and distance change
    start: str  # stable (Theorem 1) or unstable (Theorem 2)
    batch_sizes: tuple[int, ...]
    num_examples: int
    learning_rates: tuple[float, ...] = (0.05, 0.1, 0.2)
    alpha: float = 0.05  # lambda_K / lambda_H


@run(version=1)
def simulate_early_training(config: EarlyTraining) -> Result:
    """Sharpness and distance at which each setting first crosses the line of Eq. 3."""
    sharpness, distance = {"stable": (1.0, 1.0), "unstable": (60.0, 0.05)}[config.start]
    rates = torch.tensor(config.learning_rates, dtype=torch.float64)
    sizes = torch.tensor(config.batch_sizes, dtype=torch.float64)
    done = simulate_the_model(
        rates[:, None],
        sizes,
        num_examples=config.num_examples,
        start_sharpness=sharpness,
        start_distance=distance,
        begin=config.start,
        alpha=config.alpha,
        seed=config.seed,
    )
    rate, size = (grid.reshape(-1) for grid in torch.meshgrid(rates, sizes, indexing="ij"))
    columns = {
        "learning_rate": rate,
        "batch_size": size,
        "crossing_sharpness": done.sharpness,
        "distance": done.distance,
        "step": done.step,
    }
    return Result(pd.DataFrame({name: column.reshape(-1).numpy() for name, column in columns.items()}))


@dataclass(frozen=True)
class ReversedOrder:
    """Two runs from one start whose distances shrink as SGD shrinks them, so that they share no path."""

    seed: int


@run(version=1)
def simulate_reversed_order(config: ReversedOrder) -> Result:
    """Sharpness and distance at the crossing for the smaller and the larger rate."""
    done = reversed_order(seed=config.seed)
    return Result(
        pd.DataFrame({"learning_rate": [1.0, 1.8], "crossing_sharpness": done.sharpness.numpy(), "distance": done.distance.numpy()})
    )
