"""The weight of a convolution in one or two dimensions: ``g_n = sum_t d_nt a_nt^T`` over positions t, with patches a.

Rows come from patches cut as strided views, a few examples at a time, and one batched product: the patches of a step stay in the cache,
which is two to three times faster than a grouped convolution (one thread, LeNet and SimpleCNN sizes).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sgdscope.gradients.factors import Factor, Products, add_pairs, cheaper_in_factors

CACHE = 1 << 20
"""Bytes of patches in one step on the CPU, about half a second-level cache; on a GPU 64 times as many."""


@dataclass(frozen=True)
class Geometry:
    """Settings of a convolution, all in two dimensions (one dimension: height 1)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    padding: tuple[int, int, int, int]  # left, right, top, bottom
    mode: str  # of F.pad


class Patches(Factor):
    """Weight (O, C/groups, kh, kw) of a convolution, from inputs (n, s, C, H, W) and output gradients (n, s, O, h, w); s images an example."""

    def __init__(self, inputs: Tensor, gradients: Tensor, geometry: Geometry):
        self.inputs, self.gradients, self.geometry = inputs, gradients, geometry
        self.num_examples = inputs.shape[0]
        self.channels, self.outputs = inputs.shape[2] // geometry.groups, gradients.shape[2] // geometry.groups  # of one group
        self.fan_in = self.channels * geometry.kernel[0] * geometry.kernel[1]
        self.size = self.fan_in * gradients.shape[2]
        self.positions = inputs.shape[1] * gradients.shape[3] * gradients.shape[4]
        self.nbytes, self.dtype = inputs.nbytes + gradients.nbytes, gradients.dtype

    def _padded(self, which: slice) -> Tensor:
        images = self.inputs[which].flatten(0, 1)  # (n s, C, H, W)
        if any(self.geometry.padding):
            images = F.pad(images, self.geometry.padding, mode=self.geometry.mode)
        return images

    def patches(self, which: slice) -> Tensor:
        """(n, groups, C/groups kh kw, positions) of some examples."""
        (kh, kw), (sh, sw), (dh, dw), groups = self.geometry.kernel, self.geometry.stride, self.geometry.dilation, self.geometry.groups
        images = self._padded(which)
        number, of_example = images.shape[0] // self.inputs.shape[1], self.inputs.shape[1]
        h, w = self.gradients.shape[3:]
        n, c, y, x = images.stride()
        shape = (number, groups, self.channels, kh, kw, of_example, h, w)
        stride = (n * of_example, c * self.channels, c, y * dh, x * dw, n, y * sh, x * sw)
        return images.as_strided(shape, stride, images.storage_offset()).reshape(number, groups, self.fan_in, self.positions)

    def gradients_of(self, which: slice) -> Tensor:
        """(n, groups, O/groups, positions) of some examples."""
        gradients = self.gradients[which]
        number, of_example, _, h, w = gradients.shape
        if of_example > 1:
            gradients = gradients.transpose(1, 2)
        return gradients.reshape(number, self.geometry.groups, self.outputs, of_example * h * w)

    def _steps(self) -> list[slice]:
        bytes_each = self.geometry.groups * self.fan_in * self.positions * self.inputs.element_size()
        step = max(1, (CACHE if self.inputs.device.type == "cpu" else 64 * CACHE) // bytes_each)
        return [slice(start, min(start + step, self.num_examples)) for start in range(0, self.num_examples, step)]

    def rows(self) -> Tensor:
        """(n, p)."""
        rows = self.inputs.new_empty(self.num_examples, self.size)
        self._fill(rows)
        return rows

    def write(self, out: Tensor) -> None:
        """Writes the rows, without a matrix of its own in between if ``out`` is contiguous."""
        if out.is_contiguous() and out.dtype == self.inputs.dtype:
            self._fill(out)
        else:
            for which in self._steps():
                out[which] = torch.matmul(self.gradients_of(which), self.patches(which).transpose(2, 3)).flatten(1)

    def _fill(self, out: Tensor) -> None:
        groups = self.geometry.groups
        blocks = out.view(self.num_examples * groups, self.outputs, self.fan_in)
        for which in self._steps():
            block = blocks[which.start * groups : which.stop * groups]
            torch.bmm(self.gradients_of(which).flatten(0, 1), self.patches(which).flatten(0, 1).transpose(1, 2), out=block)

    def part(self, which: slice) -> Patches:
        """Some of the examples."""
        return Patches(self.inputs[which], self.gradients[which], self.geometry)

    def to(self, dtype: torch.dtype) -> Patches:
        """The factors in another dtype."""
        return self if self.inputs.dtype == dtype else Patches(self.inputs.to(dtype), self.gradients.to(dtype), self.geometry)

    def squared_norms(self) -> Tensor:
        """From rows, a few examples at a time, or from pairs of positions where that is cheaper."""
        norms = self.inputs.new_empty(self.num_examples)
        pairs = cheaper_in_factors(self.positions, self.fan_in, self.outputs, examples=1)
        for which in self._steps():
            a, d = self.patches(which), self.gradients_of(which)
            if pairs:
                norms[which] = ((a.transpose(2, 3) @ a) * (d.transpose(2, 3) @ d)).sum((1, 2, 3))
            else:
                norms[which] = torch.matmul(d, a.transpose(2, 3)).square().sum((1, 2, 3))
        return norms

    def matvec(self, vector: Tensor) -> Tensor:
        """One convolution with the vector as kernel, against the output gradients."""
        geometry = self.geometry
        kernel = vector.view(self.gradients.shape[2], self.channels, *geometry.kernel)
        outputs = F.conv2d(self._padded(slice(None)), kernel, None, geometry.stride, 0, geometry.dilation, geometry.groups)
        outputs = outputs[..., : self.gradients.shape[3], : self.gradients.shape[4]].unflatten(0, self.inputs.shape[:2])
        return (outputs * self.gradients).flatten(1).sum(1)

    def rmatvec(self, weights: Tensor) -> Tensor:
        """The ordinary weight gradient with weighted output gradients."""
        geometry = self.geometry
        weighted = (self.gradients * weights[:, None, None, None, None]).flatten(0, 1)
        kernel = self.inputs.new_zeros(self.gradients.shape[2], self.channels, *geometry.kernel)
        return torch.nn.grad.conv2d_weight(
            self._padded(slice(None)), kernel.shape, weighted, geometry.stride, 0, geometry.dilation, geometry.groups
        ).flatten()

    def factored(self, form: str, total: int) -> bool:
        """By the count of multiplications unless forced; wins for small maps with many channels."""
        if form != "auto":
            return form == "factored"
        return cheaper_in_factors(self.positions, self.fan_in, self.outputs, examples=total)

    def add_gram(self, other: Patches, out: Tensor, products: Products) -> None:
        """``sum_ts (a_nt . a_ms)(d_nt . d_ms)`` over pairs of positions, one group of channels after the other."""
        for group in range(self.geometry.groups):

            def pairs(mine: slice, theirs: slice, group: int = group) -> Tensor:
                a, b = _columns(self.patches(mine)[:, group]), _columns(other.patches(theirs)[:, group])
                d, e = _columns(self.gradients_of(mine)[:, group]), _columns(other.gradients_of(theirs)[:, group])
                return (a @ b.T).mul_(d @ e.T)

            add_pairs(out, self.positions, other.positions, pairs)


def _columns(matrices: Tensor) -> Tensor:
    return matrices.transpose(1, 2).flatten(0, 1)  # (n, k, positions) -> (n positions, k)
