"""The page break_even/01_model: when is SGD stable along one direction? Lists its runs; they live in the modules it imports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sgdscope.errors import InvalidInput
from sgdscope.experiments.break_even import least_squares, networks, one_direction
from sgdscope.experiments.settings import check_distinct, check_images

NETWORK_RATES = (0.4, 0.5, 0.6)
NETWORK_BATCHES = (128, 256)  # 256: the full batch
SMALL_BATCHES = (16, 64)  # shown apart: does training with small batches reach the point at all?


def runs(
    *,
    dataset: str,
    learning_rates: Sequence[float],
    batch_sizes: Sequence[int],
    num_examples: int,
    num_steps: int,
    seeds: Sequence[int],
) -> dict[str, list[Any]]:
    """All runs of the page, by the name under which its cells collect them.

    Args:
        dataset: labelled images.
        learning_rates: of SGD on least squares, times the sharpness.
        batch_sizes: S of all simulations; the full batch is added where a theorem compares with it.
        num_examples: N, even.
        num_steps: of SGD on least squares.
        seeds: of mini-batches, images and starting points.

    Raises:
        InvalidInput: an odd or too small ``num_examples``, a batch that does not fit into it, rates or
            steps that are not positive, more examples than there are, or a value that comes twice.
        NotFound: an unknown data set.
    """
    if num_examples % 2 or num_examples < 26:
        raise InvalidInput(f"num_examples must be even and at least 26 (25 gradients are compared), got {num_examples}.")
    if large := [size for size in batch_sizes if not 1 <= size <= num_examples]:
        raise InvalidInput(f"batch sizes must be 1 to num_examples = {num_examples}, got {large}.")
    if len(set(batch_sizes)) < len(batch_sizes) or len(set(learning_rates)) < len(learning_rates):
        raise InvalidInput(f"batch sizes and learning rates must be distinct, got {list(batch_sizes)} and {list(learning_rates)}.")
    if min(learning_rates) <= 0 or num_steps < 1:
        raise InvalidInput(f"learning rates and num_steps must be positive, got {list(learning_rates)} and {num_steps}.")
    check_distinct("seeds", seeds)
    check_images(dataset, num_examples)
    powers = [2**i for i in range(num_examples.bit_length()) if 2**i < num_examples]
    sizes = tuple(sorted({*batch_sizes, num_examples}))
    images = {"dataset": dataset, "num_examples": num_examples}
    return {
        "enumeration": [one_direction.Enumeration(seed) for seed in seeds],
        "phase_diagram": [
            one_direction.PhaseDiagram(seed=seed, batch_size=size, num_examples=num_examples) for size in batch_sizes for seed in seeds
        ],
        "stable_case": [one_direction.StableCase(seed) for seed in seeds],
        "projected": [least_squares.Projected(**images, batch_size=size, seed=seed) for size in batch_sizes for seed in seeds],
        "descent": [
            least_squares.Descent(**images, learning_rate=rate, batch_size=size, num_steps=num_steps, seed=seed)
            for size in batch_sizes
            for seed in seeds
            for rate in learning_rates
        ],
        "boundary": [
            least_squares.Boundary(**images, batch_size=size, seed=seed)
            for size in sorted({*powers, *batch_sizes, num_examples})
            for seed in seeds
        ],
        "closed_form": [one_direction.ClosedForm(num_examples=num_examples)],
        "early_training": [
            one_direction.EarlyTraining(seed, start, sizes, num_examples) for start in ("stable", "unstable") for seed in seeds
        ],
        "reversed_order": [one_direction.ReversedOrder(seed) for seed in seeds],
        "network": [
            networks.TinyNetwork(dataset, rate, size, seed) for size in NETWORK_BATCHES for rate in NETWORK_RATES for seed in seeds
        ],
        "small_batches": [
            networks.TinyNetwork(dataset, rate, size, seed) for size in SMALL_BATCHES for rate in NETWORK_RATES for seed in seeds
        ],
        "noise": [least_squares.Noise(**images, seed=seed) for seed in seeds],
    }


def configurations(**parameters: Any) -> list[Any]:
    """All runs of the page in one list, for ``sgdscope plan`` and ``compute``."""
    return [config for group in runs(**parameters).values() for config in group]
