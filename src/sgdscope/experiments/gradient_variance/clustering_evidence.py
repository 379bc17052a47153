"""Evidence for the claims of gradient_variance/02_clustering. Each function measures what the claim's rule names."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sgdscope.claims import Evidence, Measurement, estimate, estimated, evidence

BOUND = 0.8
"""What counts as significantly less variance: a fifth. Stated before the runs."""

PAPER_DATA = {"mnist", "cifar10", "cifar100", "imagenet"}
SMALLEST, LARGEST = "mean update", "SVD, rank 4"


def over_states(table: pd.DataFrame, column: str = "ratio") -> pd.Series:
    """Mean of the log of a column over networks and states of training, by seed."""
    return np.log(table[column]).groupby(table.seed).mean()


def data_of(table: pd.DataFrame) -> str:
    """Networks, data with the label of a stand-in where they are none of the paper's, and number of examples of a table of runs."""
    data = ", ".join(sorted(set(table.dataset)))
    data = data if set(table.dataset) <= PAPER_DATA else f"{data} (stand-in for the paper's images)"
    return f"{', '.join(sorted(set(table.model)))} on {data}, {int(table.num_examples.iloc[0])} images"


def _largest(table: pd.DataFrame, column: str = "error") -> Measurement:
    return Measurement(float(table[column].max()), detail=f"{len(table)} comparisons")


@evidence
def equation_5(products: pd.DataFrame) -> Evidence:
    """gv-eq-5: linear layers."""
    linear = products[products.layer == "linear"]
    mixed = linear["product"] == "centre and gradient, eq. 5"
    norms = linear["product"].isin(["centre and centre", "gradient and gradient"])
    return Evidence({"centre_gradient": _largest(linear[mixed]), "norms": _largest(linear[norms])}, data="random networks")


@evidence
def equations_8_9(products: pd.DataFrame) -> Evidence:
    """gv-eq-8-9: convolutions."""
    of = products[products.layer == "convolution"]
    parts = {f"eq_{n}": _largest(of[of["product"] == f"centre and gradient, eq. {n}"]) for n in (8, 9)}
    return Evidence(parts, data="random networks")


@evidence
def figure_2(algorithms: pd.DataFrame) -> Evidence:
    """gv-fig-2: layer by layer against long vectors."""
    return Evidence(
        {
            "distances": _largest(algorithms, "distance_error"),
            "assignment": Measurement(int(algorithms.assigned_otherwise.sum()), detail=f"{len(algorithms)} networks"),
            "update": _largest(algorithms, "update_error"),
            "layers": estimate(algorithms.groupby("seed").first_layer_otherwise.mean().tolist()),
        },
        data="random networks",
    )


def whole(centres: pd.DataFrame) -> pd.DataFrame:
    """Errors of all weights together, a row a run and rule: those of the kinds of layers weighted by the squared lengths of their means."""
    by = ["model", "train_steps", "seed", "rule"]
    weighted = centres.assign(error=centres.error * centres.share, left_out=centres.left_out * centres.share)
    summed = weighted.groupby(by, as_index=False)[["error", "left_out", "share"]].sum()
    rest = centres.groupby(by, as_index=False)[["ratio", "exact_ratio"]].first()
    return summed.assign(error=summed.error / summed.share, left_out=summed.left_out / summed.share).merge(rest, on=by)


def _difference(table: pd.DataFrame, column: str, first: str, second: str) -> Measurement:
    """Log of a column for one rule less that for another, mean over networks and states, by seed."""
    one, two = (over_states(table[table.rule == rule], column) for rule in (first, second))
    return estimated(one - two, detail=f"a factor of {np.exp((one - two).mean()):.3g}")


@evidence
def equation_6(updates: pd.DataFrame, centres: pd.DataFrame) -> Evidence:
    """gv-eq-6: exact without correlation; least squares by the SVD; rank; variance."""
    total = whole(centres)
    low = centres[centres.rule == "SVD, rank 1"]
    return Evidence(
        {
            "uncorrelated": _largest(updates[updates.pairing == "uncorrelated"]),
            "correlated": estimate(updates[updates.pairing == "matched"].groupby("seed").error.mean().tolist()),
            "least_squares": Measurement(float((low.error / low.left_out - 1).abs().max()), detail=f"{len(low)} comparisons"),
            "svd": _difference(total, "error", SMALLEST, "SVD, rank 1"),
            "rank": _difference(total, "error", "SVD, rank 1", LARGEST),
            "variance": _difference(total, "ratio", SMALLEST, LARGEST),
        },
        data=data_of(centres),
    )


@evidence
def convolution_update(centres: pd.DataFrame) -> Evidence:
    """gv-err-conv-update: both rules on the weights of convolutions."""
    of = centres[centres.layer == "convolution"]
    return Evidence({"error": _difference(of, "error", SMALLEST, "SVD, rank 1")}, data=data_of(centres))


@evidence
def sizes(gaussian: pd.DataFrame, real: pd.DataFrame) -> Evidence:
    """gv-err-sizes: evenness, collapse, variance."""
    running, fixed = ({name: t[t.rule == rule] for name, t in (("g", gaussian), ("r", real))} for rule in ("running, 128", "fixed"))

    def evenness(name: str) -> Measurement:
        one, two = (t[name].groupby("seed").evenness.mean() for t in (running, fixed))
        return estimate((one - two).tolist(), detail=f"{one.mean():.2f} against {two.mean():.2f}")

    counted = pd.concat([gaussian, real])
    ended = counted[counted.rule.str.startswith("running") & (counted.used == 1)]
    return Evidence(
        {
            "balance_gaussian": evenness("g"),
            "balance_real": evenness("r"),
            "collapse": Measurement(int(fixed["g"].used.max()) - 1, detail=f"{len(fixed['g'])} seeds"),
            "running": Measurement(len(ended), detail=f"of {int(counted.rule.str.startswith('running').sum())} clusterings"),
            "variance_real": _difference(real, "ratio", "running, 128", "fixed"),
        },
        data=f"isotropic Gaussian vectors; {data_of(real)}",
    )


@evidence
def k_range(table: pd.DataFrame) -> Evidence:
    """gv-k-range: rank-1 GC over SG-K, against the bound."""
    by_k = {k: _against_bound(table, k) for k in sorted(set(table.K)) if 10 <= k <= 100}
    above = [k for k, found in by_k.items() if found.interval is None or found.interval[1] > 0]
    return Evidence(
        {
            "k_10": by_k[min(by_k)],
            "k_100": by_k[max(by_k)],
            "between": Measurement(len(above), detail=f"of K = {', '.join(map(str, by_k))}"),
        },
        data=data_of(table),
    )


def _against_bound(table: pd.DataFrame, clusters: int) -> Measurement:
    logs = over_states(table[(table["K"] == clusters) & (table.centres == "rank 1")])
    return estimate((logs - np.log(BOUND)).tolist(), detail=f"K = {clusters}, ratio {np.exp(logs.mean()):.3f}")


@evidence
def uniform(table: pd.DataFrame) -> Evidence:
    """gv-uniform: ratio in 1, 2 and 1,000 dimensions."""

    def at(dimension: int) -> Measurement:
        return estimate(
            table[table.dimension == dimension].ratio.tolist(), detail="one dimension" if dimension == 1 else f"{dimension:,} dimensions"
        )

    return Evidence({"high": at(1000), "one": at(1), "two": at(2)}, data="uniform cubes")
