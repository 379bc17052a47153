"""Evidence for the claims of gradient_variance/03_mnist. Each function measures what the claim's rule names, from the collected tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from sgdscope.claims import Evidence, Measurement, estimate, evidence, paired
from sgdscope.claims.ledger import claim_of
from sgdscope.experiments.gradient_variance.mnist_tables import (
    NAMES,
    correlations,
    curves,
    flipped,
    fresh_ratios,
    guard_table,
    halves,
    losses_apart,
    overparametrisation,
    part_of,
    protocols,
    quarters,
    wide,
    without_replacement,
)
from sgdscope.experiments.gradient_variance.table_2 import TABLE_2, differences
from sgdscope.experiments.gradient_variance.trajectory_runs import Trajectory
from sgdscope.models import build

PAPER_DATA = {"mnist", "cifar10", "imagenet"}  # of the paper's Fig. 3


def data_of(table: pd.DataFrame) -> str:
    """Model and data, with the stand-in label where it is not the paper's MLP on MNIST."""
    title = f"{table.model.iloc[0]} ({table.hidden.iloc[0]}) on {table.dataset.iloc[0]}"
    return title if table.dataset.iloc[0] == "mnist" else f"{title} (stand-in for the MLP on MNIST)"


def by_seed(table: pd.DataFrame, measure: Callable[[pd.DataFrame], float], detail: str = "") -> Measurement:
    """`estimate` of a number of each seed's rows; no bound is met where one is not finite."""
    return unless_diverged([measure(rows) for _, rows in table.groupby("seed")], detail)


def unless_diverged(values: Sequence[float], detail: str = "") -> Measurement:
    """`estimate`, or a number that meets no bound where one is not finite, as in a run that diverged."""
    values = list(values)
    return estimate(values, detail) if np.isfinite(values).all() else Measurement(float("nan"), None, len(values), "not finite in some run")


def hyperparameters(config: Trajectory | None = None) -> Evidence:
    """gv-tab-2: the defaults against the ledger's values (``config`` is for tests)."""
    printed, config = claim_of("gv-tab-2").values, config or Trajectory(0)
    ours = differences(printed["mnist_mlp"], config)
    copied = [f"{row}: {one}" for row, values in printed.items() for one in differences(values, TABLE_2[row])]
    model = build(config.model, seed=0, hidden=config.hidden)
    extra = sum(parameter.numel() for parameter in model.parameters()) - 1_863_690
    return Evidence(
        {
            "defaults": Measurement(len(ours), detail="; ".join(ours) or f"{len(printed['mnist_mlp'])} values compared"),
            "table": Measurement(len(copied), detail="; ".join(copied) or f"{sum(map(len, printed.values()))} values compared"),
            "network": Measurement(extra),
        }
    )


def counted() -> Evidence:
    """gv-overparam: parameters over training images of our models."""
    names = {"mnist_cnn": "mnist_cnn", "mlp": "mnist_mlp", "resnet8": "resnet8", "resnet32": "resnet32"}
    return Evidence(
        {
            names[row.network]: Measurement(row.ratio, detail=f"{row.parameters:,} over {row.images:,}")
            for row in overparametrisation().itertuples()
        }
    )


@evidence
def half(table: pd.DataFrame) -> Evidence:
    """gv-fig-3-half: SG-2B over SG-B along each trajectory."""
    found, exact = halves(table), without_replacement(table)
    ratio = by_seed(found, lambda rows: float(np.exp(np.log(rows.ratio).mean())), f"{len(found)} measurements")
    relative = by_seed(found, lambda rows: float(np.exp(np.log(rows.ratio).mean()) / exact - 1), f"expected {exact:.4f}")
    return Evidence(
        {
            "half": ratio,
            "without_replacement": relative,
            "always": Measurement(int((found.ratio >= 1).sum()), detail=f"of {len(found)}; the largest ratio is {found.ratio.max():.2f}"),
        },
        data=data_of(table),
    )


@evidence
def falls_to_nothing(table: pd.DataFrame) -> Evidence:
    """gv-fig-3a: the variance of all estimators along the trajectory, the normalised variance, the loss, and strong growth."""
    found = wide(table)
    plain = curves(table)[lambda rows: rows.estimator == "sgd"]
    medians = quarters(table).pivot(index=["seed", "estimator"], columns="quarter", values="median")
    rises = medians.diff(axis=1).iloc[:, 1:] >= 0
    where = ", ".join(f"{NAMES[name]} {count}" for name, count in rises.groupby("estimator").sum().sum(axis=1).items() if count)
    guard, end = guard_table(table), table[table.step == table.groupby("seed").step.transform("max")]
    gap = (found.gc / found.sgd2).dropna()
    best = found[["sgd", "sgd2", "gc"]].min(axis=1)
    change = {
        name: by_seed(guard, lambda rows, name=name: float(part_of(rows[name], 0.9, 1).mean() - part_of(rows[name], 0, 0.1).mean()))
        for name in ("totals", "guarded")
    }
    return Evidence(
        {
            "falls": by_seed(plain, lambda rows: float(stats.spearmanr(rows.step, rows.variance)[0])),
            "throughout": Measurement(int(rises.to_numpy().sum()), detail=f"of {rises.size}" + (f": {where}" if where else "")),
            "numerically_zero": by_seed(plain, lambda rows: float(part_of(rows.variance, 0.9, 1).mean())),
            "loss": unless_diverged(end.train_loss),
            "gc": by_seed(
                np.log(gap).rename("log").reset_index(), lambda rows: float(rows.log.mean()), f"ratio {np.exp(np.log(gap).mean()):.2f}"
            ),
            "gc_throughout": Measurement(int((gap >= 1).sum()), detail=f"of {len(gap)}; the largest ratio is {gap.max():.2f}"),
            "svrg": by_seed(
                np.log(found.svrg / best).dropna().rename("log").reset_index(), lambda rows: float(part_of(rows.log, 0.8, 1).mean())
            ),
            "normalised_falls": change["totals"],
            "authors_form_falls": change["guarded"],
            "below_one": Measurement(
                int(((guard.totals >= 1) | (guard.guarded >= 1)).sum()),
                detail=f"of {len(guard)}; the largest are {guard.totals.max():.3f} (totals) and {guard.guarded.max():.3f} (authors)",
            ),
            "well_below_one": by_seed(guard, lambda rows: float(part_of(rows.totals, 0.5, 1).mean())),
            "authors_form_well_below_one": by_seed(guard, lambda rows: float(part_of(rows.guarded, 0.5, 1).mean())),
            "strong_growth": by_seed(table[table.growth_max.notna()], _decades),
        },
        data=data_of(table),
    )


def _decades(rows: pd.DataFrame) -> float:
    """By how many decades the ratio rises from the second fifth to the last."""
    early, late = part_of(rows.growth_max, 0.2, 0.4).median(), part_of(rows.growth_max, 0.8, 1).median()
    return float(max(np.log10(late / early), 0.0))


@evidence
def guard(table: pd.DataFrame, noise: pd.DataFrame) -> Evidence:
    """gv-err-eps: what the 1e-7 does when gradients are rescaled, and what the other forms do."""
    found = guard_table(table)
    scaled = noise[noise.signal > 0].pivot(index=["seed", "repeats"], columns="scale", values=["normalised", "unguarded"])
    changes = [(scaled[name] / scaled[name][1.0].to_numpy()[:, None] - 1).abs().to_numpy().max() for name in ("normalised", "unguarded")]
    return Evidence(
        {
            "ten_percent": by_seed(found, lambda rows: float(rows.ten_percent.mean())),
            "thirty_five_percent": by_seed(found, lambda rows: float(rows.thirty_five_percent.mean())),
            "guard_at_work": by_seed(
                found,
                lambda rows: float((rows.unguarded > 1.1 * rows.guarded).mean() - 0.5),
                f"medians: {found.guarded.median():.2f} with, {found.unguarded.median():.3g} without the guard",
            ),
            "other_forms": Measurement(max(changes), detail=f"{len(scaled)} sets of synthetic estimates"),
        },
        data=data_of(table),
    )


@evidence
def above_one(noise: pd.DataFrame, table: pd.DataFrame) -> Evidence:
    """gv-err-above-1: the authors' formula on pure noise, and the printed ratio from the same draws."""
    pure = noise[(noise.signal == 0) & (noise.scale == 1)]
    equal = noise[(noise.signal == 1) & (noise.scale == 1)]
    parts = {f"ceiling_{number}": estimate(rows.unguarded.tolist()) for number, rows in pure.groupby("repeats")}
    along = table.dropna(subset=["sgd_normalised_mean"])
    same = pd.concat([noise.same_draws, along.sgd_normalised_mean * (along.repeats - 1) / along.repeats])
    above = int((along.sgd_guarded > 1).sum())
    return Evidence(
        parts
        | {
            "same_draws": Measurement(
                int((same > 1).sum()), detail=f"of {len(same)}, the largest {same.max():.3f}; the authors' form is above 1 at {above} steps"
            ),
            "noise_outweighs": estimate(equal.normalised.tolist()),
        },
        data=f"synthetic estimates, and {data_of(table)}",
    )


@evidence
def two_protocols(main: pd.DataFrame, authors: pd.DataFrame) -> Evidence:
    """gv-err-trajectory: one trajectory for all estimators against one run for each."""
    both = protocols(main, authors)
    pairs = [f"{NAMES[a]} and {NAMES[b]}" for a, b in flipped(both)]
    return Evidence(
        {
            "runs_apart": unless_diverged(losses_apart(authors)),
            "conclusions": Measurement(len(pairs), detail=", ".join(pairs) or "all six pairs in the same order"),
        },
        data=data_of(authors),
    )


def _data_sets(names: pd.Series) -> str:
    """Data sets by name, those that are not the paper's with the label of a stand-in."""
    return ", ".join(name if name in PAPER_DATA else f"{name} (stand-in)" for name in names.unique())


@evidence
def convergence(table: pd.DataFrame) -> Evidence:
    """gv-normalised: rank correlation of the steps to a fixed loss reduction with both statistics."""
    found = correlations(table)
    means = ", ".join(f"{name.replace('_', ' ')} {found[name].mean():.2f}" for name in found)
    return Evidence(
        {
            "related": unless_diverged(found.normalised, f"mean correlations: {means}"),
            "better": paired(found.normalised, found.variance),
            "better_authors_form": paired(found.authors_form, found.variance),
        },
        data=f"{table.groupby(['dataset', 'model', 'learning_rate', 'corrupt_share']).ngroups} problems on {_data_sets(table.dataset)}",
    )


@evidence
def fresh_bound(table: pd.DataFrame, constructed: pd.DataFrame) -> Evidence:
    """gv-fresh-bound: variance over SG-B's right after each update, and on constructed gradients."""
    after = fresh_ratios(table).groupby("estimator").ratio
    worst = constructed.groupby(["gradients", "sizes"]).ratio.max().unstack()
    fails = worst.index[(worst > 1).any(axis=1)]
    by_rule = ", ".join(f"{rule} sizes {int((worst[rule] > 1).sum())}" for rule in worst)
    return Evidence(
        {
            "svrg": Measurement(after.max()["svrg"], detail=f"{after.size()['svrg']} updates"),
            "gc": Measurement(after.max()["gc"], detail=f"{after.size()['gc']} updates, mean {after.mean()['gc']:.2f}"),
            "always": Measurement(
                len(fails), detail=f"of {len(worst)}: {', '.join(fails) or 'none'} ({by_rule}); worst {worst.max().max():.2f}"
            ),
        },
        data=f"{data_of(table)}, and constructed gradients",
    )
