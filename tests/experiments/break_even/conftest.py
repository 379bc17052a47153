"""Small hand-made tables of all runs of the page, shaped as `collect` gives them, on which every claim's rule is met."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from sgdscope.runs.collect import Sources

SEEDS = (0, 1, 2)


def left_side(rate, spread, batch, examples=200):
    return (1 - rate) ** 2 + spread**2 * rate**2 * (examples - batch) / (batch * (examples - 1))


def phase_diagram():
    rows = [
        {
            "seed": seed,
            "batch_size": batch,
            "num_steps": 5,
            "learning_rate": rate,
            "spread": spread,
            "left_side": left_side(rate, spread, batch),
            "log_second_moment": 5 * np.log(left_side(rate, spread, batch)) + 0.01 * (seed - 1),
            "exponent": np.log(abs(1 - rate)),
            "measured_exponent": np.log(abs(1 - rate)) + 0.001 * seed,
        }
        for seed, batch, rate, spread in product(SEEDS, (1, 4), (0.3, 0.9, 1.5, 2.2), (0.0, 1.0, 2.0))
    ]
    return pd.DataFrame(rows)


def projected():
    rows = [
        {
            "dataset": "digits",
            "num_examples": 40,
            "batch_size": batch,
            "seed": seed,
            "learning_rate": rate,
            "left_side": rate,
            "log_second_moment": 3 * np.log(rate),
        }
        for batch, seed, rate in product((1, 4), SEEDS, (0.5, 0.97, 1.02, 1.5))
    ]
    return pd.DataFrame(rows)


def stable_case():
    rows = [
        {
            "seed": seed,
            "num_replicas": 100,
            "steps": steps,
            "growth": -0.73 + 0.01 * seed,
            "not_converged": float(steps < 200),
            "sampled_log_second_moment": steps * 0.1 - steps**2 / 1000,
            "left_side": 1.2125,
            "exponent": -0.729,
        }
        for seed, steps in product(SEEDS, (1, 10, 200))
    ]
    return pd.DataFrame(rows)


def early_training():
    rows = [
        {
            "seed": seed,
            "start": start,
            "num_examples": 200,
            "learning_rate": rate,
            "batch_size": batch,
            "crossing_sharpness": 2 / rate - (200 - batch) / (199 * batch) * (1 + 0.1 * seed),
            "distance": 0.3,
            "step": 40.0,
        }
        for seed, start, rate, batch in product(SEEDS, ("stable", "unstable"), (0.05, 0.1, 0.2), (1.0, 8.0, 200.0))
    ]
    return pd.DataFrame(rows)


def networks(sizes=(128, 256)):
    rows = []
    for rate, batch, seed in product((0.4, 0.5, 0.6), sizes, SEEDS):
        crossing = 2 / rate - (0.0 if batch == 256 else 0.2 + 0.01 * seed)
        rows += [
            {
                "dataset": "digits",
                "num_examples": 256,
                "learning_rate": rate,
                "batch_size": batch,
                "seed": seed,
                "status": "finished",
                "step": step,
                "sharpness": crossing * over,
                "left_side": left,
                "crossing_step": 15.0,
                "crossing_sharpness": crossing,
                "sharpness_after": crossing * (1.02 + 0.01 * seed),
                "outcome": "crossed",
            }
            for step, left, over in ((0, 0.4, 9.0), (10, 0.9, 0.9), (20, 1.1, 1.02 + 0.01 * seed), (30, 1.0, 1.0))
        ]
    return pd.DataFrame(rows)


def small_batches():
    """Of 18 runs 3 reach the point, those of seed 0 and batch size 64; the others end at a left side of 0.5, or 0.6 at seed 2."""
    table = networks((16, 64))
    reached = (table.seed == 0) & (table.batch_size == 64)
    table.loc[~reached, ["crossing_step", "crossing_sharpness", "sharpness_after"]] = np.nan
    table.loc[~reached, "outcome"] = "not crossed"
    table.loc[~reached, "left_side"] = np.where(table.step == 30, 0.5 + 0.1 * (table.seed == 2), 0.8)[~reached]
    return table


def noise():
    rows = [
        {
            "dataset": "digits",
            "num_examples": 40,
            "seed": seed,
            "num_gradients": 25,
            "step": step,
            "enumeration_error": 1e-15,
            "top": 2.0,
            "trace": 10.0,
            "top_share": 0.2 + 0.01 * seed + step / 1000,
            "rank": 24,
            "smallest_non_zero": 0.01,
            "largest_position": 0.01,
            "smallest_position": 0.5 + 0.1 * seed,
        }
        for seed, step in product(SEEDS, (0, 10))
    ]
    return pd.DataFrame(rows)


def boundary():
    rows = [
        {
            "dataset": "digits",
            "num_examples": 40,
            "batch_size": batch,
            "seed": seed,
            "one_direction": one + 0.01 * seed,
            "all_directions": both,
        }
        for (batch, one, both), seed in product(((1, 0.99, 0.5), (4, 1.59, 0.8), (40, 1.99, 2.0)), SEEDS)
    ]
    return pd.DataFrame(rows)


def descent():
    rows = [
        {
            "dataset": "digits",
            "num_examples": 40,
            "learning_rate": rate,
            "batch_size": batch,
            "seed": seed,
            "status": "diverged" if rate > 1 else "finished",
            "step": step,
            "sampled": np.inf if rate > 1 and step > 3 else rate**step,
            "typical": (rate / 2) ** step,
            "log_exact": step * np.log(rate),
            "log_one_direction": step * np.log(rate / 2),
        }
        for rate, batch, seed, step in product((0.5, 1.5), (1, 4), (1, 2), range(6))
    ]
    return pd.DataFrame(rows)


def reversed_order():
    """In the order of Theorem 1, which the real run reverses."""
    """In the order of the theorem, so that its rule can be met."""
    rows = [
        {"seed": seed, "learning_rate": rate, "crossing_sharpness": sharpness + seed, "distance": distance}
        for seed, (rate, sharpness, distance) in product(SEEDS, ((1.0, 1.5, 0.1), (1.8, 1.0, 0.8)))
    ]
    return pd.DataFrame(rows)


def lacking(table):
    """The same table, as collected with one run missing of nine."""
    table = table.copy()
    table.attrs["sources"] = Sources(expected=9, missing=1)
    return table


@pytest.fixture
def tables():
    return {
        "enumeration": pd.DataFrame({"error": [1e-15, 2e-14, 0.0]}),
        "phase_diagram": phase_diagram(),
        "projected": projected(),
        "stable_case": stable_case(),
        "closed_form": pd.DataFrame({"check": ["a", "b"], "points": [10, 20], "violations": [0, 0]}),
        "early_training": early_training(),
        "network": networks(),
        "small_batches": small_batches(),
        "noise": noise(),
        "boundary": boundary(),
        "descent": descent(),
        "reversed_order": reversed_order(),
    }


@pytest.fixture
def with_a_run_missing():
    return lacking
