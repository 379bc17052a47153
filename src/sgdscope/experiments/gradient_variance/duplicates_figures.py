"""Figures of gradient_variance/06_duplicates. They draw tables."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sgdscope.experiments.gradient_variance.cifar_figures import AVERAGE, COLOURS, DASHES, LOG_STEPS, OTHERS
from sgdscope.experiments.gradient_variance.cifar_tables import NAMES
from sgdscope.experiments.gradient_variance.duplicates_tables import TAU, cases, comparable, gap_table, gaps, means, prices, ratio_curves
from sgdscope.figures import MARKERS, MUTED, PAGE_WIDTH, SERIES, figure, plain_ticks, reference

RATIO = r"over-parametrisation, $h_s/N$"
OF_GROUP = {"SG-B": "sgd", "SG-2B": "sgd2", "SVRG": "svrg", "GC": "gc"}
CASES = {  # (copied, augmented): colour, marker, dash
    (False, "none"): (SERIES[2], MARKERS[0], (0, (4, 2))),
    (True, "none"): (SERIES[2], MARKERS[1], "-"),
    (False, "crop_flip"): (SERIES[1], MARKERS[2], (0, (4, 2))),
    (True, "crop_flip"): (SERIES[1], MARKERS[3], "-"),
}


def case_name(copied: bool, augment: str) -> str:
    """In words."""
    return f"{'with' if copied else 'no'} copies, {'augmented' if augment != 'none' else 'not augmented'}"


def _percent(share: float) -> str:
    return f"{100 * share:g}%"


def _ratio_axis(axis: Axis) -> None:
    low, high = axis.get_view_interval()
    plain_ticks(axis, *[tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10) if low <= tick <= high])


@figure
def draw_features(table: pd.DataFrame) -> Figure:
    """The paper's Fig. 8: mean variance of the estimators against over-parametrisation, a panel a share; the smallest is the panel without copies."""
    found, kept = means(table), means(comparable(table))
    shares = sorted(found.share.unique())
    columns = min(len(shares), 2)
    rows = -(-len(shares) // columns)
    drawing, axes = plt.subplots(rows, columns, figsize=(PAGE_WIDTH, 0.5 + 2.5 * rows), sharex=True, sharey=True, squeeze=False)
    for axis, share in zip(axes.flat, shares, strict=False):
        chosen = found[found.share == share]
        for (name, key), marker in zip(OF_GROUP.items(), MARKERS, strict=False):
            if name not in chosen:
                continue
            grouped = chosen.groupby(TAU)[name]
            mean = grouped.mean()
            axis.plot(mean.index, mean, marker, ls=DASHES[key], color=COLOURS[key], ms=4, lw=1.4, label=name)
            axis.fill_between(mean.index, grouped.min(), grouped.max(), color=COLOURS[key], alpha=0.12, lw=0)
        axis.set(xscale="log", yscale="log", title="no copies" if not share else f"{_percent(share)} copies")
        _ratio_axis(axis.xaxis)
    lowest = kept[[name for name in OF_GROUP if name in kept]].min().min()
    axes[0, 0].set_ylim(bottom=lowest / 5)  # GC's variance can be zero where it has a cluster for each distinct point
    for axis in axes[-1]:
        axis.set_xlabel(RATIO)
    for row in axes:
        row[0].set_ylabel("mean variance")
    drawing.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return drawing


@figure
def draw_gaps(table: pd.DataFrame) -> Figure:
    """SG-B over GC: by share and over-parametrisation (left, the authors' plot dashed), and without copies with every student (right)."""
    made, found = gap_table(table), gaps(table)
    drawing, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.6), sharex=True)
    for i, ((share, rows), colour, marker) in enumerate(zip(made.groupby("share"), SERIES, MARKERS, strict=False)):
        beside = rows[TAU] * 1.05 ** (i - 1.5)  # so that intervals do not hide each other
        ends = [rows.sgb_over_gc - rows.low, rows.high - rows.sgb_over_gc]
        axes[0].errorbar(
            beside, rows.sgb_over_gc, ends, fmt=marker + "-", color=colour, ms=4.5, lw=1.2, elinewidth=1, label=_percent(share)
        )
        axes[0].plot(rows[TAU], rows.authors, color=colour, ls=(0, (4, 3)), lw=1)
    axes[0].set(title="by share of copies", ylabel="variance of SG-B over that of GC")
    axes[0].set_ylim(top=max(16, made.high.max() * 1.1, made.sgb_over_gc.max() * 1.3), bottom=min(0.8, made.sgb_over_gc.min() * 0.8))
    axes[0].legend(title="copies", ncols=4, loc="upper left", bbox_to_anchor=(0, -0.2), columnspacing=1, handlelength=1.4)
    _without_copies(axes[1], made[made.share == 0], found[found.share == 0])
    for axis in axes:
        axis.set(xscale="log", yscale="log", xlabel=RATIO)
        reference(axis, y=1)
        _ratio_axis(axis.xaxis)
        plain_ticks(axis.yaxis)
    return drawing


def _without_copies(axis: Axes, made: pd.DataFrame, found: pd.DataFrame) -> None:
    double = np.exp((found.single - found.double).groupby(found[TAU]).mean())
    axis.plot(found[TAU], np.exp(found.single), MARKERS[0], ls="none", ms=3, color=SERIES[0], alpha=0.35)
    axis.plot(made[TAU], made.sgb_over_gc, "-", color=SERIES[0], label="GC")
    axis.plot(double.index, double, MARKERS[1], ls=DASHES["sgd2"], ms=4, color=MUTED, label="SG-2B")
    axis.set(title="without copies", ylabel="variance of SG-B over\nthat of GC or SG-2B")
    axis.legend(ncols=2, loc="upper left", bbox_to_anchor=(0, -0.2))


@figure
def draw_images(images: pd.DataFrame) -> Figure:
    """The paper's Fig. 7: average variance of the estimators along trajectories, without and with copies (columns) and augmentation (rows)."""
    drawing, axes = plt.subplots(2, 2, figsize=(PAGE_WIDTH, 5.6), sharex=True, sharey=True)
    first, low = images.seed.min(), np.inf
    for (copied, augment, seed), at in cases(images):
        axis = axes[int(augment != "none"), int(copied)]
        axis.set_title(case_name(copied, augment))
        for name in [name for name in NAMES if f"{name}_average" in at]:
            shown = at[f"{name}_before_average"].fillna(at[f"{name}_average"]) if f"{name}_before_average" in at else at[f"{name}_average"]
            shown = shown.where((at.get(f"{name}_before_average", shown * np.nan).notna()) | (at.sgd_age > 0)) if name == "svrg" else shown
            low = min(low, shown.min())
            style = {"lw": 2, "label": NAMES[name]} if seed == first else OTHERS
            axis.plot(at.step, shown, color=COLOURS[name], ls=DASHES[name], **style)
    for axis in axes.flat:
        axis.set(yscale="log", ylim=(low * 0.8, None))
    for axis in axes[-1]:
        axis.set_xlabel(LOG_STEPS)
    for row in axes:
        row[0].set_ylabel(AVERAGE)
    drawing.legend(*next(axis for axis in axes.flat if axis.lines).get_legend_handles_labels(), ncols=4, loc="outside lower center")
    return drawing


@figure
def draw_ratios(images: pd.DataFrame) -> Figure:
    """GC's variance over SG-B's along the four kinds of trajectories; SG-2B's half as a line."""
    made = ratio_curves(images)
    drawing, axis = plt.subplots(figsize=(PAGE_WIDTH * 0.85, 3.6))
    for (copied, augment), rows in made.groupby(["copied", "augment"]):
        colour, marker, dash = CASES[copied, augment]
        for _, line in rows.groupby("seed"):
            axis.plot(line.step, line.ratio, color=colour, ls=dash, **OTHERS)
        mean = np.exp(np.log(rows.ratio).groupby(rows.step).mean())
        axis.plot(mean.index, mean, marker, color=colour, ls=dash, ms=5, lw=2, label=case_name(copied, augment))
    reference(axis, y=1)
    reference(axis, y=0.5)
    axis.set(yscale="log", xlabel=LOG_STEPS, ylabel="variance of GC over that of SG-B")
    plain_ticks(axis.yaxis)
    drawing.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return drawing


@figure
def draw_prices(features: pd.DataFrame, images: pd.DataFrame) -> Figure:
    """What clustering gains against what it costs: a mark a problem; above the line the same gradients buy less variance than a larger batch."""
    made = prices(features, images)
    drawing, axis = plt.subplots(figsize=(PAGE_WIDTH * 0.85, 4))
    of_features = made[made.share.notna()]
    for (share, rows), colour, marker in zip(of_features.groupby("share"), SERIES, MARKERS, strict=False):
        axis.plot(rows.price, rows.gain, marker + "-", color=colour, ms=4.5, lw=1, label=f"random features, {_percent(share)} copies")
    for (_, row), ((copied, augment), (colour, marker, _)) in zip(made[made.share.isna()].iterrows(), _cases(images), strict=True):
        axis.plot(
            row.price, row.gain, marker, ls="none", ms=8, mfc="none", mec=colour, mew=1.8, label=f"images, {case_name(copied, augment)}"
        )
    line = np.geomspace(made.price.min() / 1.5, made.price.max() * 1.5, 50)
    axis.plot(line, 1 + line, color=MUTED, lw=1.1, ls=(0, (4, 3)))
    axis.set(xscale="log", yscale="log", xlabel="gradients of an update, for each gradient of the steps up to the next")
    axis.set_ylabel("variance of SG-B over that of GC")
    plain_ticks(axis.xaxis)
    plain_ticks(axis.yaxis)
    handles, labels = axis.get_legend_handles_labels()
    handles.append(Line2D([], [], color=MUTED, lw=1.1, ls=(0, (4, 3))))
    drawing.legend(handles, [*labels, "a batch larger by as many gradients"], loc="outside lower center", ncols=2)
    return drawing


def _cases(images: pd.DataFrame) -> list[tuple[tuple[bool, str], tuple]]:
    present = sorted({(copied, augment) for (copied, augment, _), _ in cases(images)}, key=lambda case: (case[0], case[1]))
    return [(case, CASES[case]) for case in present]
