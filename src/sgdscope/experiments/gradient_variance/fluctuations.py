"""Inside and outside the largest fluctuation of gradient clustering along a trajectory."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor


def places(table: pd.DataFrame, squares: Tensor, within: Tensor, mislabelled: Tensor, *, top: float = 0.01) -> pd.DataFrame:
    """Marks the largest fluctuation and describes the gradients at each log point.

    The *excess* of a log point is log(GC's / SG-B's variance) less its median over the log points of the interval (from one refresh to the next).
    *Inside* is the log point with the largest excess; *outside* the one of the same interval whose excess is nearest to 0.

    Args:
        table: one row a log point (M of them), with ``gc_exact``, ``sgd_exact`` and ``age``, which is 0 at a refresh.
        squares: (M, N) squared lengths of the gradients.
        within: (M, N) what each example adds to GC's variance.
        mislabelled: (N,) which labels were changed.
        top: share of the examples with the longest gradients, at least one example.

    Returns:
        The table with the columns ``excess``; ``place``: inside, outside or empty; ``top_norms``: the top examples' share of the sum of squares;
        ``top_variance``: their share of GC's variance; ``top_changed``: the share of mislabelled among them; ``overlap``: share of the
        top examples inside that are among those outside (the same number in both rows); ``overlap_outside``: the same for two other log points
        of one interval as far apart (or as near to it as there are), mean over such pairs whose excess is below half of the largest. NaN
        elsewhere, and where there are no such pairs.
    """
    number = max(round(top * squares.shape[1]), 1)
    longest = squares.topk(number, dim=1).indices  # (M, number)
    members = torch.zeros(squares.shape, dtype=torch.bool).scatter_(1, longest, value=True)
    log = np.log(table.gc_exact / table.sgd_exact)
    interval = (table.age == 0).cumsum()
    excess = log - log.groupby(interval).transform("median")
    inside = int(excess.argmax())
    fellows = excess[(interval == interval[inside]) & (excess.index != inside)]
    found = table.assign(
        excess=excess,
        place="",
        top_norms=((squares * members).sum(1) / squares.sum(1)).numpy(),
        top_variance=((within * members).sum(1) / within.sum(1)).numpy(),
        top_changed=mislabelled.double()[longest].mean(1).numpy(),
        overlap=np.nan,
        overlap_outside=np.nan,
    )
    found.loc[inside, "place"] = "inside"
    if len(fellows):
        outside = int(fellows.abs().idxmin())
        found.loc[outside, "place"] = "outside"
        found.loc[[inside, outside], "overlap"] = _overlap(members, inside, outside)
        found.loc[[inside, outside], "overlap_outside"] = _elsewhere(members, interval, excess, inside, abs(inside - outside))
    return found


def _overlap(members: Tensor, one: int, other: int) -> float:
    return float((members[one] & members[other]).sum() / members[one].sum())


def _elsewhere(members: Tensor, interval: pd.Series, excess: pd.Series, inside: int, apart: int) -> float:
    """Mean overlap of pairs of quiet log points of one interval, as far apart as asked or the nearest that there are."""
    quiet = [i for i in excess.index if i != inside and excess[i] < excess[inside] / 2]
    pairs = [(i, j) for i in quiet for j in quiet if i < j and interval[i] == interval[j]]
    if not pairs:
        return float("nan")
    nearest = min(abs(j - i - apart) for i, j in pairs)
    return float(np.mean([_overlap(members, i, j) for i, j in pairs if abs(j - i - apart) == nearest]))
