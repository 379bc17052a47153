"""Class-balanced subsets: seeded, without replacement, nested."""

from __future__ import annotations

import numpy as np

from sgdscope.errors import InvalidInput


def balanced_order(labels: np.ndarray, *, seed: int) -> np.ndarray:
    """An order of all rows whose every prefix is as class-balanced as the labels allow.

    Within each class the rows are permuted at random; the classes, in a random order, are then served in turn, one row each, and a class
    without rows left is passed over. So in the first n rows no class has two rows more than another that still has rows left, and a
    smaller subset is part of each larger one with the same seed.

    Args:
        labels: (N,) integers.
        seed: of the NumPy generator that draws both permutations.

    Returns:
        (N,) int64, a permutation of 0 ... N - 1.
    """
    rng = np.random.default_rng(seed)
    classes, of_class = np.unique(labels, return_inverse=True)
    place = rng.permutation(len(classes))[of_class]  # (N,) position of the row's class in a turn
    grouped = np.lexsort((rng.random(len(labels)), of_class))  # class by class, random within each
    sizes = np.bincount(of_class, minlength=len(classes))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    turn = np.empty(len(labels), np.int64)  # (N,) rank of the row within its class
    turn[grouped] = np.arange(len(labels)) - np.repeat(starts, sizes)
    return np.lexsort((place, turn)).astype(np.int64)


def balanced_subset(labels: np.ndarray, num_examples: int, *, seed: int) -> np.ndarray:
    """The first ``num_examples`` rows of `balanced_order`.

    Raises:
        InvalidInput: fewer than 1 or more than there are.
    """
    check_count(num_examples, len(labels), "the labels")
    return balanced_order(labels, seed=seed)[:num_examples]


def check_count(num_examples: int, available: int | None, what: str) -> None:
    """Refuses a number of examples that is no integer, below 1, or above what is available (None: no limit).

    Raises:
        InvalidInput: says the limits and what came.
    """
    if isinstance(num_examples, bool) or not isinstance(num_examples, (int, np.integer)):
        raise InvalidInput(f"num_examples must be a whole number or None, got {num_examples!r}.")
    if num_examples < 1:
        raise InvalidInput(f"num_examples must be at least 1, got {num_examples}.")
    if available is not None and num_examples > available:
        raise InvalidInput(f"num_examples = {num_examples:,} exceeds the {available:,} examples of {what}; ask for at most {available:,}.")
