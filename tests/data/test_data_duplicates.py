"""Duplicates: laws and the papers' numbers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdscope.data import append_copies, overwrite_with_copies
from sgdscope.errors import InvalidInput


@settings(deadline=None)
@given(st.integers(1, 60), st.data())
def test_append_laws(n, data):
    originals, copies, seed = data.draw(st.integers(0, n)), data.draw(st.integers(0, 6)), data.draw(st.integers(0, 2**31))
    rows = append_copies(n, originals=originals, copies=copies, generator=torch.Generator().manual_seed(seed))
    assert rows.dtype == torch.int64 and len(rows) == n + originals * copies and torch.equal(rows[:n], torch.arange(n))
    counts = torch.bincount(rows, minlength=n)
    assert (counts == 1 + copies).sum() == (originals if copies else n) and ((counts == 1) | (counts == 1 + copies)).all()


@settings(deadline=None)
@given(st.integers(6, 200), st.floats(0, 0.9), st.integers(1, 5))
def test_overwrite_laws(n, share, originals):
    count = int(share * n + 1e-9)
    if count > n - originals:
        with pytest.raises(InvalidInput, match="do not fit"):
            overwrite_with_copies(n, originals=originals, share=share)
        return
    rows = overwrite_with_copies(n, originals=originals, share=share)
    assert len(rows) == n and torch.equal(rows[: n - count], torch.arange(n - count))
    assert rows[n - count :].tolist() == [i % originals for i in range(count)]


def test_the_papers_numbers():
    rows = append_copies(50_000, generator=torch.Generator().manual_seed(0))
    assert len(rows) == 150_000 and (torch.bincount(rows) == 10_001).sum() == 10
    rows = overwrite_with_copies(1000, share=0.9)
    assert torch.bincount(rows).tolist()[:6] == [181] * 5 + [1] and len(torch.unique(rows)) == 100
    assert (overwrite_with_copies(100, share=0.29)[71:] < 5).all()  # 0.29 * 100 is below 29 in floating point


def test_which_rows_are_copied_depends_on_the_seed_alone():
    def chosen(seed):
        return append_copies(1000, originals=5, copies=1, generator=torch.Generator().manual_seed(seed))[1000:].tolist()

    assert chosen(0) == chosen(0) != chosen(1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: append_copies(5, originals=6, generator=g), "originals must be from 0 to the 5 rows there are, got 6"),
        (lambda g: append_copies(0, originals=0, generator=g), "num_examples must be at least 1, got 0"),
        (lambda g: append_copies(5, originals=1, copies=-1, generator=g), "copies must be 0 or more, got -1"),
        (lambda g: overwrite_with_copies(10, share=1.5), "share must be from 0 to 1, got 1.5"),
        (lambda g: overwrite_with_copies(10, share=0.9), "9 copies of 5 originals do not fit in 10 rows; the originals must stay"),
        (lambda g: overwrite_with_copies(10, originals=0, share=0.5), "5 copies of 0 originals do not fit"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InvalidInput, match=message):
        call(torch.Generator().manual_seed(0))
