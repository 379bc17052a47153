"""Evidence for the claims of gradient_variance/05_random_features. Each function measures what the claim's rule names."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from sgdscope.claims import Evidence, Measurement, estimated, evidence
from sgdscope.experiments.gradient_variance.random_features_tables import (
    RATE,
    RUN,
    TAU,
    TEACHER,
    THRESHOLD,
    crossing,
    difference,
    extremes,
    gains,
    noise_correlations,
    of,
    plotted,
    shares,
    slopes,
    staleness,
    statistics,
)

DATA = "random features: normal inputs, random teachers"


def factor(logs: Iterable[float], detail: str = "") -> Measurement:
    """`estimate` of logarithms as a factor."""
    found = estimated(logs, detail)
    interval = None if found.interval is None else tuple(np.exp(found.interval))
    return Measurement(np.exp(found.value), interval, found.seeds, found.detail)


def above_zero(values: Iterable[float]) -> bool:
    """Whether the 95% interval over seeds lies above zero; a single seed has none."""
    found = estimated(values)
    return found.interval is not None and found.interval[0] > 0


def ends(frame: pd.DataFrame, name: str) -> tuple[float, float]:
    """Largest and smallest value of a column."""
    return frame[name].max(), frame[name].min()


@evidence
def variance(table: pd.DataFrame) -> Evidence:
    """gv-fig-4: SG-B and the other estimators against h_s / N, by rate and teacher width."""
    found = statistics(table)
    sgd, high = of(found), found[TAU].max()
    slow = sgd[sgd[RATE] == sgd[RATE].min()].set_index(RUN)
    fast = sgd[sgd[RATE] == sgd[RATE].max()].set_index(RUN)
    gap = slow.droplevel(RATE).log_max.sub(fast.droplevel(RATE).log_max).rename("gap").reset_index()
    rates, higher = sorted(sgd[RATE].unique()), []
    for tau, at in sgd.groupby(TAU):
        for low, above in zip(rates[:-1], rates[1:], strict=True):
            if above_zero(difference(at, "log_max", RATE, above, low)):
                higher.append(f"{above:g} over {low:g} at {tau:g}")
    gain = gains(found, "log_max")
    top = gain[gain[TAU] == high]
    large = found[(found[TAU] == high) & (found[RATE] > min(rates))].groupby("estimator")["max"].mean()
    beside = plotted(table)
    beside = beside[beside[RATE].isin([0.01, 0.1]) & beside[TAU].isin([2.0, 5.0, 10.0])]
    as_plotted = Measurement(float("nan"), detail="needs h_s = 1000, B = 10 and 5,000 steps")
    if len(beside):
        ratios = f"{beside.ratio.min():.2f} to {beside.ratio.max():.2f}, {len(beside)} numbers"
        as_plotted = Measurement(np.exp(np.log(beside.ratio).mean()), detail=ratios)
    return Evidence(
        {
            "teacher_width": factor(difference(sgd, "log_max", TEACHER, *ends(sgd, TEACHER))),
            "low_when_overparametrised": estimated(difference(sgd, "log_max", TAU, *ends(sgd, TAU))),
            "larger_rate_lower": estimated(difference(sgd, "log_max", RATE, *ends(sgd, RATE))),
            "larger_rate_lower_everywhere": Measurement(len(higher), detail="; ".join(higher)),
            "gap_grows": estimated(slopes(gap, TAU, "gap")),
            "methods_agree": factor(top.groupby("seed").spread.mean()),
            "methods_come_together": estimated(difference(gain, "spread", TAU, *ends(gain, TAU))),
            "svrg_gain_vanishes": factor(top.groupby("seed").svrg.mean()),
            "svrg_gain_falls": estimated(difference(gain, "svrg", TAU, *ends(gain, TAU))),
            "below_1e-5": Measurement(
                large.max(), detail=f"{large.idxmax()}; of the means over time {_largest_mean(found, high, min(rates)):.1e}"
            ),
            "mean_like_maximum": Measurement(float(spearmanr(found["mean"], found["max"]).statistic), detail=f"{len(found)} cells"),
            "as_plotted": as_plotted,
        },
        data=DATA,
    )


def _largest_mean(found: pd.DataFrame, tau: float, slowest: float) -> float:
    return float(found[(found[TAU] == tau) & (found[RATE] > slowest)].groupby("estimator")["mean"].mean().max())


@evidence
def normalised_variance(table: pd.DataFrame) -> Evidence:
    """gv-fig-5: the authors' normalised variance of SG-B."""
    found = of(statistics(table, "guarded"))
    found["above"] = found["mean"] - 1
    below, beyond = found[found[TAU] < THRESHOLD], found[found[TAU] > THRESHOLD]
    by_rate = below.groupby([TAU, RATE])["mean"].mean().unstack()
    ratio = by_rate.max(axis=1) / by_rate.min(axis=1)
    bars = np.log(found.groupby([TAU, RATE, "seed"])["max"].std()).rename("bar").reset_index()
    low, high = bars[bars[TAU] < THRESHOLD], bars[bars[TAU] >= THRESHOLD]
    return Evidence(
        {
            "above_1": estimated(below.groupby("seed").above.mean()),
            "below_1": estimated(beyond.groupby("seed").above.mean()),
            "threshold": Measurement(crossing(found.groupby(TAU)["mean"].mean()), detail=_thresholds(found)),
            "alike": Measurement(ratio.max(), detail=f"at h_s/N = {ratio.idxmax():g}") if len(ratio) else estimated(()),
            "long_bars": estimated(low.groupby("seed").bar.mean() - high.groupby("seed").bar.mean()),
        },
        data=DATA,
    )


def _thresholds(found: pd.DataFrame) -> str:
    """Where the curve of each rate falls through 1, if it does."""
    curves = {rate: rows.groupby(TAU)["mean"].mean() for rate, rows in found.groupby(RATE)}
    at = {rate: "never" if curve.iloc[-1] >= 1 else f"{crossing(curve):.2g}" for rate, curve in curves.items()}
    return "by rate: " + ", ".join(f"{tau} at {rate:g}" for rate, tau in at.items())


@evidence
def factors(table: pd.DataFrame) -> Evidence:
    """gv-rf-factors: what the logarithm of SG-B's variance depends on, and how gradients shrink."""
    share = shares(of(statistics(table)))
    both = share[["learning rate", "h_s / N", "rate and h_s / N together"]]

    def falls(column: str) -> Measurement:
        return estimated(difference(of(statistics(table, column)), "log_mean", TAU, *ends(table, TAU)))

    return Evidence(
        {
            "rate_and_ratio": Measurement(both.sum(), detail=", ".join(f"{name} {value:.2f}" for name, value in both.items())),
            "teacher_width": Measurement(share["teacher width"]),
            "input_width": Measurement(share["input width"]),
            "gradient_shrinks": falls("gradient_square"),
            "example_gradient_shrinks": falls("example_square"),
        },
        data=DATA,
    )


@evidence
def minima(table: pd.DataFrame) -> Evidence:
    """gv-minima: the coordinates with the largest ratios where a run's ratio has its maximum."""
    found = extremes(table, offsets=(-1, 0, 1))
    if found.empty:
        return Evidence(
            dict.fromkeys(("near_zero", "noise_remains", "only_there", "few_coordinates", "not_the_guard"), estimated(())), data=DATA
        )
    found = found.assign(moment=np.log(found.extreme_moment), noise=np.log(found.extreme_noise))
    at, beside = found[found.offset == 0], found[found.offset != 0]
    rise = at.groupby("seed").rise.mean()
    by_rate = np.exp(at.groupby(RATE).moment.mean())
    detail = "by rate: " + ", ".join(f"{value:.2g} at {rate:g}" for rate, value in by_rate.items())
    return Evidence(
        {
            "near_zero": factor(at.groupby("seed").moment.mean(), detail),
            "noise_remains": factor(at.groupby("seed").noise.mean()),
            "only_there": estimated(at.groupby("seed").moment.mean() - beside.groupby("seed").moment.mean()),
            "few_coordinates": Measurement(int((rise < 0.5).sum()), detail=f"of {len(rise)} seeds; share of the rise {rise.mean():.2f}"),
            "not_the_guard": factor(np.log(at.guarded_max / at.unguarded_max).groupby(at.seed).mean()),
        },
        data=DATA,
    )


@evidence
def svrg_cause(table: pd.DataFrame) -> Evidence:
    """gv-svrg-cause: SVRG's variance over SG-B's against the age of its snapshot, and against the noise."""
    found = staleness(table)
    top = found[found[TAU] == found[TAU].max()]
    stale, details = 0, []
    for rate, rows in top.groupby(RATE):
        slope = slopes(rows, "age", "log_ratio") if rows.age.nunique() > 1 else []
        stale += above_zero(slope)
        details.append(f"slope {np.mean(slope):.2f} at {rate:g}" if len(slope) else f"one age at {rate:g}")
    correlations = noise_correlations(found)
    by_rate = ", ".join(f"{value:+.2f} at {rate:g}" for rate, value in correlations.groupby(RATE).mean().items()).replace("-", "−")
    return Evidence(
        {
            "vanishes": factor(-top.groupby("seed").log_ratio.mean()),
            "not_stale": Measurement(stale, detail=", ".join(details)),
            "low_noise": estimated(correlations.groupby("seed").mean(), f"by rate: {by_rate}"),
        },
        data=DATA,
    )
