"""Evidence for the claims of gradient_variance/02_clustering. Each function measures what the claim's rule names."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pandas as pd

from sgdscope.claims import Evidence, Measurement, estimate, estimated, evidence
from sgdscope.claims.evidence import incomplete
from sgdscope.experiments.gradient_variance import clustering_counts as counts

BOUND = 0.8
"""What counts as significantly less variance: a fifth. Stated before the runs."""

PAPER_DATA = {"mnist", "cifar10", "cifar100", "imagenet"}
EVERY = 20  # training steps between two incremental updates
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


def _worst(steps: pd.DataFrame, part: str, value: Callable[[pd.Series], pd.Series], only: tuple[str, ...] = ()) -> Measurement:
    """Largest over networks of a value of one part's ratio, by seed."""
    rows = steps[(steps.part == part) & (steps.network.isin(only) if only else True)]
    means = rows.groupby("network").ratio.mean()
    detail = ", ".join(f"{network} {ratio:.2f}" for network, ratio in means.items())
    return estimated(value(rows.ratio).groupby(rows.seed).max(), detail=f"over one forward and backward pass: {detail}")


@lru_cache(maxsize=1)
def used_layers() -> dict[str, list[counts.Layer]]:
    """Layers of the three networks that are timed."""
    return {name: counts.layers_of(*counts.network(name)) for name in ("mlp", "resnet8", "resnet18")}


RESIDUAL = ("resnet8", "resnet18")


@evidence
def table_1(steps: pd.DataFrame) -> Evidence:
    """gv-tab-1: counts, times and memory."""
    clusters = steps.groupby("network").num_clusters.first()
    residual = steps[steps.network.isin(RESIDUAL)]
    part, full = (residual[residual.part == name].set_index(["seed", "network"]).ratio for name in ("A and U, subset", "A and U"))
    memory = steps.groupby(["seed", "network"]).memory.first().unstack()
    convolutions = np.log(memory[[name for name in RESIDUAL if name in memory]].max(axis=1).dropna())
    return Evidence(
        {
            "counts": counted(clusters.to_dict()),
            "u_time": _worst(steps, "U", np.log),
            "a_linear": _worst(steps, "A, hidden layers", np.log),
            "overhead": _worst(steps, "A and U", lambda ratio: np.log(ratio / 2)),
            "memory_mlp": Measurement(
                memory["mlp"].mean() if "mlp" in memory else float("nan"), detail="centres and sums together, at the peak"
            ),
            "memory_convolutions": estimated(convolutions, detail=f"ratios {_listed(memory.mean())}"),
            "subset": estimated(np.log(part / full).groupby("seed").mean(), detail=f"a factor of {(part / full).mean():.2f}"),
            "incremental": _worst(steps, "incremental", lambda ratio: np.log(ratio / EVERY * 10)),
        },
        data="random images",
    )


def _listed(values: pd.Series) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in values.items())


def counted(clusters: dict[str, int]) -> Measurement:
    """Layers for which the table's own counts contradict its text: U below back-prop, A below it for linear layers with K < min(I, O)."""
    wrong = total = 0
    for network, k in clusters.items():
        for layer in used_layers()[network]:
            total += 1
            wrong += counts.update(layer) >= counts.back_prop(layer)
            if layer.linear and k < min(layer.fan_in, layer.fan_out):
                wrong += counts.assignment(layer, k) >= counts.back_prop(layer)
    return Measurement(wrong, detail=f"of {total} layers")


@evidence
def table_1_erratum(layers: pd.DataFrame) -> Evidence:
    """gv-err-tab-1: the inequalities by counting over the layers used, and measured times of the hidden layer."""
    hidden = layers[(layers.layer == "hidden") & (layers["product"] == "C.g, eq. 5")]
    low, high = (hidden[hidden["K"] == k] for k in (hidden["K"].min(), hidden["K"].max()))
    every = [layer for of in used_layers().values() for layer in of]
    return Evidence(
        {
            "linear_threshold": Measurement(*_violations(every, _linear_wrong)),
            "norm_threshold": Measurement(*_violations(every, _norm_wrong)),
            "eq_8_cost": Measurement(*_eq_8(every)),
            "one_output": Measurement(*_one_output()),
            "below": estimate(np.log(low.ratio).groupby(low.seed).mean().tolist(), detail=f"K = {low.K.iloc[0]}"),
            "between": estimate(np.log(high.ratio).groupby(high.seed).mean().tolist(), detail=f"K = {high.K.iloc[0]}, min(I, O) = 1024"),
        },
        data="random factors",
    )


def _violations(layers: list[counts.Layer], wrong: Callable[[counts.Layer], list[bool]]) -> tuple[int, None, int, str]:
    found = [value for layer in dict.fromkeys(layers) for value in wrong(layer)]
    return sum(found), None, 0, f"of {len(found)} comparisons"


def _linear_wrong(layer: counts.Layer) -> list[bool]:
    if not layer.linear:
        return []
    most = 2 * max(layer.fan_in, layer.fan_out)
    return [(counts.assignment(layer, k) < counts.back_prop(layer)) != (k < layer.threshold) for k in range(1, most + 1)]


def _norm_wrong(layer: counts.Layer) -> list[bool]:
    found = []
    for positions in range(2, 2 * max(layer.fan_in, layer.fan_out) + 1):
        of = counts.Layer(layer.name, layer.fan_in, layer.fan_out, positions)
        cheaper = counts.gradient_norms(of, equation=9) < counts.gradient_norms(of, equation=8)
        found.append(cheaper != (positions < layer.threshold))
    return found


def _eq_8(layers: list[counts.Layer]) -> tuple[float, None, int, str]:
    of = [layer for layer in dict.fromkeys(layers) if not layer.linear]
    largest = max(
        abs(counts.assignment(layer, k, equation=8) / counts.back_prop(layer) - (2 + k / layer.positions))
        for layer in of
        for k in range(1, 1001)
    )
    return largest, None, 0, f"{len(of)} convolutions"


def _one_output() -> tuple[int, None, int, str]:
    layers = [counts.Layer("", i, o) for i in range(1, 65) for o in range(1, 65)]
    wrong = [(counts.update(of) < counts.back_prop(of)) != ((of.fan_in - 1) * (of.fan_out - 1) > 1) for of in layers]
    return sum(wrong), None, 0, f"of {len(wrong)} layers"


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
    found = {"ratio_mean": mean.ratio, "ratio_svd": svd.ratio, "ratio_rank": rank.ratio, "exact": centres.exact_ratio.mean()}
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
