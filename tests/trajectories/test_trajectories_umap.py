"""UMAP of distances: the same bits in another process, the graph of the raw vectors, clusters that stay apart.

The one file of tests that imports umap, for that takes 13 s.
"""

import hashlib
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from sgdscope.trajectories import embed, squared_distances

ELSEWHERE = """
import sys
sys.path.insert(0, sys.argv[1])
from test_trajectories_umap import fingerprint
print(fingerprint())
"""


def two_runs(steps=40, width=60, dtype=torch.float32):
    """Two curves from one start that part ways, with little noise: (2 * steps, width)."""
    generator = torch.Generator().manual_seed(0)
    start, *ends = torch.randn(5, width, generator=generator, dtype=torch.float64)
    time = torch.linspace(0, 1, steps, dtype=torch.float64)[:, None]
    runs = [3 * time * start + 2 * time**2 * ends[i] + (3 * time).sin() * ends[i + 2] for i in range(2)]
    return (torch.cat(runs) + 0.02 * torch.randn(2 * steps, width, generator=generator, dtype=torch.float64)).to(dtype)


def clusters(number, size=20, width=8, apart=100.0):
    generator = torch.Generator().manual_seed(1)
    centres = apart * torch.eye(number, width)
    return (centres[:, None] + torch.randn(number, size, width, generator=generator)).flatten(0, 1)


def fingerprint():
    """Of the bits of three embeddings; of them, one has a graph in two pieces and one in six (placed by UMAP's other ways)."""
    found = [embed(rows, seed=3).points.numpy().tobytes() for rows in (two_runs(), clusters(2), clusters(6))]
    return hashlib.sha256(b"".join(found)).hexdigest()


@pytest.fixture(scope="module", autouse=True)
def elsewhere():
    """The fingerprint from another process, which runs while this one imports umap."""
    here = os.path.dirname(__file__)
    child = subprocess.Popen([sys.executable, "-c", ELSEWHERE, here], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    embed(two_runs())
    yield child
    child.kill()
    child.communicate()


def test_the_same_seed_gives_the_same_bits_here_and_in_another_process(elsewhere):
    out, errors = elsewhere.communicate(timeout=600)
    assert elsewhere.returncode == 0, errors
    assert fingerprint() == fingerprint() == out.strip()


def test_the_unit_of_the_predictions_does_not_matter():
    for rows in (two_runs(), clusters(6)):
        assert torch.equal(embed(rows * 1024).points, embed(rows).points)  # a power of two: no rounding


def test_another_seed_gives_other_points():
    assert not torch.equal(embed(two_runs(), seed=0).points, embed(two_runs(), seed=1).points)


def test_what_an_embedding_says_of_itself():
    found = embed(two_runs())
    assert (found.method, found.requested, found.reason, found.n_neighbors, found.explained_variance_ratio) == (
        "umap",
        "umap",
        "",
        15,
        None,
    )
    assert found.points.shape == (80, 2) and found.points.dtype == torch.float32 and torch.isfinite(found.points).all()
    assert embed(two_runs(dtype=torch.float64)).points.dtype == torch.float64
    assert embed(two_runs(), dimension=3).points.shape == (80, 3)


def test_neighbours_are_limited_by_the_number_of_steps():
    rows = two_runs(8)
    assert embed(rows).n_neighbors == 15 and embed(rows, n_neighbors=40).n_neighbors == 15
    assert torch.equal(embed(rows, n_neighbors=40).points, embed(rows, n_neighbors=15).points)
    assert embed(rows, n_neighbors=5).n_neighbors == 5


def test_options_reach_umap():
    close, wide = (embed(two_runs(), min_dist=value).points for value in (0.0, 0.9))
    gaps = [torch.cdist(points, points).fill_diagonal_(float("inf")).amin(1).median() for points in (close, wide)]
    assert gaps[1] > 1.5 * gaps[0]


def test_distances_give_the_graph_of_the_raw_vectors():
    from umap import UMAP

    rows = two_runs()
    distances = squared_distances(rows).sqrt().float().numpy()
    options = {"n_neighbors": 15, "random_state": 0, "n_epochs": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        ours, raw = UMAP(metric="precomputed", **options).fit(distances), UMAP(**options).fit(rows.numpy())
    assert np.array_equal(ours.graph_.toarray() > 0, raw.graph_.toarray() > 0)
    np.testing.assert_allclose(ours.graph_.toarray(), raw.graph_.toarray(), atol=1e-4)


@pytest.mark.parametrize("number", [2, 6])
def test_clusters_that_are_apart_stay_apart(number):
    points = embed(clusters(number), seed=0).points.view(number, 20, 2)
    centres = points.mean(1)
    radius = (points - centres[:, None]).norm(dim=-1).max()
    assert torch.cdist(centres, centres).add(torch.eye(number) * 1e9).min() > 2 * radius
    labels = torch.arange(number).repeat_interleave(20)
    near = torch.cdist(points.flatten(0, 1), points.flatten(0, 1)).fill_diagonal_(float("inf")).argmin(1)
    assert torch.equal(labels[near], labels)


def test_neighbours_along_the_path_stay_neighbours():
    points = embed(two_runs()).points.view(2, 40, 2)
    within = points.diff(dim=1).norm(dim=-1).median()
    assert within < 0.2 * torch.cdist(points.flatten(0, 1), points.flatten(0, 1)).median()


def test_no_warning_of_a_seeded_embedding_is_shown():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        embed(two_runs())
        embed(clusters(6))
    assert seen == []


def test_an_unexpected_warning_of_umap_comes_through(monkeypatch):
    import umap

    fit = umap.UMAP.fit_transform

    def noisy(self, *args):
        warnings.warn("Graph is not fully connected", UserWarning, stacklevel=1)
        return fit(self, *args)

    monkeypatch.setattr(umap.UMAP, "fit_transform", noisy)
    with pytest.warns(UserWarning, match="not fully connected"):
        embed(two_runs())


def test_no_global_generator_is_read_or_set():
    expected = [embed(rows, seed=3).points for rows in (two_runs(), clusters(6))]
    np.random.seed(5)
    torch.manual_seed(5)
    state, torch_state = np.random.get_state(), torch.get_rng_state()
    found = [embed(rows, seed=3).points for rows in (two_runs(), clusters(6))]
    after = np.random.get_state()
    assert np.array_equal(state[1], after[1]) and state[2:] == after[2:]
    assert torch.equal(torch_state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_equal_steps_among_many_are_no_obstacle():
    rows = two_runs()
    rows[5:10] = rows[4]
    points = embed(rows).points
    assert torch.isfinite(points).all()
    assert torch.cdist(points[4:10], points[4:10]).max() < 0.3 * torch.cdist(points, points).max()
