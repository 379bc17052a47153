"""Tables of break_even/02_early_phase: what is derived from the runs before it is judged, drawn, or said.

A *trajectory* is one learning rate and seed. *Probes* are its rows at multiples of ``every``; the row one step later says what that step did.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

from sgdscope.claims import estimate, incomplete

WINDOW = 3  # probes of a moving average


def probes(table: pd.DataFrame) -> pd.DataFrame:
    """The probes with what the next step did: columns ``loss_change``, ``sharpness_change``, ``distance_change``; NaN after the last step.

    Changes are the value after the step less that before it: a positive ``loss_change`` is a rise of the training loss (the paper's
    Delta L has the other sign). ``smooth_K`` and ``smooth_H`` are centred moving averages of the largest eigenvalues over three probes,
    ``log_K`` and ``log_H`` logarithms, ``time`` is learning rate times steps, ``relative_sharpness`` is
    lambda_H over 2 / eta, ``alpha`` lambda_K / lambda_H. Probes of a diverged trajectory at which nothing could be measured are left out.
    """
    found = []
    for _, rows in table.dropna(subset=["H_top"]).groupby(["learning_rate", "seed"], sort=False):
        at = rows[rows.step % rows.every.iloc[0] == 0].reset_index(drop=True)
        after = rows.set_index("step").reindex(at.step + 1).reset_index(drop=True)
        changes = {"loss_change": "train_loss", "sharpness_change": "H_top", "distance_change": "distance"}
        at = at.assign(**{name: after[column] - at[column] for name, column in changes.items()})
        derived = {
            "time": at.step * at.learning_rate,
            "relative_sharpness": at.H_top * at.learning_rate / 2,
            "alpha": at.K_top / at.H_top,
            "sharpness_percent": 100 * at.sharpness_change / at.H_top,
        }
        smooth = {f"smooth_{name}": at[f"{name}_top"].rolling(WINDOW, center=True, min_periods=1).mean() for name in "KH"}
        found.append(at.assign(**derived, **smooth, log_K=np.log(at.K_top), log_H=np.log(at.H_top.clip(lower=1e-12))))
    return pd.concat(found, ignore_index=True)


def points(table: pd.DataFrame) -> pd.DataFrame:
    """One row a trajectory: the probe at which the left side of Eq. 1 first reaches 1, as its index ``at`` and its values; -1 and NaN without one."""
    if incomplete(table):
        return table
    rows = []
    for (rate, seed), probed in trajectories(table):
        before = len(before_point(probed))
        at = before if before < len(probed) else -1
        row = {
            "learning_rate": rate,
            "seed": seed,
            "at": at,
            "last_step": probed.step.iloc[-1],
            "last_accuracy": probed.train_accuracy.iloc[-1],
        }
        for column in ("step", "train_accuracy", "H_top", "K_top", "stability_lhs"):
            row[column] = float(probed[column].iloc[at]) if at >= 0 else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def trajectories(table: pd.DataFrame) -> list[tuple[tuple[float, int], pd.DataFrame]]:
    """((learning rate, seed), its probes) of each trajectory."""
    return [(key, rows.reset_index(drop=True)) for key, rows in probes(table).groupby(["learning_rate", "seed"])]


def per_seed(table: pd.DataFrame, measure: Callable[[pd.DataFrame], float], *, rates: list[float] | None = None) -> pd.Series:
    """Seed to the mean over learning rates of a number of each trajectory; NaN ones are left out."""
    rows = [(seed, measure(probed)) for (rate, seed), probed in trajectories(table) if rates is None or rate in rates]
    return pd.DataFrame(rows, columns=["seed", "value"]).dropna().groupby("seed").value.mean()


def ends(table: pd.DataFrame) -> tuple[float, float]:
    """Smallest and largest learning rate."""
    return float(table.learning_rate.min()), float(table.learning_rate.max())


def equal_accuracies(table: pd.DataFrame, number: int = 10) -> pd.DataFrame:
    """lambda_K at equal training accuracies: columns learning_rate, seed, accuracy, K_top.

    For each seed ``number`` accuracies from half of the way (from the largest first accuracy of its trajectories) to the largest that all
    of them reach; each trajectory gives the smoothed lambda_K at its first probe of at least that accuracy.
    """
    rows = []
    for seed, of_seed in probes(table).groupby("seed"):
        grouped = [(rate, rows.reset_index(drop=True)) for rate, rows in of_seed.groupby("learning_rate")]
        low = max(rows.train_accuracy.iloc[0] for _, rows in grouped)
        high = min(rows.train_accuracy.max() for _, rows in grouped)
        for accuracy in np.linspace((low + high) / 2, high, number):
            for rate, probed in grouped:
                first = int(np.flatnonzero(probed.train_accuracy.to_numpy() >= accuracy)[0])
                rows.append({"learning_rate": rate, "seed": seed, "accuracy": accuracy, "K_top": probed.smooth_K.iloc[first]})
    return pd.DataFrame(rows)


def before_point(probed: pd.DataFrame) -> pd.DataFrame:
    """Probes before the break-even point; all where there is none."""
    past = np.flatnonzero(probed.stability_lhs.to_numpy() >= 1)
    return probed.iloc[: past[0]] if len(past) else probed


def from_point(probed: pd.DataFrame) -> pd.DataFrame:
    """Probes from the break-even point on; none where there is none."""
    return probed.iloc[len(before_point(probed)) :]


def correlation(a: pd.Series, b: pd.Series) -> float:
    """Pearson correlation of the pairs without NaN; NaN where one does not vary or there are fewer than three."""
    pairs = pd.concat([a, b], axis=1).dropna().to_numpy()
    return float(np.corrcoef(pairs.T)[0, 1]) if len(pairs) >= 3 and (pairs.std(0) > 0).all() else np.nan


def rank_correlation(a: pd.Series, b: pd.Series) -> float:
    """Spearman's correlation, likewise."""
    pairs = pd.concat([a, b], axis=1).dropna()
    return correlation(pd.Series(stats.rankdata(pairs.iloc[:, 0])), pd.Series(stats.rankdata(pairs.iloc[:, 1])))


def equal_accuracy_table(table: pd.DataFrame) -> pd.DataFrame:
    """lambda_K at equal accuracy with its 95% interval over seeds: columns learning_rate, place, accuracy, K_top, low, high.

    Seeds have accuracies of their own; ``place`` counts them, and those of one place are averaged.
    """
    if incomplete(table):
        return table
    at = equal_accuracies(table)
    at["place"] = at.groupby(["learning_rate", "seed"]).cumcount()
    rows = []
    for (rate, place), values in at.groupby(["learning_rate", "place"]):
        logs = estimate(np.log(values.K_top).tolist())
        low, high = logs.interval or (logs.value, logs.value)
        rows.append(
            {
                "learning_rate": rate,
                "place": place,
                "accuracy": values.accuracy.mean(),
                "K_top": np.exp(logs.value),
                "low": np.exp(low),
                "high": np.exp(high),
            }
        )
    return pd.DataFrame(rows)


# Numbers for figures and sentences

SHOWN = ["learning_rate", "seed", "step", "train_accuracy"]


def course_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """What the course and the scatter plots draw."""
    if incomplete(table):
        return table
    return probes(table)[
        [*SHOWN, "train_loss", "loss_change", "K_top", "K_conditioning", "K_trace", "H_top", "curvature_std", "stability_lhs"]
    ]


def assumption_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """What is drawn of Assumptions 1 and 2."""
    if incomplete(table):
        return table
    return probes(table)[[*SHOWN, "quadratic_error", "alignment", "alpha"]]


def step_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """What is drawn of Assumptions 3 and 4."""
    if incomplete(table):
        return table
    return probes(table)[[*SHOWN, "stability_lhs", "H_top", "sharpness_change", "distance", "distance_change"]].dropna()


def spectra_numbers(peaks: pd.DataFrame) -> pd.DataFrame:
    """What is drawn of the spectra at the peak."""
    if incomplete(peaks):
        return peaks
    return peaks[["learning_rate", "seed", "matrix", "step", "accuracy", "rank", "eigenvalue"]]


def point_numbers(table: pd.DataFrame) -> dict[str, float] | None:
    """Where the point lies, and how the left side goes on."""
    if incomplete(table):
        return None
    found, (small, large) = points(table), ends(table)
    of_large, of_small = found[found.learning_rate == large], found[found.learning_rate == small]
    reached = of_large[of_large["at"] >= 0]
    after = [from_point(probed).stability_lhs for (rate, _), probed in trajectories(table) if rate == large]
    slow = pd.concat([probed.iloc[1:] for (rate, _), probed in trajectories(table) if rate == small])
    last = [probed.H_top.iloc[-1] * small / 2 for (rate, _), probed in trajectories(table) if rate == small]
    return {
        "reached": len(reached),
        "runs": len(of_large),
        "low": float(reached.train_accuracy.min()),
        "high": float(reached.train_accuracy.max()),
        "median": float(pd.concat(after).median()),
        "reached_small": int((of_small["at"] >= 0).sum()),
        "runs_small": len(of_small),
        "largest_small": float(slow.stability_lhs.max()),
        "share_small": float(np.mean(last)),
    }


def accuracy_numbers(table: pd.DataFrame) -> dict[str, float] | None:
    """lambda_K of the smallest over that of the largest rate at both ends of the accuracies compared, and at how many it is above 1."""
    if incomplete(table):
        return None
    at, (small, large) = equal_accuracy_table(table), ends(table)
    ratio = at[at.learning_rate == small].K_top.to_numpy() / at[at.learning_rate == large].K_top.to_numpy()
    accuracy = at[at.learning_rate == small].accuracy.to_numpy()
    ends_of = {"low": accuracy[0], "ratio_low": ratio[0], "high": accuracy[-1], "ratio_high": ratio[-1]}
    return ends_of | {"noisier": int((ratio > 1).sum()), "compared": len(ratio)}


def step_shares(table: pd.DataFrame) -> dict[str, float] | None:
    """Percentages of unstable and stable steps that change sharpness and distance as Assumptions 3 and 4 say."""
    if incomplete(table):
        return None
    steps = probes(table).dropna(subset=["sharpness_change"])
    unstable, stable = steps[steps.stability_lhs > 1], steps[steps.stability_lhs <= 1]
    return {
        "unstable": len(unstable),
        "unstable_sharpness": 100 * float((unstable.sharpness_change < 0).mean()) if len(unstable) else float("nan"),
        "unstable_distance": 100 * float((unstable.distance_change > 0).mean()) if len(unstable) else float("nan"),
        "stable": len(stable),
        "stable_sharpness": 100 * float((stable.sharpness_change > 0).mean()),
        "stable_distance": 100 * float((stable.distance_change < 0).mean()),
    }
