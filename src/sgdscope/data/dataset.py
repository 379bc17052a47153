"""The data set that everything else takes: tensors, class names, where they came from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from sgdscope.data.cache import digest


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """Examples of one split, in memory.

    Attributes:
        name: as given to `load_dataset`.
        split: as given to `load_dataset`.
        x: inputs: images float32 (N, C, H, W) in [0, 1], features float32 (N, d), or for text a tuple of N strings (of N pairs of strings
            for mnli).
        y: int64 (N,) labels in [0, len(classes)); None for unlabelled Gaussian inputs.
        classes: names of the classes.
        index: int64 (N,) on the CPU, the rows of the split that were taken, in order.
        available: number of examples of the split where it was found; None where it is computed.
        complete: False if that is fewer than the published split has.
        source: place and folder.
        licence: as far as it is known.
        citation: what to cite.
        note: what to know before using it in place of another data set.
    """

    name: str
    split: str
    x: Tensor | tuple
    y: Tensor | None
    classes: tuple[str, ...]
    index: Tensor
    available: int | None
    complete: bool
    source: str
    licence: str
    citation: str = ""
    note: str = ""

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.x)

    def __repr__(self) -> str:
        """Name, shape and source; not the numbers."""
        shape = f"x {tuple(self.x.shape)}" if isinstance(self.x, Tensor) else f"{len(self.x):,} texts"
        return f"Dataset({self.name!r}, {self.split!r}, {shape}, {len(self.classes)} classes, from {self.source})"

    @cached_property
    def fingerprint(self) -> str:
        """First 16 hex digits of a sha256 over x and y: names, dtypes, shapes, bytes. Computed at first use, in about 1 s a gigabyte."""
        tensors = {} if self.y is None else {"y": self.y}
        if isinstance(self.x, Tensor):
            tensors["x"] = self.x
            return digest(tensors)[:16]
        text = hashlib.sha256(repr(self.x).encode("utf-8", "surrogatepass")).hexdigest()
        return hashlib.sha256(f"{text} {digest(tensors)}".encode()).hexdigest()[:16]

    def take(self, index: Tensor) -> Dataset:
        """The rows ``index`` (int64, repeats allowed), for example those of `sgdscope.data.append_copies`. Copies the rows."""
        index = torch.as_tensor(index, dtype=torch.int64).cpu()
        x = self.x[index.to(self.x.device)] if isinstance(self.x, Tensor) else tuple(self.x[int(row)] for row in index)
        y = None if self.y is None else self.y[index.to(self.y.device)]
        return replace(self, x=x, y=y, index=self.index[index])
