"""The page gradient_variance/01_stratified: stratified estimates and the partition that is best for them. Lists its runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sgdscope.errors import InvalidInput, whole
from sgdscope.experiments.gradient_variance.stratified_duplicates import Copies, CopiesApart
from sgdscope.experiments.gradient_variance.stratified_enumeration import Draws, Limits, Partitions
from sgdscope.experiments.gradient_variance.stratified_networks import Clusters, MonteCarlo, Objective
from sgdscope.experiments.gradient_variance.stratified_plane import PROTOCOLS, Points
from sgdscope.experiments.gradient_variance.stratified_steps import CounterExamples, Optima
from sgdscope.experiments.settings import check_images, check_network

WIDTHS = {2: 12, 3: 12, 4: 4}  # how many whole numbers a counter-example has, and their range


def runs(
    *,
    dataset: str,
    models: Sequence[str],
    hidden: Sequence[int],
    seeds: Sequence[int],
    stages: Sequence[int],
    learning_rate: float,
    batch_size: int,
    num_examples: int,
    num_clusters: Sequence[int],
    sampled_clusters: int,
    repeats: int,
    point_sets: int,
    point_stages: Sequence[int],
) -> dict[str, list[Any]]:
    """All runs of the page, by the name under which its cells collect them. Those on networks ask for the training, whose weights stay in the store.

    Args:
        dataset: labelled images.
        models: mlp, lenet or others of `sgdscope.models.names`; the enumerations take small ones.
        hidden: widths of the perceptron.
        seeds: of everything random.
        stages: steps of SGD after which gradients are clustered.
        learning_rate: of training.
        batch_size: of training.
        num_examples: N of the set that is sampled from.
        num_clusters: K, of the clusterings.
        sampled_clusters: K, of the Monte Carlo.
        repeats: estimates of the Monte Carlo.
        point_sets: in the plane, for each seed.
        point_stages: steps of training of the classifier in the plane that are shown.

    Raises:
        InvalidInput: values that come twice, or out of range; more examples than there are.
        NotFound: an unknown data set or model.
    """
    for name, values, least in (
        ("models", models, None),
        ("seeds", seeds, 0),
        ("stages", stages, 0),
        ("num_clusters", num_clusters, 2),
        ("point_stages", point_stages, 0),
    ):
        if not values or len(set(values)) < len(values) or (least is not None and min(values) < least):
            raise InvalidInput(f"{name} must be distinct{'' if least is None else f' and at least {least}'}, got {list(values)}.")
    if max(*num_clusters, sampled_clusters) > num_examples or sampled_clusters < 1:
        raise InvalidInput(
            f"there can be 1 to num_examples = {num_examples} clusters, got {list(num_clusters)} and sampled_clusters = {sampled_clusters}."
        )
    for name, value, least in (("repeats", repeats, 2), ("point_sets", point_sets, 1)):
        if value < least:
            raise InvalidInput(f"{name} must be at least {least}, got {value}.")
    if learning_rate <= 0:
        raise InvalidInput(f"learning_rate must be positive, got {learning_rate}.")
    check_images(dataset, num_examples)
    whole("batch_size", batch_size, 1, check_images(dataset))
    for model in models:
        check_network(model, dataset, tuple(hidden), single=True)
    small = [{"dataset": dataset, "model": "mlp", "seed": seed} for seed in seeds]
    training = [
        {"dataset": dataset, "model": model, "hidden": tuple(hidden) if model == "mlp" else (), "seed": seed, "stages": tuple(stages)}
        | {"learning_rate": learning_rate, "batch_size": batch_size}
        for model in models
        for seed in seeds
    ]
    sampled = [{**fields, "num_examples": num_examples} for fields in training]
    return {
        "partitions": [Partitions(dataset, model, seed) for model in models for seed in seeds],
        "limits": [Limits(**fields) for fields in small],
        "draws": [Draws(**fields) for fields in small],
        "copies": [Copies(**fields) for fields in small],
        "copies_apart": [CopiesApart(**fields) for fields in small],
        "optima": [Optima(**fields) for fields in small],
        "counter_examples": [CounterExamples(number, width) for number, width in WIDTHS.items()],
        "monte_carlo": [MonteCarlo(**fields, num_clusters=sampled_clusters, repeats=repeats) for fields in sampled],
        "clusters": [Clusters(**fields, num_clusters=tuple(num_clusters)) for fields in sampled],
        "objective": [Objective(**fields, num_clusters=tuple(num_clusters)) for fields in sampled],
        "points": [
            Points(seed, protocol, tuple(point_stages), point_set)
            for protocol in PROTOCOLS
            for seed in seeds
            for point_set in range(point_sets)
        ],
    }


def configurations(**parameters: Any) -> list[Any]:
    """All runs of the page in one list, for ``sgdscope plan`` and ``compute``."""
    return [config for group in runs(**parameters).values() for config in group]
