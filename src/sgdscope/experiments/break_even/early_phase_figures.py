"""Figures of break_even/02_early_phase. They draw tables; nothing is computed here but what an axis or a background needs."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sgdscope.experiments.break_even.early_phase_tables import from_point, points, probes, trajectories
from sgdscope.figures import MARKERS, PAGE_WIDTH, PAPER, SEQUENTIAL, figure, mark_break_even, plain_ticks, rate_colours, reference
from sgdscope.trajectories import grid, nearest

LAMBDA_K, LAMBDA_H = r"$\lambda_K^1$", r"$\lambda_H^1$"
BACKGROUNDS = {  # column: title, logarithmic
    "K_top": (f"top eigenvalue of K, {LAMBDA_K}", True),
    "train_accuracy": ("training accuracy", False),
    "K_conditioning": (rf"conditioning of K, $\lambda_K^*/${LAMBDA_K}", True),
    "K_trace": (r"trace of K, $\mathrm{Tr}\,K$", True),
    "H_top": (f"top eigenvalue of H, {LAMBDA_H}", True),
}
RESOLUTION = 160  # cells a side of a background


@figure
def draw_embedding(embedded: pd.DataFrame, table: pd.DataFrame) -> Figure:
    """Embedded predictions of the first seed, one panel a background quantity, coloured by the nearest step; the break-even point as a circle."""
    places = torch.tensor(embedded[["x", "y"]].to_numpy(dtype=float))
    cells = grid(places, resolution=RESOLUTION)
    owner = nearest(places, cells).numpy()
    found = points(table[table.seed == table.seed.min()]).set_index("learning_rate")
    drawing, axes = plt.subplots(3, 2, figsize=(PAGE_WIDTH, 8.4), sharex=True, sharey=True)
    for axis, (column, (title, logarithmic)) in zip(axes.flat, BACKGROUNDS.items(), strict=False):
        values = embedded[column].to_numpy()[owner]
        mesh = axis.pcolormesh(
            cells[0, :, 0].numpy(),
            cells[:, 0, 1].numpy(),
            values,
            cmap=SEQUENTIAL,
            norm="log" if logarithmic else "linear",
            rasterized=True,
        )
        _draw_trajectories(axis, embedded, found)
        axis.set(title=title, xticks=[], yticks=[])
        axis.grid(visible=False)
        bar = drawing.colorbar(mesh, ax=axis, pad=0.02)
        bar.outline.set_visible(False)
        if logarithmic:
            plain_ticks(bar.ax.yaxis)
    axes.flat[-1].set_axis_off()
    handles, labels = axes.flat[0].get_legend_handles_labels()
    axes.flat[-1].legend(handles, labels, loc="center", title="learning rate", markerscale=1.5)
    return drawing


def _draw_trajectories(axis: Axes, embedded: pd.DataFrame, found: pd.DataFrame) -> None:
    for (rate, colour), marker in zip(rate_colours(embedded.rate).items(), MARKERS, strict=False):
        path = embedded[embedded.rate == rate]
        axis.plot(path.x, path.y, color=PAPER, lw=2.4, alpha=0.8)
        axis.plot(path.x, path.y, marker, ls="-", color=colour, lw=1.2, ms=4, mec=PAPER, mew=0.5, label=f"{rate:g}")
        if rate in found.index and found["at"][rate] >= 0:
            at = path[path.step == found.step[rate]]
            mark_break_even(axis, at.x, at.y, colour)


def _mark_points(table: pd.DataFrame, panels: dict[Axes, tuple[str, str]]) -> None:
    """The break-even point of every trajectory that has one, in each panel; ``panels`` gives the two columns that it shows."""
    for (rate, _), rows in trajectories(table):
        past = from_point(rows)
        for axis, (x, y) in panels.items() if len(past) else ():
            mark_break_even(axis, past[x].iloc[0], past[y].iloc[0], rate_colours(table.learning_rate)[rate])


@figure
def draw_equal_accuracy(at: pd.DataFrame, table: pd.DataFrame) -> Figure:
    """lambda_K against training accuracy, a line a learning rate, with the 95% interval over seeds; the point of each trajectory."""
    drawing, axis = plt.subplots(figsize=(PAGE_WIDTH * 0.72, 3.2))
    for rate, colour in rate_colours(at.learning_rate).items():
        line = at[at.learning_rate == rate]
        axis.plot(line.accuracy, line.K_top, "o-", color=colour, label=f"{rate:g}")
        axis.fill_between(line.accuracy, line.low, line.high, color=colour, alpha=0.2, lw=0)
    _mark_points(table, {axis: ("train_accuracy", "K_top")})
    axis.set(xlabel="training accuracy", ylabel=f"top eigenvalue of K, {LAMBDA_K}", yscale="log")
    plain_ticks(axis.yaxis)
    axis.legend(title="learning rate")
    return drawing


@figure
def draw_course(table: pd.DataFrame) -> Figure:
    """lambda_K, lambda_H in units of 2/eta, the left side of Eq. 1 and the loss change of the next step, over learning rate times steps."""
    drawing, axes = plt.subplots(2, 2, figsize=(PAGE_WIDTH, 5.4), sharex=True)
    panels = {
        "K_top": f"top eigenvalue of K, {LAMBDA_K}",
        "relative_sharpness": r"sharpness over $2/\eta$",
        "stability_lhs": "left side of Eq. 1",
        "loss_change": "change of the training\nloss in the next step",
    }  # fmt: skip
    for (rate, seed), rows in trajectories(table):
        first = seed == table.seed.min()
        line = {"lw": 1.6 if first else 0.7, "alpha": 1 if first else 0.5, "label": f"{rate:g}" if first else None}
        for axis, column in zip(axes.flat, panels, strict=True):
            axis.plot(rows.time, rows[column], color=rate_colours(table.learning_rate)[rate], **line)
    _mark_points(table, {axis: ("time", column) for axis, column in zip(axes.flat, panels, strict=True)})
    for axis, title in zip(axes.flat, panels.values(), strict=True):
        axis.set(ylabel=title)
    for axis in axes[0]:
        axis.set_yscale("log")
        plain_ticks(axis.yaxis)
    for axis, level in ((axes[0, 1], 1), (axes[1, 0], 1), (axes[1, 1], 0)):
        reference(axis, y=level)
    for axis in axes[1]:
        axis.set_xlabel(r"learning rate times steps, $\eta t$")
    axes[0, 0].legend(title="learning rate")
    return drawing


@figure
def draw_scatter(table: pd.DataFrame) -> Figure:
    """The paper's Fig. 2: lambda_H, and the change of the loss in the next step, against lambda_K; a dot a probe, larger later."""
    drawing, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.4))
    for (rate, seed), rows in trajectories(table):
        colour = rate_colours(table.learning_rate)[rate]
        size = np.linspace(8, 36, len(rows))
        label = f"{rate:g}" if seed == table.seed.min() else None
        axes[0].scatter(rows.K_top, rows.H_top, s=size, color=colour, alpha=0.7, lw=0, label=label)
        axes[1].scatter(rows.K_top, rows.loss_change, s=size, color=colour, alpha=0.7, lw=0)
    _mark_points(table, {axes[0]: ("K_top", "H_top"), axes[1]: ("K_top", "loss_change")})
    reference(axes[1], y=0)
    axes[0].set(ylabel=f"top eigenvalue of H, {LAMBDA_H}", xscale="log", yscale="log")
    axes[1].set(ylabel="change of the training\nloss in the next step", xscale="log")
    for axis in axes:
        axis.set_xlabel(f"top eigenvalue of K, {LAMBDA_K}")
    for axis in (axes[0].xaxis, axes[0].yaxis, axes[1].xaxis):
        plain_ticks(axis)
    axes[0].legend(title="learning rate")
    return drawing


@figure
def draw_spectra(peaks: pd.DataFrame) -> Figure:
    """Histograms of the eigenvalues of K and H at their peaks, all seeds together."""
    drawing, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.2))
    for axis, matrix in zip(axes, "KH", strict=True):
        chosen = peaks[(peaks.matrix == matrix) & (peaks.eigenvalue > 0)]
        edges = np.geomspace(chosen.eigenvalue.min(), chosen.eigenvalue.max() * 1.001, 24)
        for rate, colour in rate_colours(peaks.learning_rate).items():
            axis.hist(chosen[chosen.learning_rate == rate].eigenvalue, edges, color=colour, edgecolor=PAPER, alpha=0.55, label=f"{rate:g}")
        of = "all" if matrix == "K" else "the largest"
        axis.set(xscale="log", xlabel=f"eigenvalue of {matrix} ({of})", ylabel="number, all seeds")
        axis.yaxis.get_major_locator().set_params(integer=True)
        plain_ticks(axis.xaxis)
    axes[0].legend(title="learning rate")
    return drawing


@figure
def draw_assumptions(table: pd.DataFrame) -> Figure:
    """Assumptions 1 and 2 over learning rate times steps: error of the parabola, cosine of the top eigenvectors, lambda_K over lambda_H."""
    drawing, axes = plt.subplots(1, 3, figsize=(PAGE_WIDTH, 3.0), sharex=True)
    for (rate, seed), rows in trajectories(table):
        colour, label = rate_colours(table.learning_rate)[rate], f"{rate:g}" if seed == table.seed.min() else None
        for axis, column in zip(axes, ("quadratic_error", "alignment", "alpha"), strict=True):
            axis.plot(rows.time, rows[column], "o-", color=colour, ms=2.5, lw=0.9, alpha=0.8, label=label)
    _mark_points(table, {axis: ("time", column) for axis, column in zip(axes, ("quadratic_error", "alignment", "alpha"), strict=True)})
    axes[0].set(ylabel="error of the best parabola", yscale="log")
    axes[1].set(ylabel=r"$|\langle e_H^1, e_K^1\rangle|$", ylim=(0, 1))
    axes[2].set(ylabel=rf"$\alpha=${LAMBDA_K}/{LAMBDA_H}", yscale="log")
    reference(axes[0], y=0.1)
    for axis in (axes[0].yaxis, axes[2].yaxis):
        plain_ticks(axis)
    axes[1].set_xlabel(r"learning rate times steps, $\eta t$")
    handles, labels = axes[0].get_legend_handles_labels()
    drawing.legend(handles, labels, title="learning rate", loc="outside lower center", ncols=len(labels))
    return drawing


@figure
def draw_steps(table: pd.DataFrame) -> Figure:
    """Assumptions 3 and 4: relative change of the sharpness, and change of the distance, in one step against the left side of Eq. 1 before it."""
    steps = probes(table)
    drawing, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.2), sharex=True)
    for rate, colour in rate_colours(table.learning_rate).items():
        rows = steps[steps.learning_rate == rate]
        for axis, column in zip(axes, ("sharpness_percent", "distance_change"), strict=True):
            axis.scatter(rows.stability_lhs, rows[column], s=14, color=colour, alpha=0.7, lw=0, label=f"{rate:g}")
    _mark_points(table, {axes[0]: ("stability_lhs", "sharpness_percent"), axes[1]: ("stability_lhs", "distance_change")})
    for axis in axes:
        reference(axis, y=0)
        reference(axis, x=1)
        axis.set(xlabel="left side of Eq. 1 before the step", xscale="log")
    for axis in (axes[0].xaxis, axes[1].xaxis):
        plain_ticks(axis)
    axes[0].set_ylabel("change of the sharpness (%)")
    axes[1].set_ylabel(r"change of the distance $\psi$")
    axes[0].legend(title="learning rate")
    return drawing
