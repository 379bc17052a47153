"""Rows of design.md's table on the curvature of single losses along a direction."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, jvp

from benchmarks.gradients import CASES, forward_backward, problem
from benchmarks.timing import Row, peak_memory, report, row, side_by_side
from sgdscope.spectra.composite import composite_forms
from sgdscope.stability import directional_curvature

FEW = 5  # examples whose Hessian-vector products are timed


class Transformer(nn.Module):
    """Two encoder layers of width 64 over 64 tokens: attention, layer norm, embedding."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(64, 4, 256, dropout=0.0, batch_first=True)
        self.tokens, self.encoder = nn.Embedding(1000, 64), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(64, 10)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, 64) tokens to (N, 10)."""
        return self.head(self.encoder(self.tokens(tokens)).mean(1))


class Recurrent(nn.Module):
    """An LSTM of 100 units over 80 tokens, the size of the IMDB pages."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.cell, self.head = nn.Embedding(5000, 100), nn.LSTM(100, 100, batch_first=True), nn.Linear(100, 10)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, 80) tokens to (N, 10)."""
        return self.head(self.cell(self.tokens(tokens))[0][:, -1])


class Unknown(nn.Module):
    """A network with a function that no rule names."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 28, 28) to (N, 10), in order of size."""
        return self.layers(x).sort(1).values


def layer_norm_mlp() -> nn.Sequential:
    """784-512-512-512-10 with layer norm and GELU."""
    widths = [(784, 512), (512, 512), (512, 512)]
    return nn.Sequential(*(layer for a, b in widths for layer in (nn.Linear(a, b), nn.LayerNorm(b), nn.GELU())), nn.Linear(512, 10))


GENERAL = {
    "transformer": (Transformer, lambda g: torch.randint(1000, (256, 64), generator=g), "transformer of 2 layers, 64 tokens"),
    "lstm": (Recurrent, lambda g: torch.randint(5000, (256, 80), generator=g), "LSTM-100, 80 tokens"),
    "layer norm": (layer_norm_mlp, lambda g: torch.randn(1000, 784, generator=g), "MLP 784-512-512-512-10 with layer norm and GELU"),
    "lenet, sorted": (lambda: Unknown(problem("lenet", 1)[0]), lambda g: torch.randn(1000, 1, 28, 28, generator=g), "LeNet, sorted outputs"),
    "mlp, sorted": (lambda: Unknown(problem("mlp", 1)[0]), lambda g: torch.randn(250, 784, generator=g), "MLP 784-1024-1024-10, sorted outputs"),
}  # fmt: skip


def general_problem(case: str) -> tuple[nn.Module, Tensor, Tensor]:
    """Model and random data of one case, always the same."""
    build, draw, _ = GENERAL[case]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build()
    generator = torch.Generator().manual_seed(1)
    x = draw(generator)
    return model, x, torch.randint(10, (len(x),), generator=generator)


def direction_of(model: nn.Module) -> Tensor:
    """A random direction of length one."""
    direction = torch.randn(sum(p.numel() for p in model.parameters()), generator=torch.Generator().manual_seed(2))
    return direction / direction.norm()


def by_nested_jvp(model: nn.Module, x: Tensor, y: Tensor, *, chunk: int = 128) -> Callable[[], Tensor]:
    """`torch.func.jvp` of itself, written by hand, in chunks; with our composite forms, for without them it raises or is wrong."""
    named = {name: p.detach() for name, p in model.named_parameters()}
    values = tuple(named.values())
    vectors = tuple(v.view(p.shape) for v, p in zip(direction_of(model).split([p.numel() for p in values]), values, strict=True))

    def run() -> Tensor:
        rows = []
        for start in range(0, len(x), chunk):
            a, b = x[start : start + chunk], y[start : start + chunk]

            def losses(*parameters: Tensor, a: Tensor = a, b: Tensor = b) -> Tensor:
                return F.cross_entropy(functional_call(model, dict(zip(named, parameters, strict=True)), (a,)), b, reduction="none")

            rows.append(jvp(lambda *p, losses=losses: jvp(losses, p, vectors)[1], values, vectors)[1])
        return torch.cat(rows)

    def with_forms() -> Tensor:
        with composite_forms():
            return run()

    return with_forms


def by_products(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    """One Hessian-vector product by double backward for each of a few examples."""
    parameters = list(model.parameters())
    vectors = [v.view(p.shape) for v, p in zip(direction_of(model).split([p.numel() for p in parameters]), parameters, strict=True)]

    def run() -> Tensor:
        found = []
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            for i in range(FEW):
                gradients = torch.autograd.grad(F.cross_entropy(model(x[i : i + 1]), y[i : i + 1]), parameters, create_graph=True)
                slope = sum((g * v).sum() for g, v in zip(gradients, vectors, strict=True))
                products = torch.autograd.grad(slope, parameters)
                found.append(sum((h * v).sum() for h, v in zip(products, vectors, strict=True)))
        return torch.stack(found)

    return run


def curvature_row(model: nn.Module, x: Tensor, y: Tensor, name: str, floor: float, *, repeats: int, **more: object) -> Row:
    """One model; also checks that all ways agree."""
    direction, nested, products = direction_of(model), by_nested_jvp(model, x, y), by_products(model, x, y)

    def ours() -> Tensor:
        return directional_curvature(model, "cross_entropy", x, y, direction)

    found, scale = ours(), 1e-3 * float(nested().abs().max())
    torch.testing.assert_close(found, nested(), rtol=1e-3, atol=scale)
    torch.testing.assert_close(found[:FEW], products(), rtol=1e-3, atol=scale)
    times = side_by_side(
        {"fb": forward_backward(model, x, y), "ours": ours, "nested jvp": nested, "products": products}, repeats=repeats, seconds=40
    )
    times["N products"] = [len(x) / FEW * time for time in times.pop("products")]
    note = f"N products: {FEW} timed, times N / {FEW}; fb {statistics.median(times['fb']) / len(x):.3f} ms an example"
    return row(f"curvature along a direction, {name}, N = {len(x):,}", times, floor, note=note, **more)


def memory_case(case: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """Warm-up and work of one measurement of memory."""
    model, x, y = problem(case)
    direction = direction_of(model)
    warm_up = lambda: directional_curvature(model, "cross_entropy", x[:4], y[:4], direction)  # noqa: E731
    return warm_up, lambda: directional_curvature(model, "cross_entropy", x, y, direction)


def main() -> None:
    """Prints the table and writes build/bench/curvature.json."""
    rows = [
        curvature_row(*problem(case), CASES[case][3], 2.0, repeats=9, memory=peak_memory("benchmarks.curvature", case)) for case in CASES
    ]
    rows += [curvature_row(*general_problem(case), GENERAL[case][2], 3.6, repeats=7) for case in GENERAL]
    report("curvature", rows)
