"""The page gradient_variance/06_duplicates: where gradient clustering should gain most. Lists its runs; they live in the modules it imports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sgdscope.errors import InvalidInput, whole
from sgdscope.experiments.gradient_variance.duplicates_runs import clustered_of
from sgdscope.experiments.gradient_variance.random_features_runs import RandomFeatures
from sgdscope.experiments.gradient_variance.trajectory_checks import check_runs
from sgdscope.experiments.gradient_variance.trajectory_runs import Trajectory
from sgdscope.experiments.settings import check_distinct, check_images
from sgdscope.probes import From

LOSS_EXAMPLES = 2000  # of the training set, for loss and accuracy


def runs(
    *,
    hidden: int,
    overparametrisations: Sequence[float],
    input_dims: Sequence[int],
    teacher_widths: Sequence[int],
    shares: Sequence[float],
    features_rate: float,
    features_batch_size: int,
    features_steps: int,
    features_log_every: int,
    features_repeats: int,
    refresh_every: int,
    seeds: Sequence[int],
    dataset: str,
    model: str,
    model_hidden: Sequence[int],
    num_examples: int,
    originals: int,
    copies: int,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    batch_size: int,
    num_steps: int,
    update_start: int,
    update_every: int,
    log_every: int,
    repeats: int,
    gc_steps: int,
    image_seeds: Sequence[int],
) -> dict[str, list[Any]]:
    """All runs of the page, by the name under which its cells collect them.

    ``features`` holds the random-features models; those without copies are runs of the page on over-parametrisation where its settings are the
    same. ``code`` holds students with copies in the set-up of the authors' code, with SG-B's exact variance only. ``images`` holds four
    trajectories a seed, with and without copies, with and without augmentation; ``clusters`` looks into the clusters of that with exact copies,
    at each update.

    Args:
        hidden: h_s, width of the random-features student.
        overparametrisations: h_s / N.
        input_dims: I.
        teacher_widths: h_t.
        shares: of the training set that are copies of five points; 0 must be one of them.
        features_rate: learning rate of the random-features models.
        features_batch_size: B there, and K.
        features_steps: of SGD there.
        features_log_every: steps between two measurements there.
        features_repeats: R there.
        refresh_every: steps between two snapshots and clusterings there.
        seeds: of everything random there.
        dataset: labelled images.
        model: lenet, mlp, resnet8, ...
        model_hidden: widths of an mlp's hidden layers.
        num_examples: training images before copies are added; 0 for all.
        originals: how many of them are copied.
        copies: how many times each is added.
        learning_rate: of the trajectories.
        momentum: of SGD there.
        weight_decay: likewise.
        batch_size: B there, and K.
        num_steps: T.
        update_start: step of the first clustering and snapshot.
        update_every: U, steps between two updates.
        log_every: steps between two measurements.
        repeats: R.
        gc_steps: iterations of GC at an update.
        image_seeds: of weights, batches, measurements and copied images.

    Raises:
        InvalidInput: values that come twice or are out of range, no share of 0 or no other, no copies, more copied images than clusters.
        NotFound: an unknown data set or model.
    """
    check_distinct("overparametrisations", overparametrisations, positive=True)
    check_distinct("input_dims", input_dims, positive=True)
    check_distinct("teacher_widths", teacher_widths, positive=True)
    check_distinct("seeds", seeds)
    check_distinct("image_seeds", image_seeds)
    if 0 not in shares or len(set(shares)) < max(2, len(shares)) or not 0 <= min(shares) <= max(shares) < 1:
        raise InvalidInput(f"shares must be distinct, from 0 to below 1, with 0 and at least one other; got {list(shares)}.")
    if originals < 1 or copies < 1 or originals >= batch_size:
        raise InvalidInput(
            f"there must be copies, of fewer images than there are clusters; {originals} images, {copies} copies and {batch_size} clusters came."
        )
    for name, value, least in (
        ("hidden", hidden, 1), ("features_batch_size", features_batch_size, 1), ("features_log_every", features_log_every, 1),
        ("features_repeats", features_repeats, 2), ("refresh_every", refresh_every, 1), ("update_every", update_every, 1),
        ("features_steps", features_steps, features_log_every), ("num_examples", num_examples, 0),
    ):  # fmt: skip
        whole(name, value, least)
    available = check_images(dataset, num_examples or None)
    whole("originals", originals, 1, available)
    due = From(update_start, update_every)
    updates = tuple(step for step in range(num_steps + 1) if due(step))
    if not updates:
        raise InvalidInput(f"update_start must be a step up to num_steps, {num_steps}; got {update_start}.")
    base = {
        "dataset": dataset, "model": model, "num_examples": num_examples or None,
        "learning_rate": learning_rate, "momentum": momentum, "weight_decay": weight_decay, "batch_size": batch_size, "num_steps": num_steps,
        "update_start": update_start, "update_every": update_every, "log_every": log_every, "repeats": repeats, "gc_steps": gc_steps,
        "two_pass": (), "loss_examples": min(LOSS_EXAMPLES, available),
    }  # fmt: skip
    if model == "mlp":
        base["hidden"] = tuple(model_hidden)
    added = {"duplicate_originals": originals, "duplicate_copies": copies}
    size = {"hidden": hidden, "batch_size": features_batch_size, "num_steps": features_steps, "log_every": features_log_every}
    found = {
        "features": [
            RandomFeatures(
                ratio, width, teacher, features_rate, seed, share=share, **size, repeats=features_repeats, refresh_every=refresh_every
            )
            for ratio in overparametrisations for share in shares for seed in seeds for width in input_dims for teacher in teacher_widths
        ],
        "code": [
            RandomFeatures(
                ratio, min(input_dims), min(teacher_widths), features_rate, seed, share=share, definition="authors_code", **size, repeats=0
            )
            for ratio in overparametrisations for share in shares if share for seed in seeds
        ],
        "images": [
            Trajectory(seed, **base, augment=augment, **duplicated)
            for seed in image_seeds for duplicated in (added, {}) for augment in ("none", "crop_flip")
        ],
        "clusters": [clustered_of(Trajectory(seed, **base, **added), updates) for seed in image_seeds],
    }  # fmt: skip
    check_runs(found)
    for config in (*found["features"], *found["code"]):
        config.check()
    return found


def configurations(**parameters: Any) -> list[Any]:
    """All runs of the page in one list, for ``sgdscope plan`` and ``compute``."""
    return [config for group in runs(**parameters).values() for config in group]
