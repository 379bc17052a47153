"""Refusals that all rooms share."""

import numpy as np
import pytest
import torch

from sgdscope.errors import InvalidInput, unknown_name, whole

PAGES = ["break_even/01_model", "variance/01_stratified", "variance/03_mnist", "variance/04_cifar", "variance/11_model"]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("variance/1", "variance/01_stratified"),  # by its number, before the spelling
        ("variance/11", "variance/11_model"),
        ("mnist", "variance/03_mnist"),
        ("Variance", "variance/01_stratified"),
        ("break_even/model", "break_even/01_model"),
        ("", None),
        ("nothing like it", None),
    ],
)
def test_the_nearest_name(name, near):
    hint = f" Did you mean {near!r}?" if near else ""
    assert str(unknown_name("page", name, PAGES)) == f"unknown page {name!r}.{hint} Valid: {', '.join(PAGES)}."


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), torch.tensor(3)])
def test_whole_numbers_of_any_kind_come_back_as_pythons(value):
    assert whole("k", value) == 3 and type(whole("k", value)) is int


@pytest.mark.parametrize("value", [True, np.True_, 3.0, np.float64(3), "3", None, [3], 0, -1])
def test_anything_else_is_refused(value):
    with pytest.raises(InvalidInput, match=r"^k must be a whole number of at least 1; .* came\.$"):
        whole("k", value)


def test_limits_belong_to_what_is_allowed():
    assert [whole("k", value, 2, 4) for value in (2, 3, 4)] == [2, 3, 4]
    for value in (1, 5):
        with pytest.raises(InvalidInput, match=rf"^k must be a whole number from 2 to 4 \(of 4 steps\); {value} came\.$"):
            whole("k", value, 2, 4, note="of 4 steps")
