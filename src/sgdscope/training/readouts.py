"""SGD on many linear binary classifiers at once: models that share their features share each batch of them too.

The gradient of the logistic loss ``log(1 + exp(f)) - y f`` of ``f = w . phi`` is ``r phi`` with the residual ``r = sigmoid(f) - y``, so that no
automatic differentiation is needed. Two logits with cross entropy are one with twice the rate: the gradients of their weights are ``-r phi`` and
``r phi``, and only the difference of the weights decides the loss.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sgdscope.errors import InvalidInput


class Readouts:
    """G groups of M readouts: all of a group have the same features and see the same batches, and differ in labels, weights or rate.

    The weights, and each step, are in float64, so that a group alone and among others differ by less than 1e-9 of the weights over thousands of
    steps; the features stay in their type, and so do passes over all of them.

    Args:
        features: (G, N, p), phi; a bias is a column of ones.
        labels: (G, M, N) of 0 and 1.
        weights: (G, M, p) at the start; for two logits the difference of theirs.
        outputs: 1, or 2 for two logits: the step is then twice as long.
        weight_decay: adds ``weight_decay * w`` to the gradient.

    Raises:
        InvalidInput: shapes that do not fit, values that are not finite, other numbers of outputs.
    """

    def __init__(self, features: Tensor, labels: Tensor, weights: Tensor, *, outputs: int = 1, weight_decay: float = 0.0):
        shapes = [tuple(tensor.shape) for tensor in (features, labels, weights)]
        fits = features.dim() == labels.dim() == weights.dim() == 3 and len({shape[0] for shape in shapes}) == 1
        if not fits or labels.shape[2] != features.shape[1] or weights.shape[1:] != (labels.shape[1], features.shape[2]):
            raise InvalidInput(f"features must be (G, N, p), labels (G, M, N), weights (G, M, p); {shapes} came.")
        if outputs not in (1, 2):
            raise InvalidInput(f"outputs must be 1 or 2, got {outputs!r}.")
        if not torch.isfinite(features.mean() + weights.mean()):  # one pass without a copy; NaN and infinite values stay
            raise InvalidInput("features and weights must be finite; NaN or infinite values came.")
        self.features, self.weights = features.contiguous(), weights.double().clone()
        self.labels = labels.to(features.dtype)
        self.outputs, self.weight_decay = outputs, weight_decay
        self._first = torch.arange(len(features), device=features.device)[:, None] * features.shape[1]

    def step(self, index: Tensor, learning_rate: Tensor) -> None:
        """``w <- w - learning_rate (outputs * mean_b r_b phi_b + weight_decay w)`` on batches ``index`` (G, B), with rates (G, M)."""
        groups, _, size = self.features.shape
        rows = self.features.view(-1, size).index_select(0, (index + self._first).view(-1)).view(groups, -1, size).double()  # (G, B, p)
        targets = self.labels.gather(2, index[:, None].expand(-1, self.labels.shape[1], -1))  # (G, M, B)
        rates = learning_rate[:, :, None].double()
        residual = (torch.sigmoid(torch.bmm(rows, self.weights.mT)).mT - targets) * (rates * (-self.outputs / index.shape[1]))
        if self.weight_decay:
            self.weights.mul_(1 - self.weight_decay * rates)
        self.weights.baddbmm_(residual, rows)

    def logits(self) -> Tensor:
        """(G, M, N) of all examples, in the type of the features."""
        return torch.stack([weights.to(rows.dtype) @ rows.T for weights, rows in zip(self.weights, self.features, strict=True)])

    def residuals(self, logits: Tensor) -> Tensor:
        """(G, M, N) ``sigmoid(f) - y``, without cancellation where the fit is good."""
        sign = 1 - 2 * self.labels  # +1 where y = 0, -1 where y = 1
        return sign * torch.sigmoid(sign * logits)

    def losses(self, logits: Tensor) -> Tensor:
        """(G, M) mean ``log(1 + exp(-(2 y - 1) f))`` in nats, summed in float64."""
        return F.softplus((1 - 2 * self.labels) * logits).double().mean(2)

    def accuracies(self, logits: Tensor) -> Tensor:
        """(G, M) share of examples on the right side."""
        return ((logits > 0) == (self.labels > 0)).double().mean(2)
