"""Numbers of the sentences of gradient_variance/06_duplicates; None where runs are missing."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sgdscope.claims import incomplete
from sgdscope.experiments.gradient_variance.duplicates_tables import (
    MILD,
    TAU,
    beside_authors,
    by_seed,
    case_means,
    gap_table,
    gaps,
    num_examples,
    prices,
    ratio_curves,
)

Numbers = dict[str, float] | None


def gap_numbers(features: pd.DataFrame) -> Numbers:
    """Gaps by share, their slope over h_s / N, and the agreement with the authors' plots."""
    if incomplete(features):
        return None
    found, made = gaps(features), gap_table(features)
    shares = sorted(found.share.unique())
    gain = {share: float(np.exp(by_seed(found, share).mean())) for share in shares}
    high, low = (made[made.share == share].set_index(TAU).sgb_over_gc for share in (shares[-1], shares[1]))
    theirs = np.log(made.sgb_over_gc / made.authors).dropna()
    numbers = {
        "students": found.groupby([*found.columns.drop(["single", "double"])]).ngroups,
        "none": gain[shares[0]],
        "least": gain[shares[1]],
        "most": gain[shares[-1]],
        "few_percent": 100 * shares[1],
        "many_percent": 100 * shares[-1],
        "high_first": high.iloc[0],
        "high_last": high.iloc[-1],
        "high_tau_first": high.index[0],
        "high_tau_last": high.index[-1],
        "low_first": low.iloc[0],
        "low_last": low.iloc[-1],
        "low_tau_last": low.index[-1],
        "off": float(np.exp(theirs.mean())) if len(theirs) else np.nan,
        "off_worst": float(np.exp(theirs.abs().max())) if len(theirs) else np.nan,
        "compared": len(theirs),
        "left_out": features.groupby([TAU, "share"]).ngroups - found.groupby([TAU, "share"]).ngroups,
    }
    numbers["middle"] = gain[shares[-2]]
    numbers["middle_percent"] = 100 * shares[-2]
    return numbers


def plain_numbers(features: pd.DataFrame) -> Numbers:
    """GC without copies: between SG-B and SG-2B."""
    if incomplete(features):
        return None
    found, made = gaps(features), gap_table(features)
    one, single = made[made.share == 0], found[found.share == 0]
    return {
        "low": one.sgb_over_gc.min(),
        "high": one.sgb_over_gc.max(),
        "double_low": one.sg2b_over_gc.min(),
        "double_high": one.sg2b_over_gc.max(),
        "worse": int((single.single < 0).sum()),
        "better": int((single.double > 0).sum()),
        "students": len(single),
        "mild": float(np.exp(np.log(one[one[TAU].between(*MILD)].sg2b_over_gc).mean())),
        "last": one[TAU].iloc[-1],
        "last_each": int(num_examples(features[features[TAU] == one[TAU].iloc[-1]]).iloc[0] / features.batch_size.iloc[0]),
    }


def level_numbers(features: pd.DataFrame, code: pd.DataFrame) -> Numbers:
    """SG-B's variance over the authors': smallest and largest ratio without copies, with copies, and with copies in the set-up of their code."""
    if incomplete(features) or incomplete(code):
        return None
    made = beside_authors(features, code)
    numbers = {"num_steps": features.num_steps.iloc[0]}
    for name, column, copied in (("none", "SG-B", False), ("copies", "SG-B", True), ("code", "SG-B, code", True)):
        ratios = made[(made.share > 0) == copied][column] / made["SG-B, authors"] if len(made) else pd.Series(np.nan, index=[0])
        numbers |= {f"{name}_low": ratios.min(), f"{name}_high": ratios.max()}
    return numbers


def image_numbers(images: pd.DataFrame) -> Numbers:
    """GC over SG-B by case, geometric means over log points and seeds, and at the last update over seeds; over SG-2B with copies."""
    if incomplete(images):
        return None
    single, double = case_means(images).mean(), case_means(images, "sgd2").mean()
    curves = ratio_curves(images)
    end = curves[curves.step == curves.step.max()]
    last = np.log(end.ratio).groupby([end.copied, end.augment]).mean()
    names = {(False, "none"): "plain", (True, "none"): "copied", (False, "crop_flip"): "augmented", (True, "crop_flip"): "both"}
    numbers = {name: float(np.exp(single.get(key, np.nan))) for key, name in names.items()}
    numbers |= {f"{name}_last": float(np.exp(last.get(key, np.nan))) for key, name in names.items()}
    return numbers | {
        "last_step": curves.step.max(),
        "by_copies": numbers["copied"] / numbers["plain"],
        "by_augmented_copies": numbers["both"] / numbers["augmented"],
        "both_double": float(np.exp(double.get((True, "crop_flip"), np.nan))),
        "percent": 100 * (1 - 1 / (images.training_size.max() / images.training_size.min())),
        "size": images.training_size.max(),
    }


def cluster_numbers(clusters: pd.DataFrame) -> Numbers:
    """What is in the clusters with exact copies, means over seeds and updates; ``_first`` and ``_last``: at the first and the last update."""
    if incomplete(clusters):
        return None
    by = dict(list(clusters.groupby("order")))
    one, other = by["appended"], by["shuffled"]
    geometric = lambda ratio: float(np.exp(np.log(ratio).mean()))  # noqa: E731
    ends = {"first": one[one.step == one.step.min()], "last": one[one.step == one.step.max()]}
    numbers = {f"together_{name}": 100 * at.together.mean() for name, at in ends.items()}
    numbers |= {f"left_{name}": 100 * geometric(at.gc_exact / at.sgd_exact) for name, at in ends.items()}
    return numbers | {
        "K": clusters.batch_size.iloc[0],
        "used": one.clusters.mean(),
        "originals": clusters.duplicate_originals.iloc[0],
        "copies": clusters.duplicate_copies.iloc[0],
        "others": clusters.distinct.iloc[0] - clusters.duplicate_originals.iloc[0],
        "holding": (one.pure + one.mixed).mean(),
        "holding_shuffled": (other.pure + other.mixed).mean(),
        "pure": one.pure.mean(),
        "pure_shuffled": other.pure.mean(),
        "together": 100 * one.together.mean(),
        "together_shuffled": 100 * other.together.mean(),
        "left": 100 * geometric(one.gc_exact / one.sgd_exact),
        "left_shuffled": 100 * geometric(other.gc_exact / other.sgd_exact),
        "of_copies": 100 * (one.gc_mixed / one.gc_exact).mean(),
        "of_copies_shuffled": 100 * (other.gc_mixed / other.gc_exact).mean(),
        "ideal": 100 * geometric(one.ideal_exact / one.sgd_exact),
        "over_ideal": geometric(one.gc_exact / one.ideal_exact),
    }


def price_numbers(features: pd.DataFrame, images: pd.DataFrame) -> Numbers:
    """Where clustering pays."""
    if incomplete(features) or incomplete(images):
        return None
    made = prices(features, images)
    of_features, of_images = made[made.share.notna()], made[made.share.isna()]
    first = images.iloc[0]
    gain = of_images[of_images.problem == "images, with copies, not augmented"].gain.iloc[0]
    size, passes = images.training_size.max(), first.gc_steps + 1
    return {
        "pays": int(of_features.pays.sum()),
        "problems": len(of_features),
        "image_pays": int(of_images.pays.sum()),
        "images": len(of_images),
        "price": of_images.price.max(),
        "needed": 1 + of_images.price.max(),
        "gain": gain,
        "passes": passes,
        "size": size,
        "every": first.update_every,
        "K": first.batch_size,
        "least_every": passes * size / (first.batch_size * (gain - 1)),
        "paper_price": 2 * 3 * 150_000 / (20_000 * 128),  # two passes for each of three assignments, authors' code
    }
