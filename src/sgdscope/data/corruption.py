"""Wrong labels on purpose."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from sgdscope.errors import InvalidInput


def corrupt_labels(
    y: Tensor,
    share: float,
    *,
    num_classes: int,
    generator: torch.Generator,
    rows: Literal["random", "first"] = "random",
    to: Literal["any", "other"] = "any",
) -> tuple[Tensor, Tensor]:
    """Redraw the labels of an exact share of the rows.

    round(share * N) rows get a label drawn uniformly, so with ``to="any"`` about (1 - 1/num_classes) of them really change (18 % of all for
    a share of 20 % and ten classes).

    Args:
        y: (N,) int64 labels; not changed.
        share: of the rows to redraw, from 0 to 1. Gradient-variance paper: 0.1 (text) or 0.2 (authors' code).
        num_classes: labels are 0 ... num_classes - 1.
        generator: on the CPU, whatever device y is on.
        rows: which rows: drawn without replacement, or the first ones as in the authors' code of the gradient-variance paper.
        to: ``any``: over all classes, the old one too, as there; ``other``: over the other classes, the symmetric noise of the
            gradient-structure paper.

    Returns:
        The new labels (N,), and a mask (N,) of those that really differ from the old ones.

    Raises:
        InvalidInput: a share outside [0, 1], labels that are no integers (N,) in [0, num_classes), an unknown choice.
    """
    _check(y, num_classes)
    if not 0 <= share <= 1:
        raise InvalidInput(f"share must be from 0 to 1, got {share!r}.")
    if rows not in ("random", "first"):
        raise InvalidInput(f"rows must be 'random' or 'first', got {rows!r}.")
    if to not in ("any", "other"):
        raise InvalidInput(f"to must be 'any' or 'other', got {to!r}.")
    if to == "other" and num_classes < 2:
        raise InvalidInput(f"to='other' needs at least 2 classes, got {num_classes}.")
    count = round(share * len(y))
    chosen = (torch.randperm(len(y), generator=generator) if rows == "random" else torch.arange(len(y)))[:count].to(y.device)
    new = y.clone()
    if to == "any":
        new[chosen] = torch.randint(num_classes, (count,), generator=generator).to(y)
    else:  # adding 1 ... num_classes - 1 modulo num_classes is uniform over the others
        new[chosen] = (y[chosen] + torch.randint(1, num_classes, (count,), generator=generator).to(y)) % num_classes
    return new, new != y


def shuffle_labels(y: Tensor, *, generator: torch.Generator) -> Tensor:
    """The labels in random order: class sizes stay, the tie to the inputs goes ("Random MNIST" of the gradient-structure paper)."""
    return y[torch.randperm(len(y), generator=generator).to(y.device)]


def _check(y: Tensor, num_classes: int) -> None:
    if y.ndim != 1 or y.dtype.is_floating_point or y.dtype == torch.bool:
        raise InvalidInput(f"labels must be integers of shape (N,), got {y.dtype} of shape {tuple(y.shape)}.")
    if num_classes < 1:
        raise InvalidInput(f"num_classes must be at least 1, got {num_classes}.")
    if len(y) and (int(y.min()) < 0 or int(y.max()) >= num_classes):
        raise InvalidInput(f"labels must be from 0 to {num_classes - 1}, got {int(y.min())} to {int(y.max())}.")
