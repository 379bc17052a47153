"""What the pages refuse of a `Trajectory` before any run starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sgdscope.errors import InvalidInput, whole
from sgdscope.experiments.gradient_variance.trajectory_runs import MIXTURE, Trajectory, augmentation
from sgdscope.experiments.settings import build_once, check_images, check_network

SIZES = {"batch_size": 1, "num_steps": 1, "update_every": 1, "log_every": 1, "gc_steps": 1, "image_size": 32, "repeats": 2}
"""Fields that are whole numbers, and their least values."""


def check_runs(runs: Mapping[str, Iterable[Any]]) -> None:
    """`check_trajectory` on all that are trajectories among a page's runs."""
    for group in runs.values():
        for config in group:
            if isinstance(config, Trajectory):
                check_trajectory(config)


def check_trajectory(config: Trajectory) -> None:
    """Refuses what its run would refuse, without data.

    Raises:
        NotFound: an unknown augmentation, data set or model.
        InvalidInput: sizes, rates or shares out of range, fewer examples than the estimators take, images that the model does not take.
    """
    what = f"{config.model} on {config.dataset}"
    augmentation(config)
    for name, least in SIZES.items():
        whole(name, getattr(config, name), least, note=what)
    for name, limits, holds in (
        ("learning_rate", "above 0", config.learning_rate > 0),
        ("momentum", "from 0 to below 1", 0 <= config.momentum < 1),
        ("weight_decay", "from 0", config.weight_decay >= 0),
        ("label_smoothing", "from 0 to below 1", 0 <= config.label_smoothing < 1),
        ("corrupt_share", "from 0 to 1", 0 <= config.corrupt_share <= 1),
    ):
        if not holds:
            raise InvalidInput(f"{name} must be {limits} ({what}), got {getattr(config, name)}.")
    number = _check_data(config) + config.duplicate_originals * config.duplicate_copies
    needed = config.batch_size * (2 if "sgd2" in config.estimators else 1)
    if number < needed:
        raise InvalidInput(f"{what} needs {needed} training examples at least, for its batches and clusters; {number} came.")


def _check_data(config: Trajectory) -> int:
    """The number of examples before copies are added, checked with the model."""
    if config.dataset != MIXTURE:
        number = check_images(config.dataset, config.num_examples)
        check_network(config.model, config.dataset, config.hidden)
        return number
    if config.num_examples is None:
        raise InvalidInput(f"{MIXTURE} needs a number of examples, how many to compute; 0 came.")
    build_once(config.model, (1, 16, 16), 100, config.hidden if config.model == "mlp" else None)
    return config.num_examples
