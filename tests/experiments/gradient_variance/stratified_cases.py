"""Small hand-made tables of the runs of the page on stratified sampling, on which every claim's rule is met."""

from itertools import product

import numpy as np
import pandas as pd

SEEDS = (0, 1, 2)
NETWORK = {"dataset": "digits", "model": "mlp"}


def partitions():
    errors = {"bias_error": [1e-15, 2e-15], "variance_error": [0.0, 1e-15], "objective_error": [1e-15, 0.0], "gram_error": [3e-15, 0.0]}
    return pd.DataFrame({**{name: [value] * 2 for name, value in NETWORK.items()}, "draws": [4, 9], **errors})


def monte_carlo():
    rows = [
        {**NETWORK, "seed": seed, "repeats": 50, "partition": "at random", "formula": 2.0, "variance": 2.0 + 0.1 * (seed - 1)}
        | {"variance_error": 0.1, "along": 1.0 + 0.02 * seed, "along_error": 0.02}
        for seed in SEEDS
    ]
    return pd.DataFrame(rows)


def limits():
    return pd.DataFrame(
        [
            {**NETWORK, "seed": seed, "num_examples": 10, "all_clusters": 0, "zero_variance": 0.0, "full_batch": 1e-16, "one_cluster": 0}
            for seed in SEEDS
        ]
    )


def draws():
    factor = {"independent": 1.0, "one number for all": 2.0, "opposite": 0.5}
    return pd.DataFrame(
        [
            {**NETWORK, "seed": seed, "data": data, "independent_data": data.endswith("i.i.d."), "way": way, "formula": 3.0}
            | {"variance": 3.0 * value * (1 + 0.01 * seed * (way != "independent")), "bias_error": 1e-16, "error": abs(value - 1)}
            for seed, data, (way, value) in product(SEEDS, ("Gaussian, i.i.d.", "autoregressive chain"), factor.items())
        ]
    )


def copies():
    return pd.DataFrame(
        [
            {**NETWORK, "seed": seed, "example": example, "num_copies": number, "without": 1.0, "duplicated": 1.2 + 0.1 * seed, "kept": 0.9}
            | {"stratified": 0.5, "mean_error": 1e-16, "farness": 0.5 + example}
            for seed, example, number in product(SEEDS, (0, 1), (1, 3))
        ]
    )


def apart():
    return pd.DataFrame(
        [
            {**NETWORK, "seed": seed, "example": example, "num_copies": number, "term": 0.0, "scaled_ratio": 1.0}
            | {"variance_ratio": (6 / (6 + number)) ** 2, "expected_ratio": (6 / (6 + number)) ** 2, "mingled_ratio": 1.5}
            for seed, example, number in product(SEEDS, (0, 1), (1, 3))
        ]
    )


def optima():
    found = {"weighted": ([3, 3, 3], [0.1, 0.2, 0.3], 0.1), "plain": ([1, 3, 5], [0.0, 0.1, 0.4], 0.2)}
    return pd.DataFrame(
        [
            {**NETWORK, "seed": seed, "set": number, "rule": rule, "cluster": k, "size": sizes[k] + (rule == "weighted") * (k == 0)}
            | {"spread": spreads[k], "variance": variance * (1 + 0.1 * seed)}
            for seed, number, (rule, (sizes, spreads, variance)) in product(SEEDS, (0, 1), found.items())
            for k in range(3)
        ]
    )


def clusters():
    """Of six examples; with weights the larger of two clusters is the tighter one."""
    found = {"running": ([4, 2], [0.1, 0.4]), "previous": ([4, 2], [0.2, 0.5]), "none": ([4, 2], [0.6, 0.1])}
    return pd.DataFrame(
        [
            {**NETWORK, "seed": seed, "num_examples": 6, "step": step, "K": 2, "sizes": rule, "cluster": k, "size": sizes[k]}
            | {"spread": spreads[k] * (1 + 0.01 * seed * k), "alone": 5.0, "emptied": int(rule == "previous")}
            for seed, step, (rule, (sizes, spreads)) in product(SEEDS, (0, 5), found.items())
            for k in range(2)
        ]
    )


def objective():
    found = {"running": [0.9, 0.5, 0.6, 0.4], "previous": [0.9, 1.0, 0.8, 0.9], "none": [0.9, 0.5, 0.4, 0.4]}
    return pd.DataFrame(
        [
            {**NETWORK, "seed": seed, "step": step, "K": 2, "sizes": rule, "iteration": i + 1, "objective": value, "empty": 0}
            for seed, step, (rule, values) in product(SEEDS, (0, 5), found.items())
            for i, value in enumerate(values)
        ]
    )


def counter_examples():
    return pd.DataFrame(
        [
            {"num_gradients": number, "num_clusters": 2, "tried": 10, "raised_emptied": int(number == 3), "raised_kept": int(number == 4)}
            | {"start_kept": "{0, 2, 4} {1}", "end_kept": "{2} {0, 1, 4}", "before_kept": 24, "after_kept": 26}
            for number in (2, 3, 4)
        ]
    )


def points():
    """Two clouds on opposite sides of the origin; half of each shares a cluster, where gradients are alike."""
    rows = []
    for protocol, seed, number, step in product(("paper", "authors_code"), SEEDS, (0, 1), (0, 10)):
        generator = np.random.default_rng(seed)
        for i in range(16):
            label, shared = i % 2, i < 8
            x = (5 if label else -5) * np.array([1, 0.5]) + generator.normal(size=2) * 0.1
            g = np.array([1.0, 0.5, 0.1]) + generator.normal(size=3) * 0.01 if shared else generator.normal(size=3) * 3 + 5 * label
            rows.append(
                {"seed": seed, "protocol": protocol, "point_set": number, "step": step, "x1": x[0], "x2": x[1], "label": label}
                | {"cluster": 0 if shared else 1 + label, "g1": g[0], "g2": g[1], "g_bias": g[2], "w1": 1.0, "w2": 0.5, "b": 0.1}
                | {"rejected": number, "separable": True}
            )
    return pd.DataFrame(rows)
