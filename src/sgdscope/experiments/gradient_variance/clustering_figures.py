"""Figures of gradient_variance/02_clustering. They draw tables; nothing is computed here but what an axis needs."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from sgdscope.experiments.gradient_variance.clustering_numbers import cost_numbers, sources
from sgdscope.figures import MARKERS, MUTED, PAGE_WIDTH, SERIES, figure, reference

NETWORKS = {"mlp": "MLP", "resnet8": "ResNet8", "resnet18": "ResNet18"}
PARTS = ("A", "U", "A and U", "A and U, subset", "iteration", "incremental")
RULES = {"fixed": "fixed sizes (paper)", "running, 128": "running, 128 (authors)", "running, 32": "running, 32", "none": "none (k-means)"}


@figure
def draw_centres(centres: pd.DataFrame) -> Figure:
    """Squared centre error by rule, and the estimator's variance, a mark a seed and state."""
    drawing, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.1))
    rules = list(dict.fromkeys(centres.rule))
    for i, (kind, rows) in enumerate(centres.groupby("layer")):
        at = rows.rule.map(rules.index) + 0.16 * (2 * i - 1)
        axes[0].plot(
            at, rows.error, MARKERS[i], color=SERIES[i], ms=4, alpha=0.8, label=f"{kind} layers" if kind == "linear" else f"{kind}s"
        )
    axes[0].set(yscale="log", ylabel="squared error over squared length", title="Centres of the same clusters")
    axes[0].legend(loc="lower left")
    once = centres.drop_duplicates(["model", "train_steps", "seed", "rule"])
    for i, (source, rows) in enumerate(once.assign(source=sources(once)).groupby("source")):
        at = rows.rule.map(rules.index) + 0.12 * (i - 1.5)
        axes[1].plot(at, rows.ratio, MARKERS[i % len(MARKERS)], color=SERIES[(i + 2) % len(SERIES)], ms=4, label=source)
    axes[1].set(ylabel="variance over that of SG-K", title="Clusters found with them", ylim=(0, None))
    axes[1].legend(loc="upper left", bbox_to_anchor=(0, 1.0), ncols=2, columnspacing=1, handletextpad=0.2)
    axes[1].set_ylim(0, 1.55 * once.ratio.max())
    for axis in axes:
        axis.set_xticks(range(len(rules)), [rule.replace(" update", "\nupdate").replace(", ", ",\n") for rule in rules])
        axis.grid(visible=False, axis="x")
    return drawing


@figure
def draw_costs(steps: pd.DataFrame) -> Figure:
    """Time of each part over a forward and backward pass, one panel a network, with the table's counts."""
    table = cost_numbers(steps)
    found = [name for name in NETWORKS if name in set(table.network)]
    drawing, axes = plt.subplots(1, len(found), figsize=(PAGE_WIDTH, 3.2), sharey=True, squeeze=False)
    for axis, name in zip(axes[0], found, strict=True):
        rows = table[table.network == name].set_index("part").reindex(PARTS)
        at = np.arange(len(PARTS))[::-1]
        axis.barh(at, rows.ratio, height=0.6, color=SERIES[0], lw=0, label="measured")
        axis.hlines(at, rows.smallest, rows.largest, color=MUTED, lw=2.5)
        axis.plot(rows.counted, at, "D", color=SERIES[1], ms=6, mec="none", label="counted by Table 1", zorder=4)
        reference(axis, x=2)
        axis.set(title=f"{NETWORKS[name]}, K = {int(rows.num_clusters.iloc[0])}", xlabel="forward and backward passes")
        axis.set_yticks(at, PARTS)
        axis.grid(visible=False, axis="y")
    drawing.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return drawing


@figure
def draw_sizes(gaussian: pd.DataFrame, real: pd.DataFrame) -> Figure:
    """Clusters in use and variance by rule of the sizes, Gaussian vectors and networks."""
    both = pd.concat([gaussian.assign(source="Gaussian"), real.assign(source=sources(real))])
    order = list(dict.fromkeys(both.source))
    drawing, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.4), sharey=True)
    for i, (rule, label) in enumerate(RULES.items()):
        rows = both[both.rule == rule]
        at = rows.source.map(order.index) + 0.16 * (i - 1.5)
        for axis, column in zip(axes, ("used", "ratio"), strict=True):
            axis.plot(rows[column], at, MARKERS[i], color=SERIES[i], ms=5, ls="none", label=label)
    axes[0].set(xlabel=f"clusters in use, of {int(both.num_clusters.iloc[0])}", title="Do the clusters live?", xlim=(0, None))
    axes[1].set(xscale="log", xlabel="variance over that of SG-K", title="What are they worth?")
    reference(axes[1], x=1)
    axes[0].set_yticks(range(len(order)), order)
    axes[0].invert_yaxis()
    drawing.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, columnspacing=1.2, handletextpad=0.2)
    return drawing


@figure
def draw_range(table: pd.DataFrame) -> Figure:
    """GC over SG-K against K, one line a network and state; thin lines are seeds."""
    states = list(dict.fromkeys(sources(table)))
    drawing, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.5), sharey=True)
    for axis, (centres, rows) in zip(axes, table.groupby("centres", sort=False), strict=True):
        for i, state in enumerate(states):
            of = rows[[found == state for found in sources(rows)]]
            for _, one in of.groupby("seed"):
                axis.plot(one.K, one.ratio, color=SERIES[i], lw=0.7, alpha=0.6)
            mean = np.exp(np.log(of.ratio).groupby(of.K).mean())
            axis.plot(mean.index, mean, MARKERS[i % len(MARKERS)] + "-", color=SERIES[i], label=state)
        axis.set(xscale="log", yscale="log", xlabel="clusters K", title=f"{centres.capitalize()} centres")
        reference(axis, y=1, says="SG-K")
        reference(axis, y=0.5, says="SG-2K")
        axis.xaxis.set_major_locator(FixedLocator(sorted(set(table.K))))
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_locator(NullLocator())
    axes[0].set(ylabel="variance of GC over that of SG-K")
    drawing.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, columnspacing=1.2)
    return drawing


@figure
def draw_uniform(table: pd.DataFrame) -> Figure:
    """GC over SG-K against the dimension of a uniform cloud."""
    drawing, axis = plt.subplots(figsize=(0.65 * PAGE_WIDTH, 3))
    axis.plot(table.dimension, table.ratio, "o", color=SERIES[0], ms=4, alpha=0.6)
    mean = table.groupby("dimension").ratio.mean()
    axis.plot(mean.index, mean, color=SERIES[0])
    reference(axis, y=1, says="SG-K", end="left")
    axis.set(xscale="log", xlabel="dimensions of the cloud", ylabel="variance of GC over that of SG-K", ylim=(0, 1.15))
    return drawing
