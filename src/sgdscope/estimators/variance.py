"""Variance of gradient estimates at one snapshot, plain and normalised: Faghri et al. (2020, Sec. 4) and what its code computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import nan

import torch
from torch import Tensor, nn

from sgdscope.errors import InvalidInput, whole
from sgdscope.estimators.checks import check_model, keeping_buffers
from sgdscope.estimators.repeated import Estimator, estimates
from sgdscope.gradients.budget import MEMORY
from sgdscope.models.examples import Examples
from sgdscope.models.losses import Loss

GUARD = 1e-7
"""What the authors' code adds to each coordinate's sum of squares."""


@dataclass(frozen=True)
class GradientVariance:
    """Spread of R estimates of the gradient; d coordinates, ``V_j`` with 1/(R - 1) and ``S_j = (1/R) sum_r g_rj^2``.

    Attributes:
        average: ``(1/d) sum_j V_j``, the trace of the covariance over d. Unbiased.
        normalised: ``sum_j V_j / sum_j S_j``. At most R/(R - 1); 1 in expectation of both for pure noise. NaN if all estimates are zero.
        normalised_mean: mean over coordinates of ``V_j / S_j``; coordinates whose estimates are all zero are left out.
        normalised_guarded: the authors' form: mean over all d coordinates of ``sum_r (h_rj - m_j)^2 / (sum_r h_rj^2 + 1e-7)``, with
            R fresh estimates h and the mean m of the first R. Can exceed 1: 1 + 1/(R - 2) for pure noise. Not invariant under rescaling of
            the gradients once ``sum_r h_rj^2`` is near the guard.
        normalised_unguarded: the same without the 1e-7; coordinates whose second R estimates are all zero are left out.
        normalised_rescaled: the guarded form as it would be if all gradients were multiplied by one number so that ``average`` were each
            of the variances asked for (`gradient_variance`, ``rescaled_to``).
        average_two_pass: their variance, ``(1/d) sum_j (1/R) sum_r (h_rj - m_j)^2``; its expectation is ``(1 + 1/R)`` times the variance.
        mean_square: ``(1/d) sum_j S_j``, so that ``normalised = average / mean_square``.
        silent: share of coordinates whose estimates are all zero.
        repeats: R.
    """

    average: float
    normalised: float
    normalised_mean: float
    normalised_guarded: float
    normalised_unguarded: float
    normalised_rescaled: tuple[float, ...]
    average_two_pass: float
    mean_square: float
    silent: float
    repeats: int


def gradient_variance(
    estimator: Estimator,
    model: nn.Module,
    loss: Loss,
    x: Examples,
    y: Examples,
    *,
    repeats: int = 50,
    generator: torch.Generator,
    two_pass: bool = True,
    guard: float = GUARD,
    rescaled_to: Sequence[float] = (),
    method: str = "auto",
    memory: int = MEMORY,
) -> GradientVariance:
    """Average and normalised variance of an estimator of the gradient of the mean loss, at the model's present parameters and in its mode.

    ``average = (1/d) sum_j 1/(R - 1) sum_r (g_rj - mean_j)^2``. Variances scale with the square of the loss; for independent draws with 1/B (with
    replacement). The normalised forms do not depend on the scale of the loss, except for the guarded one. Parameters, buffers (running statistics)
    and the ``.grad`` fields stay as they are. Sums are in float64.

    Args:
        estimator: refreshed; one of this package, a subclass of `Sampled`, or anything with ``estimate(model, loss, x, y, generator=)`` that
            returns (d,), in the order of ``model.parameters()``, and draws from the generator alone.
        model: d trainable parameters.
        loss: of single examples, a name or a function; of which the mean is estimated.
        x: all N examples.
        y: their targets.
        repeats: R; the paper takes 50, and 10 on ImageNet.
        generator: the only source of chance.
        two_pass: draw R more estimates for the authors' forms, ``normalised_guarded``, ``_unguarded``, ``_rescaled`` and ``average_two_pass``,
            which doubles the cost; else they are NaN.
        guard: of ``normalised_guarded``.
        rescaled_to: average variances for ``normalised_rescaled``.
        method: how to make the estimates; see `estimates`. The choice changes rounding only.
        memory: bytes of work.

    Raises:
        InvalidInput: fewer than 2 repeats; what `estimates` refuses.
    """
    repeats = whole("repeats", repeats, 2)
    check_model(model)

    def again() -> Iterator[Tensor]:
        return estimates(estimator, model, loss, x, y, repeats=repeats, generator=generator, method=method, memory=memory)

    with keeping_buffers(model):
        return variance_of_estimates(again(), again() if two_pass else None, guard=guard, rescaled_to=rescaled_to)


def variance_of_estimates(
    first: Iterable[Tensor], second: Iterable[Tensor] | None = None, *, guard: float = GUARD, rescaled_to: Sequence[float] = ()
) -> GradientVariance:
    """The same statistics of estimates that are there already.

    Args:
        first: R estimates, in blocks (r, d).
        second: R fresh ones, for the authors' forms; else these are NaN.
        guard: of ``normalised_guarded``.
        rescaled_to: average variances for ``normalised_rescaled``.

    Raises:
        InvalidInput: fewer than two estimates.
    """
    repeats, mean, squares = _moments(first)
    if repeats < 2:
        raise InvalidInput(f"a variance needs two estimates at least, got {repeats}.")
    variance, mean_square = squares / (repeats - 1), squares / repeats + mean.square()  # (d,) each
    average = variance.mean().item()
    guards = [guard, 0.0, *(guard * average / other for other in rescaled_to)]  # a guard on rescaled squares is a rescaled guard
    against, two_pass = ([nan] * len(guards), nan) if second is None else _against(mean, second, repeats, guards)
    loud = mean_square > 0
    total = mean_square.sum()
    return GradientVariance(
        average=average,
        normalised=(variance.sum() / total).item() if total > 0 else nan,
        normalised_mean=(variance[loud] / mean_square[loud]).mean().item(),
        normalised_guarded=against[0],
        normalised_unguarded=against[1],
        normalised_rescaled=tuple(against[2:]),
        average_two_pass=two_pass,
        mean_square=mean_square.mean().item(),
        silent=1 - loud.double().mean().item(),
        repeats=repeats,
    )


def _moments(blocks: Iterable[Tensor]) -> tuple[int, Tensor | None, Tensor | None]:
    """Number, mean (d,) and sum of squared deviations from it (d,), updated row by row in place (Welford 1962)."""
    count, mean, squares = 0, None, None
    for count, row in enumerate((row for block in blocks for row in block.detach()), start=1):
        if mean is None:
            mean, squares, step = torch.zeros(3, *row.shape, dtype=torch.float64, device=row.device)
        torch.sub(row, mean, out=step)
        mean.add_(step, alpha=1 / count)
        squares.addcmul_(step, step, value=(count - 1) / count)
    return count, mean, squares


def _against(mean: Tensor, blocks: Iterable[Tensor], repeats: int, guards: Sequence[float]) -> tuple[list[float], float]:
    """The authors' statistic for several guards, and their variance, of estimates that the mean was not made from."""
    deviations, squares, work = torch.zeros(3, *mean.shape, dtype=torch.float64, device=mean.device)
    for row in (row for block in blocks for row in block.detach()):
        torch.sub(row, mean, out=work)
        deviations.addcmul_(work, work)
        work.copy_(row)
        squares.addcmul_(work, work)
    found = []
    for guard in guards:
        ratio = torch.div(deviations, squares + guard, out=work)
        found.append((ratio if guard else ratio[squares > 0]).mean().item())
    return found, deviations.mean().item() / repeats
