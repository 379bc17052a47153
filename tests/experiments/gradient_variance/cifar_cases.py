"""Tables of the CIFAR page, shaped as `collect` gives them, on which every part of every rule is met."""

import numpy as np
import pandas as pd

SEEDS = (0, 1, 2)
STEPS, UPDATES, DROPS = range(10, 241, 10), (10, 60, 120, 180), (120, 180)


def trajectory(
    seed=0, *, rate=0.1, drops=DROPS, smoothing=0.0, share=0.0, draws=None, spike=1.0, gain=0.7, level=5e-5, model="resnet8", **more
):
    """SG-B rises and jumps at drops; GC has a share ``gain`` of it, with a spike of log height ``spike`` in the middle of each interval."""
    rows, jitter = [], 1 + 0.002 * seed
    for step in STEPS:
        update = max(u for u in UPDATES if u <= step)
        after = sum(step > drop for drop in drops)
        sgd = level * jitter * np.exp(step / 500 + 0.4 * after) * (1 if draws is None else 1.01)
        spiked = np.exp(spike * (step - update == 20))
        row = {
            "step": step,
            "train_loss": 2 * np.exp(-step * rate**0.5 / 100),
            "train_accuracy": 0.5,
            "sgd_average": sgd,
            "sgd2_average": sgd / 2,
        }
        row |= {"svrg_average": sgd * (step - update) / 60, "gc_average": sgd * gain * spiked}
        row |= {f"{name}_age": step - update for name in ("sgd", "sgd2", "svrg", "gc")}
        row |= {"sgd_normalised": min(0.6 + step / 1000 + 0.1 * after, 0.99), "sgd_guarded": 0.9}
        if step in UPDATES[1:]:
            row |= {"svrg_before_average": sgd * 0.95, "gc_before_average": sgd * gain}
        rows.append(row)
    fields = {
        "seed": seed,
        "dataset": "cifar10",
        "model": model,
        "learning_rate": rate,
        "drops": ", ".join(map(str, drops)),
        "status": "finished",
    }
    fields |= {"label_smoothing": smoothing, "corrupt_share": share, "draws_seed": np.nan if draws is None else draws}
    fields |= {"num_steps": 240, "update_every": 60, "log_every": 10, "repeats": 20, "training_size": 500} | more
    return pd.DataFrame(rows).assign(**fields)


def each(**options):
    return pd.concat([trajectory(seed, **options) for seed in SEEDS], ignore_index=True)


def plain():
    return each()


def smoothed():
    return each(smoothing=0.1, spike=0.5, level=4e-5)


def corrupted():
    return each(share=0.1, spike=0.0, gain=0.6, level=7e-5)


def others():
    return pd.concat([each(share=0.2, level=9e-5), *(trajectory(seed, draws=seed + 1000) for seed in SEEDS)], ignore_index=True)


def few():
    return each(share=0.01, spike=1.2)


def second():
    return each(model="vgg", drops=())


def constant():
    return pd.concat(
        [each(rate=rate, drops=(), level=5e-5 * (0.1 / rate) ** 0.5 if rate < 0.1 else 5e-5) for rate in (0.1, 0.01)], ignore_index=True
    )


def many():
    table = each(model="resnet18", level=1e-7, gain=1.0, spike=0.0, dataset="imagenet")
    return table.assign(sgd_guarded=1.1, svrg_average=table.sgd_average * 0.9)


def redrawn():
    return pd.DataFrame({"dataset": "cifar10", "share": 0.2, "seed": SEEDS, "changed": [0.179, 0.18, 0.181]})


def states():
    rows = []
    for share in (0.0, 0.1):
        for seed in SEEDS:
            for i, place in enumerate(("", "outside", "inside", "")):
                inside = place == "inside"
                overlap = (0.1 + seed / 100, 0.6) if place else (np.nan, np.nan)
                rows.append({
                    "seed": seed, "dataset": "cifar10", "model": "resnet8", "label_smoothing": 0.0, "corrupt_share": share, "draws_seed": np.nan,
                    "step": 10 * i + 10, "gc_exact": 1e-5 * (1 + inside), "sgd_exact": 2e-5, "age": 10 * i, "excess": 0.7 * inside, "place": place,
                    "top_norms": 0.2 + 0.2 * inside + seed / 100 * inside, "top_variance": 0.3 + 0.1 * inside + seed / 100 * inside,
                    "top_changed": 0.8 + seed / 100 if share else 0.0, "changed": 0.09 if share else 0.0,
                    "overlap": overlap[0], "overlap_outside": overlap[1],
                })  # fmt: skip
    return pd.DataFrame(rows)
