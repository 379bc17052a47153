"""Gram matrices from the factors of chunks, one layer at a time, within a bound on the rows that exist at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sgdscope.gradients.factors import Factor, Products, Rows


@dataclass
class Chunk:
    """Factors (index of the parameter -> factor) of the examples ``place`` of the whole."""

    place: slice
    factors: dict[int, Factor]


def add_gram(
    out: Tensor, left: Sequence[Chunk], right: Sequence[Chunk] | None, groups: Sequence[Sequence[int]], *, form: str, work: int
) -> None:
    """Adds inner products of the examples of ``left`` and ``right`` to ``out``, in the dtype of ``out``.

    ``right=None`` is ``left`` again: only pairs with ``i <= j`` of chunks are filled in. ``work`` bounds the bytes of rows of ``left`` that
    exist at once; one chunk of ``right`` comes on top.
    """
    symmetric = right is None
    right = left if symmetric else right
    total = sum(chunk.place.stop - chunk.place.start for chunk in left)
    for group in groups:
        for block in _blocks(left, group, form, total, work, out.element_size()):
            mine = {i: _forms(left[i], group, form, total, out.dtype) for i in block}
            for j in range(block.start if symmetric else 0, len(right)):
                theirs = mine[j] if symmetric and j in block else _forms(right[j], group, form, total, out.dtype)
                for i in block:
                    if not symmetric or i <= j:
                        _add(out[left[i].place, right[j].place], mine[i], theirs)


def _blocks(chunks: Sequence[Chunk], group: Sequence[int], form: str, total: int, work: int, itemsize: int) -> list[range]:
    """Runs of chunks whose rows of one layer fit into ``work`` bytes."""
    blocks, start, used = [], 0, 0
    for i, chunk in enumerate(chunks):
        factors = [chunk.factors[k] for k in group if k in chunk.factors]
        size = sum(f.num_examples * f.size * itemsize for f in factors if not isinstance(f, Rows) and not f.factored(form, total))
        if used and used + size > work:
            blocks.append(range(start, i))
            start, used = i, 0
        used += size
    return [*blocks, range(start, len(chunks))]


def _forms(chunk: Chunk, group: Sequence[int], form: str, total: int, dtype: torch.dtype) -> dict[int, Factor]:
    """The factors of one layer in the form that their Gram matrix takes: factors, or rows."""
    found = {}
    for k in group:
        if k in chunk.factors:
            factor = chunk.factors[k]
            if not factor.factored(form, total):
                factor = Rows(factor.rows())
            found[k] = factor.to(dtype)
    return found


def _add(out: Tensor, mine: dict[int, Factor], theirs: dict[int, Factor]) -> None:
    products: Products = {}
    for k in mine.keys() & theirs.keys():
        left, right = mine[k], theirs[k]
        if type(left) is not type(right):  # one chunk kept rows, the other factors
            left, right = Rows(left.rows()), Rows(right.rows())
        left.add_gram(right, out, products)


def mirror(out: Tensor, chunks: Sequence[slice]) -> None:
    """Copies the blocks above the diagonal of chunks to below it, and makes the diagonal blocks symmetric to the bit."""
    for i, row in enumerate(chunks):
        block = out[row, row]
        block.copy_(torch.triu(block) + torch.triu(block, 1).T)
        for column in chunks[i + 1 :]:
            out[column, row] = out[row, column].T
