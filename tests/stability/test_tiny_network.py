"""The batched tiny network against dense autograd Hessians, single-run loops, and hand-made tables; Lanczos against eigh."""

import math

import pytest
import torch

from sgdscope.errors import InvalidInput
from sgdscope.stability import Architecture, stability_lhs, train_tiny_networks
from sgdscope.stability.batches import random_batches
from sgdscope.stability.lanczos import largest_eigenpairs
from sgdscope.stability.tiny_network import _Group, _run


def data(examples=24, inputs=3):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(examples, inputs, generator=generator, dtype=torch.float64)
    return x, torch.sign(x[:, :1] * x[:, 1:2])


def test_lanczos_finds_the_largest_eigenvalue_of_each_matrix():
    matrices = torch.randn(5, 30, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    matrices = matrices + matrices.mT
    start = torch.ones(5, 30, dtype=torch.float64)
    values, vectors, residuals = largest_eigenpairs(lambda v: (matrices @ v[..., None])[..., 0], start, 30)
    torch.testing.assert_close(values, torch.linalg.eigvalsh(matrices)[:, -1])
    torch.testing.assert_close((matrices @ vectors[..., None])[..., 0], values[:, None] * vectors, rtol=1e-8, atol=1e-8)
    few = largest_eigenpairs(lambda v: (matrices @ v[..., None])[..., 0], start, 6)
    exact = torch.linalg.eigvalsh(matrices)
    assert ((exact - few[0][:, None]).abs().min(1).values <= few[2]).all(), "an eigenvalue lies within the residual"
    assert (residuals < 1e-8).all()


def test_lanczos_survives_an_exhausted_space():
    values, vectors, residuals = largest_eigenpairs(lambda v: 3 * v, torch.ones(2, 10, dtype=torch.float64), 5)
    assert values.tolist() == pytest.approx([3, 3]) and residuals.max() < 1e-12
    assert vectors.norm(dim=-1).tolist() == pytest.approx([1, 1])


def test_architecture_is_the_network_written_out():
    x, y = data()
    network = Architecture(3, 4, 1)
    p = network.initial(0)
    assert p.shape == (network.num_parameters,) == (21,)
    into, bias, out, offset = p[:12].reshape(3, 4), p[12:16], p[16:20].reshape(4, 1), p[20:]
    outputs = torch.stack([torch.tanh(row @ into + bias) @ out + offset for row in x])
    torch.testing.assert_close(network.losses(p, x, y), 0.5 * ((outputs - y) ** 2).sum(1))


def slow_run(network, x, y, rate, size, seed, steps):
    """Slow twin: one run, one mean loss, autograd."""
    p = network.initial(seed, 0.7).requires_grad_()
    group = _Group(size, [seed])
    for _ in range(steps):
        a, b = group.draw(x, y)
        a, b = (a, b) if size == len(x) else (a[0], b[0])
        (gradient,) = torch.autograd.grad(network.losses(p, a, b).mean(), p)
        p = (p - rate * gradient).detach().requires_grad_()
    return p.detach()


@pytest.mark.parametrize("size", [4, 24])
def test_probe_is_dense_linear_algebra(size):
    x, y = data()
    network, rate = Architecture(3, 4, 1), 0.3
    (run,) = train_tiny_networks(x, y, [(rate, size, 5)], num_steps=10, probe_every=5, hidden=4, scale=0.7, lanczos_steps=21)
    p = slow_run(network, x, y, rate, size, 5, 10)
    hessians = torch.stack([torch.func.hessian(lambda q: network.losses(q, a[None], b[None])[0])(p) for a, b in zip(x, y, strict=True)])  # noqa: B023
    values, vectors = torch.linalg.eigh(hessians.mean(0))
    curvatures = torch.einsum("i,nij,j->n", vectors[:, -1], hessians, vectors[:, -1])
    gradients = torch.stack([torch.func.grad(lambda q: network.losses(q, a[None], b[None])[0])(p) for a, b in zip(x, y, strict=True)])  # noqa: B023
    centred = gradients - gradients.mean(0)
    noise = torch.linalg.eigvalsh(centred.T @ centred / 24)
    last = {name: float(column[-1]) for name, column in run.table.items()}
    assert last["step"] == 10
    assert last["loss"] == pytest.approx(float(network.losses(p, x, y).mean()), rel=1e-10)
    assert last["sharpness"] == pytest.approx(float(values[-1]), rel=1e-8)
    assert last["curvature_std"] == pytest.approx(float(curvatures.std(correction=0)), rel=1e-6)
    assert last["left_side"] == pytest.approx(stability_lhs(rate, last["sharpness"], last["curvature_std"], 24, size), rel=1e-12)
    assert last["noise_trace"] == pytest.approx(float(noise.sum()), rel=1e-9)
    assert last["noise_top"] == pytest.approx(float(noise[-1]), rel=1e-6)
    assert last["residual"] < 1e-6


def test_batched_is_single():
    """To 1e-9 relative before the break-even point; behind it rounding grows."""
    x, y = data()
    settings = [(rate, size, seed) for rate in (0.2, 0.4) for size in (4, 24) for seed in (0, 1)]
    together = train_tiny_networks(x, y, settings, num_steps=30, probe_every=10, hidden=4)
    for setting, run in zip(settings, together, strict=True):
        (alone,) = train_tiny_networks(x, y, [setting], num_steps=30, probe_every=10, hidden=4)
        assert (run.learning_rate, run.batch_size, run.seed) == setting
        for name, column in run.table.items():
            if name != "residual":  # rounding noise itself
                torch.testing.assert_close(column, alone.table[name], rtol=1e-9, atol=1e-12)


def test_same_call_same_bits():
    x, y = data()
    first, second = (train_tiny_networks(x, y, [(0.3, 4, 1), (0.3, 24, 1)], num_steps=20, probe_every=5, hidden=4) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert all(torch.equal(a.table[name], b.table[name]) for name in a.table)


def test_runs_of_one_seed_and_batch_size_share_their_mini_batches():
    x, _ = data()
    group = _Group(4, [7, 7, 8])
    first, _ = group.draw(x, x)
    assert torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])
    assert random_batches(24, 4, 1, generator=group.generators[0]).shape == (1, 4)


def test_full_batch_training_reaches_two_over_the_rate():
    """Progressive sharpening on a problem that has it: the detected sharpness is 2 / eta."""
    x, y = data(64, 6)
    runs = train_tiny_networks(x, y, [(0.5, 64, 3), (0.4, 64, 3)], num_steps=1500, probe_every=10, hidden=8, scale=0.5)
    crossed = [run for run in runs if run.status == "crossed"]
    assert crossed, [run.status for run in runs]
    for run in crossed:
        assert run.sharpness * run.learning_rate / 2 == pytest.approx(1, rel=1e-9)
        assert run.sharpness_after * run.learning_rate / 2 == pytest.approx(1, rel=0.1)
        assert 0 < run.step < 1500


def test_divergence_is_recorded(recwarn):
    x, y = data()
    (run,) = train_tiny_networks(x, 10 * y, [(50.0, 24, 0)], num_steps=400, probe_every=10, hidden=4)
    assert run.diverged_at > 0 and run.status in ("diverged", "started unstable")
    late = run.table["step"] >= run.diverged_at
    assert run.table["sharpness"][late].isnan().all() and run.table["sharpness"][~late].isfinite().all()
    assert not [warning for warning in recwarn.list if warning.category is not DeprecationWarning]  # torch.func loads torch.jit


@pytest.mark.parametrize(
    ("left", "status", "step", "sharpness", "diverged_at"),
    [
        ([0.5, 0.8, 1.2, 0.9], "crossed", 16.0, 2.6, -1),
        ([0.5, 0.8, 0.9, 0.95], "not crossed", math.nan, math.nan, -1),
        ([1.0, 0.8, 1.2, 0.9], "started unstable", math.nan, math.nan, -1),
        ([0.5, 0.8, math.nan, math.nan], "diverged", math.nan, math.nan, 20),
        ([0.5, 1.5, math.nan, math.nan], "crossed", 20 / 3, 5 / 3, 20),
    ],
)
def test_break_even_point_of_a_table(left, status, step, sharpness, diverged_at):
    table = {
        "left_side": torch.tensor(left).double(),
        "step": torch.tensor([0.0, 10, 20, 30]).double(),
        "sharpness": torch.tensor([1.0, 2, 3, 4]).double(),
    }
    run = _run((0.1, 4, 0), table)
    assert (run.status, run.diverged_at) == (status, diverged_at)
    assert run.step == pytest.approx(step, nan_ok=True) and run.sharpness == pytest.approx(sharpness, nan_ok=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": []}, "settings must hold at least one"),
        ({"settings": [(0.1, 25, 0)]}, "batch_size must be at most num_examples .*; 25 came for 24"),
        ({"settings": [(0.0, 4, 0)]}, "learning_rate must be finite and positive; 0 came"),
        ({"settings": [(0.1, 4, -1)]}, "seed must be a whole number of at least 0; -1 came"),
        ({"y": torch.ones(3, 1)}, "x and y must have one row per example each; 24 and 3 rows came"),
        ({"y": torch.full((24, 1), math.nan)}, "y must not be NaN; 24 of 24"),
        ({"probe_every": 0}, "probe_every must be a whole number of at least 1"),
    ],
)
def test_refusals(changes, message):
    x, y = data()
    arguments = {"x": x, "y": y, "settings": [(0.1, 4, 0)], "num_steps": 2, "probe_every": 1} | changes
    with pytest.raises(InvalidInput, match=message):
        train_tiny_networks(arguments.pop("x"), arguments.pop("y"), arguments.pop("settings"), **arguments)
