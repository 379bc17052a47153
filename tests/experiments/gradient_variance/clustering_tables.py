"""Small hand-made tables of the runs of 02_clustering, shaped as `collect` gives them, on which every rule is met."""

from itertools import product

import pandas as pd

SEEDS = (0, 1, 2)
STATES = [("mlp", 0), ("lenet", 200)]
PRODUCTS = ("centre and gradient, eq. 8", "centre and centre", "gradient and gradient")


def products():
    rows = [
        {"seed": seed, "case": "a", "weight": "w", "layer": layer, "product": name, "error": 1e-15}
        for seed in SEEDS
        for layer, more in (("linear", "centre and gradient, eq. 5"), ("convolution", "centre and gradient, eq. 9"))
        for name in (*PRODUCTS, more)
    ]
    return pd.DataFrame(rows)


def algorithms():
    columns = {"case": "a", "distance_error": 1e-15, "assigned_otherwise": 0, "update_error": 1e-14}
    return pd.DataFrame([{"seed": seed, **columns, "first_layer_otherwise": 0.5 + seed / 10} for seed in SEEDS])


def updates():
    return pd.DataFrame([
        {"seed": seed, "layer": layer, "pairing": pairing, "error": error + (error > 0.1) * seed / 10}
        for seed, layer, (pairing, error) in product(SEEDS, ("linear", "convolution"), (("uncorrelated", 1e-16), ("matched", 1.0)))
    ])  # fmt: skip


def centres():
    """Errors 0.4, 0.1, 0.05, 0.01 times 1 to 1.2 by seed; twice that on convolutions."""
    rules = {"mean update": (0.4, 0.5), "SVD, rank 1": (0.1, 0.45), "SVD, rank 2": (0.05, 0.43), "SVD, rank 4": (0.01, 0.4)}
    rows = [
        {"dataset": "digits", "model": model, "train_steps": steps, "seed": seed, "num_examples": 30, "num_clusters": 4, "rule": rule,
         "ratio": ratio * (1 + seed / 100 * (rule == "mean update")), "exact_ratio": 0.38, "layer": layer, "share": share,
         "error": error * scale * (1 + seed / 10 * (rule == "mean update")) * (1 + 0.01 * seed * (rule == "SVD, rank 4")),
         "left_out": error * scale}
        for (model, steps), seed, (rule, (error, ratio)) in product(STATES, SEEDS, rules.items())
        for layer, scale, share in (("linear", 1, 3.0), ("convolution", 2, 1.0))
        if layer == "linear" or model == "lenet"
    ]  # fmt: skip
    return pd.DataFrame(rows)


def steps():
    ratios = {"A": 0.5, "U": 0.1, "A and U": 0.6, "A and U, subset": 0.3, "iteration": 1.4, "incremental": 1.5, "A, hidden layers": 0.2}
    memory = {"mlp": 1.1, "resnet8": 0.8, "resnet18": 0.3}
    return pd.DataFrame([
        {"network": network, "batch_size": 8, "num_clusters": 32, "seed": seed, "part": part, "ratio": ratio * (1 + seed / 20),
         "seconds": 0.1, "memory": memory[network] * (1 + seed / 100)}
        for network, seed, (part, ratio) in product(memory, SEEDS, ratios.items())
        if network == "mlp" or part != "A, hidden layers"
    ])  # fmt: skip


def layers():
    return pd.DataFrame([
        {"seed": seed, "layer": "hidden", "fan_in": 1024, "fan_out": 1024, "positions": 1, "K": k, "product": name, "ratio": ratio + seed / 100}
        for seed, (k, ratio), name in product(SEEDS, ((128, 0.3), (922, 1.8)), ("C.g, eq. 5", "U"))
    ])  # fmt: skip


def _sizes(shared):
    rules = {"fixed": (1, 0.1, 3.0, 0.9), "running, 128": (4, 0.8, 0.6, 0.6), "running, 32": (4, 0.9, 0.5, 0.5), "none": (4, 0.6, 0.7, 0.7)}
    return [
        {**shared, "num_clusters": 4, "rule": rule, "used": used, "smallest": 2, "largest": 9, "evenness": even + shared["seed"] / 50 * (used > 1),
         "collapsed": used == 1, "ratio": ratio * (1 + shared["seed"] / 50 * (used > 1)), "refilled": refilled}
        for rule, (used, even, ratio, refilled) in rules.items()
    ]  # fmt: skip


def gaussian():
    return pd.DataFrame([row for seed in SEEDS for row in _sizes({"seed": seed, "dimension": 3, "num_examples": 30})])


def real():
    shared = ({"dataset": "digits", "model": m, "train_steps": t, "seed": s, "num_examples": 30} for (m, t), s in product(STATES, SEEDS))
    return pd.DataFrame([row for one in shared for row in _sizes(one)])


def by_clusters():
    return pd.DataFrame([
        {"dataset": "digits", "model": model, "train_steps": steps, "seed": seed, "num_examples": 30, "K": k, "centres": centres,
         "ratio": 2 / k**0.7 * (1 + seed / 50), "used": k}
        for (model, steps), seed, k, centres in product(STATES, SEEDS, (10, 30, 100), ("exact", "rank 1"))
    ])  # fmt: skip


def cloud():
    ratios = {1: 1.0, 2: 1.02, 10: 0.99, 1000: 1.01}
    return pd.DataFrame([{"dimension": d, "seed": seed, "ratio": r + seed / 1000} for (d, r), seed in product(ratios.items(), SEEDS)])
