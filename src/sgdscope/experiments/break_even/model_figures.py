"""Figures of break_even/01_model. They draw tables; nothing is computed here but what an axis needs."""

from __future__ import annotations

from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sgdscope.figures import (
    DIVERGING,
    MARKERS,
    MUTED,
    PAGE_WIDTH,
    SERIES,
    batch_colours,
    figure,
    mark_break_even,
    rate_colours,
    reference,
)

SHARPNESS = r"$\lambda_H$"


@figure
def draw_phase_diagram(simulated: pd.DataFrame) -> Figure:
    """Measured growth of the second moment over learning rate and spread, a panel a batch size, with both boundaries."""
    sizes = sorted(simulated.batch_size.unique())
    drawing, axes = plt.subplots(1, len(sizes), figsize=(PAGE_WIDTH, 3.3), sharey=True, squeeze=False)
    mesh = None
    for axis, size in zip(axes[0], sizes, strict=True):
        panel = simulated[simulated.batch_size == size].groupby(["spread", "learning_rate"])
        cells = panel[["log_second_moment", "left_side", "exponent", "num_steps"]].mean()
        growth = (cells.log_second_moment / cells.num_steps).unstack()
        rates, spreads = growth.columns.to_numpy(), growth.index.to_numpy()
        mesh = axis.pcolormesh(rates, spreads, growth.clip(-1, 1), cmap=DIVERGING, vmin=-1, vmax=1, shading="nearest", rasterized=True)
        axis.contour(rates, spreads, cells.left_side.unstack(), levels=[1], colors="black", linewidths=2)
        # A cell where some mini-batch has eta H_B = 1 exactly has exponent minus infinity, its neighbours do not: look past it.
        exponent = cells.exponent.where(np.isfinite(cells.exponent)).unstack().interpolate(axis=1, limit_direction="both")
        axis.contour(rates, spreads, exponent, levels=[0], colors="black", linewidths=1.5, linestyles="dashed")
        axis.set(title=f"batch size {size}")
        axis.grid(visible=False)
    drawing.supxlabel(rf"learning rate times sharpness, $\eta${SHARPNESS}", fontsize=10)
    axes[0][0].set_ylabel(rf"spread of curvature, $s/${SHARPNESS}")
    bar = drawing.colorbar(mesh, ax=axes[0].tolist(), shrink=0.9, pad=0.02, ticks=[-1, -0.5, 0, 0.5, 1])
    bar.set_label(r"log growth of $\mathrm{E}\,\psi^2$ per step")
    bar.outline.set_visible(False)
    return drawing


@figure
def draw_growth(simulated: pd.DataFrame) -> Figure:
    """Relative deviation of the measured growth factor from the left side of Eq. 1, a point a cell and seed."""
    drawing, axis = plt.subplots(figsize=(PAGE_WIDTH * 0.72, 3.0))
    colours = batch_colours(simulated.batch_size)
    for size, cells in simulated.groupby("batch_size"):
        deviation = 100 * (np.exp(cells.log_second_moment / cells.num_steps) / cells.left_side - 1)
        axis.scatter(
            cells.left_side, deviation, s=6, color=colours[size], alpha=0.5, linewidths=0, label=f"batch size {size}", rasterized=True
        )
    reference(axis, y=0)
    reference(axis, x=1)
    axis.set(xscale="log", xlabel="left side of Eq. 1", ylabel="measured growth per step\nagainst Eq. 1 (%)")
    drawing.legend(loc="outside lower center", ncols=3, markerscale=3)
    return drawing


@figure
def draw_stable_case(table: pd.DataFrame) -> Figure:
    """Mean square that grows, and trajectories that vanish: exact, typical and sampled over steps."""
    first = table.iloc[0]
    steps = np.array([0, *sorted(table.steps.unique())])
    drawing, axis = plt.subplots(figsize=(PAGE_WIDTH * 0.78, 3.3))
    axis.plot(steps, steps * np.log10(first.left_side), color=SERIES[1], label="exact mean square, left side of Eq. 1 to the power t")
    for i, (_, run) in enumerate(table.groupby("seed")):
        sampled = run.sampled_log_second_moment / np.log(10)
        label = f"mean square of {int(run.num_replicas.iloc[0]):,} trajectories, one line per seed" if i == 0 else None
        axis.plot([0, *run.steps], [0, *sampled], "o-", lw=0.9, ms=4, color=MUTED, label=label)
    typical = 2 * steps * first.exponent / np.log(10)
    axis.plot(steps, typical, color=SERIES[0], ls="--", label=r"typical trajectory, $\exp(2\,t\,E\,\log|1-\eta H|)$")
    axis.set(xlabel="step t", ylabel=r"$\log_{10}\ \psi_t^2/\psi_0^2$")
    axis.legend(loc="lower left")
    return drawing


@figure
def draw_descent(table: pd.DataFrame) -> Figure:
    """Second moment along the top eigenvector over steps: a panel a batch size, a colour a rate."""
    sizes = sorted(table.batch_size.unique())
    drawing, axes = plt.subplots(1, len(sizes), figsize=(PAGE_WIDTH, 3.6), sharey=True, squeeze=False)
    shown = table[table.seed == table.seed.min()]
    colours = rate_colours(shown.learning_rate)
    for axis, size in zip(axes[0], sizes, strict=True):
        for rate, run in shown[shown.batch_size == size].groupby("learning_rate"):
            colour = colours[rate]
            axis.plot(run.step, run.log_exact / np.log(10), color=colour, label=rf"{rate:g}")
            axis.plot(run.step, run.log_one_direction / np.log(10), color=colour, ls=":", lw=1.4)
            with np.errstate(divide="ignore"):
                axis.plot(run.step, np.log10(run.sampled.where(np.isfinite(run.sampled))), color=colour, lw=0.7, alpha=0.7)
        axis.axhline(0, color=MUTED, lw=0.8)
        axis.set(title=f"batch size {size}", xlabel="step t", ylim=(-9, 9))
    axes[0][0].set_ylabel(r"$\log_{10}\ \mathrm{E}\langle u_t, e\rangle^2$")
    handles, labels = axes[0][0].get_legend_handles_labels()
    drawing.legend(handles, labels, title=rf"$\eta${SHARPNESS}", loc="outside lower center", ncols=len(labels))
    return drawing


@figure
def draw_boundaries(table: pd.DataFrame) -> Figure:
    """Critical learning rate against batch size, by Eq. 1 and with all directions."""
    drawing, axis = plt.subplots(figsize=(PAGE_WIDTH * 0.72, 3.3))
    for column, label, colour, marker in (
        ("one_direction", "Eq. 1, top direction alone", SERIES[0], "o"),
        ("all_directions", "all directions together, exact", SERIES[1], "s"),
    ):
        by_size = table.groupby("batch_size")[column]
        axis.plot(by_size.mean().index, by_size.mean(), color=colour, marker=marker, label=label)
        axis.fill_between(by_size.min().index, by_size.min(), by_size.max(), color=colour, alpha=0.2, lw=0)
    reference(axis, y=2, says="full batch: 2", end="left")
    axis.set(xscale="log", xlabel="batch size S", ylabel=rf"largest stable rate, $\eta${SHARPNESS}", ylim=(0, 2.3))
    axis.set_xticks(sorted(table.batch_size.unique()), [f"{size:g}" for size in sorted(table.batch_size.unique())])
    axis.minorticks_off()
    axis.legend(loc="lower right")
    return drawing


@figure
def draw_noise(table: pd.DataFrame) -> Figure:
    """Share of the trace of K that its largest eigenvalue covers, along training, a line a seed."""
    drawing, axis = plt.subplots(figsize=(PAGE_WIDTH * 0.62, 2.7))
    for colour, (seed, run) in zip(cycle(SERIES), table.groupby("seed"), strict=False):
        axis.plot(run.step, 100 * run.top_share, "o-", color=colour, label=f"seed {seed}")
    axis.set(xlabel="step of SGD", ylabel=r"$\lambda_K^1$ in % of Tr K", ylim=(0, 100))
    axis.legend(ncols=3)
    return drawing


@figure
def draw_theorems(table: pd.DataFrame) -> Figure:
    """Sharpness at the first crossing against the learning rate, a line a batch size: from the stable and from the unstable side."""
    drawing, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.3), sharey=True)
    for axis, start, title in zip(axes, ("stable", "unstable"), ("Theorem 1: becomes unstable", "Theorem 2: becomes stable"), strict=True):
        crossings = table[table.start == start]
        _limit(axis, crossings.learning_rate)
        _by_batch(axis, crossings)
        axis.set(title=title, xlabel=r"learning rate $\eta$", xscale="log", yscale="log")
        _plain_ticks(axis, sorted(crossings.learning_rate.unique()))
        axis.set_yticks([5, 10, 20, 40], ["5", "10", "20", "40"])
    axes[0].set_ylabel(rf"{SHARPNESS} at the crossing")
    drawing.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return drawing


@figure
def draw_networks(table: pd.DataFrame) -> Figure:
    """A small network: left side of Eq. 1 along training (first seed), and the sharpness at the detected point over all seeds."""
    drawing, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.6))
    sizes = sorted(table.batch_size.unique())
    shown = table[(table.seed == table.seed.min()) & (table.learning_rate == table.learning_rate.median())]
    colours = batch_colours(sizes, full=table.num_examples.iloc[0])
    for size in sizes:
        run = shown[shown.batch_size == size]
        axes[0].plot(run.step, run.left_side, color=colours[size])
        crossed = run[run.step >= run.crossing_step].head(1)
        mark_break_even(axes[0], crossed.crossing_step, np.ones(len(crossed)), colours[size])
    reference(axes[0], y=1)
    rate = shown.learning_rate.iloc[0]
    axes[0].set(xlabel="step", ylabel="left side of Eq. 1", title=rf"$\eta$ = {rate:g}", ylim=(0, 2.2))
    crossings = table.drop_duplicates(["learning_rate", "batch_size", "seed"])
    crossings = crossings.assign(crossing_sharpness=crossings.crossing_sharpness * crossings.learning_rate / 2)
    axes[1].axhline(1, color=MUTED, lw=1.2, ls="--", label=r"$2/\eta$")
    _by_batch(axes[1], crossings)
    axes[1].set(xlabel=r"learning rate $\eta$", ylabel=rf"{SHARPNESS} at the detected point, over $2/\eta$", title="all seeds")
    _plain_ticks(axes[1], sorted(crossings.learning_rate.unique()))
    drawing.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return drawing


def _by_batch(axis: Axes, crossings: pd.DataFrame) -> None:
    """Mean sharpness at the crossing over rates, a line a batch size, with a dot a seed."""
    full = crossings.num_examples.iloc[0]
    colours = batch_colours(crossings.batch_size, full=full)
    for marker, (size, cells) in zip(cycle(MARKERS), crossings.groupby("batch_size"), strict=False):
        mean = cells.groupby("learning_rate").crossing_sharpness.mean()
        label = f"S = {size:g}" + (" (full)" if size == full else "")
        axis.plot(mean.index, mean, color=colours[size], marker=marker, markevery=[], label=label)  # the mark is for the legend
        axis.plot(cells.learning_rate, cells.crossing_sharpness, marker, color=colours[size], ms=3.5, alpha=0.6)


def _limit(axis: Axes, rates: pd.Series) -> None:
    """The full-batch limit 2 / eta."""
    grid = np.geomspace(rates.min(), rates.max(), 50)
    axis.plot(grid, 2 / grid, color=MUTED, lw=1.2, ls="--", label=r"$2/\eta$")


def _plain_ticks(axis: Axes, values: list[float]) -> None:
    """Label the learning rates themselves."""
    axis.set_xticks(values, [f"{value:g}" for value in values])
    axis.minorticks_off()
