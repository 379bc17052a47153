"""Projections of gradients on top eigenvectors."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no neighbours
from spectra_twins import DEVICES, normal

from sgdscope.errors import InvalidInput
from sgdscope.spectra import covariance_eigenpairs, projected_norm_ratio


def orthonormal(dimension, k, dtype=torch.float64):
    return torch.linalg.qr(normal(dimension, k, seed=1)).Q.to(dtype)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_projection(dtype, device):
    vectors, gradients = orthonormal(12, 3, dtype), normal(7, 12).to(dtype)
    expected = [float(g.norm() / (vectors @ (vectors.T @ g)).norm()) for g in gradients]
    found = projected_norm_ratio(gradients.to(device), vectors.to(device))
    assert found.shape == (7,) and found.dtype == dtype
    assert found.tolist() == pytest.approx(expected, rel=1e-5 if dtype == torch.float32 else 1e-12)
    assert float(projected_norm_ratio(gradients[2], vectors)) == pytest.approx(expected[2], rel=1e-5)
    torch.testing.assert_close(projected_norm_ratio(-3 * gradients, vectors), found.cpu())


def test_inside_and_outside_the_span():
    vectors = torch.eye(5, dtype=torch.float64)[:, :2]
    inside = torch.tensor([3.0, -4.0, 0, 0, 0], dtype=torch.float64)
    outside = torch.tensor([0, 0, 1.0, 0, 0], dtype=torch.float64)
    found = projected_norm_ratio(torch.stack([inside, outside, inside + outside]), vectors)
    assert found.tolist() == pytest.approx([1, float("inf"), (26 / 25) ** 0.5])
    assert projected_norm_ratio(inside, torch.eye(5, dtype=torch.float64)) == 1  # all directions


def test_the_ratio_of_the_paper():
    rows = normal(25, 300) * torch.linspace(3, 0.1, 300).double() + 0.2
    ratios = projected_norm_ratio(rows, covariance_eigenpairs(rows, k=5).vectors)
    _, _, right = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    torch.testing.assert_close(ratios, rows.norm(dim=1) / (rows @ right[:5].T).norm(dim=1))
    assert (ratios >= 1).all()


GOOD = torch.eye(4)[:, :2]


@pytest.mark.parametrize(
    ("gradients", "vectors", "message"),
    [
        (torch.ones(3), GOOD, r"\(d,\) or \(L, d\) and vectors \(d, k\) with the same d; \(3,\) and \(4, 2\) came"),
        (torch.ones(4), torch.ones(4), "with the same d"),
        (torch.ones(2, 2, 4), GOOD, "with the same d"),
        (torch.ones(4), torch.ones(4, 0), "with the same d"),
        (torch.ones(4), 2 * GOOD, r"orthonormal columns; they do not\. Take those of covariance_eigenpairs, or torch\.linalg\.qr"),
        (torch.ones(4), GOOD[:, [0, 0]], "orthonormal columns"),
        (torch.stack([torch.ones(4), torch.zeros(4)]), GOOD, r"must not be zero: it has no direction\. Leave such steps out"),
        (torch.tensor([1.0, float("nan"), 0, 0]), GOOD, "must be finite"),
        (torch.ones(4), GOOD * float("inf"), "must be finite"),
        (torch.ones(4, dtype=torch.int64), GOOD, r"gradients must be a floating tensor; torch\.int64 came"),
        ([1.0, 0, 0, 0], GOOD, "gradients must be a floating tensor; list came"),
        (torch.ones(4), [[1.0]], "vectors must be a floating tensor; list came"),
        (torch.ones(4, dtype=torch.float64), GOOD, r"one dtype and device; torch\.float64 on cpu and torch\.float32 on cpu came"),
        (torch.ones(4), GOOD.to("meta"), r"torch\.float32 on cpu and torch\.float32 on meta came"),
    ],
)
def test_what_is_refused(gradients, vectors, message):
    with pytest.raises(InvalidInput, match=message):
        projected_norm_ratio(gradients, vectors)
