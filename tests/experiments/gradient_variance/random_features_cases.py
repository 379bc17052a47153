"""Small hand-made tables of the random-features page, shaped as `collect` gives them."""

from itertools import product

import numpy as np
import pandas as pd

from sgdscope.runs.collect import Sources

SEEDS = (0, 1, 2)
TAUS = (1.0, 2.0, 10.0)
RATES = (0.001, 0.01, 0.1)


def trend(row):
    """tau^-2 / rate; half of it in SG-2B, 0.7 in SVRG and GC."""
    return row["overparametrisation"] ** -2 / row["learning_rate"] * {"SG-B": 1, "SG-2B": 0.5}.get(row["estimator"], 0.7)


def sweep(exact=None, *, taus=TAUS, definition="figures", estimators=("SG-B", "SG-2B", "SVRG", "GC"), seeds=SEEDS, **columns):
    """Ten log points, steps 100 to 1,000, of which the last seven count; snapshots at 10, 410 and 810.

    ``exact`` and the other columns are numbers or functions of a row's dictionary.
    """
    rows = []
    exact = exact or trend
    defaults = {
        "loss": 0.3, "accuracy": 1.0, "example_square": 2.0, "gradient_square": 0.5, "exact": exact, "variance": exact, "normalised": 0.9,
        "normalised_mean": 0.9, "guarded": 1.1, "unguarded": 1.1, "extreme_moment": 0.5, "extreme_noise": 1.0, "extreme_share": 0.02,
    }  # fmt: skip
    for tau, width, teacher, rate, seed, step, name in product(taus, (5, 50), (5, 60), RATES, seeds, range(100, 1001, 100), estimators):
        row = {
            "overparametrisation": tau, "input_dim": width, "teacher_hidden": teacher, "learning_rate": rate, "seed": seed, "share": 0.0,
            "definition": definition, "hidden": 40, "batch_size": 4, "num_steps": 1000, "first_refresh": 10, "refresh_every": 400, "drop_at": 0,
            "status": "finished", "step": step, "estimator": name,
        }  # fmt: skip
        given = defaults | columns
        rows.append(row | {key: value(row) if callable(value) else value for key, value in given.items()})
    return pd.DataFrame(rows)


def with_noise(table, scale=0.05):
    """A little of it, in the logarithm of the variance, that depends on the seed."""
    return table.assign(exact=table.exact * np.exp(scale * (table.seed - 1) * (1 + table.overparametrisation / 10)))


def others():
    """Both other set-ups, with the narrow teacher; the code's has a third of the variance, and `paper` the narrow input only."""
    parts = []
    for name, factor in (("paper", 2.0), ("authors_code", 1 / 3)):
        table = sweep(
            lambda row, f=factor: f / (row["learning_rate"] * row["overparametrisation"] ** 2), definition=name, estimators=("SG-B",)
        )
        table = table[table.teacher_hidden == 5]
        parts.append(with_noise(table if name == "authors_code" else table[table.input_dim == 5]))
    return pd.concat(parts, ignore_index=True)


def descriptions():
    """Labels: 0.5 + 0.01 seed by the code, 0.2 by the paper."""
    rows = [
        {
            "definition": name, "input_dim": 5, "teacher_hidden": teacher, "hidden": 40, "num_examples": 1000, "seed": seed,
            "feature_length": 0.577 if name == "authors_code" else 1.0,
            "positives": 0.5 + 0.01 * seed if name == "authors_code" else 0.2,
            "parameters": 40 if name == "paper" else 82,
        }
        for name, teacher, seed in product(("figures", "paper", "authors_code"), (5, 60), SEEDS)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def batches(noise=lambda batch: 1 / batch):
    """Steps to a loss of 0.1 at the faster of two rates: 400, 200, 100 and 100 at B = 2 to 16; the slower one never gets there."""
    rows = []
    for batch, rate, seed, step in product((2, 4, 8, 16), (0.1, 0.3), SEEDS, range(10, 501, 10)):
        reached = rate == 0.3 and step >= max(100, 800 // batch)
        rows.append({
            "batch_size": batch, "learning_rate": rate, "seed": seed, "step": step, "num_steps": 500, "loss": 0.05 if reached else 0.5,
            "exact": noise(batch), "gradient_square": 1.0, "overparametrisation": 1.0,
        })  # fmt: skip
    return pd.DataFrame(rows)


def drop(loss=0.5, exact=2.0, gradient=0.25):
    """Factors of loss, variance and squared gradient after a drop at step 500 of 1,000."""
    rows = []
    for tau, seed, at, step in product((0.5, 1.0), SEEDS, (0, 500), range(100, 1001, 10)):
        after = at and step > at
        jitter = 1 + 0.01 * seed
        rows.append({
            "overparametrisation": tau, "seed": seed, "drop_at": at, "num_steps": 1000, "step": step, "estimator": "SG-B",
            "loss": loss * jitter if after else 1.0, "exact": exact * jitter if after else 1.0, "gradient_square": gradient if after else 1.0,
        })  # fmt: skip
    return pd.DataFrame(rows)


def deep(factor=0.5):
    """A larger rate has ``factor`` of the variance."""
    rows = [
        {
            "dataset": "digits", "model": "mlp", "learning_rate": rate, "seed": seed, "num_steps": 100, "step": step, "loss": 1.0,
            "exact": (factor if rate == 0.3 else 1.0) * (1 + 0.1 * seed) * (100.0 if step < 30 else 1.0), "gradient_square": 1.0,
        }
        for rate, seed, step in product((0.1, 0.3), SEEDS, range(10, 101, 10))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def lacking(table):
    """The same table, as collected with one run missing of nine."""
    table = table.copy()
    table.attrs["sources"] = Sources(expected=9, missing=1)
    return table
