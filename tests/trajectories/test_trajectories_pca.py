"""PCA against NumPy's singular value decomposition; the fallback of tiny inputs; refusals. UMAP itself is tested beside this file."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from sgdscope.errors import InvalidInput, NotFound
from sgdscope.trajectories import embed


def path(steps, width=12, seed=0, dtype=torch.float64):
    return torch.randn(steps, width, generator=torch.Generator().manual_seed(seed), dtype=dtype).cumsum(0)


def by_svd(rows, dimension):
    rows = rows.double().numpy()
    rows = rows - rows.mean(0)
    u, s, _ = np.linalg.svd(rows, full_matrices=False)
    points = u[:, :dimension] * s[:dimension]
    for column in points.T:
        if column[np.abs(column).argmax()] < 0:
            column *= -1
    return points, s[:dimension] ** 2 / (s**2).sum()


@pytest.mark.parametrize(
    ("steps", "width", "dimension"), [(2, 5, 1), (3, 2, 2), (20, 50, 2), (50, 20, 3), (30, 4, 4), (5, 30, 4), (9, 40_000, 2)]
)
def test_pca_is_the_singular_value_decomposition(steps, width, dimension):
    rows = path(steps, width)
    found = embed(rows, method="pca", dimension=dimension)
    points, shares = by_svd(rows, dimension)
    np.testing.assert_allclose(found.points.numpy(), points, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(found.explained_variance_ratio.numpy(), shares, rtol=1e-9, atol=1e-12)
    assert (found.method, found.requested, found.reason, found.n_neighbors) == ("pca", "pca", "", None)


def test_all_components_keep_all_distances():
    rows = path(8, 5)
    points = embed(rows, method="pca", dimension=5).points
    torch.testing.assert_close(torch.cdist(points, points), torch.cdist(rows, rows))


def test_the_furthest_step_of_each_component_is_positive_and_the_first_of_a_tie():
    points = embed(path(25), method="pca", dimension=4).points
    assert (points.gather(0, points.abs().argmax(0)[None]) > 0).all()
    line = torch.tensor([[1.0, 2.0], [0.0, 0.0], [-1.0, -2.0]])
    for rows in (line, -line, line + 100, line.double() * 1e-3):
        points = embed(rows, method="pca", dimension=1).points
        assert points[0] > 0 > points[2]


def test_turning_the_space_of_predictions_or_their_origin_or_reversing_them_changes_no_point():
    rows = path(15, 6)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).Q
    expected = embed(rows, method="pca").points
    torch.testing.assert_close(embed(rows @ turn + 3.0, method="pca").points, expected)
    torch.testing.assert_close(embed(-rows, method="pca").points, expected)
    torch.testing.assert_close(embed(2 * rows, method="pca").points, 2 * expected)


def test_a_component_without_variance_is_zero():
    line = torch.arange(6.0)[:, None] * torch.tensor([[1.0, -2.0, 0.5]])
    found = embed(line, method="pca", dimension=2)
    assert (found.points[:, 1] == 0).all()
    assert found.explained_variance_ratio[1] == 0 and found.explained_variance_ratio[0] == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize(("dtype", "expected"), [(torch.float64,) * 2, (torch.float32,) * 2, (torch.float16, torch.float32)])
def test_points_have_the_dtype_of_the_predictions(dtype, expected):
    found = embed(path(6).to(dtype), method="pca")
    assert found.points.dtype == expected and found.points.shape == (6, 2)
    torch.testing.assert_close(found.points.double(), embed(path(6).to(dtype).double(), method="pca").points, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steps", [3, 4, 15])
def test_of_few_steps_umap_gives_the_pca_and_says_so(steps):
    found = embed(path(steps), method="umap")
    assert (found.method, found.requested) == ("pca", "umap")
    assert found.reason == f"UMAP needs 16 different steps, of {steps} steps {steps} are"
    assert torch.equal(found.points, embed(path(steps), method="pca").points)


def test_steps_that_repeat_do_not_count():
    rows = path(5).repeat_interleave(10, 0)
    found = embed(rows)
    assert (found.method, found.reason) == ("pca", "UMAP needs 16 different steps, of 50 steps 5 are")
    torch.testing.assert_close(found.points[::10], found.points[9::10], atol=1e-12, rtol=0.0)


def test_pca_and_the_fallback_import_no_umap_and_no_numba():
    code = (
        "import sys, torch; from sgdscope.trajectories import embed; rows = torch.eye(20).cumsum(0); "
        "embed(rows, method='pca'); embed(rows[:5]); print({'umap', 'numba'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_missing_umap_is_no_silent_pca(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(InvalidInput, match=r"umap-learn, which is not installed: pip install sgdscope\[umap\]. Or choose method='pca'"):
        embed(path(20))


def test_unknown_methods_list_the_valid_ones():
    with pytest.raises(NotFound, match="unknown method 'umpa'. Did you mean 'umap'. Valid: umap, pca"):
        embed(path(20), method="umpa")


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (path(1), {}, r"at least two steps; \(1, 12\) came"),
        (path(6) * float("nan"), {}, "NaN or infinite values came in 6 of 6 steps, first at row 0"),
        (torch.ones(6, 3), {}, "all 6 steps have the same predictions, so there is nothing to embed"),
        (torch.full((40, 1000), 0.1), {"method": "umap"}, "all 40 steps have the same predictions"),
        (path(2), {}, r"dimension must be a whole number from 1 to 1 \(of 2 steps of 12 numbers\); 2 came"),
        (path(6, 3), {"dimension": 4}, r"from 1 to 3 \(of 6 steps of 3 numbers\); 4 came"),
        (path(6), {"dimension": 0}, "from 1 to 5 .*; 0 came"),
        (path(6), {"dimension": True}, "True came"),
        (path(6), {"dimension": 2.0}, "2.0 came"),
        (path(6), {"n_neighbors": 1}, r"n_neighbors must be a whole number of at least 2 \(the step itself counted\); 1 came"),
        (path(6), {"min_dist": -0.1}, "min_dist must be a number from 0 to 1; -0.1 came"),
        (path(6), {"min_dist": float("nan")}, "min_dist .* nan came"),
        (path(6), {"seed": -1}, "seed must be a whole number from 0 to 4294967295; -1 came"),
        (path(6), {"seed": None}, "None came"),
    ],
)
def test_refusals(rows, options, message):
    with pytest.raises(InvalidInput, match=message):
        embed(rows, **({"method": "pca"} | options))
