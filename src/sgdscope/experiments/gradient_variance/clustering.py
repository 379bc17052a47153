"""The page gradient_variance/02_clustering: clusters by layers, with low-rank centres. Lists its runs; they live in the modules it imports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sgdscope.errors import InvalidInput, unknown_name
from sgdscope.experiments.gradient_variance import clustering_algebra as algebra
from sgdscope.experiments.gradient_variance import clustering_costs as costs
from sgdscope.experiments.gradient_variance import clustering_networks as networks

COSTS = {"mlp": (128, 128), "resnet8": (32, 32), "resnet18": (4, 32)}  # samples and clusters; 128 of both is the paper's choice
LAYERS = (16, 32)  # samples (32 times as many for the linear layer) and clusters
GAUSSIAN = (100, 1000)  # dimensions and vectors
UNIFORM = (1000, 10)  # vectors and clusters


def runs(
    *,
    dataset: str,
    models: Sequence[str],
    train_steps: Sequence[int],
    num_examples: int,
    centre_examples: int,
    num_clusters: int,
    cluster_range: Sequence[int],
    gc_steps: int,
    dimensions: Sequence[int],
    timed_networks: Sequence[str],
    timing_repeats: int,
    seeds: Sequence[int],
) -> dict[str, list[Any]]:
    """All runs of the page, by the name under which its cells collect them.

    Args:
        dataset: images.
        models: networks that are trained, mlp or lenet.
        train_steps: of SGD, after each of which gradients are taken.
        num_examples: N of cluster sizes and of the range of K.
        centre_examples: N where centres of several ranks are compared.
        num_clusters: K of all but the range.
        cluster_range: K, smallest and largest are judged.
        gc_steps: assignments, GC T.
        dimensions: of the uniform cloud, with 1, 2 and 1000.
        timed_networks: of mlp, resnet8, resnet18.
        timing_repeats: timed calls behind a median.
        seeds: of weights, batches, examples, starts and timed samples.

    Raises:
        InvalidInput: a K above the number of examples, numbers that are not positive, or a value that comes twice.
        NotFound: an unknown network.
    """
    for name in timed_networks:
        if name not in COSTS:
            raise unknown_name("timed network", name, COSTS)
    for name in models:
        if name not in ("mlp", "lenet"):
            raise unknown_name("model", name, ("mlp", "lenet"))
    for name, values in {"train_steps": train_steps, "seeds": seeds}.items():
        if len(set(values)) < len(values) or not values or min(values) < 0:
            raise InvalidInput(f"{name} must be distinct and not negative, got {list(values)}.")
    for name, values in {"cluster_range": cluster_range, "dimensions": dimensions}.items():
        if len(set(values)) < len(values) or not values or min(values) < 1:
            raise InvalidInput(f"{name} must be distinct and at least 1, got {list(values)}.")
    if min(gc_steps, timing_repeats, num_clusters) < 1:
        raise InvalidInput(f"gc_steps, timing_repeats and num_clusters must be at least 1, got {(gc_steps, timing_repeats, num_clusters)}.")
    if max(*cluster_range, num_clusters) > num_examples or num_clusters > centre_examples:
        raise InvalidInput(
            f"there must be at least as many examples as clusters; {num_examples} and {centre_examples} came for {list(cluster_range)} and "
            f"{num_clusters}."
        )
    states = [(dataset, model, steps, seed) for model in models for steps in train_steps for seed in seeds]
    return {
        "products": [algebra.InnerProducts(seed) for seed in seeds],
        "algorithms": [algebra.Algorithms(seed) for seed in seeds],
        "updates": [algebra.Uncorrelated(seed) for seed in seeds],
        "centres": [networks.CentreErrors(*state, centre_examples, num_clusters, gc_steps) for state in states],
        "range": [networks.KRange(*state, num_examples, tuple(cluster_range), gc_steps) for state in states],
        "sizes": [networks.RealSizes(*state, num_examples, num_clusters) for state in states],
        "gaussian": [networks.GaussianSizes(*GAUSSIAN, num_clusters, seed) for seed in seeds],
        "uniform": [networks.UniformCloud(dimension, *UNIFORM, seed) for dimension in sorted({1, 2, 1000, *dimensions}) for seed in seeds],
        "steps": [costs.StepCosts(name, *COSTS[name], seed, timing_repeats) for name in timed_networks for seed in seeds],
        "layers": [costs.LayerCosts(*LAYERS, seed, 2 * timing_repeats) for seed in seeds],
    }


def configurations(**parameters: Any) -> list[Any]:
    """All runs of the page in one list, for ``sgdscope plan`` and ``compute``."""
    return [config for group in runs(**parameters).values() for config in group]
