"""Random mini-batches: subsets without repeats, uniform over all subsets, both algorithms."""

from collections import Counter
from itertools import combinations

import pytest
import torch

from sgdscope.stability.batches import random_batches


@pytest.mark.parametrize(("examples", "batch"), [(6, 1), (6, 2), (6, 3), (9, 6), (6, 5), (6, 6)])
def test_every_subset_is_equally_likely(examples, batch):
    number = 60_000
    drawn = random_batches(examples, batch, number, generator=torch.Generator().manual_seed(3))
    counts = Counter(tuple(sorted(row)) for row in drawn.tolist())
    subsets = list(combinations(range(examples), batch))
    assert set(counts) == set(subsets)  # no repeats within a batch, none out of range
    expected = number / len(subsets)
    chi_square = sum((counts[subset] - expected) ** 2 / expected for subset in subsets)
    freedom = len(subsets) - 1
    assert chi_square < freedom + 5 * (2 * freedom) ** 0.5 + 1e-9


def test_same_seed_same_batches_and_both_algorithms_are_reached():
    for batch in (4, 30):  # 4^2 <= 4 * 40 < 30^2
        first, second = (random_batches(40, batch, 50, generator=torch.Generator().manual_seed(1)) for _ in range(2))
        assert torch.equal(first, second)
        assert all(len(set(row)) == batch for row in first.tolist())
