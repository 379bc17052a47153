"""Tables of gradient_variance/04_cifar: curves of the estimators along a trajectory, and the numbers that describe them.

A *log point* is a step at which variances are measured. An *interval* goes from one update of clusters and snapshots to the next. It begins with
the values right after its update and ends with those measured just before the next.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

NAMES = {"sgd": "SG-B", "sgd2": "SG-2B", "svrg": "SVRG", "gc": "GC"}
WINDOW = 3  # log points on either side of a drop
SEED_OF_DRAWS = "draws_seed"


def case(table: pd.DataFrame) -> pd.Series:
    """What was changed against the plain run, in words: plain, re-run, smoothed, 10% redrawn, ..."""
    share = (100 * table.corrupt_share).map("{:g}% redrawn".format)
    rerun = table[SEED_OF_DRAWS].notna() if SEED_OF_DRAWS in table else pd.Series(False, index=table.index)
    changed = np.select([table.corrupt_share > 0, table.label_smoothing > 0, rerun], [share, "smoothed", "re-run"], "plain")
    return pd.Series(changed, index=table.index)


def trajectories(table: pd.DataFrame) -> list[tuple[tuple[str, float, int], pd.DataFrame]]:
    """((case, learning rate, seed), its rows) of each trajectory; those that diverged before anything was measured are left out."""
    keys = ["case", "learning_rate", "seed"]
    table = table.assign(case=case(table))
    table = table[table.groupby(keys).sgd_average.transform("count") > 0] if "sgd_average" in table else table[:0]
    return [(key, rows.reset_index(drop=True)) for key, rows in table.groupby(keys, sort=False)]


def log_points(rows: pd.DataFrame) -> pd.DataFrame:
    """The log points of one trajectory."""
    if "sgd_average" not in rows:
        return rows[:0]
    return rows[rows.sgd_average.notna()].reset_index(drop=True)


def drop_steps(rows: pd.DataFrame) -> list[int]:
    """Steps at which the rate of one trajectory falls."""
    return [int(step) for step in str(rows.drops.iloc[0]).split(", ") if step]


def curve(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """An estimator along one trajectory, with both values at an update: columns step, interval, age, average, ratio (to SG-B at that step)."""
    at = log_points(rows)
    age = at.get(f"{name}_age", at.sgd_age)
    interval = (age == 0).cumsum() - 1
    found = pd.DataFrame({"step": at.step, "interval": interval, "age": age, "average": at[f"{name}_average"], "sgd": at.sgd_average})
    before = f"{name}_before_average"
    if before in at:
        due = at[at[before].notna()]
        previous = interval[due.index] - 1
        since = due.step - found.groupby("interval").step.first().reindex(previous).to_numpy()
        found = pd.concat([
            pd.DataFrame({"step": due.step, "interval": previous, "age": since, "average": due[before], "sgd": due.sgd_average}), found,
        ]).sort_values(["interval", "age"], ignore_index=True)  # fmt: skip
    return found.assign(ratio=found.average / found.sgd).drop(columns="sgd")


# Numbers of one trajectory; NaN where it does not have what they need (it diverged, or has no drop)


def rise(rows: pd.DataFrame, column: str = "sgd_average", *, until: int | None = None) -> float:
    """log of a column, mean over the last quarter of the log points (up to the step ``until``) less mean over the first quarter."""
    at = log_points(rows)
    values = np.log(at[at.step <= until][column] if until is not None else at[column]).to_numpy()
    quarter = len(values) // 4
    return float(values[-quarter:].mean() - values[:quarter].mean()) if quarter else np.nan


def rise_to_drop(rows: pd.DataFrame, column: str = "sgd_average") -> float:
    """The same up to the first drop."""
    drops = drop_steps(rows)
    return rise(rows, column, until=drops[0]) if drops else np.nan


def jump(rows: pd.DataFrame, column: str = "sgd_average", *, less_before: bool = False) -> float:
    """log of a column, mean over the three log points after a drop less mean over the three before it, mean over drops.

    With ``less_before`` less the same change one window earlier, so that a steady rise gives 0.
    """
    at, found = log_points(rows), []
    values = np.log(at[column].to_numpy())
    for drop in drop_steps(rows):
        first = int((at.step <= drop).sum())
        windows = [values[max(first + i * WINDOW, 0) : first + (i + 1) * WINDOW] for i in (-2, -1, 0)]
        means = [window.mean() if len(window) else np.nan for window in windows]
        found.append(means[2] - means[1] - (means[1] - means[0] if less_before else 0))
    return float(np.mean(found)) if found else np.nan


def median_ratio(rows: pd.DataFrame, name: str, other: str = "sgd") -> float:
    """log of an estimator's over another's average variance, median over log points."""
    at = log_points(rows)
    return float(np.log(at[f"{name}_average"] / at[f"{other}_average"]).median())


def _over_intervals(rows: pd.DataFrame, name: str, measure: Callable[[np.ndarray], float]) -> float:
    found = [measure(np.log(part.ratio.to_numpy())) for _, part in curve(rows, name).groupby("interval") if len(part) >= WINDOW]
    return float(np.mean(found)) if found else np.nan


def fluctuation(rows: pd.DataFrame, name: str) -> float:
    """Largest less median of log(average variance / SG-B's) over the log points of an interval, mean over intervals.

    0 for an estimator whose share of SG-B's variance is constant; what SG-2B has is the noise of the measurement. 1 means that the share
    rises once in an interval to e times its usual value. Does not depend on the scale of the loss.
    """
    return _over_intervals(rows, name, lambda log: log.max() - np.median(log))


def fall_back(rows: pd.DataFrame, name: str) -> float:
    """The same with the last value of the interval in place of the median: 0 for what only rises."""
    return _over_intervals(rows, name, lambda log: log.max() - log[-1])


def growth(rows: pd.DataFrame, name: str = "svrg") -> float:
    """Rank correlation of the average variance with the steps since the update, mean over intervals."""
    found = []
    for _, part in curve(rows, name).groupby("interval"):
        if len(part) >= WINDOW and part.average.nunique() > 1:
            found.append(float(stats.spearmanr(part.age, part.average).statistic))
    return float(np.mean(found)) if found else np.nan


def falls(table: pd.DataFrame, name: str = "svrg", by: float = 0.1) -> float:
    """Share of neighbouring log points of an interval at which the average variance falls by more than ``by``, over all trajectories."""
    steps = pd.concat([
        (part.average.diff() / part.average.shift()).iloc[1:]
        for _, rows in trajectories(table) for _, part in curve(rows, name).groupby("interval")
    ])  # fmt: skip
    return float((steps < -by).mean()) if len(steps) else np.nan


def distance(rows: pd.DataFrame, other: pd.DataFrame, column: str = "sgd_average") -> float:
    """Mean over common log points of the absolute difference of the logs of a column."""
    both = log_points(rows)[["step", column]].merge(log_points(other)[["step", column]], on="step", suffixes=("", "_other"))
    return float(np.log(both[column] / both[f"{column}_other"]).abs().mean()) if len(both) else np.nan


def after_drop(rows: pd.DataFrame, control: pd.DataFrame, column: str = "sgd_average") -> float:
    """log of a column after the first drop (up to the next) less that of the control without one, mean over log points."""
    drops = [*drop_steps(rows), np.inf]
    both = log_points(rows)[["step", column]].merge(log_points(control)[["step", column]], on="step", suffixes=("", "_control"))
    both = both[(both.step > drops[0]) & (both.step <= drops[1])] if len(drops) > 1 else both[:0]
    return float(np.log(both[column] / both[f"{column}_control"]).mean()) if len(both) else np.nan


def equal_losses(table: pd.DataFrame, number: int = 10) -> pd.DataFrame:
    """SG-B's average variance at equal training loss: columns learning_rate, seed, place, loss, average.

    For each seed ``number`` losses, evenly spaced in log loss, from half of the way (from the smallest loss at a first log point) to the
    smallest that all rates reach; each trajectory gives its first log point of at most that loss. Those that diverged are left out.
    """
    found = []
    for seed, of_seed in table[table.status != "diverged"].groupby("seed"):
        grouped = [(rate, log_points(rows)) for rate, rows in of_seed.groupby("learning_rate")]
        if len(grouped) < 2:
            continue
        first = np.log(min(rows.train_loss.iloc[0] for _, rows in grouped))
        last = np.log(max(rows.train_loss.min() for _, rows in grouped))
        for place, loss in enumerate(np.exp(np.linspace((first + last) / 2, last, number))):
            for rate, rows in grouped:
                at = int(np.flatnonzero(rows.train_loss.to_numpy() <= loss * (1 + 1e-12))[0])
                found.append({"learning_rate": rate, "seed": seed, "place": place, "loss": loss, "average": rows.sgd_average.iloc[at]})
    return pd.DataFrame(found, columns=["learning_rate", "seed", "place", "loss", "average"])


def per_seed(table: pd.DataFrame, measure: Callable[[pd.DataFrame], float], *, of: str | None = None) -> pd.Series:
    """Seed to the mean over trajectories (of one case) of a number of each; NaN ones are left out."""
    rows = [(seed, measure(rows)) for (name, _, seed), rows in trajectories(table) if of in (None, name)]
    return pd.DataFrame(rows, columns=["seed", "value"]).dropna().groupby("seed").value.mean()
