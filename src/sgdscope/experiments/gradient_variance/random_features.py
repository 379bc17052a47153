"""The page gradient_variance/05_random_features: variance against over-parametrisation. Lists its runs; they live in the modules it imports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sgdscope.errors import InvalidInput, whole
from sgdscope.experiments.gradient_variance.random_features_data import SETUPS
from sgdscope.experiments.gradient_variance.random_features_deep import DeepTraining
from sgdscope.experiments.gradient_variance.random_features_runs import RandomFeatures
from sgdscope.experiments.gradient_variance.random_features_setup import Setup
from sgdscope.experiments.settings import check_distinct, check_images, check_network

OTHERS = ("paper", "authors_code")
"""Set-ups beside that of the sweep, ``figures``: with the narrow teacher only, ``paper`` with the narrow input only."""

BATCHES_LOG_EVERY = 10  # steps between two measurements of the runs until a fixed loss


def runs(
    *,
    hidden: int,
    overparametrisations: Sequence[float],
    input_dims: Sequence[int],
    teacher_widths: Sequence[int],
    learning_rates: Sequence[float],
    batch_size: int,
    num_steps: int,
    log_every: int,
    repeats: int,
    refresh_every: int,
    seeds: Sequence[int],
    drop_overparametrisations: Sequence[float],
    batch_hidden: int,
    batch_sizes: Sequence[int],
    batch_rates: Sequence[float],
    batch_steps: int,
    deep_dataset: str,
    deep_rates: Sequence[float],
    deep_steps: int,
) -> dict[str, list[Any]]:
    """All runs of the page, by the name under which its cells collect them.

    Args:
        hidden: h_s.
        overparametrisations: h_s / N.
        input_dims: I.
        teacher_widths: h_t.
        learning_rates: at least two.
        batch_size: B.
        num_steps: of SGD.
        log_every: steps between two measurements.
        repeats: R.
        refresh_every: steps between two snapshots.
        seeds: of everything random.
        drop_overparametrisations: h_s / N of the runs with a drop of the largest rate at half of the steps, and of their controls.
        batch_hidden: h_s = N of the runs until a fixed loss, with the smallest widths.
        batch_sizes: theirs, each twice the one before.
        batch_rates: the rates of which the best is taken at each.
        batch_steps: after which they end.
        deep_dataset: images for the deep counterpart.
        deep_rates: its rates, at least two.
        deep_steps: its steps.

    Raises:
        InvalidInput: fewer than two rates or values of h_s / N, values that come twice, sizes out of range.
        NotFound: an unknown data set.
    """
    for name, values, least in (
        ("learning_rates", learning_rates, 2), ("overparametrisations", overparametrisations, 2), ("deep_rates", deep_rates, 2),
        ("batch_sizes", batch_sizes, 2), ("input_dims", input_dims, 1), ("teacher_widths", teacher_widths, 1),
        ("drop_overparametrisations", drop_overparametrisations, 1), ("batch_rates", batch_rates, 1),
    ):  # fmt: skip
        check_distinct(name, values, positive=True, least=least)
    check_distinct("seeds", seeds)
    if any(after != 2 * before for before, after in zip(batch_sizes[:-1], batch_sizes[1:], strict=True)):
        raise InvalidInput(f"batch_sizes must double from one to the next, got {list(batch_sizes)}.")
    if num_steps < 4 * log_every:
        raise InvalidInput(f"num_steps must be at least four times log_every, got {num_steps} and {log_every}.")
    for name, value, least in (
        ("hidden", hidden, 1), ("batch_size", batch_size, 1), ("log_every", log_every, 1), ("repeats", repeats, 2),
        ("refresh_every", refresh_every, 1), ("batch_hidden", batch_hidden, 1), ("batch_steps", batch_steps, BATCHES_LOG_EVERY),
        ("deep_steps", deep_steps, DeepTraining.log_every),
    ):  # fmt: skip
        whole(name, value, least)
    check_images(deep_dataset, DeepTraining.num_examples)
    check_network(DeepTraining.model, deep_dataset, DeepTraining.hidden)
    size = {"hidden": hidden, "batch_size": batch_size, "num_steps": num_steps, "log_every": log_every}
    grid = [
        {"overparametrisation": ratio, "input_dim": width, "teacher_hidden": teacher, "learning_rate": rate, "seed": seed}
        for ratio in overparametrisations
        for seed in seeds
        for width in input_dims
        for teacher in teacher_widths
        for rate in learning_rates
    ]
    one = {"input_dim": min(input_dims), "teacher_hidden": min(teacher_widths)}
    fine = size | {"log_every": max(1, num_steps // 100)}
    found = {
        "sweep": [RandomFeatures(**point, **size, repeats=repeats, refresh_every=refresh_every) for point in grid],
        "setups": [
            RandomFeatures(**point, **size, repeats=0, definition=name)
            for name in OTHERS
            for point in grid
            if point["teacher_hidden"] == min(teacher_widths) and (name == "authors_code" or point["input_dim"] == min(input_dims))
        ],
        "descriptions": [
            Setup(name, min(input_dims), teacher, hidden, 1000, seed) for name in SETUPS for teacher in teacher_widths for seed in seeds
        ],
        "drop": [
            RandomFeatures(ratio, **one, learning_rate=max(learning_rates), seed=seed, **fine, repeats=0, drop_at=at)
            for ratio in drop_overparametrisations
            for seed in seeds
            for at in (0, num_steps // 2)
        ],
        "batches": [
            RandomFeatures(
                1.0,
                **one,
                learning_rate=rate,
                seed=seed,
                hidden=batch_hidden,
                batch_size=batch,
                num_steps=batch_steps,
                log_every=BATCHES_LOG_EVERY,
                repeats=0,
            )
            for batch in batch_sizes
            for seed in seeds
            for rate in batch_rates
        ],
        "deep": [DeepTraining(deep_dataset, rate, seed, num_steps=deep_steps) for rate in deep_rates for seed in seeds],
    }
    for config in (config for group in found.values() for config in group if isinstance(config, RandomFeatures)):
        config.check()
    return found


def configurations(**parameters: Any) -> list[Any]:
    """All runs of the page in one list, for ``sgdscope plan`` and ``compute``; one that two cells ask for comes once."""
    return list(dict.fromkeys(config for group in runs(**parameters).values() for config in group))
