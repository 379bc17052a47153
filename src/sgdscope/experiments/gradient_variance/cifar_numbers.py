"""What gradient_variance/04_cifar draws and says, from the collected tables; None or nothing where runs are missing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from sgdscope.claims import incomplete
from sgdscope.experiments.gradient_variance.cifar_tables import (
    NAMES,
    after_drop,
    case,
    curve,
    distance,
    equal_losses,
    fluctuation,
    jump,
    log_points,
    median_ratio,
    per_seed,
    rise_to_drop,
    trajectories,
)


def curve_numbers(*tables: pd.DataFrame) -> pd.DataFrame:
    """What the curves draw: one row a log point, with the values just before an update beside those after it."""
    if any(incomplete(table) for table in tables):
        return pd.DataFrame()
    found = []
    for table in tables:
        columns = [f"{name}{part}" for name in NAMES for part in ("_average", "_before_average") if f"{name}{part}" in table]
        shown = ["step", "train_loss", "train_accuracy", *columns, "sgd_normalised", "sgd_guarded"]
        rows = log_points(table)
        found.append(rows.assign(case=case(rows))[["case", "learning_rate", "seed", *[name for name in shown if name in rows]]])
    return pd.concat(found, ignore_index=True)


def fluctuation_table(*tables: pd.DataFrame) -> pd.DataFrame:
    """Fluctuation and median share of each estimator, mean over seeds: columns case, estimator, fluctuation, share (of SG-B's variance), seeds."""
    if any(incomplete(table) for table in tables):
        return pd.DataFrame()
    rows = [
        {"case": name, "seed": seed, "estimator": NAMES[of], "fluctuation": fluctuation(found, of), "share": np.exp(median_ratio(found, of))}
        for table in tables for (name, _, seed), found in trajectories(table) for of in ("sgd2", "gc") if f"{of}_average" in found
    ]  # fmt: skip
    grouped = pd.DataFrame(rows).groupby(["case", "estimator"], sort=False)
    return grouped.agg(fluctuation=("fluctuation", "mean"), share=("share", "mean"), seeds=("seed", "nunique")).reset_index()


def estimator_numbers(table: pd.DataFrame) -> dict[str, float] | None:
    """SG-B's rise and jumps as factors, and the usual and largest shares that GC and SVRG have of its variance."""
    if incomplete(table):
        return None

    def mean(measure: Callable[[pd.DataFrame], float]) -> float:
        return float(per_seed(table, measure).mean())

    found = {"rise": np.exp(mean(rise_to_drop)), "jump": np.exp(mean(jump)), "gc": np.exp(mean(lambda rows: median_ratio(rows, "gc")))}
    found |= {"normalised_rise": np.exp(mean(lambda rows: rise_to_drop(rows, "sgd_normalised")))}
    curves = {name: [curve(rows, name) for _, rows in trajectories(table)] for name in ("gc", "svrg")}
    ratios = {name: [found.ratio[found.age > 0] for found in curves[name]] for name in curves}  # not right after an update
    found |= {f"{name}_largest": float(max(values.max() for values in ratios[name])) for name in ratios}
    at = log_points(table)
    found |= {"largest_totals": float(at.sgd_normalised.max()), "above": int((at.sgd_guarded > 1).sum()), "points": len(at)}
    found |= {"examples": int(at.training_size.iloc[0])}
    return found | {"svrg_end": float(np.mean([values.iloc[-1] for values in ratios["svrg"]])), "guarded": float(at.sgd_guarded.median())}


def noise_numbers(plain: pd.DataFrame, smoothed: pd.DataFrame, corrupted: pd.DataFrame) -> dict[str, float] | None:
    """Fluctuation of GC and of SG-2B, and GC's usual share, with plain, smoothed and redrawn labels."""
    found = fluctuation_table(plain, smoothed, corrupted)
    if found.empty:
        return None
    names = zip(("plain", "smoothed", "redrawn"), found.case.unique(), strict=True)
    values = found.set_index(["case", "estimator"])
    return {
        f"{name}_{of}{what[0]}": float(values[what][of_case, shown])
        for name, of_case in names for of, shown in (("gc", "GC"), ("noise", "SG-2B")) for what in ("fluctuation", "share")
    }  # fmt: skip


def rate_numbers(plain: pd.DataFrame, constant: pd.DataFrame) -> dict[str, float] | None:
    """Variance after a drop over that of the control, and of the smallest over the largest constant rate at equal loss."""
    if incomplete(plain) or incomplete(constant):
        return None
    base, (low, high) = plain.learning_rate.iloc[0], (constant.learning_rate.min(), constant.learning_rate.max())
    controls = {seed: rows for (_, rate, seed), rows in trajectories(constant) if rate == base}
    drops = [after_drop(rows, controls[seed]) for (_, _, seed), rows in trajectories(plain) if seed in controls]
    at = equal_losses(constant)
    logs = np.log(at.average).groupby(at.learning_rate).mean()
    equal = float(np.exp(logs[low] - logs[high])) if len(at) else float("nan")
    return {"drop": float(np.exp(np.nanmean(drops))), "equal": equal, "low": low, "high": high}


def variant_numbers(plain: pd.DataFrame, smoothed: pd.DataFrame, corrupted: pd.DataFrame, others: pd.DataFrame) -> dict[str, float] | None:
    """How far SG-B's curves lie apart, as factors, mean over log points and seeds: re-run, smoothed and 10% redrawn from plain, 20% from 10%."""
    if any(incomplete(table) for table in (plain, smoothed, corrupted, others)):
        return None
    found = {(name, seed): rows for table in (plain, smoothed, corrupted, others) for (name, _, seed), rows in trajectories(table)}

    def apart(one: str, other: str) -> float:
        logs = [distance(rows, found[other, seed]) for (name, seed), rows in found.items() if name == one and (other, seed) in found]
        return float(np.exp(np.mean(logs))) if logs else np.nan

    numbers = {"rerun": apart("re-run", "plain"), "smoothed": apart("smoothed", "plain"), "redrawn": apart("10% redrawn", "plain")}
    return numbers | {"more": apart("20% redrawn", "10% redrawn")}


STATE_COLUMNS = [
    "step",
    "gc_exact",
    "sgd_exact",
    "excess",
    "place",
    "top_norms",
    "top_variance",
    "top_changed",
    "overlap",
    "overlap_outside",
]


def state_numbers(states: pd.DataFrame) -> pd.DataFrame:
    """What the figure of the gradients' states draws."""
    if incomplete(states):
        return pd.DataFrame()
    return states.assign(case=case(states))[["case", "seed", *STATE_COLUMNS]]


def inside_numbers(states: pd.DataFrame) -> dict[str, float] | None:
    """How far the largest fluctuation goes, and the numbers inside and outside, mean over seeds of the plain runs and of the redrawn ones.

    Of the plain runs too, in how many of their intervals (from one refresh to the next, with two log points or more) GC's share is largest last.
    """
    if incomplete(states):
        return None
    plain = states[case(states) == "plain"]
    chosen = plain[plain.place == "inside"]
    redrawn = states[(case(states) != "plain") & (states.place == "inside")]
    share, interval = plain.gc_exact / plain.sgd_exact, (plain.age == 0).groupby(plain.seed).cumsum()
    intervals = [values for _, values in share.groupby([plain.seed, interval]) if len(values) > 1]
    return {
        "age": float(chosen.age.mean()),
        "intervals": len(intervals),
        "largest_last": sum(values.idxmax() == values.index[-1] for values in intervals),
        "factor": float(np.exp(chosen.excess.mean())),
        "overlap": float(chosen.overlap.mean()),
        "overlap_outside": float(chosen.overlap_outside.mean()),
        "top_changed": 100 * float(redrawn.top_changed.mean()),
        "changed": 100 * float(redrawn.changed.mean()),
    }
