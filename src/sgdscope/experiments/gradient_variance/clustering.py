"""The page gradient_variance/02_clustering: clusters by layers, with low-rank centres. Lists its runs; they live in the modules it imports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sgdscope.errors import InvalidInput, unknown_name
from sgdscope.experiments.gradient_variance import clustering_algebra as algebra
from sgdscope.experiments.gradient_variance import clustering_costs as costs
from sgdscope.experiments.gradient_variance import clustering_networks as networks
from sgdscope.experiments.settings import check_distinct, check_images, check_network

COSTS = {"mlp": (128, 128), "resnet8": (32, 32), "resnet18": (4, 32)}  # samples and clusters; 128 of both is the paper's choice
LAYERS = (16, 32)  # samples (32 times as many for the linear layer) and clusters
GAUSSIAN = (100, 1000)  # dimensions and vectors
UNIFORM = (1000, 10)  # vectors and clusters
JUDGED = (10, 100)  # K of the claim about the range


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
        cluster_range: K, increasing; smallest and largest are judged, and those from 10 to 100.
        gc_steps: assignments, GC T.
        dimensions: of the uniform cloud, with 1, 2 and 1000.
        timed_networks: of mlp, resnet8, resnet18.
        timing_repeats: timed calls behind a median.
        seeds: of weights, batches, examples, starts and timed samples.

    Raises:
        InvalidInput: a K that is not below the number of examples, a range without a K that a claim is about, more examples than there are,
            numbers that are not positive, or a value that comes twice.
        NotFound: an unknown network or data set.
    """
    for name in timed_networks:
        if name not in COSTS:
            raise unknown_name("timed network", name, COSTS)
    for name in models:
        if name not in ("mlp", "lenet"):
            raise unknown_name("model", name, ("mlp", "lenet"))
    check_distinct("train_steps", train_steps)
    check_distinct("seeds", seeds)
    check_distinct("dimensions", dimensions, positive=True)
    if list(cluster_range) != sorted(set(cluster_range)) or len(cluster_range) < 2 or cluster_range[0] < 1:
        raise InvalidInput(f"cluster_range must be two or more increasing numbers from 1, got {list(cluster_range)}.")
    if not any(JUDGED[0] <= number <= JUDGED[1] for number in cluster_range):
        raise InvalidInput(f"cluster_range must hold a K from {JUDGED[0]} to {JUDGED[1]}, of which a claim is; got {list(cluster_range)}.")
    if min(gc_steps, timing_repeats, num_clusters) < 1:
        raise InvalidInput(f"gc_steps, timing_repeats and num_clusters must be at least 1, got {(gc_steps, timing_repeats, num_clusters)}.")
    if max(*cluster_range, num_clusters) >= num_examples or num_clusters >= min(centre_examples, GAUSSIAN[1]):
        raise InvalidInput(
            f"there must be more examples than clusters; {num_examples}, {centre_examples} and {GAUSSIAN[1]} came for {list(cluster_range)} and "
            f"{num_clusters}."
        )
    check_images(dataset, max(num_examples, centre_examples))
    for name in models:
        check_network(name, dataset)
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
