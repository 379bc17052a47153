"""Evidence for the claims of gradient_variance/01_stratified. Each function measures what the claim's rule names, from the collected tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from sgdscope.claims import Evidence, Measurement, estimated, evidence
from sgdscope.estimators import partition_objective, weighted_lloyd
from sgdscope.experiments.gradient_variance.stratified_tables import (
    RARE,
    after_start,
    by_rule,
    cluster_summary,
    copy_ratios,
    log_gains,
    optimum_correlations,
    rises,
    variance_table,
)


def data_of(table: pd.DataFrame) -> str:
    """Networks and data, with the stand-in label where they are not the paper's MNIST."""
    names = ", ".join(dict.fromkeys(table.model))
    data = table.dataset.iloc[0]
    return f"{names} on {data}" if data == "mnist" else f"{names} on {data} (stand-in for mnist)"


@evidence
def proposition(partitions: pd.DataFrame, monte_carlo: pd.DataFrame) -> Evidence:
    """gv-prop-3.1: all draws of small sets, and estimates of real networks."""
    detail = f"{len(partitions)} partitions, up to {partitions.draws.max()} draws"
    off = variance_table(monte_carlo)
    sampled = f"{len(off)} cases of {off.repeats.iloc[0]} estimates"
    return Evidence(
        {
            "bias": Measurement(partitions.bias_error.max(), detail=detail),
            "variance": Measurement(partitions.variance_error.max(), detail=detail),
            "network_bias": Measurement(off.off_mean.abs().max(), detail=sampled),
            "network_variance": Measurement(
                off.off_variance.abs().max(),
                detail=f"{sampled}, measured over formula {(off.variance / off.formula).mean():.3f} on average",
            ),
        },
        data=data_of(monte_carlo),
    )


@evidence
def limits(table: pd.DataFrame) -> Evidence:
    """gv-limits: K = N and K = 1."""
    seeds = f"{len(table)} seeds, N = {table.num_examples.iloc[0]}"
    return Evidence(
        {
            "all_clusters": Measurement(table.all_clusters.sum(), detail=seeds),
            "zero_variance": Measurement(table.zero_variance.max()),
            "full_batch": Measurement(table.full_batch.max()),
            "one_cluster": Measurement(table.one_cluster.sum(), detail=seeds),
        },
        data=data_of(table),
    )


@evidence
def free_duplicates(apart: pd.DataFrame) -> Evidence:
    """gv-duplicates-free: copies in a cluster of their own."""
    cases = f"{len(apart)} cases, {apart.num_copies.min()} to {apart.num_copies.max()} copies added"
    return Evidence(
        {
            "term": Measurement(apart.term.max(), detail=cases),
            "unchanged": Measurement((apart.scaled_ratio - 1).abs().max(), detail=cases),
            "falls": Measurement((apart.variance_ratio / apart.expected_ratio - 1).abs().max()),
        },
        data=data_of(apart),
    )


@evidence
def weighted_clustering(partitions: pd.DataFrame, optima: pd.DataFrame, clusters: pd.DataFrame) -> Evidence:
    """gv-eq-2: the objective, and weighted against plain clusters."""
    one = optima.drop_duplicates(["seed", "set", "rule"]).pivot_table(index=["seed", "set"], columns="rule", values="variance")
    gain = np.log(one.weighted / one.plain).groupby("seed").mean()
    tight = optimum_correlations(optima)
    summary = cluster_summary(clusters)
    gains, correlations = log_gains(summary), by_rule(summary, "correlation")
    parts = {
        "objective": Measurement(partitions[["objective_error", "gram_error"]].max().max(), detail=f"{len(partitions)} partitions"),
        "optimum_variance": estimated(gain, f"ratio {np.exp(gain.mean()):.2f}"),
        "optimum_tight": estimated(tight.weighted - tight.plain, f"{tight.weighted.mean():+.2f} against {tight.plain.mean():+.2f}"),
    }
    for rule in ("running", "previous"):
        means = correlations[rule].mean(), correlations["none"].mean()
        parts[f"variance_{rule}"] = estimated(gains[rule], f"ratio {np.exp(gains[rule].mean()):.2f}")
        parts[f"tight_{rule}"] = estimated(correlations[rule] - correlations["none"], f"{means[0]:+.2f} against {means[1]:+.2f}")
    return Evidence({name: _typeset(part) for name, part in parts.items()}, data=data_of(clusters))


def _typeset(part: Measurement) -> Measurement:
    return Measurement(part.value, part.interval, part.seeds, part.detail.replace("-", "−"))


def four_gradients() -> tuple[float, float]:
    """The objective of gradients 0, 1, 2, 4 before and after one step, with 1 in a cluster of its own at first: 24 and 26."""
    g, start = torch.tensor([0.0, 1.0, 2.0, 4.0], dtype=torch.float64), torch.tensor([0, 1, 0, 0])
    gram = torch.outer(g, g)
    found = weighted_lloyd(gram, 2, steps=1, sizes="previous", refill="none", start=start, generator=torch.Generator())
    return partition_objective(gram, start), found.objective[0]


@evidence
def no_guarantee(searched: pd.DataFrame, objective: pd.DataFrame) -> Evidence:
    """gv-no-guarantee: the example, whether there is a smaller one, and steps on real networks."""
    before, after = four_gradients()
    few = searched[searched.num_gradients < 4]
    found = rises(objective)

    def share(rule: str) -> Measurement:
        rows = found[found.sizes == rule]
        return estimated(rows.groupby("seed")["share"].mean(), f"{rows.steps.sum()} steps")

    return Evidence(
        {
            "example": Measurement(abs(before - 24) + abs(after - 26), detail=f"{before:g} to {after:g}"),
            "smallest": Measurement(
                few.raised_kept.sum(), detail=f"of {few.tried.sum()} steps; {few.raised_emptied.sum()} that empty a cluster"
            ),
            "share_previous": share("previous"),
            "share_running": share("running"),
        },
        data=data_of(objective),
    )


@evidence
def two_class_cluster(pictures: pd.DataFrame) -> Evidence:
    """gv-fig-1: clusters of gradients that hold points of both classes."""
    found = after_start(pictures)
    sets = pictures.drop_duplicates(["protocol", "seed", "point_set"])
    lacking = found[found.rare < RARE].groupby("protocol").size().reindex(["paper", "authors_code"], fill_value=0)
    paper = found[found.protocol == "paper"]
    logs = np.log(paper.set_index("seed")[["far", "near"]]).groupby("seed").mean()
    detail = f"{paper.far.notna().sum()} of {len(paper)} pictures have such pairs"
    return Evidence(
        {
            "separable": Measurement((~sets.separable).sum(), detail=f"of {len(sets)}"),
            "two_classes": Measurement(
                lacking.sum(), detail=f"of {len(found)}: {lacking.paper} with the full batch, {lacking.authors_code} with B = 10"
            ),
            "far_inputs": estimated(logs.far, detail),
            "near_gradients": estimated(logs.near, detail),
        },
        data="points in the plane",
    )


@evidence
def duplicates(copies: pd.DataFrame) -> Evidence:
    """gv-duplicates-sgd: a batch from the duplicated set against three others."""
    ratios = copy_ratios(copies)
    by_seed = ratios.groupby("seed")[["original", "kept", "stratified"]].mean()
    parts = {
        f"against_{name}": estimated(
            by_seed[name], f"ratio {np.exp(by_seed[name].mean()):.2f}, above 1 in {(ratios[name] > 0).sum()} of {len(ratios)} cases"
        )
        for name in by_seed
    }
    return Evidence({"mean": Measurement(copies.mean_error.max(), detail=f"{len(copies)} cases")} | parts, data=data_of(copies))


@evidence
def proof(draws: pd.DataFrame) -> Evidence:
    """gv-err-proof: dependent draws from i.i.d. data, independent draws from data that are not."""
    logs = draws.assign(log=np.log(draws.variance / draws.formula))
    together = logs[logs.way == "one number for all"]
    chosen = together[together.independent_data]
    fixed = draws[(draws.way == "independent") & ~draws.independent_data]
    by_seed = chosen.groupby("seed").log.mean()
    return Evidence(
        {
            "unbiased": Measurement(together.bias_error.max(), detail=f"{len(together)} sets"),
            "dependent": estimated(by_seed, f"ratio {np.exp(by_seed.mean()):.2f}"),
            "independent": Measurement(fixed.error.max(), detail=f"{len(fixed)} sets"),
        },
        data=data_of(draws),
    )
