"""Figures of gradient_variance/01_stratified. They draw tables; nothing is computed here but what an axis needs."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sgdscope.experiments.gradient_variance.stratified_tables import LEAST_RISE, RULES, boundaries, cluster_summary, shape_numbers
from sgdscope.figures import INK, MARKERS, MUTED, PAGE_WIDTH, PAPER, SERIES, figure, plain_ticks, reference

RULE_STYLE = {rule: {"color": SERIES[i], "marker": MARKERS[i]} for i, rule in enumerate(RULES)}


@figure
def draw_draws(draws: pd.DataFrame) -> Figure:
    """Variance over all draws over what Eq. 7 gives, for five sets and three ways to draw; a mark a seed."""
    drawing, axis = plt.subplots(figsize=(PAGE_WIDTH * 0.85, 3.2))
    names = list(dict.fromkeys(draws.data))[::-1]
    ways = {
        "independent": "independent draws",
        "one number for all": "one number for all",
        "opposite": "one number, reversed in every second",
    }
    for i, (way, label) in enumerate(ways.items()):
        rows = draws[draws.way == way]
        height = rows.data.map(names.index) + 0.16 * (1 - i)
        axis.plot(rows.variance / rows.formula, height, MARKERS[i], ls="none", color=SERIES[i], ms=5.5, alpha=0.8, label=label)
    reference(axis, x=1)
    axis.set(xscale="log", xlabel="variance over all draws, over what Eq. 7 gives")
    axis.set_yticks(range(len(names)), names)
    plain_ticks(axis.xaxis, 0.1, 0.2, 0.5, 1, 2, 3)
    axis.grid(axis="y", visible=False)
    drawing.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return drawing


@figure
def draw_duplicates(copies: pd.DataFrame, apart: pd.DataFrame) -> Figure:
    """Left: variance of a batch over that before copying, three ways. Right: N^2 V and V of Eq. 1 with over without copies."""
    drawing, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.5))
    times = copies.num_copies + 1
    ways = {"duplicated": "all copies, uniform", "kept": "one kept and rescaled, uniform", "stratified": "Eq. 1, copies in one cluster"}
    for i, (column, label) in enumerate(ways.items()):
        _spread(axes[0], times, copies[column] / copies["without"], i, label)
    times = apart.num_copies + 1
    for i, (column, label) in enumerate(
        {
            "mingled_ratio": r"$N^2\,V$, one other example in the group",
            "scaled_ratio": r"$N^2\,V$, nothing else in the group",
            "variance_ratio": "V, nothing else in the group",
        }.items(),
        start=3,
    ):
        _spread(axes[1], times, apart[column], i, label)
    axes[0].set_title("a batch of three")
    axes[1].set_title("Eq. 1, copies in one group")
    for axis in axes:
        reference(axis, y=1)
        axis.set(xscale="log", yscale="log", xlabel="copies of the example in all")
        plain_ticks(axis.xaxis, *sorted(times.unique()))
        axis.legend(loc="upper left", bbox_to_anchor=(0, -0.22))
    plain_ticks(axes[0].yaxis, 0.1, 0.2, 0.5, 1, 2, 5)
    plain_ticks(axes[1].yaxis, 0.2, 0.5, 1, 2, 5)
    axes[0].set_ylabel("variance, over that\nbefore copying")
    axes[1].set_ylabel("with over without copies")
    return drawing


def _spread(axis: Axes, x: pd.Series, ratio: pd.Series, series: int, label: str) -> None:
    """Geometric mean over seeds and examples, and the band of the middle 80%."""
    logs = np.log(ratio).groupby(x)
    mean, low, high = (np.exp(found) for found in (logs.mean(), logs.quantile(0.1), logs.quantile(0.9)))
    axis.plot(mean.index, mean, MARKERS[series % len(MARKERS)] + "-", color=SERIES[series], label=label)
    axis.fill_between(mean.index, low, high, color=SERIES[series], alpha=0.15, lw=0)


@figure
def draw_shapes(clusters: pd.DataFrame) -> Figure:
    """Size and variance of each cluster by three rules, at the last stage and the largest K: a panel a rule, a row a network, all seeds."""
    shown = shape_numbers(clusters)
    networks = list(dict.fromkeys(shown.model))
    drawing, axes = plt.subplots(len(networks), 3, figsize=(PAGE_WIDTH, 0.6 + 2.1 * len(networks)), sharex=True, sharey=True, squeeze=False)
    for row, name in zip(axes, networks, strict=True):
        for axis, (rule, title) in zip(row, RULES.items(), strict=True):
            cells = shown[(shown.model == name) & (shown.sizes == rule)]
            style = RULE_STYLE[rule]
            axis.scatter(cells["size"], cells.spread.clip(lower=1e-4), s=12, alpha=0.55, lw=0, rasterized=True, **style)
            axis.set(xscale="log", yscale="log")
            if name == networks[0]:
                axis.set_title(title.replace("\n", " "))
        row[0].set_ylabel(f"{name}\n" + r"$\mathrm{V}_k$ / variance of all")
    for axis in axes.flat:
        plain_ticks(axis.xaxis, 2, 10, 100)
    for axis in axes.flat:
        plain_ticks(axis.yaxis, 0.0001, 0.01, 1)
    for axis in axes[-1]:
        axis.set_xlabel(r"size of the cluster, $N_k$")
    return drawing


@figure
def draw_variances(clusters: pd.DataFrame) -> Figure:
    """Variance of the stratified estimate over that of K independent draws, by stage, three rules: a column a K, a row a network."""
    summary = cluster_summary(clusters)
    networks, counts, stages = list(dict.fromkeys(summary.model)), sorted(summary.K.unique()), sorted(summary.step.unique())
    drawing, axes = plt.subplots(
        len(networks), len(counts), figsize=(PAGE_WIDTH, 0.9 + 2.1 * len(networks)), sharex=True, sharey=True, squeeze=False
    )
    for row, name in zip(axes, networks, strict=True):
        for axis, count in zip(row, counts, strict=True):
            cells = summary[(summary.model == name) & (count == summary.K)]
            for rule, title in RULES.items():
                found = cells[cells.sizes == rule]
                place = found.step.map(stages.index)
                style = RULE_STYLE[rule]
                axis.plot(place, found.variance, style["marker"], ls="none", color=style["color"], ms=4, alpha=0.6)
                mean = np.exp(np.log(found.variance).groupby(found.step).mean())
                axis.plot(range(len(mean)), mean, style["marker"] + "-", markevery=[], color=style["color"], label=title.replace("\n", " "))
            reference(axis, y=1)
            axis.set(yscale="log", title=f"{name}, K = {count}")
            axis.set_xticks(range(len(stages)), [f"{stage:g}" for stage in stages])
        row[0].set_ylabel("variance, over that of\nK independent draws")
    for axis in axes.flat:
        plain_ticks(axis.yaxis, 0.05, 0.1, 0.2, 0.5, 1, 2)
    for axis in axes[-1]:
        axis.set_xlabel("steps of training")
    drawing.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return drawing


@figure
def draw_objective(objective: pd.DataFrame) -> Figure:
    """Objective of Eq. 2 by step for the first network, largest K: a panel a rule, a line a stage and seed; steps that raise it are marked."""
    shown = objective[(objective.model == objective.model.iloc[0]) & objective.K.eq(objective.K.max())]
    drawing, axes = plt.subplots(1, 3, figsize=(PAGE_WIDTH, 3.1), sharex=True, sharey=True)
    for axis, (rule, title) in zip(axes, RULES.items(), strict=True):
        for _, line in shown[shown.sizes == rule].groupby(["step", "seed"]):
            ordered = line.sort_values("iteration")
            raised = ordered[ordered.objective.pct_change() > LEAST_RISE]
            axis.plot(ordered.iteration, ordered.objective, color=RULE_STYLE[rule]["color"], lw=1, alpha=0.7)
            axis.plot(raised.iteration, raised.objective, "^", color=INK, ms=4, ls="none")
        axis.set(title=title, xlabel="step", yscale="log")
    for axis in axes:
        plain_ticks(axis.yaxis, 0.001, 0.01, 0.1, 1)
    axes[0].set_ylabel("objective of Eq. 2,\nover that of one cluster")
    return drawing


@figure
def draw_plane(shown: pd.DataFrame) -> Figure:
    """The paper's Fig. 1: points by class (mark) and cluster (colour), the boundary, and those after a step along each cluster's gradient."""
    stages = sorted(shown.step.unique())
    columns = min(len(stages), 2)
    rows = -(-len(stages) // columns)
    drawing, axes = plt.subplots(rows, columns, figsize=(PAGE_WIDTH, 0.3 + 3.3 * rows), sharex=True, sharey=True, squeeze=False)
    drawing.set_layout_engine("compressed")  # panels of one shape, side by side
    lines = boundaries(shown)
    (left, right), (low, high) = ((shown[c].min() - 1, shown[c].max() + 1) for c in ("x1", "x2"))
    for axis, stage in zip(axes.flat, stages, strict=False):
        picture = shown[shown.step == stage]
        for (cluster, label), points in picture.groupby(["cluster", "label"]):
            mark = "x" if label else "o"
            axis.scatter(
                points.x1, points.x2, s=15, marker=mark, color=SERIES[cluster], alpha=0.75, lw=1.1 if label else 0, rasterized=True
            )
        for line in lines[lines.step == stage].itertuples():
            dashed = line.cluster >= 0
            style = {"ls": (0, (4, 2)), "color": SERIES[line.cluster], "lw": 1.6} if dashed else {"color": INK, "lw": 2}
            _line(axis, line, (left, right, low, high), style)
        axis.set(xlim=(left, right), ylim=(low, high), title="at the start" if stage == 0 else f"step {stage}")
        axis.set_aspect("equal", adjustable="box")
    for axis in axes[-1]:
        axis.set_xlabel(r"$x_1$")
    for row in axes:
        row[0].set_ylabel(r"$x_2$")
    dashed = {"color": MUTED, "ls": (0, (4, 2)), "lw": 1.6}
    legend = [
        Line2D([], [], color=MUTED, marker="o", ls="none", label="first class"),
        Line2D([], [], color=MUTED, marker="x", ls="none", label="second class"),
        Line2D([], [], color=INK, lw=2, label="boundary"),
        Line2D([], [], **dashed, label="after a step along one cluster"),
    ]
    drawing.legend(handles=legend, loc="outside lower center", ncols=2)
    return drawing


def _line(axis: Axes, line: object, box: tuple[float, float, float, float], style: dict[str, object]) -> None:
    """``w1 x1 + w2 x2 + b = 0`` across a box, drawn along the axis that it is closer to."""
    left, right, low, high = box
    if abs(line.w2) >= abs(line.w1):
        x = np.linspace(left - 20, right + 20, 2)
        axis.plot(x, -(line.w1 * x + line.b) / line.w2, **style)
    elif line.w1:
        y = np.linspace(low - 20, high + 20, 2)
        axis.plot(-(line.w2 * y + line.b) / line.w1, y, **style)


@figure
def draw_pairs(pairs: pd.DataFrame, found: pd.DataFrame) -> Figure:
    """Distance between gradients against distance in the plane: pairs of the set shown, and medians in all pictures with a two-class cluster."""
    drawing, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.4))
    for (kind, rows), colour, size in zip(pairs.groupby("kind"), (MUTED, SERIES[1]), (4, 6), strict=False):
        axes[0].scatter(rows.far, rows.near, s=size, color=colour, alpha=0.35, lw=0, label=kind, rasterized=True)
    axes[0].set(
        title="pairs of the set shown",
        xlabel="distance in the plane, over its median",
        ylabel="distance between gradients,\nover its median",
    )
    axes[0].set_ylim(0, float(pairs.near.quantile(0.995)) * 1.05)
    axes[0].legend(loc="upper left", bbox_to_anchor=(0, -0.2), markerscale=2.5)
    paper = found[(found.protocol == "paper") & (found.step > 0)]
    for i, (opposite, label) in enumerate(((True, "classes on opposite sides of the origin"), (False, "on the same side"))):
        rows = paper[(paper.cosine < 0) == opposite]
        axes[1].plot(rows.far, rows.near, MARKERS[i], ls="none", color=SERIES[i * 2], mec=PAPER, mew=0.5, ms=5.5, alpha=0.85, label=label)
    for axis in axes:
        reference(axis, x=1)
        reference(axis, y=1)
    axes[1].set(
        title="medians in all pictures",
        xlabel="in the plane, over all pairs",
        ylabel="between gradients,\nover all pairs",
        xscale="log",
        yscale="log",
    )
    plain_ticks(axes[1].xaxis, 0.5, 1, 2)
    plain_ticks(axes[1].yaxis, 0.1, 0.2, 0.5, 1)
    axes[1].legend(loc="upper left", bbox_to_anchor=(0, -0.2))
    return drawing
