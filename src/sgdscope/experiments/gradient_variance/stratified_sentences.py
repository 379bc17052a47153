"""Numbers that the sentences of gradient_variance/01_stratified tell."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from sgdscope.claims import incomplete
from sgdscope.experiments.gradient_variance.stratified_tables import (
    NETWORK,
    RARE,
    RULES,
    after_start,
    cluster_summary,
    copy_ratios,
    optimum_correlations,
    rises,
)


def sentences(**tables: pd.DataFrame) -> dict[str, float] | None:
    """Numbers of all sentences that these tables (by the name of their runs) can tell; None where a run is missing."""
    if any(incomplete(table) for table in tables.values()):
        return None
    return {name: float(value) for source, table in tables.items() for name, value in _NUMBERS[source](table)}


def _copies(copies: pd.DataFrame) -> Iterator[tuple[str, float]]:
    means = np.exp(copy_ratios(copies)[["original", "kept", "stratified"]].mean())
    yield from (("against_original", means.original), ("kept_over", 1 / means.kept), ("against_stratified", means.stratified))
    yield "most_copies", copies.num_copies.max() + 1
    many = np.exp(copy_ratios(copies[copies.num_copies == copies.num_copies.max()])[["kept"]].mean())
    yield "kept_over_many", 1 / many.kept
    ratios = copy_ratios(copies)
    few = ratios[ratios.num_copies == ratios.num_copies.min()]
    up = few.original > 0
    yield from (("raised", up.sum()), ("cases", len(up)), ("few_copies", ratios.num_copies.min() + 1))
    yield from (("farness_raised", few.farness[up].mean()), ("farness_lowered", few.farness[~up].mean()))


def _apart(apart: pd.DataFrame) -> Iterator[tuple[str, float]]:
    most = apart[apart.num_copies == apart.num_copies.max()]
    yield from (("apart_copies", apart.num_copies.max()), ("mingled", most.mingled_ratio.mean()), ("falls_to", most.variance_ratio.mean()))


def _clusters(clusters: pd.DataFrame) -> Iterator[tuple[str, float]]:
    summary = cluster_summary(clusters)
    last = summary[summary.step == summary.step.max()]
    for rule in RULES:
        yield f"variance_{rule}", np.exp(np.log(summary[summary.sizes == rule].variance).mean())
        yield f"correlation_{rule}", summary[summary.sizes == rule].correlation.mean()
        yield f"correlation_last_{rule}", last[last.sizes == rule].correlation.mean()
        yield f"variance_last_{rule}", np.exp(np.log(last[last.sizes == rule].variance).mean())
        yield f"largest_{rule}", last[(last.sizes == rule) & last.K.eq(last.K.max())].largest.mean()
    yield "emptied_previous", summary[(summary.sizes == "previous") & (summary.K.eq(summary.K.max()))].emptied.mean()
    yield from (("most_clusters", summary.K.max()), ("num_examples", clusters.num_examples.iloc[0]))
    plain = summary.set_index([*NETWORK, "sizes"]).variance.unstack()
    yield from (
        ("worse_previous", (plain.previous > plain.none).sum()),
        ("compared", len(plain)),
        ("worse_than_random", (plain.previous > 1).sum()),
    )


def _objective(objective: pd.DataFrame) -> Iterator[tuple[str, float]]:
    found = rises(objective)
    for rule in RULES:
        rows = found[found.sizes == rule]
        yield f"rises_{rule}", 100 * (rows["share"] * rows.steps).sum() / rows.steps.sum()
        yield f"steps_{rule}", rows.steps.sum()


def _optima(optima: pd.DataFrame) -> Iterator[tuple[str, float]]:
    one = optima.drop_duplicates(["seed", "set", "rule"])
    by = np.log(one.pivot_table(index=["seed", "set"], columns="rule", values="variance"))
    yield "optimum_ratio", np.exp((by.weighted - by.plain).mean())
    correlations = optimum_correlations(optima)
    yield from (("optimum_weighted", correlations.weighted.mean()), ("optimum_plain", correlations.plain.mean()))
    alone = optima.assign(alone=optima["size"] == 1).groupby("rule").alone.mean()
    yield from (("alone_plain", 100 * alone.plain), ("alone_weighted", 100 * alone.weighted))


def _pictures(pictures: pd.DataFrame) -> Iterator[tuple[str, float]]:
    sets, found = pictures.drop_duplicates(["seed", "point_set"]), after_start(pictures)
    yield from (("rejected", sets.rejected.sum()), ("accepted", len(sets)))
    for protocol, rows in found.groupby("protocol"):
        both = rows.rare >= RARE
        yield from ((f"pictures_{protocol}", len(rows)), (f"both_{protocol}", both.sum()))
    paper = found[found.protocol == "paper"]
    both, opposite = paper.rare >= RARE, paper.cosine < 0
    yield from (("opposite", opposite.sum()), ("both_opposite", (both & opposite).sum()))
    yield from (("same", (~opposite).sum()), ("both_same", (both & ~opposite).sum()))
    yield from (("far", paper.far[both].median()), ("near", paper.near[both].median()))
    seeds = np.exp(np.log(paper.near[both]).groupby(paper.seed[both]).mean())
    yield from (("near_low", seeds.min()), ("near_high", seeds.max()))


def _shown(shown: pd.DataFrame) -> Iterator[tuple[str, float]]:
    yield from (("shown_seed", shown.seed.iloc[0]), ("shown_set", shown.point_set.iloc[0] + 1))


def _draws(draws: pd.DataFrame) -> Iterator[tuple[str, float]]:
    ratio = draws.assign(ratio=draws.variance / draws.formula)
    same = ratio[ratio.independent_data]
    yield from (
        ("one_number", np.exp(np.log(same[same.way == "one number for all"].ratio).mean())),
        ("opposite_way", np.exp(np.log(same[same.way == "opposite"].ratio).mean())),
    )


_NUMBERS = {
    "copies": _copies, "copies_apart": _apart, "clusters": _clusters, "objective": _objective, "optima": _optima, "pictures": _pictures,
    "shown": _shown,
    "draws": _draws,
}  # fmt: skip
