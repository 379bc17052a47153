"""Evidence for the claims of gradient_variance/04_cifar. Each function measures what the claim's rule names, from the collected tables."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sgdscope.claims import Evidence, Measurement, estimated, evidence, named
from sgdscope.experiments.gradient_variance.cifar_tables import (
    NAMES,
    after_drop,
    case,
    distance,
    equal_losses,
    fall_back,
    falls,
    fluctuation,
    growth,
    jump,
    log_points,
    median_ratio,
    per_seed,
    rise,
    rise_to_drop,
    trajectories,
)

CIFAR, IMAGENET = "resnet8 on cifar10", "resnet18 on imagenet"


def data_of(table: pd.DataFrame, paper: str = CIFAR) -> str:
    """Model and data, with the stand-in label where they are not the paper's."""
    return named(f"{table.model.iloc[0]} on {table.dataset.iloc[0]}", paper)


def excess(table: pd.DataFrame, of: str | None = None, measure=fluctuation) -> pd.Series:
    """Seed to the fluctuation of GC less that of SG-2B, which is the noise of the measurement."""
    return per_seed(table, lambda rows: measure(rows, "gc") - measure(rows, "sgd2"), of=of)


def change(values: pd.Series, base: pd.Series) -> pd.Series:
    """Difference at the seeds that both have."""
    return (values - base).dropna()


def last_quarter(rows: pd.DataFrame) -> float:
    """Mean log of SG-B's average variance over the last quarter of the log points."""
    values = np.log(log_points(rows).sgd_average)
    return float(values.iloc[-max(len(values) // 4, 1) :].mean())


@evidence
def four_estimators(plain: pd.DataFrame) -> Evidence:
    """gv-fig-3b: SG-B's rise and jumps, GC's place and its sudden rises, SVRG's growth, and the sizes of both variances."""
    at = log_points(plain)

    def above_one(column: str) -> Measurement:
        return Measurement(int((at[column] > 1).sum()), detail=f"of {len(at)}; largest {at[column].max():.3f}")

    order = float(np.exp(per_seed(plain, last_quarter).mean()))
    return Evidence(
        {
            "rise": estimated(per_seed(plain, rise_to_drop)),
            "rise_normalised": estimated(per_seed(plain, lambda rows: rise_to_drop(rows, "sgd_normalised"))),
            "jump": estimated(per_seed(plain, jump)),
            "jump_normalised": estimated(per_seed(plain, lambda rows: jump(rows, "sgd_normalised"))),
            "gc_below_sgb": estimated(per_seed(plain, lambda rows: median_ratio(rows, "gc"))),
            "gc_above_sg2b": estimated(per_seed(plain, lambda rows: median_ratio(rows, "gc", "sgd2"))),
            "gc_rises": estimated(excess(plain)),
            "gc_falls_back": estimated(excess(plain, measure=fall_back)),
            "svrg_grows": estimated(per_seed(plain, growth)),
            "svrg_monotone": Measurement(falls(plain)),
            "below_one": above_one("sgd_normalised"),
            "below_one_guarded": above_one("sgd_guarded"),
            "order": Measurement(order),
        },
        data=data_of(plain),
    )


@evidence
def many_classes(many: pd.DataFrame) -> Evidence:
    """gv-fig-3c: GC beside SG-B on a problem with many classes, and the rise of variance and normalised variance."""
    overlap = per_seed(many, lambda rows: float(np.log(log_points(rows).gc_average / log_points(rows).sgd_average).mean()))
    late = per_seed(many, lambda rows: float(log_points(rows).sgd_guarded.iloc[-max(len(log_points(rows)) // 2, 1) :].mean()) - 1)
    largest = per_seed(many, lambda rows: float(np.log10(log_points(rows).sgd_average.max() / 1e-6)))
    measured = [name for name in NAMES if f"{name}_average" in many]
    return Evidence(
        {
            "overlaps": Measurement(float(np.exp(overlap.mean()))),
            "rise": estimated(per_seed(many, rise)),
            "rise_normalised": estimated(per_seed(many, lambda rows: rise(rows, "sgd_normalised"))),
            "rise_all": estimated(per_seed(many, lambda rows: min(rise(_fresh(rows), f"{name}_average") for name in measured))),
            "after_drops": estimated(per_seed(many, lambda rows: jump(rows, less_before=True))),
            "exceeds_one": estimated(late),
            "small": estimated(largest),
        },
        data=data_of(many, IMAGENET),
    )


def _fresh(rows: pd.DataFrame) -> pd.DataFrame:
    """Without the log points of an update, where the variance of SVRG is zero."""
    return rows[rows.sgd_age > 0]


@evidence
def noisy_labels(plain: pd.DataFrame, smoothed: pd.DataFrame, corrupted: pd.DataFrame) -> Evidence:
    """gv-fig-6: GC's fluctuation with plain, smoothed and redrawn labels, and its gain."""

    def of_gc(table: pd.DataFrame) -> pd.Series:
        return per_seed(table, lambda rows: fluctuation(rows, "gc"))

    def gain(table: pd.DataFrame) -> pd.Series:
        return per_seed(table, lambda rows: median_ratio(rows, "gc"))

    left = excess(corrupted)
    return Evidence(
        {
            "plain_fluctuates": estimated(excess(plain)),
            "smoothing_lessens": estimated(change(of_gc(smoothed), of_gc(plain))),
            "smoothing_leaves": estimated(excess(smoothed)),
            "corruption_lessens": estimated(change(of_gc(corrupted), of_gc(plain))),
            "corruption_removes": Measurement(float(left.mean()) if len(left) else float("nan")),
            "gain": estimated(change(gain(corrupted), gain(plain))),
        },
        data=data_of(plain),
    )


@evidence
def learning_rates(plain: pd.DataFrame, constant: pd.DataFrame) -> Evidence:
    """gv-lr: without a drop, after a drop against a control, and at equal loss."""
    base = plain.learning_rate.iloc[0]
    controls = {seed: rows for (_, rate, seed), rows in trajectories(constant) if rate == base}
    pairs = {seed: after_drop(rows, controls[seed]) for (_, _, seed), rows in trajectories(plain) if seed in controls}
    at = equal_losses(constant).assign(log=lambda found: np.log(found.average)).groupby(["learning_rate", "seed"]).log.mean()
    low, high = constant.learning_rate.min(), constant.learning_rate.max()
    equal = change(at[low], at[high]) if len(at) else pd.Series(dtype=float)
    return Evidence(
        {
            "rises": estimated(per_seed(constant[constant.status != "diverged"], rise)),
            "drop": estimated(pd.Series(pairs, dtype=float).dropna()),
            "equal_loss": estimated(equal),
        },
        data=data_of(plain),
    )


@evidence
def redrawn_and_smoothed(
    plain: pd.DataFrame, smoothed: pd.DataFrame, corrupted: pd.DataFrame, others: pd.DataFrame, redrawn: pd.DataFrame
) -> Evidence:
    """gv-err-fig-6: what 10% and 20% redrawn labels, working label smoothing and an unchanged re-run do to SG-B's variance.

    ``others`` holds the cases re-run and 20% redrawn; ``redrawn`` the share of labels that differ after 20% were redrawn.
    """
    tables = (plain, smoothed, corrupted, others)
    found = {(name, seed): rows for table in tables for (name, _, seed), rows in trajectories(table)}
    seeds = sorted({seed for _, seed in found})

    def apart(one: str, other: str) -> pd.Series:
        return pd.Series({seed: distance(found[one, seed], found[other, seed]) for seed in seeds})

    rerun = apart("re-run", "plain")
    return Evidence(
        {
            "smoothing_works": estimated(change(apart("smoothed", "plain"), rerun), f"re-run: {rerun.mean():.2f}"),
            "share_matters": estimated(change(apart("20% redrawn", "10% redrawn"), rerun), f"re-run: {rerun.mean():.2f}"),
            "really_changed": Measurement(redrawn.changed.mean()),
        },
        data=data_of(plain),
    )


@evidence
def inside_and_outside(states: pd.DataFrame, plain: pd.DataFrame, few: pd.DataFrame, second: pd.DataFrame) -> Evidence:
    """gv-fluctuation: the distribution of gradients inside and outside the largest fluctuation, mislabelled examples, a second architecture.

    Args:
        states: gradients at the log points of plain and corrupted runs.
        plain: estimators along plain runs.
        few: the same with 1% of the labels redrawn.
        second: the same, plain, on a second architecture.
    """
    inside, outside = states[states.place == "inside"], states[states.place == "outside"]

    def less_outside(column: str) -> pd.Series:
        chosen = [rows[case(rows) == "plain"].set_index("seed")[column] for rows in (inside, outside)]
        return change(*chosen)

    plain_inside = inside[case(inside) == "plain"].set_index("seed")
    corrupted = inside[case(inside) != "plain"].set_index("seed")
    base = per_seed(plain, lambda rows: fluctuation(rows, "gc"))
    return Evidence(
        {
            "oscillates": estimated(change(plain_inside.overlap, plain_inside.overlap_outside)),
            "distribution": estimated(less_outside("top_norms")),
            "few_cause_it": estimated(less_outside("top_variance")),
            "mislabelled": estimated(change(corrupted.top_changed, corrupted.changed)),
            "mislabelling_drives": estimated(change(per_seed(few, lambda rows: fluctuation(rows, "gc")), base)),
            "second_architecture": estimated(excess(second), data_of(second)),
        },
        data=data_of(states),
    )
