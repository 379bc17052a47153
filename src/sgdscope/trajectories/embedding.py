"""One way to an embedding: `embed(predictions, method=...)`.

The break-even paper (Fig. 1) embeds the test predictions of each step of two training runs with UMAP and states none of its settings.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sgdscope.errors import InvalidInput, unknown_name, whole
from sgdscope.trajectories.distances import centred_gram, checked, distances_of
from sgdscope.trajectories.neighbours import umap_points
from sgdscope.trajectories.principal import principal_components

METHODS = ("umap", "pca")
FEWEST = 16  # different steps that UMAP embeds; of fewer, each is a neighbour of each other under the default of 15


@dataclass(frozen=True)
class Embedding:
    """Steps of a trajectory in few dimensions, and how they got there.

    Attributes:
        points: (steps, dimension), device of the predictions, dtype too (float32 for shorter ones).
        method: the one used, ``umap`` or ``pca``.
        requested: the one asked for.
        reason: why another one was used; empty otherwise.
        n_neighbors: as UMAP used it, None for PCA.
        explained_variance_ratio: (dimension,) float64 shares of the variance, None for UMAP.
    """

    points: Tensor
    method: str
    requested: str
    reason: str = ""
    n_neighbors: int | None = None
    explained_variance_ratio: Tensor | None = None


def embed(
    predictions: Tensor,
    *,
    method: str = "umap",
    dimension: int = 2,
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    seed: int = 0,
) -> Embedding:
    """Each step of a training trajectory as a point, from its predictions on fixed examples (Jastrzebski et al. 2020, Sec. 4.1, Fig. 1).

    ``umap``: UMAP of the Euclidean distances of `squared_distances`, with its own defaults. Seeded, serial, the same bits on one machine.
    Distances are divided by the largest: its graph of neighbours does not depend on their unit, but where that falls into more than
    2 * dimension pieces, UMAP places these by ``exp(-distance^2)``.
    ``pca``: ``U_k sqrt(l_k)`` of the centred Gram matrix, see `principal_components` for the signs; no randomness.

    **Fallback.** Of fewer than 16 different steps UMAP makes no map: with 15 neighbours each step is every other's neighbour (and it fails
    below dimension + 2 steps). There ``method="umap"`` gives the PCA, and ``.method`` and ``.reason`` say so. (On pairs of smooth curves
    with little noise UMAP's trustworthiness was 0.77 to 0.93 for 5 to 14 points and 0.96 or more from 16 on, that of PCA 0.96 or more.)

    Runs that shall be seen together are embedded together, and split afterwards:
    ``embed(torch.cat([first, second])).points.split([len(first), len(second)])``.

    PCA is proportional to the predictions; UMAP does not change when all are multiplied by one number (but for rounding). Neither depends
    on the loss or the batch size.

    Args:
        predictions: (steps, examples * classes) floating tensor: probabilities or logits of the same examples at each step.
        method: ``umap`` or ``pca``.
        dimension: of the points, from 1 to min(steps - 1, examples * classes).
        n_neighbors: of UMAP, the step itself counted, 2 at least; at most steps - 1 are used. Its default, as that of ``min_dist``.
        min_dist: of UMAP, the smallest distance between points, from 0 to 1.
        seed: of UMAP, from 0 to 2^32 - 1.

    Raises:
        NotFound: an unknown method.
        InvalidInput: not a floating matrix of at least two steps, NaN or infinite values, all steps equal, an option out of range,
            or umap-learn not installed.

    >>> embed(torch.tensor([[0.0, 0.0], [3.0, 4.0], [9.0, 12.0]]), method="pca", dimension=1).points.flatten()
    tensor([-6.6667, -1.6667,  8.3333])
    """
    if method not in METHODS:
        raise unknown_name("method", str(method), METHODS)
    predictions = checked(predictions)
    steps, width = predictions.shape
    dimension = whole("dimension", dimension, 1, min(steps - 1, width), note=f"of {steps} steps of {width} numbers")
    n_neighbors = whole("n_neighbors", n_neighbors, 2, note="the step itself counted")
    seed = whole("seed", seed, 0, 2**32 - 1)
    if isinstance(min_dist, bool) or not isinstance(min_dist, int | float) or not 0 <= min_dist <= 1:
        raise InvalidInput(f"min_dist must be a number from 0 to 1; {min_dist!r} came.")
    gram = centred_gram(predictions)
    squares = distances_of(gram)
    different = steps - int((squares == 0).tril(-1).any(1).sum())  # steps without an equal one before them
    if different == 1:
        raise InvalidInput(
            f"all {steps} steps have the same predictions, so there is nothing to embed. Was the model trained between them?"
        )
    dtype = torch.promote_types(predictions.dtype, torch.float32)
    if method == "umap" and different >= FEWEST:
        n_neighbors = min(n_neighbors, steps - 1)
        points = umap_points((squares / squares.max()).sqrt(), dimension=dimension, n_neighbors=n_neighbors, min_dist=min_dist, seed=seed)
        return Embedding(points.to(predictions.device, dtype), "umap", method, n_neighbors=n_neighbors)
    reason = "" if method == "pca" else f"UMAP needs {FEWEST} different steps, of {steps} steps {different} are"
    points, shares = principal_components(gram, dimension)
    return Embedding(points.to(dtype), "pca", method, reason, explained_variance_ratio=shares)
