"""Evidence for the claims of gradient_variance/02_clustering about time and memory: Table 1 and what its own counts say."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pandas as pd

from sgdscope.claims import Evidence, Measurement, estimate, estimated, evidence
from sgdscope.experiments.gradient_variance import clustering_counts as counts

EVERY = 20  # training steps between two incremental updates


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
