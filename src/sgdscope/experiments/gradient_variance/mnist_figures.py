"""Figures of gradient_variance/03_mnist. They draw tables; nothing is computed here but what an axis needs."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from sgdscope.experiments.gradient_variance.mnist_tables import (
    NAMES,
    curves,
    fresh_ratios,
    guard_table,
    halves,
    problem_table,
    protocols,
    without_replacement,
)
from sgdscope.figures import MARKERS, PAGE_WIDTH, PAPER, SERIES, figure, reference

COLOURS = dict(zip(NAMES, SERIES, strict=False))
MARKS = dict(zip(NAMES, MARKERS, strict=False))


def _lines(axis: Axes, rows: pd.DataFrame, column: str, colour: str, label: str, *, marker: str = "", logs: bool = False) -> None:
    """Thin lines for the seeds, a thick one for their mean (geometric with ``logs``) at the steps that all have."""
    table = rows.pivot(index="step", columns="seed", values=column)
    for seed in table:
        line = table[seed].dropna()
        axis.plot(line.index, line, color=colour, lw=0.6, alpha=0.5)
    mean = np.exp(np.log(table).mean(axis=1, skipna=False)) if logs else table.mean(axis=1, skipna=False)
    mean = mean.dropna()
    axis.plot(mean.index, mean, color=colour, label=label, marker=marker, ms=4, markevery=max(len(mean) // 8, 1))


def _power(value: float) -> str:
    """A number as it is typeset: plain from 0.001 to 1000, else with a power of ten."""
    if 1e-3 <= value <= 1e3:
        return f"{value:g}"
    digits, power = f"{value:.1e}".split("e")
    digits = digits.removesuffix(".0")
    return rf"$10^{{{int(power)}}}$" if digits == "1" else rf"${digits} \times 10^{{{int(power)}}}$"


def _ticks(axis: Axis, *digits: float) -> None:
    """Labels of a logarithmic axis at these digits of each decade."""
    axis.set_major_locator(LogLocator(subs=digits))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _power(value)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


@figure
def draw_variances(table: pd.DataFrame) -> Figure:
    """Variance of the four estimators along training, GC's right after its updates as open marks; and the training loss."""
    drawing, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.6), width_ratios=(1.7, 1), sharex=True)
    found = curves(table)
    for name in NAMES:
        rows = found[found.estimator == name]
        if len(rows):
            _lines(axes[0], rows, "variance", COLOURS[name], NAMES[name], marker=MARKS[name], logs=True)
    fresh = found[(found.estimator == "gc") & found.fresh.notna()]
    at = np.exp(np.log(fresh.fresh).groupby(fresh.step).mean())
    axes[0].plot(at.index, at, MARKS["gc"], color=COLOURS["gc"], mfc=PAPER, ms=6, ls="none", label="GC, just updated")
    reference(axes[0], y=1e-8, says=_power(1e-8), end="left")
    axes[0].set(xlabel="step", ylabel="average variance", yscale="log")
    axes[0].legend(ncols=2, loc="upper right")
    losses = table.dropna(subset=["train_loss"])
    _lines(axes[1], losses, "train_loss", SERIES[7], "training loss", logs=True)
    reference(axes[1], y=0.005, says="0.005", end="left")
    axes[1].set(xlabel="step", ylabel="training loss", yscale="log")
    axes[1].xaxis.set_major_locator(MaxNLocator(4))
    return drawing


@figure
def draw_half(table: pd.DataFrame) -> Figure:
    """Variance of SG-2B over that of SG-B along training, a dot a measurement, a line the mean over seeds."""
    drawing, axis = plt.subplots(figsize=(PAGE_WIDTH * 0.72, 2.8))
    found = halves(table)
    axis.plot(found.step, found.ratio, "o", color=COLOURS["sgd2"], ms=3.5, alpha=0.5, ls="none", label="one measurement")
    mean = np.exp(np.log(found.ratio).groupby(found.step).mean())
    axis.plot(mean.index, mean, color=COLOURS["sgd2"], label="mean over seeds")
    reference(axis, y=without_replacement(table))
    reference(axis, y=1)
    axis.set(xlabel="step", ylabel="variance of SG-2B over SG-B", ylim=(0, None))
    axis.legend(loc="lower right", ncols=2)
    return drawing


@figure
def draw_normalised(table: pd.DataFrame) -> Figure:
    """Left: forms of SG-B's normalised variance. Right: the authors' form with the gradients of each snapshot rescaled to three variances."""
    drawing, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.4), sharex=True, sharey=True)
    found = guard_table(table)
    for (column, label), colour, marker in zip(
        {"totals": "ratio of totals", "guarded": "authors' form"}.items(), SERIES, MARKERS, strict=False
    ):
        _lines(axes[0], found, column, colour, label, marker=marker)
    rows = table[table.sgd_guarded.notna()]
    for i, (variance, marker) in enumerate(zip((5.8e-7, 1.2e-7, 1.5e-8), MARKERS[2:], strict=False)):
        _lines(axes[1], rows, f"sgd_rescaled_{i}", SERIES[i + 2], _power(variance), marker=marker)
    for axis in axes:
        reference(axis, y=1)
        axis.set(xlabel="step", ylim=(0, None))
    axes[0].set(ylabel="normalised variance of SG-B")
    axes[0].legend(loc="lower right")
    axes[1].legend(loc="lower right", title="rescaled to the variance")
    return drawing


@figure
def draw_growth(table: pd.DataFrame) -> Figure:
    """Longest gradient of one example over the length of the mean gradient, along training and against the training loss."""
    drawing, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.0), sharey=True)
    rows = table[table.growth_max.notna()]
    _lines(axes[0], rows, "growth_max", SERIES[0], "longest", logs=True, marker="o")
    axes[1].plot(rows.train_loss, rows.growth_max, "o", color=SERIES[0], ms=4, ls="none")
    axes[0].set(xlabel="step", ylabel=r"$\max_i |g_i|\ /\ |g|$", yscale="log")
    axes[1].set(xlabel="training loss", xscale="log")
    axes[1].invert_xaxis()
    return drawing


@figure
def draw_problems(table: pd.DataFrame) -> Figure:
    """Steps to half of the first loss against both statistics, one sign a problem, a dot a seed; open where it was not reached."""
    drawing, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 4.6), sharey=True)
    found = problem_table(table)
    for i, (name, rows) in enumerate(found.groupby("problem", sort=False)):
        colour, marker = SERIES[i % len(SERIES)], MARKERS[(i + i // len(SERIES)) % len(MARKERS)]
        for axis, column in zip(axes, ("variance", "normalised"), strict=True):
            for reached, part in rows.groupby("reached"):
                axis.plot(
                    part[column], part.steps, marker, color=colour, mfc=colour if reached else PAPER, ms=6, ls="none",
                    label=name if part.index[0] == rows.index[0] else None,
                )  # fmt: skip
    axes[0].set(xlabel="average variance of SG-B", ylabel="steps to half of the first loss", xscale="log", yscale="log")
    axes[1].set(xlabel="normalised variance of SG-B")
    handles, labels = axes[0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=2)
    return drawing


@figure
def draw_fresh(table: pd.DataFrame, constructed: pd.DataFrame) -> Figure:
    """Left: GC over SG-B right after each update. Right: clusters just found on constructed gradients over SG-B, by rule of the sizes."""
    drawing, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.2), width_ratios=(1, 1.3))
    found = fresh_ratios(table)
    _lines(axes[0], found[found.estimator == "gc"], "ratio", COLOURS["gc"], "GC", marker=MARKS["gc"], logs=True)
    axes[0].set(xlabel="step of the update", ylabel="variance over SG-B", yscale="log")
    sets = list(dict.fromkeys(constructed.gradients))
    for i, (sizes, rows) in enumerate(constructed.groupby("sizes")):
        places = rows.gradients.map(sets.index) + 0.2 * (i - 0.5)
        label = {"running": "running counts (code)", "previous": "previous sizes (paper)"}[sizes]
        axes[1].plot(rows.ratio, places, MARKERS[i], color=SERIES[i + 4], ls="none", label=label)
    axes[1].set(xlabel="variance over SG-B", xscale="log", yticks=range(len(sets)), yticklabels=sets, ylim=(len(sets) - 0.5, -0.5))
    axes[1].legend(loc="lower left")
    reference(axes[0], y=1)
    _ticks(axes[0].yaxis, 1, 2, 5)
    reference(axes[1], x=1)
    return drawing


@figure
def draw_protocols(main: pd.DataFrame, authors: pd.DataFrame) -> Figure:
    """Mean variance of each estimator in both protocols, and the training loss of the authors' four runs of the first seed."""
    drawing, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.0))
    both = protocols(main, authors)
    for i, (protocol, label) in enumerate({"shared": "one trajectory", "authors": "a run for each"}.items()):
        axes[0].plot(10 ** both[protocol], np.arange(len(both)) + 0.2 * (i - 0.5), MARKERS[i], color=SERIES[i], ls="none", label=label)
    axes[0].set(xlabel="mean variance", xscale="log", yticks=range(len(both)), yticklabels=[NAMES[name] for name in both.estimator])
    axes[0].set_ylim(len(both) - 0.5, -0.9)
    axes[0].legend(loc="upper left", ncols=2)
    axes[0].set_xlim(10 ** both[["shared", "authors"]].min().min() / 2, 10 ** both[["shared", "authors"]].max().max() * 2)
    _ticks(axes[0].xaxis, 1, 3)
    first = authors[(authors.seed == authors.seed.min()) & (authors.step > 0)]
    for name, rows in first.groupby("estimators", sort=False):
        axes[1].plot(rows.step, rows.train_loss, color=COLOURS[name], marker=MARKS[name], ms=3.5, lw=1.2, label=NAMES[name])
    axes[1].set(xlabel="step", ylabel="training loss", yscale="log")
    axes[1].legend(title="run that measures")
    return drawing


@figure
def draw_training(table: pd.DataFrame) -> Figure:
    """Training with each estimator: the loss against steps and against gradients computed, a row a problem; thin: single seeds."""
    problems = list(table.groupby(["model", "dataset"], sort=False))
    drawing, axes = plt.subplots(len(problems), 2, figsize=(PAGE_WIDTH, 2.7 * len(problems)), squeeze=False, sharey="row")
    for row, ((model, dataset), rows) in zip(axes, problems, strict=True):
        for name in NAMES:
            of = rows[rows.estimator == name]
            mean = of.assign(log=np.log(of.train_loss)).groupby("step")[["log", "gradients"]].mean().reset_index()
            for axis, x, scale in ((row[0], "step", 1), (row[1], "gradients", 1000)):
                axis.plot(mean[x] / scale, np.exp(mean.log), color=COLOURS[name], marker=MARKS[name], ms=3.5, lw=1.4, label=NAMES[name])
                for _, one in of.groupby("seed"):
                    axis.plot(one[x] / scale, one.train_loss, color=COLOURS[name], lw=0.5, alpha=0.5)
        row[0].set(ylabel="training loss", yscale="log", title=f"{model} on {dataset}")
        _ticks(row[0].yaxis, 1, 2, 5)
    axes[-1, 0].set(xlabel="step")
    axes[-1, 1].set(xlabel="thousands of gradients computed, refreshes included")
    axes[0, 1].legend()
    return drawing
