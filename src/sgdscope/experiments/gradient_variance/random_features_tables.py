"""Tables that evidence, figures and sentences of the random-features page are made from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

TAU, RATE, TEACHER, INPUT = "overparametrisation", "learning_rate", "teacher_hidden", "input_dim"
RUN = ["definition", TAU, INPUT, TEACHER, RATE, "seed"]
"""What tells two students apart."""
NAMES = {"figures": "unit features, two outputs", "paper": "unit features, one output", "authors_code": "default initialisation"}
"""Set-ups in words."""
FIRST = 0.3
"""Share of the steps that the statistics leave out (App. C.2)."""
THRESHOLD = 5.0
"""h_s / N at which normalised variance is said to fall below 1."""
TARGET_LOSS = 0.1
"""Training loss, in nats, that the runs with several batch sizes have to reach."""
PLOTTED_SETTINGS = {"hidden": 1000, "batch_size": 10, "num_steps": 5000}
PLOTTED = {  # SG-B, mean over the last 70% of log points: the authors' own plot (Fig. 9), read from its marks to about 5%
    0.1: {0.1: 1.2e-2, 0.5: 4.7e-3, 1: 8.8e-6, 1.5: 2.5e-6, 2: 1.2e-6, 2.5: 5.8e-7, 3: 4.6e-7, 5: 1.2e-7, 10: 1.5e-8},
    0.01: {0.1: 7.8e-3, 0.5: 4.1e-3, 1: 1.2e-3, 1.5: 4.0e-4, 2: 1.9e-4, 2.5: 9.2e-5, 3: 6.2e-5, 5: 1.5e-5, 10: 1.9e-6},
    0.001: {0.1: 8.9e-3, 0.5: 7.4e-3, 1: 5.5e-3, 1.5: 4.6e-3, 2: 3.4e-3, 2.5: 2.6e-3, 3: 2.2e-3, 5: 1.0e-3, 10: 1.8e-4},
}
THEIR_FACTOR = 1.1
"""1 + 1/R at R = 10: by how much the variance of the authors' code is too large on average."""


def last(table: pd.DataFrame) -> pd.DataFrame:
    """The last 70% of the log points."""
    return table[table.step > FIRST * table.num_steps]


def statistics(table: pd.DataFrame, column: str = "exact") -> pd.DataFrame:
    """``mean`` and ``max`` of a column over the last 70% of each run, one row a student and estimator; logarithms beside them."""
    found = last(table).groupby([*RUN, "estimator"])[column].agg(["mean", "max"]).reset_index()
    with np.errstate(divide="ignore"):
        return found.assign(log_mean=np.log(found["mean"]), log_max=np.log(found["max"]))


def of(table: pd.DataFrame, estimator: str = "SG-B") -> pd.DataFrame:
    """Rows of one estimator."""
    return table[table.estimator == estimator]


def difference(frame: pd.DataFrame, column: str, factor: str, high: float, low: float) -> pd.Series:
    """Mean of a column at one value of a factor less at another, by seed."""
    means = frame.groupby([factor, "seed"])[column].mean()
    return means[high] - means[low]


def slopes(frame: pd.DataFrame, x: str, y: str) -> pd.Series:
    """Slope of the least-squares line of ``y`` on ``log x``, by seed; ``y`` is first averaged at each x."""
    means = frame.groupby(["seed", x])[y].mean()
    return means.groupby("seed").apply(lambda line: np.polyfit(np.log(line.index.get_level_values(x)), line.to_numpy(), 1)[0])


def gains(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """One row a student: ``spread`` (log of largest over smallest estimator) and ``svrg`` (log of SG-B over SVRG)."""
    wide = frame.pivot(index=RUN, columns="estimator", values=column)
    return pd.DataFrame({"spread": wide.max(axis=1) - wide.min(axis=1), "svrg": wide["SG-B"] - wide["SVRG"]}).reset_index()


def crossing(curve: pd.Series) -> float:
    """Largest x at which a curve falls through 1, linear in log x; the last x if it ends above, the first if it is never above."""
    x, y = np.log(curve.index.to_numpy(dtype=float)), curve.to_numpy()
    falls = np.flatnonzero((y[:-1] >= 1) & (y[1:] < 1))
    if y[-1] >= 1 or not len(falls):
        return float(np.exp(x[-1 if y[-1] >= 1 else 0]))
    i = falls[-1]
    return float(np.exp(x[i] + (x[i + 1] - x[i]) * (y[i] - 1) / (y[i] - y[i + 1])))


def shares(frame: pd.DataFrame, column: str = "log_mean") -> pd.Series:
    """Shares of the variance of a column over the full grid that factors explain, with interactions; they add up to 1."""

    def explained(factors: Sequence[str]) -> float:
        return float((frame.groupby(list(factors))[column].transform("mean") - frame[column].mean()).pow(2).sum() / total)

    total = (frame[column] - frame[column].mean()).pow(2).sum()
    both = explained([RATE, TAU])
    found = {
        "learning rate": explained([RATE]),
        "h_s / N": explained([TAU]),
        "rate and h_s / N together": both - explained([RATE]) - explained([TAU]),
        "teacher width": explained([RATE, TAU, TEACHER]) - both,
        "input width": explained([RATE, TAU, INPUT]) - both,
    }
    return pd.Series(found | {"seed and the rest": 1 - sum(found.values())}, name="share")


def extremes(table: pd.DataFrame, offsets: Sequence[int] = (-2, -1, 0, 1, 2)) -> pd.DataFrame:
    """SG-B around the largest two-pass ratio of each run with h_s / N below the threshold: log points at these offsets from it.

    Beside the run's columns ``rise``: share of the rise of the ratio from its median to its maximum that the extreme coordinates make up.
    """
    rows = []
    for _, run in of(table[table[TAU] < THRESHOLD]).sort_values("step").groupby(RUN):
        run = run.reset_index(drop=True)
        late = run[run.step > FIRST * run.num_steps]
        at = int(late.unguarded.idxmax())
        part = late.extreme_share * late.unguarded
        rise = (part[at] - part.median()) / (late.unguarded[at] - late.unguarded.median())
        ratio = {"rise": rise, "guarded_max": late.guarded.max(), "unguarded_max": late.unguarded[at]}
        rows += [run.loc[at + k].to_dict() | ratio | {"offset": k} for k in offsets if at + k in run.index]
    found = pd.DataFrame(rows)
    tiny = float(np.finfo(np.float32).tiny)  # a coordinate that was silent in all draws of the second pass
    return found if found.empty else found.assign(extreme_moment=found.extreme_moment.clip(lower=tiny))


def staleness(table: pd.DataFrame) -> pd.DataFrame:
    """Log of SG-B's exact variance and of SVRG's over it, with the snapshot's ``age`` in steps; last 70% of the log points."""
    rows = last(table)
    wide = rows.pivot(index=[*RUN, "step", "first_refresh", "refresh_every"], columns="estimator", values="exact").reset_index()
    wide["age"] = (wide.step - wide.first_refresh) % wide.refresh_every
    wide = wide[(wide.age > 0) & (wide["SVRG"] > 0)]
    return wide.assign(log_ratio=np.log(wide["SVRG"] / wide["SG-B"]), log_noise=np.log(wide["SG-B"]))


def noise_correlations(found: pd.DataFrame) -> pd.Series:
    """Rank correlation over h_s / N of SG-B's variance and SVRG's share of it (both from `staleness`), by seed, rate and age."""
    means = found.groupby(["seed", RATE, "age", TAU])[["log_noise", "log_ratio"]].mean()
    return means.groupby(["seed", RATE, "age"]).apply(lambda line: spearmanr(line.log_noise, line.log_ratio).statistic)


def normalised(table: pd.DataFrame) -> pd.Series:
    """``V / (V + g^2)`` of an estimator with exact variance V, sums over coordinates."""
    return table.exact / (table.exact + table.gradient_square)


def steps_to_target(table: pd.DataFrame) -> pd.DataFrame:
    """By batch size and seed, at the rate that is fastest: ``steps`` to the target loss (all of them if it is not reached), ``reached``, and means
    of ``exact`` and ``normalised`` up to there."""
    rows = []
    for (batch, seed), runs in table.groupby(["batch_size", "seed"]):
        best = None
        for rate, run in runs.groupby(RATE):
            below = run[run.loss <= TARGET_LOSS].step
            steps = below.min() if len(below) else run.num_steps.iloc[0]
            upto = run[run.step <= steps]
            found = {"batch_size": batch, "seed": seed, "rate": rate, "steps": float(steps), "reached": bool(len(below))}
            found |= {"exact": upto.exact.mean(), "normalised": normalised(upto).mean()}
            best = found if best is None or (found["steps"], not found["reached"]) < (best["steps"], not best["reached"]) else best
        rows.append(best)
    return pd.DataFrame(rows)


def saturation(found: pd.DataFrame) -> float:
    """Smallest batch size from which a doubling saves less than a tenth of the steps (geometric mean over seeds), NaN if there is none."""
    reached = found.groupby("batch_size").reached.all()
    steps = np.exp(found.assign(log=np.log(found.steps)).groupby("batch_size").log.mean())
    for small, large in zip(steps.index[:-1], steps.index[1:], strict=True):
        if reached[small] and steps[large] > 0.9 * steps[small]:
            return float(small)
    return float("nan")


def around_drop(table: pd.DataFrame) -> pd.DataFrame:
    """By seed and h_s / N, over the tenth of the run after the drop: log loss, log exact variance and normalised variance, drop less control."""
    rows = table.assign(log_loss=np.log(table.loss), log_exact=np.log(table.exact), normalised=normalised(table))
    half = rows.num_steps // 2
    after = rows[(rows.step > half) & (rows.step <= half + rows.num_steps // 10)]
    means = after.groupby(["seed", TAU, after.drop_at > 0])[["log_loss", "log_exact", "normalised"]].mean().unstack()
    return pd.DataFrame({name: means[name][True] - means[name][False] for name in ("log_loss", "log_exact", "normalised")})


def plotted(*tables: pd.DataFrame) -> pd.DataFrame:
    """SG-B of the narrow teacher beside the authors' plotted numbers: ``ours`` (times 1.1, as their code estimates it), ``theirs``, ``ratio``.

    Empty if the runs have other sizes than theirs.
    """
    rows = []
    for table in tables:
        if any((table[name] != value).any() for name, value in PLOTTED_SETTINGS.items()):
            continue
        narrow = of(statistics(table[table[TEACHER] == table[TEACHER].min()]))
        for (name, rate, tau), value in narrow.groupby(["definition", RATE, TAU])["mean"].mean().items():
            theirs = PLOTTED.get(rate, {}).get(tau)
            if theirs is not None:
                ours = THEIR_FACTOR * value
                rows.append({"definition": name, RATE: rate, TAU: tau, "ours": ours, "theirs": theirs, "ratio": ours / theirs})
    return pd.DataFrame(rows, columns=["definition", RATE, TAU, "ours", "theirs", "ratio"])


def curves(table: pd.DataFrame, column: str = "exact") -> pd.DataFrame:
    """Mean, smallest and largest over seeds and widths of both statistics, by rate, estimator and h_s / N: what the figures draw."""
    long = statistics(table, column).melt([*RUN, "estimator"], ["mean", "max"], var_name="statistic")
    found = long.groupby(["definition", "statistic", RATE, "estimator", TAU]).value.agg(["mean", "min", "max", "std"])
    return found.reset_index()
