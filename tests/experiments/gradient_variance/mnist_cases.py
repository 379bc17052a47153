"""Hand-made tables of the runs of the MNIST page, shaped as `collect` gives them."""

import numpy as np
import pandas as pd

STEPS = (0, 10, 100, 200, 300, 400, 500, 600, 700, 800)
UPDATES = (10, 400, 800)
SEEDS = (0, 1, 2)


def main(seeds=SEEDS, protocol="shared", estimators=("sgd", "sgd2", "svrg", "gc")):
    """SG-B at 1e-3 / (1 + step), the others at fixed shares of it; SVRG zero after its updates and GC a tenth."""
    rows = []
    for seed in seeds:
        for step in STEPS:
            row = {
                "seed": seed, "dataset": "mnist", "model": "mlp", "hidden": "1024, 1024", "batch_size": 8, "repeats": 5, "learning_rate": 0.1,
                "corrupt_share": 0.0, "protocol": protocol, "estimators": ", ".join(estimators), "status": "finished", "step": step,
                "train_loss": 2.0 / (1 + step), "train_accuracy": step / 800, "training_size": 32, "parameters": 100,
            }  # fmt: skip
            plain = (1 + 0.01 * seed) * 1e-3 / (1 + step)
            if step:
                for name, share in (("sgd", 1.0), ("sgd2", 3 / 7), ("svrg", 0.2), ("gc", 0.3)):
                    if name not in estimators:
                        continue
                    age = step - max(update for update in UPDATES if update <= step)
                    fresh = {"svrg": 1e-15, "gc": 0.1}.get(name, share) if age == 0 else share
                    row |= {f"{name}_average": fresh * plain, f"{name}_normalised": 0.5 * fresh, f"{name}_age": age}
                    if name in ("svrg", "gc") and age == 0 and step > 10:
                        row |= {f"{name}_before_average": share * plain, f"{name}_before_normalised": 0.5 * share}
                if "sgd" in estimators:
                    row |= {"sgd_normalised": 0.9 - step / 1000, "sgd_normalised_mean": 0.8, "sgd_guarded": 0.85 - step / 2000}
                    row |= {"sgd_unguarded": 100.0, "sgd_rescaled_0": 0.8, "sgd_rescaled_1": 0.72, "sgd_rescaled_2": 0.52}
            if step in UPDATES and protocol == "shared":
                row |= {
                    "growth_max": 10.0 * (1 + step / 100),
                    "growth_mean_square": 50.0,
                    "growth_gradient_norm": 1.0,
                    "growth_variance": 8 * plain,
                }
            rows.append(row)
    return pd.DataFrame(rows)


def authors(seeds=SEEDS):
    """Runs of their own; losses differ by a factor of e between the first and the last estimator."""
    parts = []
    for i, name in enumerate(("sgd", "sgd2", "svrg", "gc")):
        part = main(seeds, "authors", (name,))
        parts.append(part.assign(train_loss=part.train_loss * np.exp(i / 3)))
    return pd.concat(parts, ignore_index=True)


def problems(seeds=SEEDS):
    """Four problems: the slower, the larger the normalised variance and the smaller the plain one; the last does not reach half of its loss."""
    rows = []
    for seed in seeds:
        for i, (dataset, model, rate, share) in enumerate(
            [("digits", "linear", 0.1, 0.0), ("digits", "mlp", 0.1, 0.0), ("digits", "mlp", 0.02, 0.0), ("digits", "mlp", 0.02, 0.6)]
        ):
            for step in range(0, 61, 5):
                row = {"seed": seed, "dataset": dataset, "model": model, "learning_rate": rate, "corrupt_share": share, "step": step}
                row["train_loss"] = 1.0 if step < 10 * (i + 1) or i == 3 else 0.4
                if step in (5, 20, 40, 60):
                    row |= {"sgd_average": 10.0**-i, "sgd_normalised": 0.5 + i / 10, "sgd_guarded": 0.7 + (i % 2) / 10}
                rows.append(row)
    return pd.DataFrame(rows)


def noise(seeds=SEEDS):
    rows = [
        {
            "seed": seed, "repeats": repeats, "signal": signal, "scale": scale, "normalised": 0.5 if signal else 1.0, "normalised_mean": 1.0,
            "guarded": 0.6, "unguarded": 1 + 1 / (repeats - 2) + seed / 1e4, "same_draws": 1 - 1 / repeats,
        }
        for repeats, signal, scale in ((10, 0.0, 1.0), (50, 0.0, 1.0), (50, 1.0, 1.0), (50, 1.0, 2.0**-10)) for seed in seeds
    ]  # fmt: skip
    return pd.DataFrame(rows)


def fresh(seeds=SEEDS):
    ratios = {("isotropic", "running"): 1.5, ("isotropic", "previous"): 0.9, ("line", "running"): 0.1, ("line", "previous"): 0.2}
    rows = [
        {"seed": seed, "gradients": name, "sizes": sizes, "ratio": ratio + seed / 100, "clusters": 20, "largest": 0.1}
        for (name, sizes), ratio in ratios.items() for seed in seeds
    ]  # fmt: skip
    return pd.DataFrame(rows)


def training(seeds=SEEDS):
    rows = [
        {
            "seed": seed, "dataset": dataset, "model": model, "estimator": name, "step": step, "gradients": step * (1 + i) * 8,
            "train_loss": np.exp(-step / 10) * (1 + i), "train_accuracy": 0.5,
        }
        for dataset, model in (("digits", "mlp"), ("fashion_mnist_small", "lenet")) for i, name in enumerate(("sgd", "sgd2", "svrg", "gc"))
        for seed in seeds for step in (0, 10, 20)
    ]  # fmt: skip
    return pd.DataFrame(rows)
