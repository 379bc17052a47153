"""Numbers of the random-features page: those of its sentences, None where runs are missing, and those behind its figures, then none."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pandas as pd

from sgdscope.claims.evidence import incomplete
from sgdscope.experiments.gradient_variance.random_features_tables import (
    RATE,
    RUN,
    TAU,
    TEACHER,
    THRESHOLD,
    around_drop,
    crossing,
    curves,
    difference,
    extremes,
    gains,
    noise_correlations,
    of,
    plotted,
    saturation,
    shares,
    staleness,
    statistics,
    steps_to_target,
)

Numbers = dict[str, float] | None


def headline(table: pd.DataFrame) -> Numbers:
    """Numbers of the page's first finding; None where runs are missing."""
    if incomplete(table):
        return None
    found = statistics(table)
    sgd, low, high = of(found), found[TAU].min(), found[TAU].max()
    at = lambda rate, tau: float(sgd[(sgd[RATE] == rate) & (sgd[TAU] == tau)]["mean"].mean())  # noqa: E731
    rates = found[RATE].min(), found[RATE].max()
    gain = gains(found, "log_mean")
    return {
        "students": found.groupby(RUN).ngroups,
        "low": low,
        "high": high,
        "slow": rates[0],
        "fast": rates[1],
        "fall_slow": at(rates[0], low) / at(rates[0], high),
        "fall_fast": at(rates[1], low) / at(rates[1], high),
        "gap_low": at(rates[0], low) / at(rates[1], low),
        "gap_high": at(rates[0], high) / at(rates[1], high),
        "wide": float(np.exp(difference(sgd, "log_mean", TEACHER, sgd[TEACHER].max(), sgd[TEACHER].min()).mean())),
        "svrg_low": float(np.exp(gain[gain[TAU] == low].svrg.mean())),
        "svrg_high": float(np.exp(gain[gain[TAU] == high].svrg.mean())),
    }


def set_ups(sweep: pd.DataFrame, others: pd.DataFrame) -> Numbers:
    """Ours over the authors' plotted numbers, geometric means by set-up; NaN where sizes are not theirs."""
    if incomplete(sweep) or incomplete(others):
        return None
    ratio = plotted(sweep, others).groupby("definition").ratio
    mean, worst = np.exp(ratio.apply(lambda r: np.log(r).mean())), np.exp(ratio.apply(lambda r: np.log(r).abs().max()))
    names = ("figures", "paper", "authors_code")
    return {f"mean_{name}": mean.get(name, np.nan) for name in names} | {f"worst_{name}": worst.get(name, np.nan) for name in names}


def normalised_variance(table: pd.DataFrame) -> Numbers:
    """The authors' form below and above the threshold, and where each extreme rate falls through 1."""
    if incomplete(table):
        return None
    found, totals = of(statistics(table, "guarded")), of(statistics(table, "normalised"))
    by_rate = {rate: crossing(rows.groupby(TAU)["mean"].mean()) for rate, rows in found.groupby(RATE)}
    slow = found[found[RATE] < found[RATE].max()]
    high = found[found[TAU] == found[TAU].max()].groupby(RATE)["mean"].mean()
    return {
        "below": float(slow[slow[TAU] < THRESHOLD]["mean"].mean()),
        "noise": 1.125,
        "fast_at": by_rate[found[RATE].max()],
        "fast": found[RATE].max(),
        "slow_high": float(high.iloc[0]),
        "fast_high": float(high.iloc[-1]),
        "high": found[TAU].max(),
        "largest": float(found["max"].max()),
        "totals_low": float(totals["mean"].min()),
        "totals_high": float(totals["mean"].max()),
    }


def minima(table: pd.DataFrame) -> Numbers:
    """Extreme coordinates at the maxima, at the largest rate and at the others."""
    if incomplete(table) or (found := extremes(table, offsets=(0,))).empty:
        return None
    fast = found[RATE] == found[RATE].max()
    low = fast & (found[TAU] == found[TAU].min())
    mean = lambda rows, column: float(np.exp(np.log(rows[column]).mean()))  # noqa: E731
    return {
        "moment_fast": mean(found[fast], "extreme_moment"),
        "moment_slow": mean(found[~fast], "extreme_moment"),
        "noise": mean(found, "extreme_noise"),
        "rise_fast": float(found[low].rise.mean()),
        "rise_slow": float(found[~fast].rise.mean()),
        "fast": found[RATE].max(),
        "low": found[TAU].min(),
    }


def svrg(table: pd.DataFrame) -> Numbers:
    """SVRG over SG-B at the youngest and the oldest snapshots, at the largest h_s / N; rank correlation with SG-B's at extreme rates."""
    if incomplete(table):
        return None
    found = staleness(table)
    by_age = np.exp(found[found[TAU] == found[TAU].max()].groupby("age").log_ratio.mean())
    young, old = by_age.index[0], by_age.index[-1]
    related = noise_correlations(found).groupby(RATE).mean()
    numbers = {"high": found[TAU].max(), "young": young, "old": old, "ratio_young": by_age[young], "ratio_old": by_age[old]}
    return numbers | {
        "slow": related.index[0],
        "fast": related.index[-1],
        "related_slow": related.iloc[0],
        "related_fast": related.iloc[-1],
    }


def batch_sizes(table: pd.DataFrame) -> Numbers:
    """Where a doubling of the batch stops helping, and the noise there."""
    if incomplete(table):
        return None
    found = steps_to_target(table)
    at, sizes = saturation(found), sorted(found.batch_size.unique())
    there = found[found.batch_size == at]
    steps = found.groupby("batch_size").steps.mean()
    return {
        "at": at,
        "variance": there.exact.mean(),
        "normalised": there.normalised.mean(),
        "first": steps[sizes[0]] / steps[sizes[1]],
        "small": sizes[0],
    }


def drop(table: pd.DataFrame) -> Numbers:
    """Changes by the drop at the smallest and the largest h_s / N."""
    if incomplete(table):
        return None
    found = around_drop(table).groupby(TAU).mean()
    low, high = found.index.min(), found.index.max()
    change = lambda tau, column: 100 * (np.exp(found[column][tau]) - 1)  # noqa: E731
    return {
        "low": low,
        "high": high,
        "loss_low": change(low, "log_loss"),
        "variance_low": change(low, "log_exact"),
        "normalised_low": found.normalised[low],
        "loss_high": change(high, "log_loss"),
        "variance_high": change(high, "log_exact"),
    }


def behind_a_figure(function: Callable[..., pd.DataFrame]) -> Callable[..., pd.DataFrame]:
    """Make a function of collected tables give an empty table where any of their runs is missing."""

    @functools.wraps(function)
    def numbers(*tables: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame() if any(incomplete(table) for table in tables) else function(*tables)

    return numbers


@behind_a_figure
def variance_table(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and range over seeds and widths, one row a rate, estimator, statistic and h_s / N."""
    return curves(table).drop(columns="std")


@behind_a_figure
def factor_table(table: pd.DataFrame) -> pd.DataFrame:
    """Shares of the variance of log variance."""
    return shares(of(statistics(table))).rename_axis("factor").reset_index()


@behind_a_figure
def plotted_table(sweep: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """Ours and the authors' plotted numbers, where the sizes are theirs."""
    return plotted(sweep, others)


@behind_a_figure
def normalised_table(table: pd.DataFrame) -> pd.DataFrame:
    """The authors' form and the ratio of totals of SG-B, one row a rate, statistic and h_s / N."""
    return pd.concat([of(curves(table, name)).assign(form=name) for name in ("guarded", "normalised")])


@behind_a_figure
def extreme_table(table: pd.DataFrame) -> pd.DataFrame:
    """The extreme coordinates around each run's largest ratio."""
    return extremes(table)[[*RUN, "offset", "step", "unguarded", "guarded", "extreme_moment", "extreme_noise", "extreme_share"]]


@behind_a_figure
def staleness_table(table: pd.DataFrame) -> pd.DataFrame:
    """Mean log of SVRG's variance over SG-B's by rate, h_s / N and age."""
    return staleness(table).groupby([RATE, TAU, "age"]).log_ratio.mean().reset_index()


@behind_a_figure
def batch_table(table: pd.DataFrame) -> pd.DataFrame:
    """Steps and noise by batch size and seed."""
    return steps_to_target(table)


@behind_a_figure
def drop_table(table: pd.DataFrame) -> pd.DataFrame:
    """Changes by the drop, by seed and h_s / N."""
    return around_drop(table).reset_index()


@behind_a_figure
def check_table(table: pd.DataFrame) -> pd.DataFrame:
    """Mean log variance of SG-B by rate, for a comparison between two executions."""
    return of(statistics(table)).groupby(RATE).log_mean.mean().round(2).reset_index()
