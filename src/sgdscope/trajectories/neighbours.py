"""UMAP of a matrix of distances. Importing it takes 13 s of compilation (numba), so that happens here and only when it is asked for."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from sgdscope.errors import InvalidInput

EXPECTED = (  # what UMAP says of any seeded embedding of distances
    "using precomputed metric; inverse_transform will be unavailable",
    r"n_jobs value -?\d+ overridden to 1 by setting random_state",
)


def umap_points(distances: Tensor, *, dimension: int, n_neighbors: int, min_dist: float, seed: int) -> Tensor:
    """Coordinates by UMAP (McInnes et al. 2018) of distances (steps, steps): (steps, dimension) in float32, on the CPU.

    Serial and seeded by itself: the same bits in every process on one machine; NumPy's global generator is neither read nor set.

    Raises:
        InvalidInput: the package umap-learn is not installed.
    """
    try:
        from umap import UMAP  # 13 s
    except ModuleNotFoundError as error:
        if error.name != "umap":
            raise
        raise InvalidInput(
            "method='umap' needs the package umap-learn, which is not installed: pip install sgdscope[umap]. Or choose method='pca'."
        ) from None
    layout = UMAP(n_neighbors=n_neighbors, n_components=dimension, min_dist=min_dist, metric="precomputed", random_state=seed)
    with warnings.catch_warnings():
        for message in EXPECTED:
            warnings.filterwarnings("ignore", message, UserWarning)
        return torch.from_numpy(layout.fit_transform(distances.cpu().float().numpy()))
