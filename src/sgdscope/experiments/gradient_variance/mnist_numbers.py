"""Numbers of gradient_variance/03_mnist: tables on the page and behind its figures, and what its sentences say."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sgdscope.claims import incomplete
from sgdscope.experiments.gradient_variance.mnist_tables import (
    SHARES,
    correlations,
    curves,
    flipped,
    fresh_ratios,
    guard_table,
    halves,
    losses_apart,
    overparametrisation,
    part_of,
    problem_table,
    protocols,
    wide,
    without_replacement,
)
from sgdscope.experiments.gradient_variance.table_2 import in_force


def presence(table: pd.DataFrame) -> dict[str, float] | None:
    """How many of the runs of a table are there."""
    sources = table.attrs.get("sources")
    if table.empty:
        return None
    expected = len(table.groupby("seed")) if sources is None else sources.expected
    return {"found": expected - (0 if sources is None else sources.missing), "expected": expected}


def by_name(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The table with the names of its rows in front, in place of their numbers."""
    return table.set_index(column).rename_axis(index=None, columns=column)


def settings(config: object) -> pd.DataFrame:
    """The hyperparameters in force beside the paper's, as text; the drops of the rate are left out where neither has any."""
    found = in_force(config, "mnist_mlp").set_index("setting")
    if not any(found.loc["drops", ["paper", "here"]]):
        found = found.drop(["drops", "drop_factor"])
    symbols = {"batch_size": "B, K", "num_steps": "T", "log_every": "Log T", "repeats": "Estim T", "update_every": "U", "gc_steps": "GC T"}
    shown = {name: f"{name.replace('_', ' ')} ({symbols[name]})" if name in symbols else name.replace("_", " ") for name in found.index}
    return by_name(found.rename(index=shown).map(_shown).reset_index(), "setting")


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def counted_networks() -> pd.DataFrame:
    """`overparametrisation` as the page shows it."""
    found = overparametrisation()
    whole = {name: found[name].map("{:,}".format) for name in ("parameters", "images")}
    names = {"ratio": "parameters an image", "paper": "printed"}
    return by_name(found.assign(**whole, ratio=found.ratio.round(1)).rename(columns=names), "network")


def course_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """What the figure of the variances draws."""
    return (
        table
        if incomplete(table)
        else curves(table)[["seed", "estimator", "step", "train_loss", "variance", "fresh", "normalised", "shared"]]
    )


def normalised_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """What the figures of the normalised variance draw."""
    return table if incomplete(table) else guard_table(table)


def half_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """What the figure of the ratio draws."""
    return table if incomplete(table) else halves(table)


def growth_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """What the figure of strong growth draws."""
    if incomplete(table):
        return table
    return table[table.growth_max.notna()][
        ["seed", "step", "train_loss", "growth_max", "growth_mean_square", "growth_gradient_norm", "growth_variance"]
    ]


def protocol_numbers(main: pd.DataFrame, authors: pd.DataFrame) -> pd.DataFrame:
    """What is drawn of the variances in both protocols."""
    return authors if incomplete(main) or incomplete(authors) else protocols(main, authors)


def problem_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """What the figure of the problems draws."""
    return table if incomplete(table) else problem_table(table)


def training_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """What the figure of training with each estimator draws."""
    if incomplete(table):
        return table
    return table[["dataset", "model", "estimator", "seed", "step", "gradients", "train_loss", "train_accuracy"]]


def noise_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of the formulas on synthetic estimates, as the page shows them."""
    if incomplete(table):
        return table
    names = {
        "normalised": "ratio of totals",
        "same_draws": "mean of ratios, same draws",
        "unguarded": "other draws",
        "guarded": "other draws, guard",
    }
    found = table.groupby(["repeats", "signal", "scale"], as_index=False)[list(names)].mean()
    estimates = [
        f"{'signal and noise' if row.signal else 'noise'}, R = {row.repeats:g}{'' if row.scale == 1 else f', times {row.scale:.3f}'}"
        for row in found.itertuples()
    ]
    return by_name(found[list(names)].rename(columns=names).assign(estimates=estimates), "estimates")


def fresh_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Constructed gradients: mean and largest ratio over seeds by set and rule."""
    if incomplete(table):
        return table
    return table.groupby(["gradients", "sizes"], as_index=False).agg(
        ratio=("ratio", "mean"), largest=("ratio", "max"), clusters=("clusters", "mean")
    )


def said(table: pd.DataFrame) -> dict[str, float] | None:
    """Where the main trajectories begin and end."""
    if incomplete(table):
        return None
    found, end = wide(table), table[table.step == table.groupby("seed").step.transform("max")]
    means, guard = found.groupby("step").mean(), guard_table(table).groupby("step")[["totals", "guarded"]].mean()
    gap = np.log(found.gc / found.sgd2).groupby("seed").mean()
    growth = table[table.growth_max.notna()].groupby("step").growth_max.mean()
    return {
        "loss": float(end.train_loss.mean()), "accuracy": 100 * float(end.train_accuracy.mean()),
        "first": float(means.sgd.iloc[0]), "largest": float(means.sgd.max()),
        "last": float(part_of(means.sgd, 0.9, 1).mean()), "gc": float(np.exp(gap.mean())),
        "svrg": float((part_of(means.svrg.dropna(), 0.8, 1) / part_of(means.sgd, 0.8, 1)).mean()),
        "totals_first": float(part_of(guard.totals, 0, 0.1).mean()), "totals_last": float(part_of(guard.totals, 0.9, 1).mean()),
        "guarded_first": float(part_of(guard.guarded, 0, 0.1).mean()),
        "guarded_last": float(part_of(guard.guarded, 0.9, 1).mean()),
        "growth_first": float(growth.iloc[0]), "growth_last": float(growth.iloc[-1]), "growth_largest": float(growth.max()),
    }  # fmt: skip


def half_said(table: pd.DataFrame) -> dict[str, float] | None:
    """The ratio of SG-2B to SG-B, what it should be, its range over single measurements, and how many are 1 or more."""
    if incomplete(table):
        return None
    ratio = halves(table).ratio
    found = {"mean": float(np.exp(np.log(ratio).mean())), "formula": without_replacement(table)}
    return found | {"low": float(ratio.min()), "high": float(ratio.max()), "above": int((ratio >= 1).sum()), "count": len(ratio)}


def problems_said(table: pd.DataFrame) -> dict[str, float] | None:
    """Mean rank correlations over seeds at each share of the loss, and with the statistics over whole runs."""
    if incomplete(table):
        return None
    found = {
        f"{name}_{share:g}".replace(".", "_"): float(correlations(table, share)[name].mean())
        for share in SHARES
        for name in ("variance", "normalised")
    }
    whole = correlations(table, whole=True)
    found |= {f"{name}_whole": float(whole[name].mean()) for name in ("variance", "normalised", "authors_form")}
    each = problem_table(table)
    found |= {"problems": each.problem.nunique(), "unreached": int((~each.reached).sum())}
    return found | {
        "runs": len(each),
        "once": int((each.measurements == 1).sum()),
        "first": int(table[table.sgd_average.notna()].step.min()),
    }


def fresh_said(main: pd.DataFrame, constructed: pd.DataFrame) -> dict[str, float] | None:
    """Ratios right after updates, and on constructed gradients."""
    if incomplete(main) or incomplete(constructed):
        return None
    after = fresh_ratios(main).groupby("estimator").ratio
    return {
        "svrg": float(after.max()["svrg"]),
        "gc_mean": float(after.mean()["gc"]),
        "gc": float(after.max()["gc"]),
        "worst": float(constructed.ratio.max()),
    }


def protocol_said(main: pd.DataFrame, authors: pd.DataFrame) -> dict[str, float] | None:
    """How far the runs of the authors' protocol lie apart, and the largest change of a mean log variance."""
    if incomplete(main) or incomplete(authors):
        return None
    both = protocols(main, authors)
    return {
        "loss": float(np.exp(losses_apart(authors).mean())),
        "factor": float(10 ** (both.shared - both.authors).abs().max()),
        "flipped": len(flipped(both)),
    }


def training_said(table: pd.DataFrame) -> dict[str, float] | None:
    """Losses at the end by estimator, geometric means over seeds, of the first problem."""
    if incomplete(table):
        return None
    first = table[(table.dataset == table.dataset.iloc[0]) & (table.model == table.model.iloc[0])]
    last = first[first.step == first.step.max()]
    found = np.exp(np.log(last.train_loss).groupby(last.estimator).mean())
    return {name: float(value) for name, value in found.items()} | {
        f"{name}_gradients": float(rows.gradients.mean()) for name, rows in last.groupby("estimator")
    }
