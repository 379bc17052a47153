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

from sgdscope.claims import incomplete
from sgdscope.experiments.gradient_variance.table_2 import TABLE_2, in_force
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


def presence(table: pd.DataFrame) -> dict[str, float] | None:
    """How many of the runs of a table are there."""
    sources = table.attrs.get("sources")
    if table.empty:
        return None
    expected = len(table.groupby("seed")) if sources is None else sources.expected
    return {"found": expected - (0 if sources is None else sources.missing), "expected": expected}


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
    """One row a problem and seed: columns problem, seed, steps, reached, variance, normalised, authors_form, the three over whole runs as ``_all``.

    ``steps`` is the first measured step with a loss of ``share`` of the first one or less; the last step where there is none. The statistics are
    means over the measurements until then (the first measurement at least).
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
        row = {"problem": f"{model} on {dataset}, {rate:g}{wrong}", "seed": seed, "steps": steps, "reached": len(below) > 0}
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


def table_2() -> pd.DataFrame:
    """Our copy of Table 2 with the rates of App. C.1, a row a problem."""
    return pd.DataFrame([vars(row) for row in TABLE_2.values()]).map(str)


# Numbers for figures and sentences


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
    found, last = wide(table), table.groupby("seed").step.transform("max")
    at_end = part_of(found.groupby("step").mean().sgd, 0.9, 1)
    guard, end = guard_table(table), table[table.step == last]
    totals = guard.groupby("step").totals.mean()
    gap = np.log(found.gc / found.sgd2).groupby("seed").mean()
    growth = table[table.growth_max.notna()].groupby("step").growth_max.mean()
    return {
        "loss": float(end.train_loss.mean()), "accuracy": 100 * float(end.train_accuracy.mean()),
        "first": float(found.groupby("step").mean().sgd.iloc[0]), "largest": float(found.groupby("step").mean().sgd.max()),
        "last": float(at_end.mean()), "gc": float(np.exp(gap.mean())),
        "svrg": float((part_of(found.groupby("step").mean().svrg.dropna(), 0.8, 1) / part_of(found.groupby("step").mean().sgd, 0.8, 1)).mean()),
        "totals_first": float(totals.iloc[0]), "totals_last": float(part_of(totals, 0.9, 1).mean()),
        "guarded_first": float(guard.groupby("step").guarded.mean().iloc[0]),
        "guarded_last": float(part_of(guard.groupby("step").guarded.mean(), 0.9, 1).mean()),
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
    return found | {"problems": problem_table(table).problem.nunique(), "unreached": int((~problem_table(table).reached).sum())}


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
