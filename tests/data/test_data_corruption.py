"""Label corruption: laws and refusals."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdscope.data import corrupt_labels, shuffle_labels
from sgdscope.errors import InvalidInput

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=80).map(torch.tensor)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@settings(deadline=None)
@given(LABELS, st.floats(0, 1), st.integers(0, 2**31), st.sampled_from(["random", "first"]), st.sampled_from(["any", "other"]))
def test_laws(y, share, seed, rows, to):
    before = y.clone()
    new, changed = corrupt_labels(y, share, num_classes=7, generator=seeded(seed), rows=rows, to=to)
    count = round(share * len(y))
    assert torch.equal(y, before) and torch.equal(changed, new != y) and new.dtype == torch.int64
    assert new.min() >= 0 and new.max() < 7
    assert changed.sum() == count if to == "other" else changed.sum() <= count
    if rows == "first":
        assert not changed[count:].any()
    again, _ = corrupt_labels(y, share, num_classes=7, generator=seeded(seed), rows=rows, to=to)
    assert torch.equal(new, again)


@pytest.mark.parametrize(("to", "expected"), [("any", 0.18), ("other", 0.2)])
def test_share_that_really_changes_and_uniform_targets(to, expected):
    y = torch.full((200_000,), 3)
    new, changed = corrupt_labels(y, 0.2, num_classes=10, generator=seeded(0), to=to)
    assert abs(changed.double().mean() - expected) < 0.001
    targets = torch.bincount(new[changed], minlength=10)
    assert targets[3] == 0
    others = targets[torch.arange(10) != 3].double()
    assert (others / others.mean() - 1).abs().max() < 0.06, others


def test_random_rows_are_spread():
    _, changed = corrupt_labels(torch.zeros(10_000, dtype=torch.int64), 0.5, num_classes=2, generator=seeded(0), to="other")
    assert 0.45 < changed[:5000].double().mean() < 0.55


@settings(deadline=None)
@given(LABELS, st.integers(0, 2**31))
def test_shuffling_keeps_the_class_sizes(y, seed):
    assert torch.equal(shuffle_labels(y, generator=seeded(seed)).sort().values, y.sort().values)


def test_shuffling_breaks_the_tie_to_the_rows():
    y = torch.arange(10).repeat_interleave(1000)
    assert abs((shuffle_labels(y, generator=seeded(0)) == y).double().mean() - 0.1) < 0.02


@pytest.mark.parametrize(
    ("y", "arguments", "message"),
    [
        (torch.tensor([0, 1]), {"share": 1.1}, r"share must be from 0 to 1, got 1\.1"),
        (torch.tensor([0, 1]), {"share": float("nan")}, "share must be from 0 to 1, got nan"),
        (torch.tensor([0, 9]), {}, "labels must be from 0 to 2, got 0 to 9"),
        (torch.tensor([0, -1]), {}, "labels must be from 0 to 2, got -1 to 0"),
        (torch.tensor([0.0, 1.0]), {}, r"labels must be integers of shape \(N,\), got torch.float32 of shape \(2,\)"),
        (torch.tensor([[0], [1]]), {}, r"got torch.int64 of shape \(2, 1\)"),
        (torch.tensor([0, 1]), {"rows": "last"}, "rows must be 'random' or 'first', got 'last'"),
        (torch.tensor([0, 1]), {"to": "next"}, "to must be 'any' or 'other', got 'next'"),
        (torch.tensor([0, 0]), {"to": "other", "num_classes": 1}, "needs at least 2 classes, got 1"),
        (torch.tensor([0, 0]), {"num_classes": 0}, "num_classes must be at least 1, got 0"),
    ],
)
def test_refusals(y, arguments, message):
    with pytest.raises(InvalidInput, match=message):
        corrupt_labels(y, **{"share": 0.5, "num_classes": 3, "generator": seeded(0), **arguments})
