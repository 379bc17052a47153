"""Evidence for the claims of gradient_variance/06_duplicates. Each function measures what the claim's rule names, from the collected tables."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sgdscope.claims import Evidence, Measurement, estimated, evidence
from sgdscope.experiments.gradient_variance.cifar_evidence import data_of
from sgdscope.experiments.gradient_variance.duplicates_tables import MILD, at_each, by_seed, case_means, gaps, slopes


def _column(found: pd.DataFrame, copied: bool, augment: str) -> pd.Series:
    """A case by seed; empty where no trajectory of it ended well."""
    return found.get((copied, augment), pd.Series(dtype=float))


def _ratio(values: pd.Series, what: str) -> Measurement:
    values = values.dropna()
    return estimated(values, f"{what} {np.exp(values.mean()):.2f}" if len(values) else "")


@evidence
def images(table: pd.DataFrame) -> Evidence:
    """gv-fig-7: GC against SG-B and SG-2B along trajectories with and without copies, with and without augmentation."""
    single, double = case_means(table), case_means(table, "sgd2")
    exact, augmented = (_column(single, True, augment) for augment in ("none", "crop_flip"))
    return Evidence(
        {
            "exact": _ratio(exact, "GC over SG-B"),
            "augmented": _ratio(augmented, "GC over SG-B"),
            "below_double": _ratio(_column(double, True, "crop_flip"), "GC over SG-2B"),
            "by_duplicates": _ratio(exact - _column(single, False, "none"), "ratio of ratios"),
            "by_duplicates_augmented": _ratio(augmented - _column(single, False, "crop_flip"), "ratio of ratios"),
        },
        data=data_of(table),
    )


@evidence
def features(table: pd.DataFrame) -> Evidence:
    """gv-fig-8: the gap by share and over-parametrisation, and GC between SG-B and SG-2B without copies.

    Needs the paper's shares 0, 10, 50 and 90%; a part whose share is not there measures NaN.
    """
    found = gaps(table)
    at = {share: by_seed(found, share) for share in (0.1, 0.5, 0.9)}
    falling = [share for share in at if len(line := slopes(found, share)) and _below_zero(estimated(line))]
    single, double = at_each(found, 0.0), at_each(found, 0.0, "double")
    worse = [tau for tau, one in single.items() if _below_zero(one)]
    better = [tau for tau, one in double.items() if one.interval is not None and one.interval[0] > 0]
    mild = [one.value for tau, one in double.items() if MILD[0] <= tau <= MILD[1]]
    slope = ", ".join(f"{100 * share:g}%: {slopes(found, share).mean():+.2f}" for share in at if len(at[share]))
    return Evidence(
        {
            "gap_at_10": _ratio(at[0.1], "SG-B over GC"),
            "gap_grows_10_50": _ratio(at[0.5] - at[0.1], "ratio of ratios"),
            "gap_grows_50_90": _ratio(at[0.9] - at[0.5], "ratio of ratios"),
            "gap_stays": Measurement(len(falling), detail=f"slopes {slope}".replace("-", "−")),
            "never_worse": Measurement(len(worse), detail=f"of {len(single)} values of h_s/N"),
            "never_better_than_double": Measurement(len(better), detail=f"of {len(double)} values of h_s/N"),
            "like_double": Measurement(float(np.exp(np.mean(mild))) if mild else float("nan"), detail=f"{len(mild)} values of h_s/N"),
        },
        data="random features",
    )


def _below_zero(one: Measurement) -> bool:
    return one.interval is not None and one.interval[1] < 0
