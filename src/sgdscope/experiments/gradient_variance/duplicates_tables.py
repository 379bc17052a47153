"""Tables of gradient_variance/06_duplicates, from which its evidence, figures and sentences are made."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sgdscope.claims import Measurement, estimated, incomplete
from sgdscope.experiments.gradient_variance.cifar_tables import log_points
from sgdscope.experiments.gradient_variance.random_features_tables import FIRST, TAU, THEIR_FACTOR

STUDENT = ["share", TAU, "input_dim", "teacher_hidden", "seed"]
"""What tells two random-features runs of the page apart."""
MILD = (1.0, 4.0)
"""Values of h_s / N at which GC is said to be as good as SG-2B."""
RATIOS = (0.1, 0.5, 1, 1.5, 2, 2.5, 3, 5, 10)
AUTHORS = {  # by share: SG-B and GC, mean over the last 70% of log points, at RATIOS; read from the marks of the authors' plots to about 5%
    0.0: (
        (7.8e-3, 4.1e-3, 1.2e-3, 4.0e-4, 1.9e-4, 9.2e-5, 6.2e-5, 1.5e-5, 1.9e-6),
        (5.2e-3, 2.5e-3, 6.5e-4, 2.2e-4, 1.1e-4, 4.8e-5, 3.2e-5, 8.1e-6, 1.2e-6),
    ),
    0.1: (
        (3.0e-3, 2.0e-3, 1.1e-3, 5.9e-4, 3.8e-4, 2.3e-4, 1.7e-4, 4.7e-5, 6.6e-6),
        (1.9e-3, 1.3e-3, 7.1e-4, 3.8e-4, 2.3e-4, 1.5e-4, 9.4e-5, 2.8e-5, 4.3e-6),
    ),
    0.5: (
        (1.6e-3, 9.0e-4, 4.6e-4, 2.5e-4, 1.4e-4, 8.9e-5, 6.1e-5, 1.7e-5, 2.3e-6),
        (7.2e-4, 3.9e-4, 2.0e-4, 9.8e-5, 5.7e-5, 3.6e-5, 2.4e-5, 6.4e-6, 1.1e-6),
    ),
    0.9: (
        (3.2e-4, 1.3e-4, 5.2e-5, 2.4e-5, 1.3e-5, 7.8e-6, 5.6e-6, 1.9e-6, 2.1e-7),
        (4.5e-5, 1.8e-5, 7.0e-6, 2.7e-6, 1.3e-6, 8.5e-7, 5.5e-7, 1.5e-7, np.nan),
    ),
}


def num_examples(table: pd.DataFrame) -> pd.Series:
    """N of random-features runs."""
    return (table.hidden / table[TAU] + 1e-9).astype(int)


def comparable(table: pd.DataFrame) -> pd.DataFrame:
    """Without the training sets with copies that have no more distinct points than clusters: GC's variance can be zero there."""
    number = num_examples(table)
    distinct = number - (table.share * number + 1e-9).astype(int)
    return table[(table.share == 0) | (distinct > table.batch_size)]


def means(table: pd.DataFrame) -> pd.DataFrame:
    """Exact variance, mean over the last 70% of each run: one row a student, one column an estimator."""
    late = table[(table.step > FIRST * table.num_steps) & (table.status != "diverged")]
    return late.pivot_table(index=STUDENT, columns="estimator", values="exact", aggfunc="mean").reset_index()


def gaps(table: pd.DataFrame) -> pd.DataFrame:
    """One row a student: ``single``, log of SG-B's over GC's variance, and ``double``, of SG-2B's over GC's; `comparable` ones only."""
    found = means(comparable(table))
    return found[STUDENT].assign(single=np.log(found["SG-B"] / found["GC"]), double=np.log(found["SG-2B"] / found["GC"]))


def by_seed(found: pd.DataFrame, share: float, column: str = "single") -> pd.Series:
    """Mean gap at a share over everything else, by seed; every h_s / N counts alike."""
    chosen = found[found.share == share]
    return chosen.groupby(["seed", TAU])[column].mean().groupby("seed").mean()


def slopes(found: pd.DataFrame, share: float) -> pd.Series:
    """Slope of the gap over log h_s / N at a share, by seed."""
    lines = found[found.share == share].groupby(["seed", TAU]).single.mean()
    if lines.index.get_level_values(TAU).nunique() < 2:
        return pd.Series(dtype=float)
    return lines.groupby("seed").apply(lambda line: np.polyfit(np.log(line.index.get_level_values(TAU)), line.to_numpy(), 1)[0])


def at_each(found: pd.DataFrame, share: float, column: str = "single") -> dict[float, Measurement]:
    """h_s / N to the gap there, with its interval over seeds."""
    chosen = found[found.share == share].groupby([TAU, "seed"])[column].mean()
    return {tau: estimated(values) for tau, values in chosen.groupby(TAU)}


def gap_table(table: pd.DataFrame) -> pd.DataFrame:
    """SG-B over GC and SG-2B over GC as factors with 95% intervals, by share and h_s / N, beside the authors' SG-B over GC."""
    if incomplete(table):
        return pd.DataFrame()
    found, rows = gaps(table), []
    for share in sorted(found.share.unique()):
        double = at_each(found, share, "double")
        for tau, one in at_each(found, share).items():
            low, high = one.interval or (np.nan, np.nan)
            theirs = _authors(share, tau)
            rows.append(
                {"share": share, TAU: tau, "sgb_over_gc": one.value, "low": low, "high": high, "sg2b_over_gc": double[tau].value}
                | {"authors": np.log(theirs[0] / theirs[1]) if theirs else np.nan}
            )
    logs = ["sgb_over_gc", "low", "high", "sg2b_over_gc", "authors"]
    made = pd.DataFrame(rows)
    return made.assign(**{name: np.exp(made[name]) for name in logs})


def beside_authors(table: pd.DataFrame, code: pd.DataFrame) -> pd.DataFrame:
    """Mean variances of SG-B and GC, ours as the authors' two passes would give them (times 1 + 1/10), beside the plotted ones.

    ``SG-B, code`` is ours in the set-up of the authors' code; NaN without copies.
    """
    if incomplete(table) or incomplete(code):
        return pd.DataFrame()
    ours = means(table).groupby(["share", TAU])[["SG-B", "GC"]].mean() * THEIR_FACTOR
    ours["code"] = means(code).groupby(["share", TAU])["SG-B"].mean() * THEIR_FACTOR
    rows = [
        {"share": share, TAU: tau, "SG-B": one["SG-B"], "SG-B, code": one.code, "SG-B, authors": theirs[0]}
        | {"GC": one["GC"], "GC, authors": theirs[1]}
        for (share, tau), one in ours.iterrows() if (theirs := _authors(share, tau))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def reference_table(table: pd.DataFrame, code: pd.DataFrame) -> pd.DataFrame:
    """`beside_authors` for reading, in millionths: a column an h_s / N, rows ours and the authors' of SG-B and GC at each share."""
    made = beside_authors(table, code)
    if made.empty:
        return made
    rows = {
        (f"{100 * share:g}% copies", name, whose): of.set_index(TAU)[column].map(_short)
        for share, of in made.groupby("share") for name in ("SG-B", "GC")
        for whose, column in (("here", name), ("here, the code's set-up", f"{name}, code"), ("authors", f"{name}, authors"))
        if column in of and of[column].notna().any()
    }  # fmt: skip
    return pd.DataFrame(rows).T.rename_axis(columns="over-parametrisation").rename(columns="{:g}".format)


def _short(value: float) -> str:
    """Two digits, in millionths: 4.1e-3 is 4,100."""
    return "" if np.isnan(value) else f"{float(f'{1e6 * value:.2g}'):,g}"


def _authors(share: float, tau: float) -> tuple[float, float] | None:
    """The authors' SG-B and GC."""
    if share not in AUTHORS or tau not in RATIOS:
        return None
    return tuple(values[RATIOS.index(tau)] for values in AUTHORS[share])


# Trajectories on images


def cases(images: pd.DataFrame) -> list[tuple[tuple[bool, str, int], pd.DataFrame]]:
    """((with copies, augmentation, seed), its log points) of each trajectory that did not diverge."""
    kept = images[images.status != "diverged"]
    keys = [(kept.duplicate_copies > 0).rename("copied"), "augment", "seed"]
    return [(key, log_points(rows)) for key, rows in kept.groupby(keys)]


def log_ratios(at: pd.DataFrame, over: str = "sgd") -> pd.Series:
    """log of GC's variance over another's at log points; at an update that before it (the first has only that after it)."""
    before = at.get("gc_before_average", pd.Series(np.nan, index=at.index))
    return np.log(before.fillna(at.gc_average) / at[f"{over}_average"])


def case_means(images: pd.DataFrame, over: str = "sgd") -> pd.DataFrame:
    """Mean of `log_ratios` over log points: a row a seed, a column (copied, augmentation)."""
    rows = [(*key, log_ratios(at, over).mean()) for key, at in cases(images)]
    found = pd.DataFrame(rows, columns=["copied", "augment", "seed", "value"])
    return found.pivot(index="seed", columns=["copied", "augment"], values="value")


def ratio_curves(images: pd.DataFrame) -> pd.DataFrame:
    """What the figure of ratios draws: GC over SG-B by case, step and seed."""
    if incomplete(images):
        return pd.DataFrame()
    parts = [
        pd.DataFrame({"copied": copied, "augment": augment, "seed": seed, "step": at.step, "ratio": np.exp(log_ratios(at))})
        for (copied, augment, seed), at in cases(images)
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def curve_table(images: pd.DataFrame) -> pd.DataFrame:
    """All variances by case, seed and step."""
    if incomplete(images):
        return pd.DataFrame()
    columns = [f"{name}_average" for name in ("sgd", "sgd2", "svrg", "gc", "gc_before") if f"{name}_average" in images]
    return pd.concat(
        [at.assign(copied=copied)[["copied", "augment", "seed", "step", "train_loss", *columns]] for (copied, _, _), at in cases(images)],
        ignore_index=True,
    )


# What a refresh costs


def prices(features: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """What a step of GC costs and gains: one row a problem, geometric means over seeds and widths.

    ``price``: gradients of an update for each gradient of the steps up to the next, ``(T + 1) N / (U K)``: one pass for the centres of the
    last clusters and one for each of T assignments. ``gain``: SG-B's variance over GC's. For as many gradients a mini-batch could be
    ``1 + price`` times larger, and its variance so much smaller: GC pays (``pays``) where the gain is above that.
    """
    if incomplete(features) or incomplete(images):
        return pd.DataFrame()
    one, found = features.iloc[0], gaps(features)
    number = found[TAU].map({tau: int(one.hidden / tau + 1e-9) for tau in found[TAU].unique()})
    price = (one.clustering_steps + 1) * number / (one.refresh_every * one.batch_size)
    rows = found.assign(price=price).groupby(["share", TAU]).agg(price=("price", "first"), gain=("single", "mean")).reset_index()
    parts = [rows.assign(problem=(100 * rows.share).map("random features, {:g}% copies".format))]
    first, logs = images.iloc[0], case_means(images).mean()
    for (copied, augment), value in logs.items():
        size = images[(images.duplicate_copies > 0) == copied].training_size.iloc[0]
        label = f"images, {'with' if copied else 'no'} copies, {'augmented' if augment != 'none' else 'not augmented'}"
        price = (first.gc_steps + 1) * size / (first.update_every * first.batch_size)
        parts.append(pd.DataFrame({"problem": [label], "price": [price], "gain": [-value]}))
    made = pd.concat(parts, ignore_index=True)
    return made.assign(gain=np.exp(made.gain), pays=np.exp(made.gain) > 1 + made.price)
