"""Gradient clustering as Faghri et al. (2020) describe it, Algorithms 1 to 3: a pass over the data that assigns, and one that updates the centres.

Written plainly, with hooks, for comparison: centres ``c_k d_k^T`` of the weights of linear layers and convolutions, biases left out, distances
weighted by counts within the pass, Eq. 8 or Eq. 9 for convolutions by their multiplications.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TwoPasses:
    """K centres of the gradients of one network; `iteration` is one assignment and one update, over all examples in batches."""

    def __init__(self, model: nn.Module, num_clusters: int, batch_size: int = 128):
        self.model, self.num_clusters, self.batch_size = model, num_clusters, batch_size
        self.layers = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
        self.centres: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        self.seen: dict[nn.Module, dict[str, Tensor]] = {layer: {} for layer in self.layers}
        for layer in self.layers:
            layer.register_forward_hook(self._keep)

    def _keep(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        a = inputs[0].detach()
        if isinstance(layer, nn.Conv2d):
            a = F.unfold(a, layer.kernel_size, layer.dilation, layer.padding, layer.stride).transpose(1, 2)  # (B, T, I)
        seen = self.seen[layer]
        seen["inputs"] = a if a.dim() == 3 else a[:, None]

        def keep_gradients(d: Tensor) -> None:
            seen["gradients"] = d.flatten(2).transpose(1, 2) if d.dim() == 4 else d[:, None]  # (B, T, O)

        output.register_hook(keep_gradients)

    def _factors(self, x: Tensor, y: Tensor) -> Iterator[tuple[slice, list[tuple[nn.Module, Tensor, Tensor]]]]:
        for start in range(0, len(x), self.batch_size):
            place = slice(start, start + self.batch_size)
            self.model.zero_grad()
            F.cross_entropy(self.model(x[place]), y[place], reduction="sum").backward()
            yield place, [(layer, self.seen[layer]["inputs"], self.seen[layer]["gradients"]) for layer in self.layers]

    def _start(self, x: Tensor, y: Tensor) -> None:
        for _, factors in self._factors(x[:1], y[:1]):
            for layer, a, d in factors:
                sizes = a.shape[2], d.shape[2]
                self.centres[layer] = tuple(torch.rand(self.num_clusters, size, device=x.device) / sum(sizes) for size in sizes)

    def iteration(self, x: Tensor, y: Tensor) -> Tensor:
        """(N,) assignment; the centres are moved."""
        if not self.centres:
            self._start(x, y)
        sizes = torch.zeros(self.num_clusters, device=x.device)
        assignment = torch.empty(len(x), dtype=torch.int64, device=x.device)
        for place, factors in self._factors(x, y):
            distances = sum(self._distances(layer, a, d) for layer, a, d in factors)  # (B, K)
            assignment[place] = found = (distances * (sizes + 1)).argmin(1)
            sizes += torch.bincount(found, minlength=self.num_clusters)
        sums = {layer: tuple(torch.zeros_like(part) for part in parts) for layer, parts in self.centres.items()}
        for place, factors in self._factors(x, y):
            for layer, a, d in factors:
                sums[layer][0].index_add_(0, assignment[place], a.mean(1))
                sums[layer][1].index_add_(0, assignment[place], d.sum(1))
        held = sizes > 0
        for layer, parts in sums.items():
            for centre, total in zip(self.centres[layer], parts, strict=True):
                centre[held] = total[held] / sizes[held, None]
        return assignment

    def _distances(self, layer: nn.Module, a: Tensor, d: Tensor) -> Tensor:
        c, e = self.centres[layer]
        number, positions, width = a.shape
        height, clusters = d.shape[2], len(c)
        if clusters * positions * (width + height) < (positions + clusters) * width * height:
            products = ((a @ c.T) * (d @ e.T)).sum(1)  # Eq. 9
        else:
            products = torch.einsum("nio,ki,ko->nk", a.transpose(1, 2) @ d, c, e)  # Eq. 8
        if positions * (width + height) < width * height:
            norms = ((a @ a.transpose(1, 2)) * (d @ d.transpose(1, 2))).sum((1, 2))
        else:
            norms = (a.transpose(1, 2) @ d).square().sum((1, 2))
        return c.square().sum(1) * e.square().sum(1) - 2 * products + norms[:, None]
