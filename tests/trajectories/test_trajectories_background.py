"""The closest embedded step of each place against a loop; the grid it is asked for."""

import pytest
import torch

from sgdscope.errors import InvalidInput
from sgdscope.trajectories import background, grid, nearest


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def by_loop(points, places):
    return [min(range(len(points)), key=lambda i: float((points[i].double() - place.double()).square().sum())) for place in places]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("points", "places", "dimension"), [(1, 5, 2), (30, 100, 2), (12, 40, 3), (8, 20, 1)])
def test_nearest_is_the_smallest_distance_of_a_loop(points, places, dimension, dtype):
    points, places = normal(points, dimension, dtype=dtype), 2 * normal(places, dimension, seed=1, dtype=dtype)
    assert nearest(points, places).tolist() == by_loop(points, places)


def test_chunks_change_nothing(monkeypatch):
    points, places = normal(30, 2), normal(101, 2, seed=1)
    whole = nearest(points, places)
    for held in (1, 64, 30 * 101):
        monkeypatch.setattr(background, "DISTANCES", held)
        assert torch.equal(nearest(points, places), whole)


def test_each_point_is_nearest_to_itself_far_from_the_origin_and_the_first_wins_a_tie():
    points = 1e-3 * normal(50, 2) + 1e6
    assert nearest(points, points).tolist() == list(range(50))
    assert nearest(torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 0.0]]), torch.tensor([[1.0, 7.0], [0.0, 0.1]])).tolist() == [0, 0]


def test_a_grid_covers_the_points_with_its_margin():
    points = torch.tensor([[0.0, -1.0], [4.0, 1.0], [1.0, 0.0]])
    places = grid(points, resolution=5, margin=0.25)
    assert places.shape == (5, 5, 2) and places.dtype == points.dtype
    assert places[0, 0].tolist() == [-1.0, -2.0] and places[-1, -1].tolist() == [5.0, 2.0]
    assert places[0, :, 0].tolist() == [-1.0, 0.5, 2.0, 3.5, 5.0] and (places[0, :, 1] == -2).all()
    assert places[:, 0, 1].tolist() == [-2.0, -1.0, 0.0, 1.0, 2.0] and (places[:, 0, 0] == -1).all()


def test_the_background_takes_the_shape_of_the_grid_and_the_value_of_the_closest_point():
    points, values = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]), torch.tensor([1.0, 2.0, 3.0])
    image = values[nearest(points, grid(points, resolution=41))]
    assert image.shape == (41, 41)
    assert (image[0, 0], image[0, -1], image[-1, 0]) == (1.0, 2.0, 3.0)  # x along the second axis, y along the first


@pytest.mark.parametrize("points", [torch.ones(3, 2), torch.tensor([[0.0, 5.0], [1.0, 5.0]])])
def test_a_grid_of_points_on_a_line_or_in_one_place_is_not_flat(points):
    places = grid(points, resolution=3)
    assert (places[0, :, 0].diff() > 0).all() and (places[:, 0, 1].diff() > 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nearest(torch.zeros(3, 2), torch.zeros(4, 3)), r"\(3, 2\) and \(4, 3\) came"),
        (lambda: nearest(torch.zeros(3, 2, 2), torch.zeros(4, 2)), r"\(3, 2, 2\) and \(4, 2\) came"),
        (lambda: nearest(torch.zeros(0, 2), torch.zeros(4, 2)), r"points must have shape \(points, dimension\), not empty; \(0, 2\) came"),
        (lambda: nearest(torch.zeros(3, 2), torch.zeros(0, 2)), r"places must have shape .* not empty; \(0, 2\) came"),
        (lambda: nearest([[0.0, 1.0]], torch.zeros(4, 2)), "points must be a floating tensor of coordinates; list came"),
        (lambda: nearest(torch.zeros(3, 2), torch.zeros(4, 2, dtype=torch.int64)), "places must be a floating tensor .*; torch.int64 came"),
        (lambda: nearest(torch.full((3, 2), float("nan")), torch.zeros(4, 2)), "points must be finite"),
        (lambda: grid(torch.zeros(3, 3)), r"a grid needs points in the plane, shape \(points, 2\); \(3, 3\) came. Embed with dimension=2"),
        (lambda: grid(torch.zeros(3, 2), resolution=1), "resolution must be a whole number of at least 2; 1 came"),
        (lambda: grid(torch.zeros(3, 2), margin=-0.1), "margin must be a share of zero or more, such as 0.05; -0.1 came"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()
