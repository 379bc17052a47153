"""Evidence: the numbers that a tested function computed from the runs shown, ready to be judged."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from sgdscope.errors import InvalidInput

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Measurement:
    """One measured number, with its 95% interval where it comes from several seeds."""

    value: float
    interval: tuple[float, float] | None = None
    seeds: int = 0  # independent repetitions behind the interval
    detail: str = ""  # what a reader should know of it: cells, steps, how many diverged

    def __post_init__(self) -> None:
        """Plain numbers, as the notebook's JSON needs them."""
        object.__setattr__(self, "value", float(self.value))
        if self.interval is not None:
            low, high = self.interval
            object.__setattr__(self, "interval", (float(low), float(high)))


@dataclass(frozen=True)
class Evidence:
    """What a page shows for one claim: a measurement for each part of the claim's rule (notes need none)."""

    parts: dict[str, Measurement] = field(default_factory=dict)
    data: str = ""  # data set, with its stand-in label if it is one; empty for algebra
    not_run: str = ""  # why there is nothing to judge
    sources: tuple[Any, ...] = ()  # where the runs came from, filled by @evidence


def estimate(values: Sequence[float], detail: str = "") -> Measurement:
    """Mean over seeds with its 95% Student interval, mean +- t_{0.975, n-1} s / sqrt(n).

    For seed-paired differences pass the differences. Fewer than two values have no interval.

    Raises:
        InvalidInput: no values, or one that is not finite (count diverged or undetected runs first and say what becomes of them).
    """
    array = np.asarray(list(values), dtype=float)
    if array.size == 0 or not np.isfinite(array).all():
        raise InvalidInput(f"an estimate needs finite values, got {array.tolist()}.")
    mean = float(array.mean())
    if array.size < 2:
        return Measurement(mean, None, int(array.size), detail)
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, array.size - 1) * array.std(ddof=1) / math.sqrt(array.size))
    return Measurement(mean, (mean - half, mean + half), int(array.size), detail)


def estimated(values: Iterable[float], detail: str = "") -> Measurement:
    """`estimate` over the seeds that have a finite value; where there is none, a number that meets no bound."""
    found = [value for value in values if math.isfinite(value)]
    return estimate(found, detail) if found else Measurement(math.nan, None, 0, detail or "nothing to measure at these settings")


def named(ours: str, paper: str) -> str:
    """What the data are called in evidence: with the label of a stand-in where they are not the paper's."""
    return ours if ours == paper else f"{ours} (stand-in for {paper})"


def paired(low: pd.Series, high: pd.Series, detail: str = "") -> Measurement:
    """Estimate of ``low - high`` over the seeds that both have (both indexed by seed).

    Raises:
        InvalidInput: the two were not run at the same seeds.
    """
    if set(low.index) != set(high.index):
        raise InvalidInput(f"paired differences need the same seeds on both sides, got {sorted(low.index)} and {sorted(high.index)}.")
    return estimate((low - high.reindex(low.index)).tolist(), detail)


def evidence(function: Callable[..., Evidence]) -> Callable[..., Evidence]:
    """Make a function of collected tables an evidence function.

    If any run behind its tables is missing there is nothing to judge: the function is not called and the evidence says what lacks.
    Otherwise the sources of the tables are added to what it returns.
    """

    @functools.wraps(function)
    def judged(*args: Any, **kwargs: Any) -> Evidence:
        sources = tuple(found for value in (*args, *kwargs.values()) if (found := sources_of(value)) is not None)
        if missing := sum(source.missing for source in sources):
            expected = sum(source.expected for source in sources)
            return Evidence(not_run=f"{missing} of {expected} runs are missing", sources=sources)
        return replace(function(*args, **kwargs), sources=sources)

    return judged


def sources_of(value: Any) -> Any:
    """Where the runs behind a collected table came from; None for anything else."""
    return value.attrs.get("sources") if isinstance(value, pd.DataFrame) else None


def incomplete(table: pd.DataFrame) -> bool:
    """Whether any run behind a collected table is missing: then no figure is drawn and no sentence said."""
    sources = sources_of(table)
    return table.empty or (sources is not None and sources.missing > 0)
