"""Covariance and second moment of gradients against dense matrices in float64, and the laws of their spectra."""

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no neighbours
from spectra_twins import DEVICES, case, cross_entropy, dense_covariance, normal

from sgdscope import stability
from sgdscope.errors import InvalidInput
from sgdscope.gradients import PerExampleGradients
from sgdscope.spectra import covariance_eigenpairs, covariance_spectrum

SIZES = [(2, 5), (2, 2), (7, 30), (30, 7), (8, 8), (25, 5000), (5000, 3)]  # L, d


def gradients(number, dimension, seed=0):
    """Rows with a mean and a spectrum that falls off; at most 60 columns differ from zero, so that a dense matrix is small."""
    rows, used = torch.zeros(number, dimension, dtype=torch.float64), min(dimension, 60)
    columns = torch.linspace(0, dimension - 1, used).long()
    rows[:, columns] = normal(number, used, seed=seed) * torch.linspace(2, 0.1, used).double() + 0.7
    return rows


def used_columns(rows):
    return rows[:, rows.any(0)]


def spectrum_of(rows, centered):
    return torch.linalg.eigvalsh(dense_covariance(used_columns(rows), centered)).flip(0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize(("number", "dimension"), SIZES)
def test_the_dense_matrix(number, dimension, centered, device):
    rows = gradients(number, dimension)
    expected = spectrum_of(rows, centered)
    found = covariance_spectrum(rows.to(device), centered=centered).cpu()
    assert found.shape == (min(number, dimension),) and found.dtype == torch.float64
    assert (found >= 0).all() and (found.diff() <= 0).all()
    both = min(len(found), len(expected))
    torch.testing.assert_close(found[:both], expected[:both], rtol=1e-10, atol=1e-13 * float(expected[0]))
    assert (expected[both:].abs() <= 1e-13 * found[0]).all()  # the others of the dense matrix are zero
    torch.testing.assert_close(found.sum(), dense_covariance(used_columns(rows), centered).trace())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize(("number", "dimension"), [(7, 30), (30, 7), (8, 8), (25, 5000)])
def test_eigenvectors(number, dimension, centered, device):
    rows, k = gradients(number, dimension), 4
    found = covariance_eigenpairs(rows.to(device), k=k, centered=centered)
    vectors, values = found.vectors.cpu(), found.values.cpu()
    torch.testing.assert_close(values, covariance_spectrum(rows, centered=centered))
    spread = rows - rows.mean(0) if centered else rows
    images = spread.T @ (spread @ vectors) / number
    torch.testing.assert_close(images, vectors * values[:k], rtol=1e-9, atol=1e-9 * float(values[0]))
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(k, dtype=torch.float64))
    assert found.num_gradients == number and found.centered == centered and found.vectors.dtype == rows.dtype


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("number", [2, 6, 60])  # d is 31: fewer and more gradients than parameters
@pytest.mark.parametrize("memory", [2**30, 1])  # factors kept and not
def test_per_example_gradients_are_their_rows(number, centered, memory, device):
    model, x, y = case("mlp", number=number)
    G = PerExampleGradients.of(model.to(device), cross_entropy, x.to(device), y.to(device), memory=memory)
    rows, k = G.dense(), 1 if number == 2 else 5
    by_factors, by_rows = (covariance_eigenpairs(either, k=k, centered=centered) for either in (G, rows))
    assert by_factors.values.shape == (min(number, 31),) and by_factors.vectors.shape == (31, k)
    scale = float(by_rows.values[0])
    torch.testing.assert_close(by_factors.values, by_rows.values, rtol=1e-9, atol=1e-14 * scale)
    torch.testing.assert_close(by_factors.values, covariance_spectrum(G, centered=centered), rtol=1e-9, atol=1e-14 * scale)
    exact, vectors = dense_covariance(rows.cpu(), centered), by_factors.vectors.cpu()
    torch.testing.assert_close(exact @ vectors, vectors * by_factors.values[:k].cpu(), rtol=1e-8, atol=1e-12 * scale)


def test_per_example_gradients_in_float32_are_multiplied_in_float64():
    model, x, y = case("mlp", number=20, dtype=torch.float32)
    G = PerExampleGradients.of(model, cross_entropy, x, y)
    exact = torch.linalg.eigvalsh(dense_covariance(G.dense())).flip(0)[:19]
    assert ((covariance_spectrum(G)[:19] - exact).abs() / exact[0]).max() < 1e-7
    assert covariance_eigenpairs(G, k=2).vectors.dtype == torch.float32


def test_the_numbers_of_the_paper():
    rows = gradients(6, 40)
    exact, found = spectrum_of(rows, True), covariance_eigenpairs(rows, k=2)
    assert found.top == pytest.approx(float(exact[0]), rel=1e-10)
    assert found.smallest == pytest.approx(float(exact[4]), rel=1e-10)  # the (L-1)th largest of L = 6
    assert found.trace == pytest.approx(float((rows - rows.mean(0)).square().sum() / 6), rel=1e-10)
    assert found.conditioning == pytest.approx(float(exact[4] / exact[0]), rel=1e-10)
    second = covariance_eigenpairs(rows, k=2, centered=False)
    assert second.smallest == pytest.approx(float(spectrum_of(rows, False)[5]), rel=1e-10)  # the Lth largest
    assert second.trace == pytest.approx(float(rows.square().sum() / 6), rel=1e-10)
    wide = covariance_eigenpairs(gradients(50, 4), k=2)
    assert wide.smallest == pytest.approx(float(spectrum_of(gradients(50, 4), True)[3]), rel=1e-10)  # the dth
    pair = covariance_eigenpairs(gradients(2, 40), k=1)
    assert pair.smallest == pair.top > 0 and pair.conditioning == 1


def test_equal_gradients():
    values = covariance_spectrum(torch.full((4, 6), 0.3))
    assert not values.any()
    with pytest.raises(InvalidInput, match="from 1 to 0 \\(the number of non-zero eigenvalues; more gradients have more\\); 1 came"):
        covariance_eigenpairs(torch.full((4, 6), 0.3), k=1)


@pytest.mark.parametrize("device", DEVICES)
def test_float32_over_four_decades(device):
    """Rounding is some 1e-8 of the largest eigenvalue; those of 1.6e-4 of the largest keep four digits."""
    left, _, right = torch.linalg.svd(normal(60, 20_000), full_matrices=False)
    rows = ((left * torch.logspace(0, -1.9, 60, dtype=torch.float64)) @ right).float()
    exact = torch.linalg.eigvalsh(rows.double() @ rows.double().T / 60).flip(0)
    assert float(exact[-1] / exact[0]) == pytest.approx(1.6e-4, rel=0.05)
    found = covariance_spectrum(rows.to(device), centered=False).cpu()
    assert ((found - exact).abs() / exact[0]).max() < 2e-8
    assert ((found - exact).abs() / exact).max() < 1e-4


@settings(max_examples=60, derandomize=True)
@given(
    number=st.integers(2, 9),
    dimension=st.integers(1, 9),
    seed=st.integers(0, 10**6),
    factor=st.floats(1e-3, 1e3),
    centered=st.booleans(),
)
def test_laws(number, dimension, seed, factor, centered):
    rows = normal(number, dimension, seed=seed)
    values = covariance_spectrum(rows, centered=centered)

    def same(other, expected):
        found = covariance_spectrum(other, centered=centered)
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-12 * float(expected[0]) + 1e-300)

    rotation = torch.linalg.qr(normal(dimension, dimension, seed=seed + 1)).Q
    same(rows @ rotation, values)
    same(-factor * rows, factor**2 * values)
    same(rows[torch.randperm(number, generator=torch.Generator().manual_seed(seed))], values)
    same(torch.cat([rows, rows]), torch.cat([values, values.new_zeros(min(2 * number, dimension) - len(values))]))
    if centered:
        same(rows + normal(dimension, seed=seed + 2), values)
    spread = rows - rows.mean(0) if centered else rows
    torch.testing.assert_close(values.sum(), spread.square().sum() / number)


def test_the_rank_is_that_of_the_gradients_dtype():
    rows = normal(3, 50)
    with_sum = torch.cat([rows, rows[:1] + rows[1:2]])
    assert covariance_eigenpairs(with_sum, k=3, centered=False).vectors.shape == (50, 3)
    with pytest.raises(InvalidInput, match="from 1 to 3"):
        covariance_eigenpairs(with_sum, k=4, centered=False)
    hair = torch.cat([rows, rows[:1] + 1e-5 * normal(1, 50, seed=4)])  # an eigenvalue 1e-10 of the largest
    assert covariance_eigenpairs(hair, k=4, centered=False).vectors.shape == (50, 4)  # float64 holds it
    with pytest.raises(InvalidInput, match="from 1 to 3"):
        covariance_eigenpairs(hair.float(), k=4, centered=False)  # float32 does not


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_rank_of_per_example_gradients(dtype):
    model, x, y = case("mlp", number=6, dtype=dtype)
    G = PerExampleGradients.of(model, cross_entropy, torch.cat([x, x[:1] * (1 + 1e-6)]), torch.cat([y, y[:1]]))
    rank = 6 if dtype == torch.float64 else 5  # 7 centred gradients of which two nearly agree
    with pytest.raises(InvalidInput, match=f"from 1 to {rank}"):
        covariance_eigenpairs(G, k=7)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1.0], [2.0]], r"gradients must be a tensor \(L, d\) or PerExampleGradients; list came"),
        (torch.ones(1, 3), r"with at least two rows; \(1, 3\)"),
        (torch.ones(4), "at least two rows"),
        (torch.ones(2, 3, dtype=torch.int32), "floating tensor.*int32"),
        (torch.tensor([[1.0, 2.0], [float("nan"), 2.0]]), "must be finite; NaN or infinite values came"),
        (torch.tensor([[1.0], [float("inf")], [2.0]]), "must be finite; NaN or infinite values came"),  # L > d
    ],
)
def test_what_is_refused(rows, message):
    for function in (covariance_spectrum, covariance_eigenpairs):
        with pytest.raises(InvalidInput, match=message):
            function(rows)


def test_one_example_has_no_covariance():
    model, x, y = case("mlp", number=1)
    with pytest.raises(InvalidInput, match="a covariance takes at least two gradients; 1 came"):
        covariance_spectrum(PerExampleGradients.of(model, cross_entropy, x, y))


@pytest.mark.parametrize("k", [0, -1, 6, True, 2.0, None])
def test_counts_that_are_refused(k):
    with pytest.raises(
        InvalidInput, match=r"k must be a whole number from 1 to 5 \(the number of non-zero eigenvalues; more gradients have more\);"
    ):
        covariance_eigenpairs(normal(6, 20), k=k)


@pytest.mark.parametrize(("number", "dimension"), [(7, 30), (30, 7), (2, 5)])
def test_the_algebra_of_the_theory_pages(number, dimension):
    """`sgdscope.stability` keeps its own few lines, whose committed results depend on them."""
    rows = gradients(number, dimension)
    theirs = stability.gradient_covariance_spectrum(rows)
    torch.testing.assert_close(covariance_spectrum(rows), theirs.clamp_min(0), rtol=1e-9, atol=1e-13 * float(theirs[0]))
    found = covariance_eigenpairs(rows, k=1)
    assert found.smallest == pytest.approx(stability.smallest_non_zero(theirs), rel=1e-9)
