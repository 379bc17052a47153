"""Training trajectories in the space of predictions: an embedding in the plane, and the background that colours it (Fig. 1, break-even paper)."""

from sgdscope.trajectories.background import grid, nearest
from sgdscope.trajectories.distances import squared_distances
from sgdscope.trajectories.embedding import Embedding, embed

__all__ = ["Embedding", "embed", "grid", "nearest", "squared_distances"]
