"""The break-even point of a measured run: where the left side of Eq. 1 first reaches 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sgdscope.errors import InvalidInput
from sgdscope.stability.checks import Number, count


@dataclass(frozen=True)
class BreakEvenPoint:
    """Where a run crosses from stable to unstable.

    Attributes:
        status: ``"crossed"``, ``"not crossed"`` within the probes, ``"started unstable"``, or ``"diverged"`` before a crossing.
        step: of the crossing, between two probes; NaN where there is none.
        sharpness: lambda there by the same interpolation, which makes it 2 / eta for the full batch by construction; NaN likewise.
        sharpness_after: lambda as measured at the first probe at or past the crossing, not interpolated; NaN likewise.
        diverged_at: first step whose left side is NaN, or -1.
    """

    status: str
    step: float
    sharpness: float
    sharpness_after: float
    diverged_at: int


def break_even_point(steps: Number, left_side: Number, sharpness: Number, *, consecutive: int = 1) -> BreakEvenPoint:
    """The first probe with a left side of Eq. 1 of at least 1, and the interpolation from the probe before it.

    Linear in ``(left side - 1) / lambda``, which is ``eta^2 (lambda - 2 / eta + s^2 c / lambda)`` with c = (N - S) / (S (N - 1)): the left side
    itself is quadratic in lambda, and interpolating it would put the full batch below 2 / eta by as much as a mini-batch lies below it. The
    learning rate must be the same at both probes. A single noisy probe can lie above 1 by chance: with ``consecutive=n`` only a crossing counts
    that is followed by n - 1 more probes above, or by divergence.

    Args:
        steps: (probes,), increasing.
        left_side: (probes,) of `stability_lhs`; NaN from a divergence on.
        sharpness: (probes,) lambda of the same probes; NaN likewise.
        consecutive: probes in a row with a left side of at least 1, the crossing's among them.

    Raises:
        InvalidInput: series that are empty, of different lengths or not of one axis, steps that do not increase, ``consecutive`` below 1.

    References:
        Jastrzebski et al. 2020, Eq. 1 and Sec. 3; the interpolation is ours.

    >>> break_even_point([0, 10, 20], [0.5, 0.8, 1.2], [1.0, 2.0, 3.0]).step
    16.0
    """
    steps, left, sharpness = _series("steps", steps), _series("left_side", left_side), _series("sharpness", sharpness)
    if not len(steps) == len(left) == len(sharpness):
        raise InvalidInput(
            f"steps, left_side and sharpness must have one value a probe; {len(steps)}, {len(left)} and {len(sharpness)} came."
        )
    if not (steps[1:] > steps[:-1]).all() or not torch.isfinite(steps).all():
        raise InvalidInput("steps must increase from probe to probe, without NaN; these do not. Sort the probes by step.")
    consecutive = count("consecutive", consecutive)
    dead = torch.isnan(left).nonzero()
    past = _lasting(left, consecutive).nonzero()
    diverged_at = int(steps[dead[0, 0]]) if len(dead) else -1
    status, at, level, measured = ("diverged" if len(dead) else "not crossed"), *[float("nan")] * 3
    if len(past) and past[0, 0] == 0:
        status = "started unstable"
    elif len(past):
        status, after = "crossed", int(past[0, 0])
        gap = (left[after - 1 : after + 1] - 1) / sharpness[after - 1 : after + 1]
        share = (gap[0] / (gap[0] - gap[1])).clamp(0, 1)
        measured = float(sharpness[after])
        at = float(torch.lerp(steps[after - 1], steps[after], share))
        level = float(torch.lerp(sharpness[after - 1], sharpness[after], share))
    return BreakEvenPoint(status, at, level, measured, diverged_at)


def _lasting(left: Tensor, consecutive: int) -> Tensor:
    """Probes at or above 1 that are followed by ``consecutive - 1`` more, or by divergence."""
    above, dead = left >= 1, torch.isnan(left)
    after_the_last = dead[-1:].expand(consecutive - 1)
    return above & torch.cat([above | dead, after_the_last]).unfold(0, consecutive, 1).all(1)


def _series(name: str, values: Number) -> Tensor:
    """A (probes,) float64 tensor on the CPU that may hold NaN."""
    try:
        series = torch.as_tensor(values if isinstance(values, Tensor) else np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError):
        raise InvalidInput(f"{name} must be numbers, one a probe; {values!r} came.") from None
    if series.dim() != 1 or len(series) == 0:
        raise InvalidInput(f"{name} must have shape (probes,) with at least one probe; {tuple(series.shape)} came.")
    return series.detach().double().cpu()
