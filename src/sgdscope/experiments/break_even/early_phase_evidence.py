"""Evidence for the claims of break_even/02_early_phase. Each function measures what the claim's rule names, from the collected tables."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from sgdscope.claims import Evidence, Measurement, estimate, estimated, evidence, named
from sgdscope.experiments.break_even.early_phase_tables import (
    WINDOW,
    before_point,
    correlation,
    ends,
    equal_accuracies,
    from_point,
    per_seed,
    points,
    probes,
    rank_correlation,
    trajectories,
)

PAPER_PROBLEM = "simple_cnn on cifar10"


def data_of(table: pd.DataFrame) -> str:
    """Data and model, with the stand-in label where it is not the paper's SimpleCNN on CIFAR-10."""
    return named(f"{table.model.iloc[0]} on {table.dataset.iloc[0]}", PAPER_PROBLEM)


@evidence
def point(table: pd.DataFrame) -> Evidence:
    """be-point: whether the left side of Eq. 1 reaches 1, and the paper's proxy beside it."""
    found, (_, largest) = points(table), ends(table)
    missed, of_largest = found["at"] < 0, found.learning_rate == largest
    reached = found[~missed & of_largest]
    where = f"; steps {reached.step.min():.0f} to {reached.step.max():.0f}" if len(reached) else ""
    where += f", training accuracy {reached.train_accuracy.min():.2f} to {reached.train_accuracy.max():.2f}" if len(reached) else ""
    return Evidence(
        {
            "reached": Measurement(int(missed.sum()), detail=f"of {len(found)}"),
            "reached_large_rate": Measurement(int((missed & of_largest).sum()), detail=f"of {int(of_largest.sum())}{where}"),
            "proxy": estimated(per_seed(table, lambda p: rank_correlation(p.stability_lhs, p.loss_change), rates=[largest])),
        },
        data=data_of(table),
    )


@evidence
def after_point(table: pd.DataFrame) -> Evidence:
    """be-after-point: the largest smoothed value after the point over the one at the point."""

    def excess(column: str) -> Callable[[pd.DataFrame], float]:
        def measure(probed: pd.DataFrame) -> float:
            values = from_point(probed)[column].to_numpy()
            return float(np.log(values[1:].max() / values[0])) if len(values) > 1 else np.nan

        return measure

    return Evidence(
        {"sharpness": estimated(per_seed(table, excess("smooth_H"))), "noise": estimated(per_seed(table, excess("smooth_K")))},
        data=data_of(table),
    )


@evidence
def steered(table: pd.DataFrame) -> Evidence:
    """be-fig-1: lambda_K of the smallest over that of the largest rate, at equal accuracy and at the stop."""
    low, high = ends(table)
    logs = equal_accuracies(table).assign(log=lambda t: np.log(t.K_top)).groupby(["learning_rate", "seed"]).log.mean()
    last = probes(table).groupby(["learning_rate", "seed"]).log_K.apply(lambda values: values.iloc[-WINDOW:].mean())
    return Evidence(
        {"equal_accuracy": estimate((logs[low] - logs[high]).tolist()), "at_stop": estimate((last[low] - last[high]).tolist())},
        data=data_of(table),
    )


@evidence
def rise_together(table: pd.DataFrame) -> Evidence:
    """be-fig-2: correlation of lambda_K and lambda_H up to the peak, and steps that raise the loss before and after it."""

    def together(probed: pd.DataFrame) -> float:
        end = max(int(probed.K_top.argmax()) + 1, 4)
        return correlation(probed.K_top.iloc[:end], probed.H_top.iloc[:end])

    def unstable(probed: pd.DataFrame) -> float:
        peak, raises = int(probed.K_top.argmax()), probed.loss_change.dropna() > 0
        before, after = raises[raises.index < peak], raises[raises.index >= peak]
        return float(after.mean() - before.mean()) if len(before) and len(after) else np.nan

    return Evidence(
        {"together": estimated(per_seed(table, together)), "unstable_at_peak": estimated(per_seed(table, unstable))}, data=data_of(table)
    )


@evidence
def outliers(peaks: pd.DataFrame) -> Evidence:
    """be-fig-3: eigenvalues that stick out of the spectra at the peak, smallest less largest learning rate."""
    low, high = ends(peaks)

    def absolute(matrix: str) -> Measurement:
        chosen = peaks[peaks.matrix == matrix]
        tops = chosen[chosen.learning_rate == high].groupby("seed").eigenvalue.max()
        above = chosen.assign(above=chosen.eigenvalue > chosen.seed.map(tops) / 2).groupby(["learning_rate", "seed"]).above.sum()
        return estimate((above[low] - above[high]).tolist(), f"{above[low].mean():.1f} against {above[high].mean():.1f}")

    spectra = peaks[peaks.matrix == "K"].groupby(["learning_rate", "seed"]).eigenvalue
    relative = spectra.apply(lambda values: int((values > 3 * values.median()).sum()))
    detail = f"{relative[low].mean():.1f} against {relative[high].mean():.1f}"
    return Evidence(
        {
            "outliers_K": absolute("K"),
            "outliers_H": absolute("H"),
            "relative_outliers_K": estimate((relative[low] - relative[high]).tolist(), detail),
        },
        data=data_of(peaks),
    )


@evidence
def when(table: pd.DataFrame) -> Evidence:
    """be-when: training accuracy and step at the peak of smoothed lambda_K."""

    def early(probed: pd.DataFrame) -> float:
        return float(np.log(max(probed.step.iloc[int(probed.smooth_K.argmax())], 1) / (probed.step.iloc[-1] / 2)))

    accuracy = per_seed(table, lambda probed: probed.train_accuracy.iloc[int(probed.smooth_K.argmax())])
    return Evidence({"accuracy": estimated(accuracy), "early": estimated(per_seed(table, early))}, data=data_of(table))


@evidence
def quadratic(table: pd.DataFrame) -> Evidence:
    """be-assumption-1: error of the best parabola along the top eigenvector."""

    def median(part: Callable[[pd.DataFrame], pd.DataFrame]) -> Measurement:
        errors = pd.concat([part(probed) for _, probed in trajectories(table)]).quadratic_error
        return Measurement(
            float(errors.median()),
            detail=f"{len(errors)} probes, 90% of them below {errors.quantile(0.9):.3f}" if len(errors) else "no probes",
        )

    return Evidence({"before": median(before_point), "after": median(from_point)}, data=data_of(table))


@evidence
def collinear(table: pd.DataFrame) -> Evidence:
    """be-assumption-2: angle between the top eigenvectors, and the ratio of the top eigenvalues."""
    before = [before_point(probed) for _, probed in trajectories(table)]
    spreads = [float((probed.log_K - probed.log_H).std(ddof=0)) for probed in before if len(probed) >= WINDOW]
    cosine = float(pd.concat(before).alignment.mean())
    return Evidence(
        {
            "collinear": Measurement(1 - cosine, detail=f"mean absolute cosine {cosine:.2f} over {sum(map(len, before))} probes"),
            "proportional": Measurement(float(np.mean(spreads)) if spreads else float("nan"), detail=f"{len(spreads)} trajectories"),
            "related": estimated(per_seed(table, lambda probed: correlation(probed.log_K, probed.log_H))),
        },
        data=data_of(table),
    )


@evidence
def stable_and_unstable_steps(table: pd.DataFrame) -> Evidence:
    """be-assumption-3-4: what steps do to sharpness and distance, where Eq. 1 calls them unstable and where stable."""
    steps = probes(table).dropna(subset=["sharpness_change"])
    unstable = steps.stability_lhs > 1
    parts = {}
    for name, chosen, sign in (("unstable", steps[unstable], 1), ("stable", steps[~unstable], -1)):
        for what, change in (("sharpness", -sign * chosen.sharpness_change), ("distance", sign * chosen.distance_change)):
            shares = (change > 0).groupby(chosen.seed).mean() - 0.5
            parts[f"{name}_{what}"] = estimated(shares, f"{len(chosen)} steps")
    return Evidence(parts, data=data_of(table))
