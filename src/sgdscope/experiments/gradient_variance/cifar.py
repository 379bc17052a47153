"""The page gradient_variance/04_cifar: estimators along trajectories of noisy and of many-class problems. Lists its runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sgdscope.errors import InvalidInput, unknown_name
from sgdscope.experiments.gradient_variance.cifar_runs import Redrawn, states_of
from sgdscope.experiments.gradient_variance.trajectory_checks import check_runs
from sgdscope.experiments.gradient_variance.trajectory_runs import Trajectory
from sgdscope.experiments.settings import check_distinct, check_images

MANY: dict[str, dict[str, Any]] = {
    "gaussian_mixture": {"dataset": "gaussian_mixture", "model": "fcn", "learning_rate": 0.05, "batch_size": 32},
    "cifar100_resnet8": {
        "dataset": "cifar100", "model": "resnet8", "augment": "crop_flip", "learning_rate": 0.01,
    },
    "cifar100_resnet32": {
        "dataset": "cifar100", "model": "resnet32", "batch_norm": True, "augment": "crop_flip", "learning_rate": 0.1,
    },
    "cifar100_resnet18": {
        "dataset": "cifar100", "model": "resnet18", "batch_norm": True, "augment": "crop_flip", "learning_rate": 0.1,
    },
    "imagenet_resnet18": {
        "dataset": "imagenet", "model": "resnet18", "batch_norm": True, "augment": "resized_crop_flip", "learning_rate": 0.1,
        "weight_decay": 1e-4,
    },
}  # fmt: skip
"""Problems with many classes. ResNet-32 on CIFAR-100 and ResNet-18 on ImageNet have the paper's rates, weight decay and augmentation (App. C.1)."""

LOSS_EXAMPLES = 2000  # of the training set, for loss and accuracy
FIRST = 100  # step of the first measurement at the latest, as in the authors' code
ANOTHER_DRAW = 1000  # added to the seed of a re-run's batches and measurements


def runs(
    *,
    dataset: str,
    model: str,
    augment: str,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    batch_size: int,
    num_steps: int,
    update_every: int,
    log_every: int,
    repeats: int,
    gc_steps: int,
    smoothing: float,
    constant_rates: Sequence[float],
    second_model: str,
    second_examples: int,
    second_repeats: int,
    many_problem: str,
    many_examples: int,
    many_steps: int,
    many_update_every: int,
    many_log_every: int,
    many_repeats: int,
    image_size: int,
    states_steps: int,
    states_log_every: int,
    seeds: Sequence[int],
) -> dict[str, list[Any]]:
    """All runs of the page, by the name under which its cells collect them, the most telling first.

    The rate falls tenfold after half and after three quarters of the steps, as in the paper.

    Args:
        dataset: labelled images.
        model: lenet, resnet8, ...
        augment: none, or crop_flip.
        learning_rate: of the first half.
        momentum: of SGD.
        weight_decay: likewise.
        batch_size: B, and K of GC.
        num_steps: T.
        update_every: U, steps between two updates of clusters and snapshots.
        log_every: steps between two measurements.
        repeats: R, estimates of a measurement.
        gc_steps: iterations of GC at an update.
        smoothing: of the labels, where they are smoothed.
        constant_rates: rates of runs without a drop; learning_rate is the control of the drop.
        second_model: the second architecture, trained for half of the steps.
        second_examples: on so many training images; 0 for all.
        second_repeats: its R.
        many_problem: a name of `MANY`.
        many_examples: on so many training examples; 0 for all.
        many_steps: T there, and likewise the next three.
        many_update_every: U.
        many_log_every: steps between two measurements.
        many_repeats: R.
        image_size: side of ImageNet's images.
        states_steps: of the runs in which the gradients of all examples are looked at.
        states_log_every: steps between two such looks.
        seeds: of weights, batches, measurements and redrawn labels.

    Raises:
        InvalidInput: seeds or rates that come twice, no control of the drop, numbers out of range.
        NotFound: an unknown problem, data set, model or augmentation.
    """
    if many_problem not in MANY:
        raise unknown_name("many_problem", many_problem, MANY)
    check_distinct("seeds", seeds)
    if len(set(constant_rates)) < max(2, len(constant_rates)) or learning_rate not in constant_rates:
        raise InvalidInput(
            f"constant_rates must be two or more distinct rates, {learning_rate:g}, the control of the drop, among them; got {list(constant_rates)}."
        )
    if not 1 <= states_log_every <= update_every <= states_steps <= num_steps:
        raise InvalidInput(
            "states_steps must hold an update and be at most num_steps, each update a look: 1 <= states_log_every <= update_every <= states_steps "
            f"<= num_steps; got {states_log_every}, {update_every}, {states_steps} and {num_steps}."
        )
    steps = {"num_steps": (num_steps, update_every, log_every), "many_steps": (many_steps, many_update_every, many_log_every)}
    for name, (of_all, of_update, of_log) in steps.items():
        if not 1 <= of_log <= of_update <= of_all // 4:
            raise InvalidInput(
                f"{name} must hold at least four updates, and each update a measurement; got {of_all}, {of_update} and {of_log} steps."
            )
    base = Trajectory(
        0, dataset, model, augment=augment, learning_rate=learning_rate, momentum=momentum, weight_decay=weight_decay,
        batch_size=batch_size, gc_steps=gc_steps, repeats=repeats, **_schedule(num_steps, update_every, log_every),
        loss_examples=min(LOSS_EXAMPLES, check_images(dataset)),
    )  # fmt: skip
    noisy = replace(base, estimators=("sgd", "sgd2", "gc"), two_pass=())
    alone = replace(base, estimators=("sgd",), two_pass=())
    second = replace(
        noisy, model=second_model, num_examples=second_examples or None, num_steps=num_steps // 2, drops=(), repeats=second_repeats,
        loss_examples=min(base.loss_examples, second_examples or LOSS_EXAMPLES),
    )  # fmt: skip
    many = Trajectory(
        0, momentum=0.9, num_examples=many_examples or None, gc_steps=gc_steps, repeats=many_repeats, image_size=image_size,
        loss_examples=min(LOSS_EXAMPLES, many_examples or LOSS_EXAMPLES), **_schedule(many_steps, many_update_every, many_log_every),
        **MANY[many_problem],
    )  # fmt: skip

    def each(config: Trajectory, **changes: Any) -> list[Trajectory]:
        return [replace(config, seed=seed, **changes) for seed in seeds]

    corrupted = replace(noisy, corrupt_share=0.1)
    found = {
        "plain": each(base),
        "corrupted": each(corrupted),
        "smoothed": each(noisy, label_smoothing=smoothing),
        "constant": [config for rate in constant_rates for config in each(alone, learning_rate=rate, drops=())],
        "second": each(second),
        "many": each(many),
        "others": each(alone, corrupt_share=0.2) + [replace(alone, seed=seed, draws_seed=seed + ANOTHER_DRAW) for seed in seeds],
        "few": each(noisy, corrupt_share=0.01),
        "states": [
            states_of(config, num_steps=states_steps, log_every=states_log_every, drops=tuple(d for d in base.drops if d < states_steps))
            for config in (*each(noisy), *each(corrupted))
        ],
        "redrawn": [Redrawn(dataset, 0.2, seed) for seed in seeds],
    }
    check_runs(found)
    return found


def _schedule(num_steps: int, update_every: int, log_every: int) -> dict[str, Any]:
    """Steps, drops, updates and measurements."""
    return {
        "num_steps": num_steps,
        "drops": (num_steps // 2, num_steps * 3 // 4),
        "update_every": update_every,
        "log_every": log_every,
        "update_start": min(FIRST, log_every),
    }


def configurations(**parameters: Any) -> list[Any]:
    """All runs of the page in one list, for ``sgdscope plan`` and ``compute``."""
    return [config for group in runs(**parameters).values() for config in group]
