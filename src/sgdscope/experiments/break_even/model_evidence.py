"""Evidence for the claims of break_even/01_model, from the tables that its runs give. Each function measures what the claim's rule names."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sgdscope.claims import Evidence, Measurement, estimate, evidence
from sgdscope.claims.evidence import incomplete
from sgdscope.stability import derivations, gradient_covariance, mean_outer_product

ONE_DIMENSION = "simulated curvatures"


@evidence
def equation_1(enumerated: pd.DataFrame, simulated: pd.DataFrame, projected: pd.DataFrame) -> Evidence:
    """be-eq-1: enumeration of all mini-batches, the simulated grid, and projected SGD on images."""
    wrong, decided, cells = contradictions(simulated, band=0.05, by=["batch_size", "learning_rate", "spread"])
    wrong_images, decided_images, _ = contradictions(projected, band=0.1, by=["seed", "batch_size", "learning_rate"])
    return Evidence(
        {
            "enumeration": Measurement(float(enumerated.error.max()), detail=f"{len(enumerated)} cases"),
            "simulation": Measurement(wrong, detail=f"of {decided} cells ({cells - decided} too close to 1)"),
            "images": Measurement(wrong_images, detail=f"of {decided_images} settings"),
        },
        data=f"{ONE_DIMENSION}; {data_of(projected)}",
    )


def contradictions(table: pd.DataFrame, *, band: float, by: list[str]) -> tuple[int, int, int]:
    """Cells whose second moment, averaged over the rest, moves against Eq. 1.

    Args:
        table: with ``left_side`` and ``log_second_moment``, the log of the mean square over its start.
        band: cells with ``|log left_side|`` below it are too close to call.
        by: columns that make a cell.

    Returns:
        Contradicting cells, decided cells, all cells.
    """
    cells = table.assign(second_moment=np.exp(table.log_second_moment)).groupby(by)[["left_side", "second_moment"]].mean()
    decided = cells[np.log(cells.left_side).abs() >= band]
    wrong = (decided.left_side > 1) != (decided.second_moment > 1)
    return int(wrong.sum()), len(decided), len(cells)


@evidence
def stable_case(table: pd.DataFrame) -> Evidence:
    """be-err-stable: left side above 1, negative exponent, and trajectories that converge."""
    last = table[table.steps == table.steps.max()].set_index("seed")
    return Evidence(
        {
            "left_side": Measurement(float(last.left_side.iloc[0])),
            "exponent": estimate(last.growth.tolist(), detail=f"exactly {last.exponent.iloc[0]:.3f}".replace("-", "−")),
            "converged": Measurement(float(last.not_converged.max())),
        },
        data=ONE_DIMENSION,
    )


def critical_sharpness_as_printed() -> Evidence:
    """be-err-psi: Eq. 3 solved symbolically, beside what Eq. 4 prints."""
    return Evidence(
        {
            "solution": Measurement(derivations.critical_sharpness_solution().nonzero),
            "printed": Measurement(derivations.printed_noise_term().nonzero),
        }
    )


def assumptions_as_printed() -> Evidence:
    """be-err-sn: Hessian and gradient variance of the printed f, symbolically."""
    return Evidence(
        {
            "hessian": Measurement(derivations.second_derivative().nonzero),
            "variance": Measurement(derivations.gradient_variance().nonzero),
            "mended": Measurement(derivations.mended_gradient_variance().nonzero),
        }
    )


@evidence
def theorem_1(closed_form: pd.DataFrame, simulated: pd.DataFrame, networks: pd.DataFrame, reversed_order: pd.DataFrame) -> Evidence:
    """be-thm-1: the root of Eq. 3, the simulated model of early training, detected points of a real network, and the counter-example."""
    model = simulated[simulated.start == "stable"]
    networks = one_row_a_run(networks)
    return Evidence(
        {
            "closed_form": Measurement(int(closed_form.violations.sum()), detail=f"of {int(closed_form.points.sum())} points"),
            "simulated_rate": extremes(model, "learning_rate", larger_first=False),
            "simulated_batch": extremes(model, "batch_size", larger_first=True),
            "full_batch": full_batch_ratio(networks),
            "real_rate": extremes(networks, "learning_rate", larger_first=False),
            "real_batch": extremes(networks, "batch_size", larger_first=True),
            "as_stated": reversals(reversed_order),
        },
        data=f"{ONE_DIMENSION}; {data_of(networks)}",
    )


def reversals(reversed_order: pd.DataFrame) -> Measurement:
    """Seeds of the counter-example at which the larger rate loses stability at the larger sharpness."""
    crossings = reversed_order.pivot(index="seed", columns="learning_rate", values="crossing_sharpness")
    reverse = crossings[crossings.columns.max()] > crossings[crossings.columns.min()]
    return Measurement(int(reverse.sum()), detail=f"of {len(reverse)} seeds")


@evidence
def theorem_2(simulated: pd.DataFrame) -> Evidence:
    """be-thm-2: sharpness at which a simulated run that starts unstable first becomes stable."""
    model = simulated[simulated.start == "unstable"]
    return Evidence(
        {"rate": extremes(model, "learning_rate", larger_first=False), "batch": extremes(model, "batch_size", larger_first=True)},
        data=ONE_DIMENSION,
    )


def one_row_a_run(networks: pd.DataFrame) -> pd.DataFrame:
    """The break-even point of each network: its table repeats it on every probe."""
    return networks.drop_duplicates(["learning_rate", "batch_size", "seed"])


def extremes(table: pd.DataFrame, column: str, *, larger_first: bool) -> Measurement:
    """Sharpness at the crossing at one end of a column minus that at the other: paired by seed and the other column, then a mean a seed.

    A pair of which a run never crossed has no difference; such pairs are left out and counted in the detail.
    """
    other = {"learning_rate": "batch_size", "batch_size": "learning_rate"}[column]
    low, high = table[column].min(), table[column].max()
    crossings = table[table[column].isin([low, high])].pivot(index=["seed", other], columns=column, values="crossing_sharpness")
    differences = (crossings[high] - crossings[low]) * (1 if larger_first else -1)
    crossed = differences.dropna()
    detail = f"{low:g} against {high:g}, {len(crossed)} of {len(differences)} pairs crossed"
    if crossed.empty or low == high:
        return Measurement(float("nan"), None, 0, detail)
    return estimate(crossed.groupby("seed").mean().tolist(), detail=detail)


def full_batch_ratio(networks: pd.DataFrame) -> Measurement:
    """``eta lambda_H / 2`` at the first probe past the point in full-batch runs: mean over seeds, each the mean over its rates that reached it.

    Not at the interpolated point, where it is 1 by construction.
    """
    full = networks[networks.batch_size == networks.num_examples]
    reached = full[full.sharpness_after.notna()]
    ratio = (reached.learning_rate * reached.sharpness_after / 2).groupby(reached.seed).mean()
    by_rate = (reached.learning_rate * reached.sharpness_after / 2).groupby(reached.learning_rate).mean()
    rates = ", ".join(f"{ratio:.3f} at {rate:g}" for rate, ratio in by_rate.items())
    detail = f"at the first probe past it, {len(reached)} of {len(full)} runs; by rate {rates}"
    return estimate(ratio.tolist(), detail=detail) if len(reached) else Measurement(float("nan"), None, 0, detail)


@evidence
def gradient_noise(table: pd.DataFrame) -> Evidence:
    """be-variance: the distance of a mini-batch gradient by enumeration, and how much of it lambda_K^1 covers along training."""
    rest = 1 - table.groupby("seed").top_share.mean()
    return Evidence(
        {
            "enumeration": Measurement(
                float(table.enumeration_error.max()), detail=f"12 of the images, all batch sizes, at {len(table)} states of training"
            ),
            "rest": estimate(rest.tolist(), detail="positive unless K has rank one; the size is what counts"),
        },
        data=data_of(table),
    )


@evidence
def smallest_eigenvalue(table: pd.DataFrame) -> Evidence:
    """be-err-smallest: rank of K from L gradients, and which eigenvalue is the smallest that is not zero."""
    by_seed = table.groupby("seed")[["rank", "num_gradients", "smallest_non_zero", "largest_position", "smallest_position"]].first()
    ratio = np.log(by_seed.smallest_position / by_seed.smallest_non_zero)
    return Evidence(
        {
            "rank": Measurement(int((by_seed["rank"] - (by_seed.num_gradients - 1)).abs().max())),
            "largest": Measurement(float((by_seed.largest_position / by_seed.smallest_non_zero - 1).abs().max())),
            "smallest": estimate(ratio.tolist(), detail=f"L = {int(by_seed.num_gradients.iloc[0])}"),
        },
        data=data_of(table),
    )


def reading() -> Evidence:
    """be-err-max-min: nothing to measure, an argument about the text."""
    return Evidence()


def cross_references(seed: int = 0) -> Evidence:
    """be-err-refs: the share of CIFAR-10 in 25 batches of 128, and K from gradients as rows."""
    rows = np.random.default_rng(seed).normal(size=(7, 3))
    product, outer = gradient_covariance(rows), mean_outer_product(rows)
    return Evidence(
        {
            "share": Measurement(25 * 128 / 50_000, detail="arithmetic"),
            "row_vectors": Measurement(float((product - outer).norm() / outer.norm()), detail="one random example"),
        }
    )


def data_of(table: pd.DataFrame) -> str:
    """Data set and number of examples of a table of runs."""
    return f"{', '.join(sorted(set(table.dataset)))}, {int(table.num_examples.iloc[0])} images"


def phase_numbers(simulated: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of the phase diagram, a row a cell."""
    if incomplete(simulated):
        return simulated
    columns = ["left_side", "log_second_moment", "exponent", "measured_exponent"]
    return simulated.groupby(["batch_size", "learning_rate", "spread"], as_index=False)[columns].mean()


def growth_numbers(simulated: pd.DataFrame) -> pd.DataFrame:
    """Measured growth factor a step beside the left side of Eq. 1, means over seeds."""
    if incomplete(simulated):
        return simulated
    measured = np.exp(simulated.log_second_moment / simulated.num_steps)
    table = simulated.assign(measured_growth=measured)
    return table.groupby(["batch_size", "learning_rate", "spread"], as_index=False)[["left_side", "measured_growth"]].mean()


def descent_numbers(descents: pd.DataFrame) -> pd.DataFrame:
    """The first seed's curves."""
    if incomplete(descents):
        return descents
    columns = ["batch_size", "learning_rate", "step", "log_exact", "log_one_direction", "sampled", "typical", "status"]
    return descents.loc[descents.seed == descents.seed.min(), columns]


def boundary_numbers(boundaries: pd.DataFrame) -> dict[str, float] | None:
    """Means over seeds of both boundaries at the smallest batch, and their ratio there and at the largest batch below N."""
    if incomplete(boundaries):
        return None
    below = boundaries[boundaries.batch_size < boundaries.num_examples].groupby("batch_size")[["one_direction", "all_directions"]].mean()
    first, last = below.iloc[0], below.iloc[-1]
    return {
        "smallest": below.index[0],
        "one": first.one_direction,
        "all": first.all_directions,
        "factor": first.one_direction / first.all_directions,
        "largest": below.index[-1],
        "factor_largest": last.one_direction / last.all_directions,
    }


def reversed_numbers(table: pd.DataFrame) -> dict[str, float] | None:
    """Means over seeds of the sharpness at the crossing, for the smaller and the larger rate."""
    if incomplete(table):
        return None
    means = table.groupby("learning_rate").crossing_sharpness.mean()
    return {
        "small_rate": means.index[0],
        "large_rate": means.index[-1],
        "small_sharpness": means.iloc[0],
        "large_sharpness": means.iloc[-1],
    }


def noise_numbers(noise: pd.DataFrame) -> pd.DataFrame:
    """Top eigenvalue, trace and their ratio, a row a seed and probe."""
    return noise if incomplete(noise) else noise[["seed", "step", "top", "trace", "top_share"]]


def network_numbers(networks: pd.DataFrame) -> pd.DataFrame:
    """The break-even point of each network."""
    if incomplete(networks):
        return networks
    columns = ["learning_rate", "batch_size", "seed", "outcome", "crossing_step", "crossing_sharpness", "sharpness_after"]
    return one_row_a_run(networks)[columns]


def past_the_point_numbers(networks: pd.DataFrame) -> dict[str, float] | None:
    """Largest sharpness after the point over ``2 / eta`` in full-batch runs (median and maximum over runs), and the smaller batch's deficit."""
    if incomplete(networks):
        return None
    full = networks[networks.batch_size == networks.num_examples]
    after = full[full.step >= full.crossing_step]
    peaks = (after.sharpness * after.learning_rate / 2).groupby([after.learning_rate, after.seed]).max()
    small = one_row_a_run(networks[networks.batch_size < networks.num_examples])
    deficit = 1 - (small.crossing_sharpness * small.learning_rate / 2).dropna()
    return {"median": peaks.median(), "largest": peaks.max(), "deficit": 100 * deficit.mean(), "small_batch": float(small.batch_size.max())}


def small_batch_numbers(networks: pd.DataFrame) -> dict[str, float] | None:
    """How runs with small batches end: outcomes, and of those that do not reach the point the left side over the last quarter of the steps."""
    if incomplete(networks):
        return None
    outcome = one_row_a_run(networks).outcome
    late = networks[(networks.outcome == "not crossed") & (networks.step >= 0.75 * networks.step.max())]
    ends = late.groupby(["learning_rate", "batch_size", "seed"]).left_side.mean()
    return {
        "smallest": float(networks.batch_size.min()),
        "largest": float(networks.batch_size.max()),
        "runs": len(outcome),
        "reached": int((outcome == "crossed").sum()),
        "unstable": int((outcome == "started unstable").sum()),
        "diverged": int((outcome == "diverged").sum()),
        "others": int((outcome == "not crossed").sum()),
        "steps": float(networks.step.max()),
        "late": ends.median() if len(ends) else float("nan"),
        "late_largest": ends.max() if len(ends) else float("nan"),
    }
