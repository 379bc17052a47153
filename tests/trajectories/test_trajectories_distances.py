"""Distances against a loop over pairs; what cancels, what repeats, what is refused."""

import pytest
import torch

from sgdscope.errors import InvalidInput
from sgdscope.trajectories import squared_distances
from sgdscope.trajectories.distances import COLUMNS, centred_gram


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def by_loop(rows):
    return torch.stack([torch.stack([(a - b).square().sum() for b in rows]) for a in rows.double()])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 1), (7, 3), (5, 200), (3, COLUMNS + 5), (300, 4)])
def test_distances_equal_those_of_a_loop_over_pairs(shape, dtype):
    rows = normal(*shape).to(dtype)
    found = squared_distances(rows)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, by_loop(rows), rtol=1e-12, atol=1e-12)


def test_they_are_symmetric_not_negative_and_zero_on_the_diagonal():
    found = squared_distances(normal(40, 30).cumsum(0))
    assert torch.equal(found, found.T)
    assert (found.diagonal() == 0).all() and (found >= 0).all()
    assert (found + torch.eye(40) > 0).all()


def test_what_all_steps_share_does_not_cancel():
    steps = normal(20, 1000, seed=1)
    for dtype in (torch.float64, torch.float32):  # the shared part is a million times larger than the distances
        rows = (steps + 1e6).to(dtype)
        torch.testing.assert_close(squared_distances(rows), by_loop(rows), rtol=1e-9, atol=0.0)


def test_small_steps_of_a_long_path_are_still_exact():
    rows = torch.cat([normal(1, 5000), normal(1, 5000, seed=1)])
    rows = torch.stack([rows[0], rows[0] + 1e-5 * rows[1], 30 * rows[1]])
    torch.testing.assert_close(squared_distances(rows)[0, 1], 1e-10 * rows[2].square().sum() / 900, rtol=1e-2, atol=0.0)


@pytest.mark.parametrize("width", [3, 1000, 50_000])
def test_repeated_steps_have_distance_zero_exactly(width):
    rows = normal(30, width, seed=2)
    rows[10:20] = rows[0]
    found = squared_distances(rows)
    same = torch.zeros(30, dtype=torch.bool)
    same[0] = same[10:20] = True
    assert torch.equal(found == 0, (same[:, None] & same) | torch.eye(30, dtype=torch.bool))


def test_the_gram_matrix_is_that_of_the_centred_rows():
    rows = normal(6, COLUMNS * 2 + 3, dtype=torch.float32)
    centred = rows.double() - rows.double().mean(0)
    torch.testing.assert_close(centred_gram(rows), centred @ centred.T, rtol=1e-12, atol=1e-9)


def test_predictions_with_a_graph_and_rows_apart_in_memory_are_taken():
    rows = normal(9, 4)
    expected = squared_distances(rows)
    found = squared_distances(rows.clone().requires_grad_())
    assert not found.requires_grad and torch.equal(found, expected)
    apart = normal(9, 8)[:, ::2]
    torch.testing.assert_close(squared_distances(apart), by_loop(apart))


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ([[0.0, 1.0], [1.0, 0.0]], "must be a floating tensor; list came"),
        (torch.zeros(4, 3, dtype=torch.long), r"must be a floating tensor; torch.int64 came. Pass probabilities or logits"),
        (torch.zeros(4), r"shape \(steps, examples \* classes\) with at least two steps; \(4,\) came"),
        (torch.zeros(4, 3, 2), r"\(4, 3, 2\) came. One row per step: flatten\(1\)"),
        (torch.zeros(1, 3), r"at least two steps; \(1, 3\) came"),
        (torch.zeros(0, 3), r"at least two steps; \(0, 3\) came"),
        (torch.zeros(4, 0), r"\(4, 0\) came"),
        (torch.tensor([[0.0, 1.0], [1.0, 0.0], [float("nan"), 0.0], [1.0, float("inf")]]), "in 2 of 4 steps, first at row 2. Leave out"),
    ],
)
def test_refusals(predictions, message):
    with pytest.raises(InvalidInput, match=message):
        squared_distances(predictions)
