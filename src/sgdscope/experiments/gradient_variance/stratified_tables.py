"""Tables of gradient_variance/01_stratified: what is derived from the runs before it is judged, drawn, or said."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist

from sgdscope.claims import incomplete

RARE = 0.05  # share of the rarer class from which on a cluster holds both
REACH = 0.5  # of the longest step to a dashed boundary, over the length of the weights
NETWORK = ["model", "seed", "step", "K"]
PICTURE = ["protocol", "seed", "point_set", "step"]
RULES = {"running": "weighted,\nrunning counts", "previous": "weighted,\nprevious sizes", "none": "plain k-means"}


def cluster_summary(clusters: pd.DataFrame) -> pd.DataFrame:
    """One row for each network, stage, K and rule.

    ``variance``: of the stratified estimate over that of K independent draws, ``K sum_k (N_k / N)^2 V_k / V``. ``correlation``: Spearman's,
    between N_k and V_k over the clusters of two or more; 0 where it is not defined (all sizes or all variances equal). ``largest``: the largest N_k.
    """
    if incomplete(clusters):
        return clusters
    rows = []
    for key, found in clusters.groupby([*NETWORK, "sizes"], sort=False):
        shares = found["size"] / found.num_examples.iloc[0]
        several = found[found["size"] > 1]
        correlation = several["size"].rank().corr(several.spread.rank()) if several[["size", "spread"]].nunique().min() > 1 else 0.0
        rows.append(
            dict(zip([*NETWORK, "sizes"], key, strict=True))
            | {
                "variance": float(key[3] * (shares**2 * found.spread).sum()),
                "correlation": float(correlation),
                "largest": int(found["size"].max()),
                "emptied": int(found.emptied.max()),
            }
        )
    return pd.DataFrame(rows)


def by_rule(summary: pd.DataFrame, column: str) -> pd.DataFrame:
    """Seed by rule: mean of a column over networks, stages and K."""
    return summary.groupby(["seed", "sizes"])[column].mean().unstack()


def log_gains(summary: pd.DataFrame) -> pd.DataFrame:
    """Seed by rule: mean over networks, stages and K of log(variance over that of plain k-means)."""
    ratios = np.log(summary.set_index([*NETWORK, "sizes"]).variance.unstack())
    return ratios.sub(ratios["none"], axis=0).groupby("seed").mean()


def rises(objective: pd.DataFrame) -> pd.DataFrame:
    """One row for each network, stage, K and rule: share of the steps that raise the objective (by more than rounding, 1e-9 of it), and their number."""
    if incomplete(objective):
        return objective
    ordered = objective.sort_values("iteration")
    change = ordered.groupby([*NETWORK, "sizes"]).objective.pct_change().dropna()
    found = ordered.loc[change.index].assign(rise=change > 1e-9).groupby([*NETWORK, "sizes"]).rise
    return pd.DataFrame({"share": found.mean(), "steps": found.size()}).reset_index()


def optimum_correlations(optima: pd.DataFrame) -> pd.DataFrame:
    """Seed by rule: correlation over the clusters of two or more of all sets between N_k and V_k."""
    several = optima[optima["size"] > 1]
    rows = [(*key, found["size"].corr(found.spread)) for key, found in several.groupby(["seed", "rule"])]
    return pd.DataFrame(rows, columns=["seed", "rule", "correlation"]).pivot(index="seed", columns="rule", values="correlation")


def copy_ratios(copies: pd.DataFrame) -> pd.DataFrame:
    """One row for each seed, example and number of copies: logs of the variance of a batch from the duplicated set over the three others'."""
    against = {"original": copies["without"], "kept": copies.kept, "stratified": copies.stratified}
    return copies[["seed", "example", "num_copies", "farness"]].assign(
        **{name: np.log(copies.duplicated / other) for name, other in against.items()}
    )


def pictures(points: pd.DataFrame) -> pd.DataFrame:
    """One row for each picture (protocol, seed, point set, stage).

    ``rare``: the largest share that the rarer class has of a cluster; ``cluster``: the cluster with most of the rarer class. Over the pairs of
    opposite class in that cluster, median distances over those of all pairs: ``far`` in the plane, ``near`` between gradients; NaN without such
    a pair. ``cosine``: of the two class means, seen from the origin.
    """
    if incomplete(points):
        return points
    rows = []
    for key, picture in points.groupby(PICTURE, sort=False):
        counts = picture.groupby(["cluster", "label"]).size().unstack(fill_value=0).reindex(columns=[0, 1], fill_value=0)
        rarer = counts.min(axis=1)
        cluster = int(rarer.idxmax())
        places, gradients, pair = distances(picture, picture.cluster == cluster)
        means = picture.groupby("label")[["x1", "x2"]].mean().to_numpy()
        rows.append(
            dict(zip(PICTURE, key, strict=True))
            | {
                "rare": float((rarer / counts.sum(axis=1)).max()),
                "cluster": cluster,
                "far": float(np.median(places[pair]) / np.median(places)) if pair.any() else np.nan,
                "near": float(np.median(gradients[pair]) / np.median(gradients)) if pair.any() else np.nan,
                "cosine": float(means[0] @ means[1] / np.prod(np.linalg.norm(means, axis=1))),
            }
        )
    return pd.DataFrame(rows)


def distances(picture: pd.DataFrame, chosen: pd.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of all pairs of points: distance in the plane, distance between gradients, and whether both are chosen and of opposite class.

    The gradient of the whole model has that of one row of weights twice, with opposite signs, hence the factor sqrt(2).
    """
    first, second = np.triu_indices(len(picture), 1)
    inside, label = chosen.to_numpy(), picture.label.to_numpy()
    pair = inside[first] & inside[second] & (label[first] != label[second])
    return pdist(picture[["x1", "x2"]].to_numpy()), np.sqrt(2) * pdist(picture[["g1", "g2", "g_bias"]].to_numpy()), pair


def after_start(found: pd.DataFrame) -> pd.DataFrame:
    """The pictures of a trained classifier."""
    return found[found.step > found.step.min()] if found.step.nunique() > 1 else found


def shown_set(points: pd.DataFrame) -> pd.DataFrame:
    """The rows of the point set that the page draws: the first by seed and number whose cluster of both classes is there at every stage after the start.

    Of full-batch descent; the very first set if there is none.
    """
    if incomplete(points):
        return points
    paper = points[points.protocol == "paper"]
    least = after_start(pictures(paper)).groupby(["seed", "point_set"]).rare.min()
    good = least[least >= RARE]
    seed, number = (good if len(good) else least).index.min()
    return paper[(paper.seed == seed) & (paper.point_set == number)]


def boundaries(shown: pd.DataFrame) -> pd.DataFrame:
    """Lines ``w1 x1 + w2 x2 + b = 0`` of each stage: ``cluster`` -1 for the present boundary, else after a step along one cluster's gradient.

    The step along cluster k is its share of a step of gradient descent, ``-rho (N_k / N) C_k``, with rho such that the longest has half the
    length of the weights; the paper does not say how far its dashed lines look ahead.
    """
    rows = []
    for step, picture in shown.groupby("step"):
        weights = picture[["w1", "w2", "b"]].iloc[0].to_numpy()
        shares = 2 * picture.groupby("cluster")[["g1", "g2", "g_bias"]].sum() / len(picture)  # of the difference of the two logits
        rho = REACH * np.linalg.norm(weights) / max(np.linalg.norm(shares, axis=1).max(), 1e-300)
        moved = {-1: weights} | {cluster: weights - rho * share for cluster, share in zip(shares.index, shares.to_numpy(), strict=True)}
        rows += [{"step": step, "cluster": cluster, "w1": w[0], "w2": w[1], "b": w[2]} for cluster, w in moved.items()]
    return pd.DataFrame(rows)


def pair_numbers(shown: pd.DataFrame, *, most: int = 1500) -> pd.DataFrame:
    """Pairs of points at the last stage: both distances over their medians, ``kind`` (all pairs; opposite classes in the cluster). At most so many of a kind."""
    if incomplete(shown):
        return shown
    picture = shown[shown.step == shown.step.max()]
    cluster = pictures(picture).cluster.iloc[0]
    places, gradients, pair = distances(picture, picture.cluster == cluster)
    table = pd.DataFrame({"far": places / np.median(places), "near": gradients / np.median(gradients)})
    thinned = [
        rows.iloc[:: max(len(rows) // most, 1)].assign(kind=kind)
        for kind, rows in (("all pairs", table), ("opposite classes, one cluster", table[pair]))
    ]
    return pd.concat(thinned, ignore_index=True)


def variance_table(monte_carlo: pd.DataFrame) -> pd.DataFrame:
    """The Monte Carlo with its deviations from Prop. 3.1 in standard errors."""
    if incomplete(monte_carlo):
        return monte_carlo
    return monte_carlo.assign(
        off_variance=(monte_carlo.variance - monte_carlo.formula) / monte_carlo.variance_error,
        off_mean=(monte_carlo.along - 1) / monte_carlo.along_error,
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
        yield f"largest_{rule}", last[(last.sizes == rule) & (last.K == last.K.max())].largest.mean()
    yield "emptied_previous", summary[(summary.sizes == "previous") & (summary.K == summary.K.max())].emptied.mean()
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


def _points(points: pd.DataFrame) -> Iterator[tuple[str, float]]:
    found = after_start(pictures(points))
    paper = found[found.protocol == "paper"]
    both, opposite = paper.rare >= RARE, paper.cosine < 0
    yield from (("pictures", len(paper)), ("with_both", both.sum()))
    yield from (("opposite", opposite.sum()), ("with_both_opposite", (both & opposite).sum()), ("with_both_same", (both & ~opposite).sum()))
    yield from (("same", (~opposite).sum()), ("far", paper.far[both].median()), ("near", paper.near[both].median()))
    shown = shown_set(points)
    yield from (
        ("shown_seed", shown.seed.iloc[0]),
        ("shown_set", shown.point_set.iloc[0]),
        ("rejected", points.drop_duplicates(PICTURE[:3]).rejected.sum()),
    )
    yield "accepted", len(points.drop_duplicates(PICTURE[:3]))


def _draws(draws: pd.DataFrame) -> Iterator[tuple[str, float]]:
    ratio = draws.assign(ratio=draws.variance / draws.formula)
    same = ratio[ratio.independent_data]
    yield from (
        ("one_number", same[same.way == "one number for all"].ratio.mean()),
        ("opposite_way", same[same.way == "opposite"].ratio.mean()),
    )


_NUMBERS = {
    "copies": _copies, "copies_apart": _apart, "clusters": _clusters, "objective": _objective, "optima": _optima, "points": _points,
    "draws": _draws,
}  # fmt: skip
