"""Tables of gradient_variance/01_stratified: what is derived from the runs before it is judged, drawn, or said."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist

from sgdscope.claims import incomplete

RARE = 0.05  # share of the rarer class from which on a cluster holds both
LEAST_RISE = 1e-9  # of the objective, from which on a step counts as one that raises it
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
    """One row for each network, stage, K and rule: share of the steps that raise the objective by more than 1e-9 of it, and how many steps."""
    if incomplete(objective):
        return objective
    ordered = objective.sort_values("iteration")
    change = ordered.groupby([*NETWORK, "sizes"]).objective.pct_change().dropna()
    found = ordered.loc[change.index].assign(rise=change > LEAST_RISE).groupby([*NETWORK, "sizes"]).rise
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
        **{name: np.log(copies["duplicated"] / other) for name, other in against.items()}
    )


def pictures(points: pd.DataFrame) -> pd.DataFrame:
    """One row for each picture (protocol, seed, point set, stage).

    ``rare``: the largest share that the rarer class has of a cluster; ``cluster``: of the clusters where it has at least 5%, the one with most
    of it, or -1. Over the pairs of opposite class in that cluster, median distances over those of all pairs: ``far`` in the plane, ``near``
    between gradients; NaN without such a cluster. ``cosine``: of the two class means, seen from the origin. ``rejected`` and ``separable`` as in
    the run. Carries the sources of ``points``.
    """
    if incomplete(points):
        return points
    rows = []
    for key, picture in points.groupby(PICTURE, sort=False):
        counts = picture.groupby(["cluster", "label"]).size().unstack(fill_value=0).reindex(columns=[0, 1], fill_value=0)
        rarer = counts.min(axis=1)
        share = rarer / counts.sum(axis=1)
        cluster = int(rarer[share >= RARE].idxmax()) if (share >= RARE).any() else -1
        places, gradients, pair = distances(picture, picture.cluster == cluster)
        means = picture.groupby("label")[["x1", "x2"]].mean().to_numpy()
        rows.append(
            dict(zip(PICTURE, key, strict=True))
            | {
                "rare": float(share.max()),
                "cluster": cluster,
                "far": float(np.median(places[pair]) / np.median(places)) if pair.any() else np.nan,
                "near": float(np.median(gradients[pair]) / np.median(gradients)) if pair.any() else np.nan,
                "cosine": float(means[0] @ means[1] / np.prod(np.linalg.norm(means, axis=1))),
                "rejected": int(picture.rejected.iloc[0]),
                "separable": bool(picture.separable.iloc[0]),
            }
        )
    found = pd.DataFrame(rows)
    found.attrs.update(points.attrs)
    return found


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


def shown_set(found: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """The points of the set that the page draws, with full-batch descent; ``found`` are their `pictures`.

    The first by seed and number that has a cluster of both classes at every stage after the start; the very first set if there is none.
    """
    if incomplete(points):
        return points
    paper = points[points.protocol == "paper"]
    trained = after_start(found)
    least = trained[trained.protocol == "paper"].groupby(["seed", "point_set"]).rare.min()
    good = least[least >= RARE]
    seed, number = (good if len(good) else least).index.min()
    shown = paper[(paper.seed == seed) & (paper.point_set == number)]
    last = found[(found.protocol == "paper") & (found.seed == seed) & (found.point_set == number)].set_index("step")
    return shown.assign(both=shown.step.map(last.cluster))


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
    """Pairs of points at the last stage, all of them and those of opposite class in the cluster of both: both distances over their medians.

    Of each kind about ``most`` are kept, at even steps.
    """
    if incomplete(shown):
        return shown
    picture = shown[shown.step == shown.step.max()]
    places, gradients, pair = distances(picture, picture.cluster == picture.both)
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


def counter_table(searched: pd.DataFrame) -> pd.DataFrame:
    """What the search for counter-examples found, as the page shows it."""
    if incomplete(searched):
        return searched
    names = {
        "num_gradients": "gradients",
        "num_clusters": "groups",
        "tried": "steps tried",
        "raised_emptied": "uphill, group lost",
        "raised_kept": "uphill, none lost",
        "start_kept": "from",
        "before_kept": "objective",
        "end_kept": "to",
        "after_kept": "objective after",
    }
    return searched[list(names)].rename(columns=names).replace(-1, "").set_index(["gradients", "groups"])


def shape_numbers(clusters: pd.DataFrame) -> pd.DataFrame:
    """What the picture of sizes and variances draws: clusters of two or more at the last stage and for the largest K."""
    if incomplete(clusters):
        return clusters
    chosen = (clusters.step == clusters.step.max()) & clusters.K.eq(clusters.K.max()) & (clusters["size"] > 1)
    return clusters[chosen][[*NETWORK, "sizes", "size", "spread"]]


def duplicate_numbers(copies: pd.DataFrame, apart: pd.DataFrame) -> pd.DataFrame:
    """What both panels of the picture of copies draw, and the variances without replacement."""
    if incomplete(copies) or incomplete(apart):
        return copies
    key, ratios = ["seed", "example", "num_copies"], ["scaled_ratio", "variance_ratio", "mingled_ratio"]
    return copies.merge(apart[[*key, *ratios]], on=key, how="outer")


def plane_numbers(shown: pd.DataFrame) -> pd.DataFrame:
    """What the picture of the plane is drawn from."""
    if incomplete(shown):
        return shown
    return shown[["step", "x1", "x2", "label", "cluster", "g1", "g2", "g_bias"]]


def objective_numbers(objective: pd.DataFrame) -> pd.DataFrame:
    """What the picture of the objective is drawn from, and the other networks and K."""
    if incomplete(objective):
        return objective
    return objective[[*NETWORK, "sizes", "iteration", "objective", "empty"]]
