"""The page break_even/02_early_phase: the first part of training, with the break-even point measured. Lists its runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sgdscope.errors import InvalidInput, unknown_name, whole
from sgdscope.experiments.break_even.early_phase_runs import OPTIONS, Embedding, Peak, Training
from sgdscope.experiments.settings import check_distinct, check_images, check_network
from sgdscope.trajectories.embedding import METHODS


def runs(
    *,
    dataset: str,
    model: str,
    learning_rates: Sequence[float],
    batch_size: int,
    seeds: Sequence[int],
    stop_accuracy: float,
    num_steps: int,
    every: Sequence[int],
    L: int,  # noqa: N803  (the paper's letter)
    num_hessian_examples: int,
    embedding: str,
) -> dict[str, list[Any]]:
    """All runs of the page, by the name under which its cells collect them.

    Args:
        dataset: labelled images.
        model: mlp, lenet, simple_cnn or another of `sgdscope.models.names`.
        learning_rates: eta, at least two.
        batch_size: S.
        seeds: of weights, mini-batches and examples measured.
        stop_accuracy: training accuracy at which a run ends.
        num_steps: at which it ends at the latest.
        every: steps between two probes, one number for each learning rate.
        L: mini-batch gradients behind K.
        num_hessian_examples: training examples behind H.
        embedding: umap or pca.

    Raises:
        InvalidInput: fewer than two rates, values that come twice, or sizes out of range.
        NotFound: an unknown data set, model or embedding.
    """
    check_distinct("learning_rates", learning_rates, positive=True, least=2)
    check_distinct("seeds", seeds)
    if not 0 < stop_accuracy <= 1:
        raise InvalidInput(f"stop_accuracy is a share of examples above 0 and at most 1, got {stop_accuracy}.")
    if len(every) != len(learning_rates) or min(every) < 2:
        raise InvalidInput(f"every must be one number of at least 2 for each of {len(learning_rates)} learning rates, got {list(every)}.")
    available = check_images(dataset)
    check_network(model, dataset, **OPTIONS.get(model, {}))
    whole("batch_size", batch_size, 1, available, note=f"training examples of {dataset}")
    whole("num_hessian_examples", num_hessian_examples, 2, available, note=f"training examples of {dataset}")
    if embedding not in METHODS:
        raise unknown_name("embedding", embedding, METHODS)
    for name, value, least in (("num_steps", num_steps, 2), ("L", L, 3)):
        if value < least:
            raise InvalidInput(f"{name} must be at least {least}, got {value}.")
    fixed = {"dataset": dataset, "model": model, "batch_size": batch_size, "stop_accuracy": stop_accuracy, "num_steps": num_steps}
    fixed |= {"L": L, "num_hessian_examples": num_hessian_examples}
    single = [
        {**fixed, "learning_rate": rate, "seed": seed, "every": steps}
        for rate, steps in zip(learning_rates, every, strict=True)
        for seed in seeds
    ]
    together = {**fixed, "learning_rates": tuple(learning_rates), "every": tuple(every), "seed": seeds[0], "method": embedding}
    return {
        "training": [Training(**fields) for fields in single],
        "peaks": [Peak(**fields) for fields in single],
        "embedding": [Embedding(**together)],
    }


def configurations(**parameters: Any) -> list[Any]:
    """All runs of the page in one list, for ``sgdscope plan`` and ``compute``."""
    return [config for group in runs(**parameters).values() for config in group]
