"""Figures of gradient_variance/04_cifar. They draw tables; nothing is computed here but what an axis needs."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sgdscope.experiments.gradient_variance.cifar_tables import (
    NAMES,
    case,
    curve,
    drop_steps,
    fluctuation,
    log_points,
    trajectories,
)
from sgdscope.figures import INK, MARKERS, MUTED, PAGE_WIDTH, SERIES, figure, rate_colours, reference

COLOURS = dict(zip(NAMES, (INK, SERIES[1], SERIES[2], SERIES[0]), strict=True))  # of the estimators
DASHES = {"sgd": "-", "sgd2": (0, (5, 2)), "svrg": (0, (1, 1.2)), "gc": "-"}
OTHERS = {"lw": 0.9, "alpha": 0.6}  # lines of all seeds but the first
CUT = 2.0  # the authors' form has rare values far above 1; they are cut off
AVERAGE, LOG_STEPS = r"average variance, $\mathrm{Var}[\hat g]$", "step of SGD"


def _events(axis: Axes, rows: pd.DataFrame, *, named: bool = True) -> None:
    """Vertical lines: thin at each update, dashed (and named at the first) where the rate falls."""
    for step in log_points(rows)[lambda at: at.sgd_age == 0].step.iloc[1:]:
        axis.axvline(step, color=MUTED, lw=0.5, alpha=0.5, zorder=0.5)
    for i, step in enumerate(drop_steps(rows)):
        reference(axis, x=step, says="rate / 10" if named and not i else "")


def _broken(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """A curve with a gap at each update where it has two values, so that these are not joined."""
    if f"{name}_before_average" not in rows:
        return curve(rows, name)
    parts = [part for _, part in curve(rows, name).groupby("interval")]
    gap = pd.DataFrame({column: [np.nan] for column in parts[0].columns})
    return pd.concat([piece for part in parts for piece in (part, gap)], ignore_index=True)


def _curves(axis: Axes, table: pd.DataFrame) -> None:
    first = table.seed.min()
    for name in [name for name in NAMES if f"{name}_average" in table]:
        for (_, _, seed), rows in trajectories(table):
            shown = _broken(rows, name)
            shown = shown.assign(average=shown.average.where(shown.age != 0) if name == "svrg" else shown.average)
            style = {"lw": 2, "label": NAMES[name]} if seed == first else OTHERS
            axis.plot(shown.step, shown.average, color=COLOURS[name], ls=DASHES[name], **style)
    _events(axis, table[table.seed == first])
    axis.set(yscale="log", ylabel=AVERAGE)


@figure
def draw_estimators(table: pd.DataFrame) -> Figure:
    """Average variance of all estimators along a trajectory, and SG-B's normalised variance in both forms."""
    drawing, axes = plt.subplots(2, 1, figsize=(PAGE_WIDTH, 5.8), sharex=True, height_ratios=(3, 2))
    _curves(axes[0], table)
    drawing.legend(*axes[0].get_legend_handles_labels(), ncols=4, loc="outside upper center")
    for column, colour, label, style in (
        ("sgd_normalised", INK, "ratio of totals", "-"),
        ("sgd_guarded", SERIES[3], "authors' form", (0, (5, 2))),
    ):
        for (_, _, seed), rows in trajectories(table):
            at, first = log_points(rows), seed == table.seed.min()
            width = {"lw": 2, "label": label} if first else OTHERS
            axes[1].plot(at.step, at[column], color=colour, ls=style, **width)
    reference(axes[1], y=1)
    axes[1].set(ylabel="normalised variance\nof SG-B", xlabel=LOG_STEPS, ylim=(0, min(axes[1].get_ylim()[1], CUT)))
    axes[1].legend(ncols=2, loc="lower center")
    return drawing


@figure
def draw_noise(plain: pd.DataFrame, smoothed: pd.DataFrame, corrupted: pd.DataFrame) -> Figure:
    """The paper's Fig. 6 as shares of SG-B's variance: GC and SG-2B with plain, smoothed and redrawn labels."""
    drawing, axes = plt.subplots(1, 3, figsize=(PAGE_WIDTH, 3.4), sharey=True)
    for axis, table in zip(axes, (plain, smoothed, corrupted), strict=True):
        for name in ("sgd2", "gc"):
            for (_, _, seed), rows in trajectories(table):
                shown, first = _broken(rows, name), seed == table.seed.min()
                width = {"lw": 2, "label": NAMES[name]} if first else OTHERS
                axis.plot(shown.step, shown.ratio, color=COLOURS[name], ls=DASHES[name], **width)
        found = [np.mean([fluctuation(rows, name) for _, rows in trajectories(table)]) for name in ("gc", "sgd2")]
        axis.set_title(f"{case(table).iloc[0]} labels\nfluctuation {found[0]:.2f} ({found[1]:.2f})")
        axis.set(xlabel=LOG_STEPS, yscale="log")
        _events(axis, table[table.seed == table.seed.min()], named=False)
        reference(axis, y=1)
    axes[0].set_yticks([0.25, 0.5, 1, 2], ["1/4", "1/2", "1", "2"], minor=False)
    axes[0].minorticks_off()
    axes[0].set_ylabel("variance over that of SG-B")
    drawing.legend(*axes[0].get_legend_handles_labels(), ncols=2, loc="outside lower center")
    return drawing


@figure
def draw_rates(plain: pd.DataFrame, constant: pd.DataFrame) -> Figure:
    """SG-B's variance with a drop over that of the control, and against the training loss at constant rates."""
    drawing, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.4))
    base = plain.learning_rate.iloc[0]
    controls = {seed: rows for (_, rate, seed), rows in trajectories(constant) if rate == base}
    for place, ((_, _, seed), rows) in enumerate(trajectories(plain)):
        both = log_points(rows).merge(log_points(controls[seed])[["step", "sgd_average"]], on="step", suffixes=("", "_control"))
        axes[0].plot(both.step, both.sgd_average / both.sgd_average_control, marker=MARKERS[place % len(MARKERS)], ms=3, lw=1,
                     color=SERIES[place % len(SERIES)], label=f"seed {seed}")  # fmt: skip
    for i, step in enumerate(drop_steps(plain)):
        reference(axes[0], x=step, says="rate / 10" if not i else "")
    reference(axes[0], y=1)
    axes[0].set(xlabel=LOG_STEPS, ylabel="variance with drops\nover that without", yscale="log")
    axes[0].set_yticks([0.25, 0.5, 1, 2], ["1/4", "1/2", "1", "2"], minor=False)
    axes[0].minorticks_off()
    axes[0].margins(y=0.15)  # room for the name of the drop
    axes[0].legend()
    for rate, colour in rate_colours(constant.learning_rate).items():
        for (_, _, seed), rows in trajectories(constant[constant.learning_rate == rate]):
            at, first = log_points(rows), seed == constant.seed.min()
            axes[1].plot(at.train_loss, at.sgd_average, ".-", color=colour, lw=1.4 if first else 0.6, alpha=1 if first else 0.5,
                         label=f"{rate:g}" if first else None)  # fmt: skip
    axes[1].set(xlabel="training loss (falls to the right)", ylabel=AVERAGE, yscale="log")
    axes[1].invert_xaxis()
    axes[1].legend(title="constant rate")
    return drawing


@figure
def draw_states(states: pd.DataFrame) -> Figure:
    """GC's exact share of SG-B's variance with the places compared, and what the longest gradients are like there."""
    drawing, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.5), width_ratios=(3, 2))
    chosen = states[case(states) == "plain"]
    for place, (seed, rows) in enumerate(chosen.groupby("seed")):
        colour = SERIES[place % len(SERIES)]
        ratio = rows.gc_exact / rows.sgd_exact
        axes[0].plot(rows.step, ratio, color=colour, lw=1.4, label=f"seed {seed}")
        for where, marker, size in (("inside", "o", 8), ("outside", "s", 6)):
            at = rows.place == where
            axes[0].plot(rows.step[at], ratio[at], marker, ms=size, mfc="none", mec=colour, mew=1.6)
    axes[0].set(xlabel=LOG_STEPS, ylabel="variance of GC over that of SG-B\n(exact)")
    axes[0].legend()
    columns = {"top_norms": "of squared\nlengths", "top_variance": "of GC's\nvariance"}
    for x, column in enumerate(columns):
        for place, (_, rows) in enumerate(chosen.groupby("seed")):
            values = [rows[rows.place == where][column].iloc[0] for where in ("outside", "inside") if (rows.place == where).any()]
            axes[1].plot([x - 0.15, x + 0.15][: len(values)], values, "-", color=SERIES[place % len(SERIES)], lw=1.2)
            for dx, value, marker in zip((-0.15, 0.15), values, "so", strict=False):
                axes[1].plot(x + dx, value, marker, mfc="none", mec=SERIES[place % len(SERIES)], mew=1.6, ms=7)
    overlaps = chosen[chosen.place == "inside"]
    for place, (_, row) in enumerate(overlaps.iterrows()):
        colour = SERIES[place % len(SERIES)]
        axes[1].plot([1.85, 2.15], [row.overlap_outside, row.overlap], "-", color=colour, lw=1.2)
        axes[1].plot(1.85, row.overlap_outside, "s", mfc="none", mec=colour, mew=1.6, ms=7)
        axes[1].plot(2.15, row.overlap, "o", mfc="none", mec=colour, mew=1.6, ms=7)
    axes[1].set_xticks(range(3), [*columns.values(), "the same\nexamples"])
    axes[1].set(ylabel="share (1% longest gradients)", ylim=(0, None), xlim=(-0.5, 2.5))
    return drawing


@figure
def draw_variants(plain: pd.DataFrame, smoothed: pd.DataFrame, corrupted: pd.DataFrame, others: pd.DataFrame) -> Figure:
    """SG-B's variance of one seed: the plain run, its re-run, and what working options do."""
    drawing, axis = plt.subplots(figsize=(PAGE_WIDTH * 0.8, 3.4))
    first = plain.seed.min()
    for place, table in enumerate((plain, others[case(others) == "re-run"], smoothed, corrupted, others[others.corrupt_share > 0])):
        at = log_points(table[table.seed == first])
        axis.plot(
            at.step, at.sgd_average, marker=MARKERS[place], ms=3, lw=1.3, color=[INK, MUTED, *SERIES][place], label=case(table).iloc[0]
        )
    _events(axis, plain[plain.seed == first])
    axis.set(xlabel=LOG_STEPS, ylabel="average variance of SG-B", yscale="log")
    drawing.legend(*axis.get_legend_handles_labels(), ncols=5, loc="outside upper center")
    return drawing
