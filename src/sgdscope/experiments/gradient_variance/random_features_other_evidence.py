"""Evidence for claims of gradient_variance/05_random_features that rest on other runs than the sweep: batches, set-ups, a drop, a deep network."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sgdscope.claims import Evidence, Measurement, estimated, evidence
from sgdscope.experiments.gradient_variance.random_features_evidence import DATA, above_zero, ends
from sgdscope.experiments.gradient_variance.random_features_tables import (
    FIRST,
    NAMES,
    RATE,
    RUN,
    TARGET_LOSS,
    TAU,
    TEACHER,
    around_drop,
    difference,
    of,
    plotted,
    saturation,
    statistics,
    steps_to_target,
)


@evidence
def diminishing(table: pd.DataFrame) -> Evidence:
    """gv-diminishing: steps to a fixed loss by batch size, and the variance where a larger batch stops helping."""
    found = steps_to_target(table)
    logs = np.log2(found.set_index(["batch_size", "seed"]).steps).unstack()
    sizes, at = list(logs.index), saturation(found)
    missed = f"; {int((~found.reached).sum())} of {len(found)} did not reach a loss of {TARGET_LOSS:g}" if not found.reached.all() else ""
    where = f"B = {at:g}" if np.isfinite(at) else "no doubling saves less than a tenth"
    there = found[found.batch_size == at]
    saved = logs.loc[sizes[0]] - logs.loc[sizes[1]] - (logs.loc[sizes[-2]] - logs.loc[sizes[-1]])
    return Evidence(
        {
            "diminishing_returns": estimated(saved, f"B = {sizes[0]} to {sizes[-1]}{missed}"),
            "numerically_zero": Measurement(there.exact.mean(), detail=where),
            "noise_below_signal": Measurement(there.normalised.mean(), detail=where),
        },
        data=DATA,
    )


@evidence
def set_ups(descriptions: pd.DataFrame, sweep: pd.DataFrame, others: pd.DataFrame) -> Evidence:
    """gv-err-rf: what differs between the paper's text and the authors' code, and what it does to the variance."""
    length = descriptions.groupby("definition").feature_length.mean()
    parameters, hidden = descriptions.groupby("definition").parameters.first(), descriptions.hidden.iloc[0]
    balance = (descriptions.positives - 0.5).abs().groupby([descriptions.definition, descriptions.seed]).mean()
    found = of(statistics(pd.concat([sweep[sweep[TEACHER] == sweep[TEACHER].min()], others])))
    logs = found.pivot(index=[name for name in RUN if name != "definition"], columns="definition", values="log_mean")
    apart = (logs["figures"] - logs["authors_code"]).groupby("seed").mean()
    failed = []
    for name, rows in found.groupby("definition"):
        failed += [
            f"{NAMES[name]}: {what.replace('_', ' ')}"
            for what in (TAU, RATE)
            if not above_zero(-difference(rows, "log_mean", what, *ends(rows, what)))
        ]
    theirs = plotted(sweep, others)
    detail = "; ".join(
        f"{NAMES[name]}: {np.exp(np.log(rows.ratio).mean()):.2f} times the plotted numbers" for name, rows in theirs.groupby("definition")
    )
    return Evidence(
        {
            "feature_length": Measurement(length["authors_code"] / length["paper"]),
            "parameters": Measurement(abs(parameters["authors_code"] - 2 * hidden - 2) + abs(parameters["paper"] - hidden)),
            "balanced_labels": estimated(balance["authors_code"] - balance["paper"]),
            "variance_differs": estimated(apart, detail),
            "same_conclusions": Measurement(len(failed), detail="; ".join(failed)),
        },
        data=DATA,
    )


@evidence
def rate_drop(table: pd.DataFrame) -> Evidence:
    """gv-lr-drop: loss and noise after a drop of the rate, less those of the control without it."""
    found = around_drop(table)
    by_seed = found.groupby("seed").mean()
    by_tau = found.groupby(TAU).mean()

    def part(column: str) -> Measurement:
        return estimated(
            by_seed[column], "by h_s/N: " + ", ".join(f"{value:.2f} at {tau:g}" for tau, value in by_tau[column].items()).replace("-", "−")
        )

    return Evidence(
        {"loss_falls": part("log_loss"), "variance_not_lower": part("log_exact"), "normalised_not_lower": part("normalised")}, data=DATA
    )


@evidence
def signs(sweep: pd.DataFrame, deep: pd.DataFrame) -> Evidence:
    """gv-err-notes: whether a larger rate goes with less noise, here and in a deep network."""
    found = of(statistics(sweep))
    late = deep[deep.step > FIRST * deep.num_steps]
    logs = np.log(late.groupby([RATE, "seed"]).exact.mean()).rename("log").reset_index()
    images = f"deep: {deep.model.iloc[0]} on {deep.dataset.iloc[0]} (stand-in for the paper's deep models)"
    return Evidence(
        {
            "random_features": estimated(difference(found, "log_mean", RATE, *ends(found, RATE))),
            "deep": estimated(difference(logs, "log", RATE, *ends(logs, RATE)), f"rates {logs[RATE].max():g} and {logs[RATE].min():g}"),
        },
        data=f"{DATA}; {images}",
    )
