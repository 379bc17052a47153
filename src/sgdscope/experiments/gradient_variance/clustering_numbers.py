"""Numbers of gradient_variance/02_clustering: tables behind its figures, and what its sentences say."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sgdscope.claims.evidence import incomplete
from sgdscope.experiments.gradient_variance import clustering_counts as counts
from sgdscope.experiments.gradient_variance.clustering_costs_evidence import RESIDUAL, used_layers
from sgdscope.experiments.gradient_variance.clustering_evidence import LARGEST, SMALLEST, whole


def columns(table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Some columns; the table as it is where runs are missing."""
    return table if incomplete(table) else table[names]


def cost_numbers(steps: pd.DataFrame) -> pd.DataFrame:
    """Measured ratios to a forward and backward pass by network and part, with what the table's counts say: over three products a pass."""
    if incomplete(steps):
        return steps
    rows = steps.groupby(["network", "num_clusters", "part"], as_index=False, sort=False).agg(
        ratio=("ratio", "mean"), smallest=("ratio", "min"), largest=("ratio", "max")
    )
    return rows.assign(counted=[count_of(row.network, row.num_clusters, row.part) for row in rows.itertuples()])


def count_of(network: str, clusters: int, part: str) -> float:
    """Multiplications of a part by the table, over those of a forward and backward pass (three products a layer). NaN where it has none."""
    layers = used_layers()[network]
    unit = counts.PRODUCTS * sum(counts.back_prop(layer) for layer in layers)
    if part == "A":
        return sum(counts.assignment(layer, clusters) for layer in layers) / unit
    if part == "U":
        return sum(counts.update(layer) for layer in layers) / unit
    if part == "A and U":
        return count_of(network, clusters, "A") + count_of(network, clusters, "U")
    return float("nan")


def cost_summary(steps: pd.DataFrame) -> dict[str, float] | None:
    """Numbers of the sentences on cost."""
    if incomplete(steps):
        return None
    ratio = steps.groupby(["network", "part"]).ratio.mean()
    memory = steps.groupby("network").memory.mean()
    names = {"A": "A", "U": "U", "both": "A and U", "iteration": "iteration", "incremental": "incremental"}
    found = {f"{key}_{network}": ratio.get((network, part), float("nan")) for network in ("mlp", *RESIDUAL) for key, part in names.items()}
    return found | {f"memory_{network}": memory.get(network, float("nan")) for network in ("mlp", *RESIDUAL)}


def range_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Geometric means over seeds."""
    if incomplete(table):
        return table
    logs = table.assign(ratio=np.log(table.ratio)).groupby(["model", "train_steps", "centres", "K"], as_index=False).ratio.mean()
    return logs.assign(ratio=np.exp(logs.ratio))


def range_summary(table: pd.DataFrame) -> dict[str, float] | None:
    """Smallest and largest ratio over networks, centres of rank one, at the smallest and largest K, before training and at its last stage."""
    if incomplete(table):
        return None
    found = range_numbers(table[table.centres == "rank 1"])
    numbers = {"steps": found.train_steps.max(), "K_few": found.K.min(), "K_many": found.K.max()}
    for stage, steps in (("start", found.train_steps.min()), ("end", found.train_steps.max())):
        for name, k in (("few", found.K.min()), ("many", found.K.max())):
            ratios = found[(found.train_steps == steps) & found.K.eq(k)].ratio
            numbers |= {f"{stage}_{name}_low": ratios.min(), f"{stage}_{name}_high": ratios.max()}
    return numbers


def size_numbers(gaussian: pd.DataFrame, real: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, a row a source and rule."""
    if incomplete(gaussian) or incomplete(real):
        return gaussian
    both = pd.concat([gaussian.assign(source="Gaussian"), real.assign(source=sources(real))])
    columns = ["used", "smallest", "largest", "evenness", "ratio", "refilled"]
    return both.groupby(["source", "rule"], as_index=False, sort=False)[columns].mean()


def sources(real: pd.DataFrame) -> list[str]:
    """Names of networks and states, such as ``lenet, 150 steps``."""
    return [f"{model}, {steps} steps" for model, steps in zip(real.model, real.train_steps, strict=True)]


def centre_numbers(centres: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, networks and states by rule: errors of linear layers and convolutions, and the estimator's variance."""
    if incomplete(centres):
        return centres
    table = centres.groupby(["rule", "layer"], sort=False).error.mean().unstack().rename(columns=lambda name: f"error, {name}")
    return table.assign(ratio=whole(centres).groupby("rule").ratio.mean()).reset_index()


def centre_summary(centres: pd.DataFrame) -> dict[str, float] | None:
    """Numbers of the sentence on centres."""
    if incomplete(centres):
        return None
    table = centre_numbers(centres).set_index("rule")
    mean, svd, rank = (table.loc[rule] for rule in (SMALLEST, "SVD, rank 1", LARGEST))
    found = {"ratio_mean": mean.ratio, "ratio_svd": svd.ratio, "ratio_rank": rank.ratio, "exact": whole(centres).exact_ratio.mean()}
    for kind in ("linear", "convolution"):
        name = f"error, {kind}"
        found |= {f"{kind}_{key}": 100 * row.get(name, float("nan")) for key, row in (("mean", mean), ("svd", svd), ("rank", rank))}
    return found


def size_summary(gaussian: pd.DataFrame, real: pd.DataFrame) -> dict[str, float] | None:
    """Numbers of the sentence on sizes."""
    if incomplete(gaussian) or incomplete(real):
        return None
    g, r = gaussian.groupby("rule")[["used", "ratio", "evenness"]].mean(), real.groupby("rule")[["used", "ratio", "refilled"]].mean()
    return {
        "clusters": gaussian.num_clusters.iloc[0],
        "gaussian_fixed": g.used["fixed"],
        "gaussian_128": g.ratio["running, 128"],
        "gaussian_32": g.ratio["running, 32"],
        "gaussian_none": g.ratio["none"],
        "real_fixed": r.used["fixed"],
        "real_fixed_ratio": r.ratio["fixed"],
        "real_refilled": r.refilled["fixed"],
        "real_128": r.ratio["running, 128"],
        "real_32": r.ratio["running, 32"],
        "real_none": r.ratio["none"],
    }
