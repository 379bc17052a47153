"""The paper's model of early training as a simulation, for Theorems 1 and 2: where sharpness and distance cross the line of Eq. 3.

The state is the sharpness ``lambda_H`` and the distance ``psi`` to the minimum along the top eigenvector. A step is stable where the left
side of Eq. 3 (`equation_3_lhs`) is at most 1, that is where ``lambda_H <= critical_sharpness``.

* Stable (Assumption 4): the sharpness rises and the distance shrinks.
* Unstable (Assumption 3): the sharpness falls and the distance grows.

The paper says nothing of how fast, so the rates are random: ``1 + r_t`` for the sharpness and ``1 - q_t`` for the distance (or their
inverses), r and q uniform and independent. They depend on the seed alone. Two runs that differ in learning rate or batch size then share
their path ``psi(lambda)`` up to the crossing, which the proofs of both theorems use without saying so: they compare the distances of two
runs, and Assumptions 3 and 4 order the distances of one run only. ``distances="sgd"`` drops it (see `reversed_order`).

Assumption 4 read to the letter lets the sharpness rise only while that does not lose stability; then no run ever crosses. Here the rise
does not stop by itself: the crossing is the break-even point, and Assumption 3 acts behind it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sgdscope.errors import InvalidInput
from sgdscope.stability.checks import Number, broadcastable, count, non_negative, sizes
from sgdscope.stability.theory import left_side


def equation_3_lhs(
    learning_rate: Number, sharpness: Number, distance: Number, num_examples: Number, batch_size: Number, *, alpha: Number
) -> Tensor:
    """Left side of Eq. 3 with Assumption 2: ``(1 - eta lambda)^2 + alpha lambda eta^2 (N - S) / (S (N - 1)) / psi^2``.

    It is Eq. 1 with ``s^2 = lambda_K / psi^2``, and the factor by which SGD changes the mean square of psi if the noise along the
    direction has variance ``lambda_K``. At most 1 exactly where ``lambda <= critical_sharpness``, for positive lambda.

    Raises:
        InvalidInput: a value out of range or shapes that do not broadcast.
    """
    rate, curvature = non_negative("learning_rate", learning_rate), non_negative("sharpness", sharpness)
    psi, ratio = non_negative("distance", distance, strictly=True), non_negative("alpha", alpha, strictly=True)
    examples, batch = sizes(num_examples, batch_size)
    broadcastable(learning_rate=rate, sharpness=curvature, distance=psi, num_examples=examples, batch_size=batch, alpha=ratio)
    return left_side(rate, curvature, (ratio * curvature).sqrt() / psi, examples, batch)


@dataclass(frozen=True)
class EarlyTraining:
    """One simulated run for each setting; tensors have the broadcast shape of learning rate and batch size.

    Attributes:
        sharpness: lambda_H at the crossing, linear between the two steps around it; NaN where there is none.
        distance: psi at the crossing.
        step: when, in steps.
        not_crossed: number of settings without a crossing.
        sharpness_path: (num_steps + 1, ...), beyond the crossing too.
        distance_path: (num_steps + 1, ...).
    """

    sharpness: Tensor
    distance: Tensor
    step: Tensor
    not_crossed: int
    sharpness_path: Tensor
    distance_path: Tensor


def simulate_early_training(
    learning_rate: Number,
    batch_size: Number,
    *,
    num_examples: int,
    start_sharpness: float,
    start_distance: float,
    begin: str = "stable",
    alpha: float = 1.0,
    mean_rate: float = 0.02,
    num_steps: int = 800,
    seed: int = 0,
    distances: str = "shared",
) -> EarlyTraining:
    """Runs the model from one start for all settings, up to and beyond the first crossing of the line of Eq. 3.

    Args:
        learning_rate: eta; broadcasts with ``batch_size``.
        batch_size: S.
        num_examples: N.
        start_sharpness: lambda_H at step 0.
        start_distance: psi at step 0.
        begin: ``"stable"`` for Theorem 1 (the sharpness rises to the crossing), ``"unstable"`` for Theorem 2 (it falls to it).
        alpha: lambda_K / lambda_H, positive: without noise Eq. 3 has no psi.
        mean_rate: mean of r_t and q_t, each uniform between 0 and twice this; below 1/2.
        num_steps: T.
        seed: of the rates.
        distances: ``"shared"``: psi shrinks by ``1 - q_t``, or grows by its inverse, in all runs alike; ``"sgd"``: ``psi^2`` changes by the
            left side of Eq. 3, as under SGD itself, hence differently in each run. Both obey Assumptions 3 and 4. (With ``"sgd"`` and an
            unstable start psi explodes, and all batch sizes cross at ``2 / eta`` to rounding: Theorem 2 keeps its rates only.)

    Raises:
        InvalidInput: a value out of range, an unknown word, or a setting that does not begin as ``begin`` says.
    """
    rate, (_, batch) = non_negative("learning_rate", learning_rate, strictly=True).double(), sizes(num_examples, batch_size)
    shape = broadcastable(learning_rate=rate, batch_size=batch)
    ratio = float(non_negative("alpha", alpha, strictly=True))
    speed = float(non_negative("mean_rate", mean_rate, strictly=True))
    count("num_steps", num_steps)
    if speed >= 0.5:
        raise InvalidInput(f"mean_rate must be below 0.5, or psi may become negative; {speed:g} came.")
    for name, word, words in (("begin", begin, ("stable", "unstable")), ("distances", distances, ("shared", "sgd"))):
        if word not in words:
            raise InvalidInput(f"{name} must be one of {words}; {word!r} came.")
    sharpness = non_negative("start_sharpness", start_sharpness, strictly=True).double().expand(shape)
    distance = non_negative("start_distance", start_distance, strictly=True).double().expand(shape)
    noise = ratio * (num_examples - batch) / (batch * (num_examples - 1))  # alpha c

    def excess(level: Tensor, psi: Tensor) -> Tensor:
        """Sharpness above the root of Eq. 3: positive where unstable."""
        return level - 2 / rate + torch.where(noise > 0, noise / psi**2, 0.0)

    start = excess(sharpness, distance)
    wrong = start > 0 if begin == "stable" else start <= 0
    if wrong.any():
        raise InvalidInput(
            f"every setting must begin {begin}; {int(wrong.sum())} of {wrong.numel()} do not at sharpness {start_sharpness:g} and "
            f"distance {start_distance:g}. {'Lower' if begin == 'stable' else 'Raise'} the start sharpness or the learning rates."
        )
    draws = 2 * speed * torch.rand(num_steps, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    path = [(sharpness, distance, start)]
    for grow, shrink in draws.tolist():
        stable = path[-1][2] <= 0
        if distances == "sgd":
            factor = ((1 - rate * sharpness) ** 2 + rate**2 * torch.where(noise > 0, noise * sharpness / distance**2, 0.0)).sqrt()
        else:
            factor = torch.where(stable, 1 - shrink, 1 / (1 - shrink))
        sharpness, distance = sharpness * torch.where(stable, 1 + grow, 1 / (1 + grow)), distance * factor
        path.append((sharpness, distance, excess(sharpness, distance)))
    levels, psis, excesses = (torch.stack(column) for column in zip(*path, strict=True))
    return _first_crossing(levels, psis, excesses, begin)


def _first_crossing(levels: Tensor, psis: Tensor, excesses: Tensor, begin: str) -> EarlyTraining:
    """First sign change of the excess, and the state there by linear interpolation of the excess between the two steps.

    Interpolating keeps the order of two runs on one path: if one excess lies above the other at every step, so do the polygons.
    """
    past = excesses > 0 if begin == "stable" else excesses <= 0
    crossed, after = past.any(0), past.int().argmax(0).clamp_min(1)

    def at(series: Tensor, index: Tensor) -> Tensor:
        return series.gather(0, index[None])[0]

    low, high = at(excesses, after - 1), at(excesses, after)
    share = low / (low - high)
    point = [torch.where(crossed, at(series, after - 1).lerp(at(series, after), share), torch.nan) for series in (levels, psis)]
    step = torch.where(crossed, after - 1 + share, torch.nan)
    return EarlyTraining(point[0], point[1], step, int((~crossed).sum()), levels, psis)


def reversed_order(*, num_examples: int = 1000, batch_size: int = 10, seed: int = 0) -> EarlyTraining:
    """Counter-example to Theorem 1 without a common path: of two rates the *larger* loses stability at the larger sharpness.

    From ``lambda = 1, psi = 1`` with ``eta = 1`` and ``eta = 1.8``, ``distances="sgd"``. SGD with ``eta lambda = 1`` reaches the minimum
    along the direction at once, up to noise, so its psi is small and Eq. 3 is lost immediately; ``eta lambda = 1.8`` contracts psi by 0.8
    a step, keeps it large and is lost near ``2 / eta`` only. Both runs obey Assumptions 1 to 4 and start at one point. Index 0 is the
    smaller rate. With ``distances="shared"`` the order is the theorem's.
    """
    return simulate_early_training(
        [1.0, 1.8], batch_size, num_examples=num_examples, start_sharpness=1.0, start_distance=1.0, alpha=0.1, seed=seed, distances="sgd"
    )
