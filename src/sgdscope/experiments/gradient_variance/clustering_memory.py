"""Peak of the bytes that tensors hold while something is computed, counted tensor by tensor: the same number on every machine.

Counts what PyTorch's operations return, forward and backward, from birth to death. Scratch memory inside an operation is not seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Live(TorchDispatchMode):
    """Notes each storage that an operation returns, and its end."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, tuple[weakref.ref, int]] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, torch.Tensor)}
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.untyped_storage().data_ptr() not in given:
                self._note(leaf.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        pointer, size = storage.data_ptr(), storage.nbytes()
        if not size or (pointer in self._known and self._known[pointer][0]() is not None):
            return
        self._known[pointer] = (weakref.ref(storage, lambda _, pointer=pointer, size=size: self._end(pointer, size)), size)
        self.now += size
        self.peak = max(self.peak, self.now)

    def _end(self, pointer: int, size: int) -> None:
        self._known.pop(pointer, None)
        self.now -= size


def peak_bytes(work: Callable[[], object]) -> int:
    """Most bytes held at once by tensors that ``work`` makes; its result counts."""
    with _Live() as live:
        work()
    return live.peak
