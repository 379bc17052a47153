"""Variance of gradient estimates at one snapshot, plain and normalised: Faghri et al. (2020, Sec. 4) and what its code computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from numbers import Real

import torch
from torch import Tensor, nn

from sgdscope.errors import InvalidInput, NotFinite, whole
from sgdscope.estimators.checks import check_model, check_switch, keeping_buffers
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
        InvalidInput: fewer than 2 repeats, a guard or variances that are no such numbers; what `estimates` refuses.
        NotFinite: estimates with NaN or infinite values.
    """
    repeats = whole("repeats", repeats, 2)
    check_switch("two_pass", two_pass)
    check_scales(guard=guard, rescaled_to=rescaled_to)
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
        first: R estimates: a tensor (R, d), or blocks (r, d) of them one after the other.
        second: as many fresh ones, for the authors' forms; else these are NaN.
        guard: of ``normalised_guarded``.
        rescaled_to: average variances for ``normalised_rescaled``.

    Raises:
        InvalidInput: fewer than two estimates, blocks that are not (r, d), another number or length of second ones, a guard or variances that
            are no such numbers.
        NotFinite: NaN or infinite values among the estimates.
    """
    check_scales(guard=guard, rescaled_to=rescaled_to)
    repeats, mean, squares = _moments(first)
    if repeats < 2:
        raise InvalidInput(f"a variance needs two estimates at least, got {repeats}.")
    variance, mean_square = squares / (repeats - 1), squares / repeats + mean.square()  # (d,) each
    if not torch.isfinite(mean_square).all():
        raise NotFinite("estimates of the gradient must be finite; NaN or infinite values came. Has the training diverged?")
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


def check_scales(*, guard: object, rescaled_to: object) -> None:
    """Refuses a guard and variances to rescale to that are none.

    Raises:
        InvalidInput: a guard that is no number from 0 on, variances that are not a list of numbers above 0.
    """
    if not _is_number(guard) or guard < 0:
        raise InvalidInput(f"guard must be a number from 0 on; {guard!r} came. The authors' code has 1e-7.")
    listed = isinstance(rescaled_to, Iterable) and not isinstance(rescaled_to, str)
    if not listed or not all(_is_number(value) and value > 0 for value in rescaled_to):
        raise InvalidInput(f"rescaled_to must be a list of variances above 0; {rescaled_to!r} came.")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)


def _rows(blocks: Iterable[Tensor], length: int | None = None) -> Iterator[Tensor]:
    """Estimates (d,) one by one from their blocks (r, d)."""
    for block in [blocks] if isinstance(blocks, Tensor) else blocks:
        if not isinstance(block, Tensor) or block.dim() != 2 or length not in (None, block.shape[1]):
            came = f"shape {tuple(block.shape)}" if isinstance(block, Tensor) else type(block).__name__
            raise InvalidInput(f"estimates must come as a tensor (R, d), or in blocks (r, d) of one length d; {came} came.")
        length = block.shape[1]
        yield from block.detach()


def _moments(blocks: Iterable[Tensor]) -> tuple[int, Tensor | None, Tensor | None]:
    """Number, mean (d,) and sum of squared deviations from it (d,), updated row by row in place (Welford 1962)."""
    count, mean, squares = 0, None, None
    for count, row in enumerate(_rows(blocks), start=1):
        if mean is None:
            mean, squares, step = torch.zeros(3, *row.shape, dtype=torch.float64, device=row.device)
        torch.sub(row, mean, out=step)
        mean.add_(step, alpha=1 / count)
        squares.addcmul_(step, step, value=(count - 1) / count)
    return count, mean, squares


def _against(mean: Tensor, blocks: Iterable[Tensor], repeats: int, guards: Sequence[float]) -> tuple[list[float], float]:
    """The authors' statistic for several guards, and their variance, of estimates that the mean was not made from."""
    deviations, squares, work = torch.zeros(3, *mean.shape, dtype=torch.float64, device=mean.device)
    count = 0
    for row in _rows(blocks, len(mean)):
        count += 1
        torch.sub(row, mean, out=work)
        deviations.addcmul_(work, work)
        work.copy_(row)
        squares.addcmul_(work, work)
    if count != repeats:
        raise InvalidInput(f"the second estimates must be as many as the first, {repeats}; {count} came.")
    found = []
    for guard in guards:
        ratio = torch.div(deviations, squares + guard, out=work)
        found.append((ratio if guard else ratio[squares > 0]).mean().item())
    return found, deviations.mean().item() / repeats
