"""Factored centres against materialised gradients: Eq. 5, 6, 8, 9 in float64."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from estimator_cases import close, normal, rows_of, seeded

from sgdscope.estimators.centres import FactoredCentres, WholeCentres, centres_for
from sgdscope.gradients import PerExampleGradients
from sgdscope.gradients.factors import Outer


class OnSequences(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.second(self.first(x).tanh()).mean(1)


def conv(*settings, positions, **more):
    return lambda: nn.Sequential(nn.Conv2d(*settings, **more), nn.Tanh(), nn.Flatten(), nn.Linear(positions, 3))


CASES = {
    "linear": (lambda: nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)), (5,)),
    "sequences": (OnSequences, (4, 5)),
    "conv": (conv(2, 3, 3, positions=48), (2, 6, 6)),
    "stride and padding": (conv(2, 3, 3, stride=2, padding=1, positions=27), (2, 6, 6)),
    "dilation": (conv(2, 3, 2, dilation=2, padding=(1, 0), positions=72), (2, 6, 6)),
    "groups": (conv(4, 6, 3, groups=2, positions=96), (4, 6, 6)),
    "depthwise": (conv(3, 3, 3, groups=3, positions=48), (3, 6, 6)),
    "conv1d": (lambda: nn.Sequential(nn.Conv1d(3, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(32, 3)), (3, 8)),
}


def factors_and_rows(name, number=8):
    """Name of a parameter -> (its factor, its gradients (N, p) by a loop)."""
    build, shape = CASES[name]
    model = seeded(build)
    x, y = normal(number, *shape, seed=1), torch.arange(number) % 3
    ((_, factors),) = PerExampleGradients.of(model, "cross_entropy", x, y, form="factored").factors()
    rows, start, found = rows_of(model, x, y), 0, {}
    for key, parameter in model.named_parameters():
        found[key] = factors[key], rows[:, start : start + parameter.numel()]
        start += parameter.numel()
    return found


@pytest.mark.parametrize("equation", ["8", "9", "auto"])
@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_inner_products(name, rank, equation, monkeypatch):
    """Of centres at random with the gradients of examples, and lengths, against both as long vectors."""
    if equation != "auto":
        monkeypatch.setattr(FactoredCentres, "products_of_positions", lambda self, positions: equation == "9")
    seen = 0
    for factor, rows in factors_and_rows(name).values():
        centres = centres_for(factor, 4, "svd", rank)
        if isinstance(centres, FactoredCentres):
            seen += 1
            centres.inputs, centres.outputs = normal(*centres.inputs.shape, seed=5), normal(*centres.outputs.shape, seed=6)
            assert centres.inputs.shape[2] <= rank
            close(centres.inner_by_gradients(factor), centres.inner_by_positions(factor))
        else:
            centres.centres = normal(4, rows.shape[1], seed=7)
        dense = centres.dense()
        assert dense.shape == (4, rows.shape[1])
        close(centres.inner(factor), rows @ dense.T)
        close(centres.squared_norms(), dense.square().sum(1))
    assert seen == 2


def test_small_steps_change_nothing(monkeypatch):
    expected = {}
    for work in (1 << 24, 1000):
        monkeypatch.setattr("sgdscope.estimators.centres.WORK", work)
        for key, (factor, _) in factors_and_rows("groups").items():
            for rule in ("mean", "svd"):
                centres = centres_for(factor, 3, rule, 1)
                centres.add(factor, torch.arange(8) % 3)
                centres.update(torch.tensor([3, 3, 2]))
                result = torch.cat([centres.dense(), centres.inner(factor).T], 1)
                close(result, expected.setdefault((key, rule), result))


def means(rows, assignment, clusters):
    return torch.stack([rows[assignment == k].mean(0) for k in range(clusters)])


@pytest.mark.parametrize("name", CASES)
def test_mean_update(name):
    """Eq. 6, from patches and output gradients cut one by one: C = (mean of d over examples, summed over t) (mean of a over both)^T."""
    assignment = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])
    for factor, rows in factors_and_rows(name).values():
        centres = centres_for(factor, 3, "mean", 1)
        centres.add(factor, assignment)
        centres.update(torch.bincount(assignment))
        if isinstance(centres, WholeCentres):
            close(centres.dense(), means(rows, assignment, 3))
            continue
        if isinstance(factor, Outer):
            a, d = factor.inputs.transpose(1, 2)[:, None], factor.gradients.transpose(1, 2)[:, None]
        else:
            a, d = factor.patches(slice(None)), factor.gradients_of(slice(None))
        close((d @ a.transpose(2, 3)).flatten(1), rows)  # they are the factors of the gradients
        for k in range(3):
            of = assignment == k
            c, e = a[of].mean((0, 3)), d[of].sum(3).mean(0)  # (G, I), (G, O)
            close(centres.dense()[k], torch.einsum("go,gi->goi", e, c).flatten())


def test_mean_update_is_exact_without_correlation():
    """All pairs of three inputs and two output gradients, so that the mean of products is the product of means; with one pair left out it is not."""
    a = normal(3, 4, seed=1)[[0, 0, 1, 1, 2, 2], None]
    d = normal(2, 5, seed=2)[[0, 1, 0, 1, 0, 1], None]
    for number, exact in ((6, True), (5, False)):
        factor = Outer(a[:number], d[:number])
        centres = centres_for(factor, 1, "mean", 1)
        centres.add(factor, torch.zeros(number, dtype=torch.int64))
        centres.update(torch.tensor([number]))
        error = (centres.dense()[0] - factor.rows().mean(0)).norm() / factor.rows().mean(0).norm()
        assert (error < 1e-12) == exact and (exact or error > 0.01)


@pytest.mark.parametrize("rank", [1, 2, 50])
@pytest.mark.parametrize("name", ["linear", "sequences", "conv", "groups"])
def test_truncated_decomposition(name, rank):
    """The best centre of its rank, group by group; the exact mean at full rank; never worse than the mean update."""
    assignment = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])
    for factor, rows in factors_and_rows(name).values():
        centres, plain = centres_for(factor, 3, "svd", rank), centres_for(factor, 3, "mean", 1)
        for one in (centres, plain):
            one.add(factor, assignment)
            one.update(torch.bincount(assignment))
        exact = means(rows, assignment, 3)
        if isinstance(centres, FactoredCentres):
            _, groups, _, fan_in = centres.inputs.shape
            u, s, v = torch.linalg.svd(exact.view(3, groups, -1, fan_in), full_matrices=False)
            s[..., rank:] = 0
            close(centres.dense(), ((u * s[..., None, :]) @ v).flatten(1), 1e-9)
        if rank == 50:
            close(centres.dense(), exact, 1e-9)
        assert (centres.dense() - exact).norm() <= (plain.dense() - exact).norm() + 1e-12


def test_an_empty_cluster_keeps_its_centre_and_forgotten_sums_are_gone():
    for factor, _ in factors_and_rows("conv").values():
        for rule in ("mean", "svd"):
            centres = centres_for(factor, 3, rule, 1)
            centres.add(factor, torch.tensor([0, 1, 2, 0, 1, 2, 0, 0]))
            centres.update(torch.tensor([4, 2, 2]))
            before = centres.dense().clone()
            centres.add(factor, torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]))
            centres.forget(torch.tensor([1]))
            centres.add(factor.part(slice(0, 2)), torch.tensor([1, 1]))
            centres.update(torch.tensor([4, 2, 0]))
            again = centres_for(factor, 2, rule, 1)
            again.add(factor.part(slice(0, 4)), torch.zeros(4, dtype=torch.int64))
            again.add(factor.part(slice(0, 2)), torch.ones(2, dtype=torch.int64))
            again.update(torch.tensor([4, 2]))
            close(centres.dense()[:2], again.dense())
            assert torch.equal(centres.dense()[2], before[2])
