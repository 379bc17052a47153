"""Tables of gradient_variance/03_mnist: what is derived from the runs before it is judged, drawn, or said.

At a step where an estimator was refreshed it has two variances: with what it had before (``stale``) and with what it has now. Curves along
training take the first, the end of what an estimator can do between two updates; the claim about fresh estimators takes the second.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from sgdscope.experiments.gradient_variance.trajectory_runs import ESTIMATORS
from sgdscope.models import build

NAMES = {"sgd": "SG-B", "sgd2": "SG-2B", "svrg": "SVRG", "gc": "GC"}
PRINTED = {"mnist_cnn": 37, "mlp": 31, "resnet8": 3, "resnet32": 9}  # parameters a training image, App. C.1
SHARES = (0.5, 0.7, 0.85)  # of the first loss, to which the problems are followed
SHARE = 0.5  # the one that is judged


def present(table: pd.DataFrame) -> pd.DataFrame:
    """The runs that are there, as a table of their own: figures are drawn of it, while the claim counts the missing ones."""
    found = table.copy()
    sources = table.attrs.get("sources")
    if sources is not None and not table.empty:
        found.attrs["sources"] = replace(sources, expected=sources.expected - sources.missing, missing=0)
    return found


def curves(table: pd.DataFrame) -> pd.DataFrame:
    """One row a seed, estimator and measured step: columns seed, estimator, step, train_loss, variance, normalised, age, fresh, shared.

    ``variance`` and ``normalised`` are stale at an update (and NaN at the first), ``fresh`` is the variance after it, NaN at other steps.
    ``shared`` is the variance over the mean square of SG-B's estimates, the paper's shared denominator.
    """
    parts = []
    for name in ESTIMATORS:
        if f"{name}_average" not in table:
            continue
        rows = table[table[f"{name}_average"].notna()]
        part = rows[["seed", "step", "train_loss"]].assign(estimator=name, age=rows[f"{name}_age"])
        for column, source in (("variance", "average"), ("normalised", "normalised")):
            values = rows[f"{name}_{source}"]
            if name in ("svrg", "gc"):
                before = rows.get(f"{name}_before_{source}", pd.Series(np.nan, index=rows.index))
                values = values.where(rows[f"{name}_age"] > 0, before)
            part[column] = values
        part["fresh"] = rows[f"{name}_average"].where(rows[f"{name}_age"] == 0)
        if "sgd_average" in rows:
            part["shared"] = part.variance * rows.sgd_normalised / rows.sgd_average
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def wide(table: pd.DataFrame, column: str = "variance") -> pd.DataFrame:
    """Index (seed, step), a column an estimator."""
    return curves(table).pivot(index=["seed", "step"], columns="estimator", values=column)


def without_replacement(table: pd.DataFrame) -> float:
    """``(1/2B - 1/N) / (1/B - 1/N)``: the ratio of SG-2B to SG-B where batches are subsets."""
    size, number = float(table.batch_size.iloc[0]), float(table.training_size.iloc[0])
    return (1 / (2 * size) - 1 / number) / (1 / size - 1 / number)


def halves(table: pd.DataFrame) -> pd.DataFrame:
    """Columns seed, step, ratio: variance of SG-2B over that of SG-B."""
    found = wide(table)
    return (found.sgd2 / found.sgd).rename("ratio").reset_index()


def quarters(table: pd.DataFrame) -> pd.DataFrame:
    """Median variance of each quarter of the measured steps: columns seed, estimator, quarter (0 to 3), median."""
    rows = curves(table).dropna(subset=["variance"])
    place = rows.groupby(["seed", "estimator"]).cumcount()
    count = rows.groupby(["seed", "estimator"]).step.transform("size")
    rows = rows.assign(quarter=(4 * place // count).astype(int))
    return rows.groupby(["seed", "estimator", "quarter"]).variance.median().rename("median").reset_index()


def part_of(values: pd.Series, first: float, last: float) -> pd.Series:
    """The values between two shares of the way, at least one."""
    start = min(int(np.floor(first * len(values))), len(values) - 1)
    return values.iloc[start : max(int(np.ceil(last * len(values))), start + 1)]


def fresh_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Columns seed, step, estimator, ratio: variance over that of SG-B right after each update of SVRG and GC."""
    found = curves(table)
    at = found[found.fresh.notna() & found.estimator.isin(["svrg", "gc"])]
    plain = found[found.estimator == "sgd"].set_index(["seed", "step"]).variance
    return at.assign(ratio=at.fresh.to_numpy() / plain.reindex(pd.MultiIndex.from_frame(at[["seed", "step"]])).to_numpy())[
        ["seed", "step", "estimator", "ratio"]
    ].reset_index(drop=True)


def guard_table(table: pd.DataFrame) -> pd.DataFrame:
    """The authors' form along training: columns seed, step, variance, guarded, unguarded, totals, ten_percent, thirty_five_percent.

    The last two are the shares by which the guarded form falls when all gradients of the snapshot are rescaled from a variance of 5.8e-7 to 1.2e-7
    and to 1.5e-8.
    """
    rows = table[table.sgd_guarded.notna()]
    names = {"sgd_average": "variance", "sgd_guarded": "guarded", "sgd_unguarded": "unguarded", "sgd_normalised": "totals"}
    found = rows[["seed", "step", *names]].rename(columns=names)
    falls = {"ten_percent": rows.sgd_rescaled_1, "thirty_five_percent": rows.sgd_rescaled_2}
    return found.assign(**{name: 1 - value / rows.sgd_rescaled_0 for name, value in falls.items()}).reset_index(drop=True)


def protocols(main: pd.DataFrame, authors: pd.DataFrame) -> pd.DataFrame:
    """Mean log10 variance over steps and seeds, over the steps that both protocols have: columns estimator, shared, authors."""
    last, seeds = authors.step.max(), set(authors.seed)
    both = {"shared": main[(main.step <= last) & main.seed.isin(seeds)], "authors": authors}
    columns = {}
    for protocol, rows in both.items():
        found = curves(rows).dropna(subset=["variance"])
        columns[protocol] = np.log10(found.variance).groupby(found.estimator).mean()
    return pd.DataFrame(columns).reindex(list(ESTIMATORS)).reset_index(names="estimator")


def flipped(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs of estimators whose order differs between the protocols."""
    of = table.set_index("estimator")
    return [(a, b) for a, b in combinations(of.index, 2) if np.sign(of.shared[a] - of.shared[b]) != np.sign(of.authors[a] - of.authors[b])]


def losses_apart(authors: pd.DataFrame) -> pd.Series:
    """Seed to the log of the largest over the smallest training loss of the four runs, mean over the measured steps after the first."""
    measured = authors[(authors.step > authors[authors.step > 0].step.min())]
    losses = np.log(measured.train_loss).groupby([measured.seed, measured.step])
    return (losses.max() - losses.min()).groupby("seed").mean()


def comparable(main: pd.DataFrame, authors: pd.DataFrame) -> pd.DataFrame:
    """The runs of the authors' protocol at seeds of which all four are there, and the shared trajectory too; all missing where there are none."""
    if authors.empty or main.empty:
        found = authors.iloc[:0]
    else:
        runs = authors.groupby("seed").estimators.nunique()
        found = authors[authors.seed.isin(runs.index[runs == len(ESTIMATORS)]) & authors.seed.isin(main.seed)]
    sources = authors.attrs.get("sources")
    if found.empty and sources is not None:
        found.attrs["sources"] = replace(sources, missing=sources.expected)
    return found


def problem_table(table: pd.DataFrame, share: float = SHARE) -> pd.DataFrame:
    """One row a problem and seed: columns problem, seed, steps, reached, measurements, and the means variance, normalised, authors_form.

    ``steps`` is the first measured step with a loss of ``share`` of the first one or less; the last step where there is none. The statistics are
    means over the ``measurements`` until then (the first one at least), and over whole runs as ``variance_all``, ...
    """
    statistics = {"variance": "sgd_average", "normalised": "sgd_normalised", "authors_form": "sgd_guarded"}
    rows = []
    for key, run in table.groupby(["dataset", "model", "learning_rate", "corrupt_share", "seed"], sort=False):
        dataset, model, rate, corrupted, seed = key
        below = run[run.train_loss <= share * run.train_loss.iloc[0]]
        steps = int(below.step.iloc[0]) if len(below) else int(run.step.max())
        measured = run[run.sgd_average.notna()]
        until = measured[measured.step <= max(steps, measured.step.iloc[0])]
        wrong = f", {100 * corrupted:g}% labels redrawn" if corrupted else ""
        row = {"problem": f"{model} on {dataset}, {rate:g}{wrong}", "seed": seed, "steps": steps}
        row |= {"reached": len(below) > 0, "measurements": len(until)}
        row |= {name: until[column].mean() for name, column in statistics.items()}
        rows.append(row | {f"{name}_all": measured[column].mean() for name, column in statistics.items()})
    return pd.DataFrame(rows)


def correlations(table: pd.DataFrame, share: float = SHARE, *, whole: bool = False) -> pd.DataFrame:
    """Spearman's correlation over problems of the steps with each statistic: index seed, columns variance, normalised, authors_form."""
    found = problem_table(table, share)
    names = ["variance", "normalised", "authors_form"]
    per_seed = {
        seed: {name: stats.spearmanr(rows.steps, rows[f"{name}_all" if whole else name])[0] for name in names}
        for seed, rows in found.groupby("seed")
    }
    return pd.DataFrame(per_seed).T.rename_axis("seed")


def overparametrisation() -> pd.DataFrame:
    """Parameters over training images, counted: columns network, parameters, images, ratio, paper."""
    rows = []
    for name, printed in PRINTED.items():
        options = {"batch_norm": False} if name == "resnet8" else {}
        count = sum(parameter.numel() for parameter in build(name, seed=0, **options).parameters())
        images = 50_000 if name.startswith("resnet") else 60_000
        rows.append({"network": name, "parameters": count, "images": images, "ratio": count / images, "paper": printed})
    return pd.DataFrame(rows)
