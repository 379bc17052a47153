"""Figures of gradient_variance/05_random_features. They draw tables."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from sgdscope.experiments.gradient_variance.random_features_group import ESTIMATORS
from sgdscope.experiments.gradient_variance.random_features_tables import (
    NAMES,
    RATE,
    TAU,
    TEACHER,
    curves,
    extremes,
    normalised,
    of,
    plotted,
    saturation,
    shares,
    staleness,
    statistics,
    steps_to_target,
)
from sgdscope.figures import BATCHES, MARKERS, MUTED, PAGE_WIDTH, SERIES, figure, plain_ticks, rate_colours, reference

RATIO = r"over-parametrisation, $h_s/N$"
STATISTIC_TITLES = {"max": "maximum", "mean": "mean"}


def _ratio_axis(axis: Axes, values: pd.Series, label: bool = True) -> None:
    """A logarithmic axis with the measured h_s / N, or those of them that stand apart, as ticks."""
    axis.set_xscale("log")
    shown, previous = [], 0.0
    for value in sorted(set(values)):
        if value > 1.55 * previous:
            shown.append(value)
            previous = value
    plain_ticks(axis.xaxis, *shown)
    if label:
        axis.set_xlabel(RATIO)


@figure
def draw_variance(table: pd.DataFrame) -> Figure:
    """Fig. 4 and 9: SG-B by rate with narrow and wide teachers, then the four estimators at the larger rates; maximum above, mean below."""
    rates = sorted(table[RATE].unique(), reverse=True)
    shown = rates[:2][::-1] if len(rates) > 1 else rates
    found, everything = of(statistics(table)), curves(table)
    drawing, axes = plt.subplots(2, 1 + len(shown), figsize=(PAGE_WIDTH, 5.6), sharex=True, sharey=True, squeeze=False)
    for row, (statistic, title) in zip(axes, STATISTIC_TITLES.items(), strict=True):
        for (rate, colour), marker in zip(rate_colours(rates).items(), MARKERS, strict=False):
            for teacher, dash in zip(sorted(found[TEACHER].unique()), ("-", (0, (4, 2))), strict=False):
                line = found[(found[RATE] == rate) & (found[TEACHER] == teacher)].groupby(TAU)[statistic].mean()
                label = f"{rate:g}" if dash == "-" else None
                row[0].plot(line.index, line, marker, ls=dash, color=colour, ms=4, lw=1.3, label=label)
        for axis, rate in zip(row[1:], shown, strict=True):
            _draw_estimators(axis, everything[(everything.statistic == statistic) & (everything[RATE] == rate)])
            axis.set_title(f"rate {rate:g}")
        row[0].set(ylabel=f"{title} variance", yscale="log", title="SG-B, all rates")
    for axis in axes[-1]:
        _ratio_axis(axis, table[TAU])
    axes[0, 0].legend(title="learning rate", loc="lower left")
    handles, labels = axes[0, 1].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=4)
    return drawing


def _draw_estimators(axis: Axes, lines: pd.DataFrame) -> None:
    for name, colour, marker in zip(ESTIMATORS, SERIES, MARKERS, strict=False):
        line = of(lines, name)
        axis.plot(line[TAU], line["mean"], marker, ls="-", color=colour, ms=4, lw=1.3, label=name)
        axis.fill_between(line[TAU], line["min"], line["max"], color=colour, alpha=0.12, lw=0)


@figure
def draw_set_ups(sweep: pd.DataFrame, others: pd.DataFrame) -> Figure:
    """Mean variance of SG-B under the three set-ups, with the numbers that the authors plotted as crosses."""
    narrow = pd.concat([sweep[sweep[TEACHER] == sweep[TEACHER].min()], others])
    found, theirs = of(statistics(narrow)), plotted(sweep, others)
    drawing, axes = plt.subplots(1, 3, figsize=(PAGE_WIDTH, 3.2), sharex=True, sharey=True)
    for axis, (name, title) in zip(axes, NAMES.items(), strict=True):
        for (rate, colour), marker in zip(rate_colours(found[RATE]).items(), MARKERS, strict=False):
            line = found[(found.definition == name) & (found[RATE] == rate)].groupby(TAU)["mean"].mean()
            axis.plot(line.index, line, marker, ls="-", color=colour, ms=4, lw=1.3, label=f"{rate:g}")
        crosses = theirs[theirs.definition == name]
        for rate, colour in rate_colours(found[RATE]).items():
            marks = crosses[crosses[RATE] == rate]
            axis.plot(marks[TAU], marks.theirs, "x", color=colour, ms=7, mew=1.8, ls="none")
        if len(crosses):
            axis.plot([], [], "x", color=MUTED, ms=7, mew=1.8, ls="none", label="authors' plot, same colours")
        axis.set(yscale="log", title=title)
        _ratio_axis(axis, found[TAU], label=axis is axes[1])
    axes[0].set_ylabel("mean variance of SG-B")
    handles, labels = axes[0].get_legend_handles_labels()
    drawing.legend(handles, labels, title="learning rate", loc="outside lower center", ncols=len(labels))
    return drawing


@figure
def draw_normalised(table: pd.DataFrame) -> Figure:
    """Fig. 5: the authors' normalised variance of SG-B, maximum and mean, and the ratio of totals of the same runs."""
    panels = [
        ("guarded", "max", "maximum, authors' form"),
        ("guarded", "mean", "mean, authors' form"),
        ("normalised", "mean", "mean, ratio of totals"),
    ]
    drawing, axes = plt.subplots(1, 3, figsize=(PAGE_WIDTH, 3.3), sharex=True)
    for axis, (column, statistic, title) in zip(axes, panels, strict=True):
        lines = of(curves(table, column))
        lines = lines[lines.statistic == statistic]
        for i, ((rate, colour), marker) in enumerate(zip(rate_colours(lines[RATE]).items(), MARKERS, strict=False)):
            line = lines[lines[RATE] == rate]
            low, high = line["mean"] - line["min"], line["max"] - line["mean"]
            place = line[TAU] * 1.04 ** (i - 1)  # side by side
            bars = {"lw": 1.3, "ms": 4, "elinewidth": 0.8, "capsize": 2}
            axis.errorbar(place, line["mean"], yerr=[low, high], fmt=marker, ls="-", color=colour, label=f"{rate:g}", **bars)
        reference(axis, y=1)
        axis.set(title=title, yscale="log" if column == "guarded" else "linear")
        _ratio_axis(axis, table[TAU], label=axis is axes[1])
        if column == "guarded":
            plain_ticks(axis.yaxis)
    axes[0].set_ylabel("normalised variance of SG-B")
    handles, labels = axes[0].get_legend_handles_labels()
    drawing.legend(handles, labels, title="learning rate", loc="outside lower center", ncols=len(labels))
    return drawing


@figure
def draw_factors(table: pd.DataFrame) -> Figure:
    """Shares of the variance of log variance by factor, and mean squared coordinates of gradients against h_s / N."""
    drawing, (left, right) = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.0), width_ratios=(1, 1))
    share = shares(of(statistics(table)))[::-1]
    left.barh([name.replace("h_s / N", "$h_s/N$") for name in share.index], share, color=SERIES[0], height=0.6)
    for i, value in enumerate(share):
        left.annotate(f"{100 * value:.1f}%", (value, i), (4, 0), textcoords="offset points", va="center", fontsize=9, color=MUTED)
    left.set(xlabel="share of the variance of log variance", xlim=(0, 1))
    left.grid(visible=False, axis="y")
    for column, dash in (("example_square", "-"), ("gradient_square", (0, (4, 2)))):
        found = of(statistics(table, column))
        for rate, colour in rate_colours(found[RATE]).items():
            line = found[found[RATE] == rate].groupby(TAU)["mean"].mean()
            right.plot(line.index, line, ls=dash, color=colour, lw=1.4, label=f"{rate:g}" if dash == "-" else None)
    right.set(yscale="log", ylabel="mean square of a coordinate")
    _ratio_axis(right, table[TAU])
    right.legend(title="learning rate", loc="upper left", bbox_to_anchor=(0, -0.28), ncols=3, columnspacing=1, handlelength=1.4)
    return drawing


@figure
def draw_extremes(table: pd.DataFrame) -> Figure:
    """Around the largest two-pass ratio of each run: the ratio with and without guard, second moment and noise of its extreme coordinates."""
    found = extremes(table)
    panels = {"unguarded": "two-pass ratio", "extreme_moment": "second moment", "extreme_noise": "noise"}
    drawing, axes = plt.subplots(1, 3, figsize=(PAGE_WIDTH, 3.2), sharex=True)
    for axis, (column, title) in zip(axes, panels.items(), strict=True):
        for (rate, colour), marker in zip(rate_colours(found[RATE]).items(), MARKERS, strict=False):
            rows = found[found[RATE] == rate]
            logs = np.log(rows[column]).groupby(rows.offset)
            axis.plot(logs.mean().index, np.exp(logs.mean()), marker, ls="-", color=colour, lw=1.4, ms=4, label=f"{rate:g}")
            axis.fill_between(logs.mean().index, np.exp(logs.quantile(0.1)), np.exp(logs.quantile(0.9)), color=colour, alpha=0.12, lw=0)
            if column == "unguarded":
                guarded = np.exp(np.log(rows.guarded).groupby(rows.offset).mean())
                axis.plot(guarded.index, guarded, ls=(0, (2, 2)), color=colour, lw=1.2)
        axis.set(title=title, yscale="log", xticks=[-2, -1, 0, 1, 2])
        reference(axis, y=1)
        plain_ticks(axis.yaxis)
    axes[1].set_xlabel("log points from the maximum of the ratio")
    axes[0].set_ylabel("mean over coordinates")
    axes[1].set_ylabel("extreme over all")
    handles, labels = axes[0].get_legend_handles_labels()
    drawing.legend(handles, labels, title="learning rate", loc="outside lower center", ncols=len(labels))
    return drawing


@figure
def draw_staleness(table: pd.DataFrame) -> Figure:
    """SVRG's variance over SG-B's against the age of the snapshot, a panel a rate, a line for each h_s / N."""
    means = np.exp(staleness(table).groupby([RATE, TAU, "age"]).log_ratio.mean())
    rates, taus = sorted(table[RATE].unique()), sorted(table[TAU].unique())
    shown = taus if len(taus) <= 6 else [taus[round(i * (len(taus) - 1) / 5)] for i in range(6)]
    drawing, axes = plt.subplots(1, len(rates), figsize=(PAGE_WIDTH, 3.2), sharex=True, sharey=True)
    for axis, rate in zip(axes, rates, strict=True):
        for tau, colour, marker in zip(shown, BATCHES[:: 1 if len(shown) > 3 else 2], MARKERS, strict=False):
            line = means[rate, tau]
            axis.plot(line.index, line, marker, ls="-", color=colour, lw=1.3, ms=4, label=f"{tau:g}")
        reference(axis, y=1)
        axis.set(title=f"rate {rate:g}", yscale="log")
    axes[len(rates) // 2].set_xlabel("age of the snapshot (steps)")
    axes[0].set_ylabel("variance of SVRG over SG-B")
    handles, labels = axes[0].get_legend_handles_labels()
    drawing.legend(handles, labels, title=r"$h_s/N$", loc="outside lower center", ncols=len(labels))
    return drawing


@figure
def draw_batch_sizes(table: pd.DataFrame) -> Figure:
    """Steps to the target loss against B, and the variance on the way there: absolute, and normalised."""
    found, at = steps_to_target(table), saturation(steps_to_target(table))
    panels = {"steps": "steps to the target loss", "exact": "average variance", "normalised": r"normalised, $V/(V+g^2)$"}
    drawing, axes = plt.subplots(1, 3, figsize=(PAGE_WIDTH, 2.9), sharex=True)
    for axis, (column, title) in zip(axes, panels.items(), strict=True):
        for _, rows in found.groupby("seed"):
            axis.plot(rows.batch_size, rows[column], color=SERIES[0], lw=0.8, alpha=0.5)
        mean = found.groupby("batch_size")[column].mean()
        axis.plot(mean.index, mean, "o-", color=SERIES[0], ms=4)
        if np.isfinite(at):
            reference(axis, x=at)
        axis.set(title=title, xscale="log", yscale="linear" if column == "normalised" else "log")
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    sizes = np.array(sorted(set(found.batch_size)), dtype=float)
    axes[0].plot(sizes, found[found.batch_size == sizes[0]].steps.mean() * sizes[0] / sizes, color=MUTED, lw=1.1, ls=(0, (4, 3)))
    axes[2].set_ylim(0, 1)
    axes[1].set_xlabel("batch size, B")
    return drawing


@figure
def draw_drop(table: pd.DataFrame) -> Figure:
    """Loss, variance and normalised variance around a drop of the rate, and without it; a row a value of h_s / N."""
    rows = table.assign(normalised=normalised(table))
    half = int(rows.num_steps.iloc[0]) // 2
    rows = rows[(rows.step > 0.5 * half) & (rows.step <= 1.5 * half)]
    taus = sorted(rows[TAU].unique())
    panels = {"loss": "training loss (nats)", "exact": "average variance", "normalised": r"normalised, $V/(V+g^2)$"}
    drawing, axes = plt.subplots(len(taus), 3, figsize=(PAGE_WIDTH, 2.2 * len(taus) + 0.6), sharex=True, squeeze=False)
    for line, tau in zip(axes, taus, strict=True):
        for axis, (column, title) in zip(line, panels.items(), strict=True):
            for at, colour, dash, name in ((0, MUTED, (0, (3, 2)), "without a drop"), (half, SERIES[0], "-", "with a drop")):
                chosen = rows[(rows[TAU] == tau) & (rows.drop_at == at)].groupby("step")[column].mean()
                axis.plot(chosen.index, chosen, color=colour, lw=1.4, ls=dash, label=name)
            reference(axis, x=half)
            axis.set(title=title if tau == taus[0] else "", yscale="linear" if column == "normalised" else "log")
            if column != "normalised":
                plain_ticks(axis.yaxis)
        line[0].set_ylabel(rf"$h_s/N$ = {tau:g}")
    axes[-1, 1].set_xlabel("steps")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=2)
    return drawing
