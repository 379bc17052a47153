"""Break-even points of a real, tiny network: many full-batch and mini-batch runs as one batched model.

One hidden layer of tanh units, linear outputs, loss ``(1/2) |f(x) - y|^2`` averaged over examples, no momentum. All runs
(learning rates x batch sizes x seeds) train and are probed together; they are independent, so the gradient of the summed losses holds
each run's own gradient. Runs of one seed share their initialisation; those that differ in learning rate only, their mini-batches too.

At each probe: the top eigenpair of the Hessian (Lanczos on Hessian-vector products), the curvature ``e^T H_i e`` of every single loss
(forward mode twice), the left side of Eq. 1, and trace and top eigenvalue of the covariance K of the single gradients. All on the whole
training set. Sharpness and left side refer to the *mean* loss; K is quadratic in the loss.

What the numbers can and cannot say. The break-even point is *defined* by Eq. 1, so the sharpness found there is 2 / eta for the full
batch, and below it by the term of s for a mini-batch, whenever a run gets there; what the network adds is that it does (it sharpens by
itself up to the line), and how it moves on. Small batches may never get there: with 256 images, batches of 32 and fewer mostly level off
well below the line of Eq. 1, and such a run says ``"not crossed"``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, jvp, vmap

from sgdscope.errors import InvalidInput
from sgdscope.stability.batches import random_batches
from sgdscope.stability.checks import Number, count, non_negative, vector, whole_sizes
from sgdscope.stability.detection import break_even_point
from sgdscope.stability.lanczos import largest_eigenpairs
from sgdscope.stability.theory import left_side

COLUMNS = ("step", "loss", "sharpness", "curvature_std", "left_side", "noise_trace", "noise_top", "residual")
"""Columns of a table: step; mean loss; lambda and s of Eq. 1; its left side; Tr K; largest eigenvalue of K; |H e - lambda e| / lambda."""


@dataclass(frozen=True)
class Architecture:
    """Sizes of the network; parameters lie flat in the order weights in (d, hidden), biases, weights out (hidden, outputs), biases."""

    inputs: int
    hidden: int
    outputs: int

    @property
    def num_parameters(self) -> int:
        """Number of parameters of one run."""
        return (self.inputs + 1) * self.hidden + (self.hidden + 1) * self.outputs

    def initial(self, seed: int, scale: float = 1.0) -> Tensor:
        """(num_parameters,) weights normal with standard deviation ``scale / sqrt(fan in)``, biases zero."""
        generator = torch.Generator().manual_seed(seed)
        first = torch.randn(self.inputs * self.hidden, generator=generator, dtype=torch.float64) * scale / self.inputs**0.5
        second = torch.randn(self.hidden * self.outputs, generator=generator, dtype=torch.float64) * scale / self.hidden**0.5
        return torch.cat([first, first.new_zeros(self.hidden), second, first.new_zeros(self.outputs)])

    def losses(self, parameters: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """(..., examples) half squared errors of parameters (..., P) on x (..., examples, inputs), y (..., examples, outputs)."""
        d, h, o = self.inputs, self.hidden, self.outputs
        into, bias, out, offset = parameters.split([d * h, h, h * o, o], dim=-1)
        hidden = torch.tanh(x @ into.unflatten(-1, (d, h)) + bias.unsqueeze(-2))
        outputs = hidden @ out.unflatten(-1, (h, o)) + offset.unsqueeze(-2)
        return 0.5 * (outputs - y).square().sum(-1)


@dataclass(frozen=True)
class BreakEvenRun:
    """One run: settings, the table of its probes, and its break-even point.

    Attributes:
        learning_rate: eta.
        batch_size: S; the full batch is N.
        seed: of initialisation and mini-batches.
        table: name to (probes,) tensor, for the names in `COLUMNS`. NaN after a divergence.
        status: ``"crossed"``, ``"not crossed"`` within the steps, ``"started unstable"``, or ``"diverged"`` before a crossing.
        step: where the left side of Eq. 1 first reaches 1, between two probes (see `break_even_point`); NaN where it does not.
        sharpness: lambda_H there by the same interpolation, which makes it 2 / eta for the full batch by construction; NaN likewise.
        sharpness_after: lambda_H as measured at the first probe at or past that point, not interpolated; NaN likewise.
        diverged_at: first probed step with a loss that is not finite, or -1.
    """

    learning_rate: float
    batch_size: int
    seed: int
    table: dict[str, Tensor]
    status: str
    step: float
    sharpness: float
    sharpness_after: float
    diverged_at: int


def train_tiny_networks(
    x: Number,
    y: Number,
    settings: list[tuple[float, int, int]],
    *,
    num_steps: int,
    probe_every: int,
    hidden: int = 16,
    scale: float = 1.0,
    lanczos_steps: int = 12,
) -> list[BreakEvenRun]:
    """Trains one network for each ``(learning_rate, batch_size, seed)`` and measures stability every ``probe_every`` steps.

    A run does not depend on which others are trained with it, up to rounding in batched products (and what chaos makes of it late).

    Args:
        x: (N, inputs).
        y: (N, outputs).
        settings: the runs; batch_size N is the full batch.
        num_steps: T.
        probe_every: steps between probes, the first at step 0.
        hidden: width.
        scale: of the initial weights, see `Architecture.initial`.
        lanczos_steps: Hessian-vector products a probe, started at the last eigenvector.

    Returns:
        One `BreakEvenRun` for each setting, in order.

    Raises:
        InvalidInput: shapes, sizes or rates out of range; no settings.
    """
    x, y = vector("x", x, dims=2).double(), vector("y", y, dims=2).double()
    if len(x) != len(y):
        raise InvalidInput(f"x and y must have one row per example each; {len(x)} and {len(y)} rows came.")
    if not settings:
        raise InvalidInput("settings must hold at least one (learning_rate, batch_size, seed); none came.")
    count("num_steps", num_steps), count("probe_every", probe_every), count("hidden", hidden)
    for rate, size, seed in settings:
        non_negative("learning_rate", rate, strictly=True), whole_sizes(len(x), size), count("seed", seed, least=0)
    network, distinct = Architecture(x.shape[1], hidden, y.shape[1]), sorted(set(settings), key=lambda setting: setting[1:])
    tables = _train(network, x, y, distinct, num_steps, probe_every, scale, lanczos_steps)
    runs = {setting: _run(setting, table) for setting, table in zip(distinct, tables, strict=True)}
    return [runs[setting] for setting in settings]


def _train(
    network: Architecture, x: Tensor, y: Tensor, settings: list, num_steps: int, probe_every: int, scale: float, lanczos_steps: int
) -> list[dict[str, Tensor]]:
    """Tables of all runs; ``settings`` are sorted by batch size, and the runs of one batch size take their steps together."""
    rates = torch.tensor([[rate] for rate, _, _ in settings], dtype=torch.float64)
    sizes = torch.tensor([float(size) for _, size, _ in settings])
    parameters = torch.stack([network.initial(seed, scale) for _, _, seed in settings])  # (runs, P)
    gradient = grad(lambda p, a, b: network.losses(p, a, b).mean(-1).sum())
    groups = [_Group(size, [seed for _, s, seed in settings if s == size]) for size in dict.fromkeys(size for _, size, _ in settings)]
    vectors, probes = None, []
    for step in range(num_steps + 1):
        if step % probe_every == 0:
            row, vectors = _probe(network, parameters, x, y, rates[:, 0], sizes, vectors, lanczos_steps)
            probes.append(torch.stack([torch.full_like(row[0], step), *row]))
        if step < num_steps:
            parts = parameters.split([len(group.owner) for group in groups])
            moves = [gradient(part, *group.draw(x, y)) for group, part in zip(groups, parts, strict=True)]
            parameters = parameters - rates * torch.cat(moves)
    columns = torch.stack(probes)  # (probes, columns, runs)
    return [dict(zip(COLUMNS, columns[:, :, run].unbind(1), strict=True)) for run in range(len(settings))]


class _Group:
    """Mini-batches of the runs of one batch size: one stream a seed, whatever the learning rates."""

    def __init__(self, size: int, seeds: list[int]) -> None:
        self.size, distinct = size, sorted(set(seeds))
        self.owner = torch.tensor([distinct.index(seed) for seed in seeds])
        keys = [np.random.SeedSequence([seed, size]).generate_state(1)[0] for seed in distinct]
        self.generators = [torch.Generator().manual_seed(int(key)) for key in keys]

    def draw(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets (runs, S, ...) of the next step; the whole set, without a copy a run, for the full batch."""
        if self.size == len(x):
            return x, y
        batches = torch.cat([random_batches(len(x), self.size, 1, generator=generator) for generator in self.generators])[self.owner]
        return x[batches], y[batches]


def _probe(
    network: Architecture, parameters: Tensor, x: Tensor, y: Tensor, rates: Tensor, sizes: Tensor, start: Tensor | None, lanczos_steps: int
) -> tuple[list[Tensor], Tensor]:
    """Everything measured at one step (columns 2 to 8 of the table, each (runs,)) and the top eigenvectors (runs, P)."""
    losses = lambda p: network.losses(p, x, y)  # noqa: E731  (runs, N)
    loss = losses(parameters).mean(-1)
    alive = torch.isfinite(loss) & (loss < 1e12)  # beyond, squares overflow inside the Hessian products
    safe = torch.where(alive[:, None], parameters, 0.0)
    gradient = grad(lambda p: losses(p).mean(-1).sum())

    def hessian(v: Tensor) -> Tensor:
        return jvp(gradient, (safe,), (v,))[1]

    if start is None:
        start = torch.randn(parameters.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64).expand_as(parameters)
    _, vectors, residual = largest_eigenpairs(hessian, start, lanczos_steps)
    along = lambda p: jvp(losses, (p,), (vectors,))[1]  # noqa: E731
    curvatures = jvp(along, (safe,), (vectors,))[1]  # (runs, N): e^T H_i e
    sharpness, std = curvatures.mean(-1), curvatures.std(-1, correction=0)

    single = vmap(vmap(grad(lambda p, a, b: network.losses(p, a[None], b[None])[0]), (None, 0, 0)), (0, None, None))
    rows = single(safe, x, y)  # (runs, N, P)
    rows = rows - rows.mean(1, keepdim=True)
    trace = rows.square().sum((1, 2)) / len(x)
    mixture = torch.randn(len(x), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    noise_top, _, _ = largest_eigenpairs(lambda v: _covariance_product(rows, v), mixture @ rows, lanczos_steps)
    left = left_side(rates, sharpness, std, torch.tensor(float(len(x))), sizes)
    row = [loss, sharpness, std, left, trace, noise_top, residual / sharpness.abs()]
    return [torch.where(alive, value, torch.nan) for value in row], vectors


def _covariance_product(rows: Tensor, v: Tensor) -> Tensor:
    return (rows.mT @ (rows @ v[..., None]))[..., 0] / rows.shape[1]


def _run(setting: tuple[float, int, int], table: dict[str, Tensor]) -> BreakEvenRun:
    point = break_even_point(table["step"], table["left_side"], table["sharpness"])
    return BreakEvenRun(*setting, table, point.status, point.step, point.sharpness, point.sharpness_after, point.diverged_at)
