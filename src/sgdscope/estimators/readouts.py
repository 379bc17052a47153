"""Estimates and exact variances for linear readouts, whose per-example gradients ``r_n phi_n`` need no model: residual times feature.

All of M readouts on the same features (N, p) at once. Columns are the p weights of one logit; of two logits with cross entropy the second
has the same numbers with the other sign, and every statistic per coordinate is the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sgdscope.errors import InvalidInput


class ReadoutGradients:
    """Gradients ``r_n phi_n`` of M readouts with residuals (M, N) on shared features (N, p).

    Raises:
        InvalidInput: shapes that do not fit.
    """

    def __init__(self, features: Tensor, residuals: Tensor, *, squared_norms: Tensor | None = None):
        """``squared_norms`` (N,) of the features in float64, where they are known."""
        if features.dim() != 2 or residuals.dim() != 2 or residuals.shape[1] != len(features):
            raise InvalidInput(f"features must be (N, p), residuals (M, N); {tuple(features.shape)} and {tuple(residuals.shape)} came.")
        self.features, self.residuals = features, residuals
        self._squares = features.double().square().sum(1) if squared_norms is None else squared_norms

    def mean(self) -> Tensor:
        """(M, p) gradient of the mean loss."""
        return self.residuals @ self.features / self.features.shape[0]

    def estimates(self, index: Tensor, weights: Tensor) -> Tensor:
        """(M, R, p) ``sum_b w_b r_b phi_b`` of R draws; ``index`` (R, B) for all readouts, or (M, R, B); ``weights`` (B,), or (M, 1, B)."""
        rows = self.features[index]  # (R, B, p), or (M, R, B, p)
        own = index if index.dim() == 3 else index.expand(len(self.residuals), -1, -1)
        residuals = self.residuals.gather(1, own.flatten(1)).view(own.shape) * weights.to(self.residuals.dtype)
        if index.dim() == 3:
            return (residuals[:, :, None] @ rows)[:, :, 0]
        return torch.bmm(residuals.transpose(0, 1), rows).transpose(0, 1)

    def average_square(self) -> Tensor:
        """(M,) ``(1/p) (1/N) sum_n |g_n|^2`` in float64: the mean square of a coordinate of one example's gradient."""
        return (self.residuals.double().square() @ self._squares) / self.features.numel()

    def mini_batch_variance(self, batch_size: int) -> Tensor:
        """(M,) exact average variance of a mini-batch without replacement, ``C / B (N - B) / (N - 1) / p``; see `MiniBatch`.

        ``C = (1/N) sum_n |g_n|^2 - |g|^2``. Of SVRG if the residuals are those now less those at the snapshot.
        """
        number, size = self.features.shape
        if not 1 <= batch_size <= number:
            raise InvalidInput(f"batch_size must be from 1 to the {number} examples, got {batch_size!r}.")
        spread = self.average_square() - self.mean().double().square().sum(1) / size
        return spread.clamp(min=0) * ((number - batch_size) / (batch_size * max(number - 1, 1)))

    def stratified_variance(self, partition: Tensor) -> Tensor:
        """(M,) exact average variance ``N^-2 sum_k N_k sum_{i in k} |g_i - C_k|^2 / p`` of one example a set (Eq. 2); ``partition`` (M, N).

        What the text-book formula gives by a difference of squares, in float64 up to the sums over the examples of a set.
        """
        number, size = self.features.shape
        total = []
        for residuals, sets in zip(self.residuals, partition, strict=True):
            sizes = torch.bincount(sets).double()  # (K,)
            spread = torch.zeros(len(sizes), number, dtype=residuals.dtype, device=residuals.device)
            spread.scatter_(0, sets[None], residuals[None])
            sums = (spread @ self.features).double()  # (K, p)
            squares = torch.zeros_like(sizes).index_add_(0, sets, residuals.double().square() * self._squares)
            total.append((sizes * squares - sums.square().sum(1)).clamp(min=0).sum())
        return torch.stack(total) / (number**2 * size)
