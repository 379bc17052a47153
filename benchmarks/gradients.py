"""Rows of design.md's table on per-example gradients: Gram matrices, dense gradients and a history at batch size 1."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from benchmarks.timing import Row, peak_memory, report, row, side_by_side
from sgdscope.gradients import PerExampleGradients, gradient_history


def lenet() -> nn.Sequential:
    """LeNet of 61,706 parameters, 28 x 28 x 1."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def simple_cnn() -> nn.Sequential:
    """Four convolutions and a dense layer of 512, 32 x 32 x 3: 1,250,858 parameters."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding="same"), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding="same"), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(2304, 512), nn.ReLU(), nn.Linear(512, 10),
    )  # fmt: skip


def mlp() -> nn.Sequential:
    """784-1024-1024-10: 1,863,690 parameters."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))


CASES = {
    "lenet": (lenet, (1, 28, 28), 1000, "LeNet"),
    "simple_cnn": (simple_cnn, (3, 32, 32), 250, "SimpleCNN (dense 512)"),
    "mlp": (mlp, (1, 28, 28), 250, "MLP 784-1024-1024-10"),
}


def problem(case: str, num_examples: int | None = None) -> tuple[nn.Module, Tensor, Tensor]:
    """Model and random data of one case, always the same."""
    build, shape, number, _ = CASES[case]
    number = num_examples or number
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build()
    generator = torch.Generator().manual_seed(1)
    return model, torch.randn(number, *shape, generator=generator), torch.randint(10, (number,), generator=generator)


def forward_backward(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], object]:
    """The unit."""
    parameters = list(model.parameters())
    return lambda: torch.autograd.grad(F.cross_entropy(model(x), y), parameters)


def by_vmap(model: nn.Module, x: Tensor, y: Tensor, *, chunk: int = 50) -> Callable[[], Tensor]:
    """Dense gradients by `torch.func`, in chunks into one matrix."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    one = grad(lambda values, a, b: F.cross_entropy(functional_call(model, values, (a[None],)), b[None]))
    out = torch.empty(len(x), sum(p.numel() for p in parameters.values()))

    def run() -> Tensor:
        for start in range(0, len(x), chunk):
            rows = vmap(one, (None, 0, 0))(parameters, x[start : start + chunk], y[start : start + chunk])
            at = 0
            for gradient in rows.values():
                width = gradient[0].numel()
                out[start : start + chunk, at : at + width] = gradient.flatten(1)
                at += width
        return out

    return run


def by_loop(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    """Dense gradients by one backward pass an example, into one matrix."""
    parameters = list(model.parameters())
    out = torch.empty(len(x), sum(p.numel() for p in parameters))

    def run() -> Tensor:
        for i in range(len(x)):
            gradients = torch.autograd.grad(F.cross_entropy(model(x[i : i + 1]), y[i : i + 1]), parameters)
            torch.cat([gradient.flatten() for gradient in gradients], out=out[i])
        return out

    return run


MISSING = {name: "not installed" for name in ("nngeometry", "backpack", "torchjd") if importlib.util.find_spec(name) is None}


def gram_row(case: str, floor: float, memory_floor: float | None, *, repeats: int) -> Row:
    """Gram matrix of per-example gradients."""
    model, x, y = problem(case)
    dense = by_vmap(model, x, y)

    def by_product() -> Tensor:
        rows = dense()
        return rows @ rows.T

    calls = {
        "fb": forward_backward(model, x, y),
        "ours": lambda: PerExampleGradients.of(model, "cross_entropy", x, y).gram(),
        "ours in float64": lambda: PerExampleGradients.of(model, "cross_entropy", x, y).gram(dtype=torch.float64),
        "vmap + product": by_product,
    }
    times = side_by_side(calls, repeats=repeats)
    name = f"Gram of per-example gradients, {CASES[case][3]}, N = {len(x):,}"
    return row(name, times, floor, missing=MISSING, memory=peak_memory("benchmarks.gradients", f"gram {case}"), memory_floor=memory_floor)


def dense_row(case: str, floor: float, *, repeats: int) -> Row:
    """Dense per-example gradients into a matrix that is there already, for all alike."""
    model, x, y = problem(case)
    out = torch.empty(len(x), sum(p.numel() for p in model.parameters()))
    calls = {
        "fb": forward_backward(model, x, y),
        "ours": lambda: PerExampleGradients.of(model, "cross_entropy", x, y).dense(out=out),
        "ours, fresh matrix": lambda: PerExampleGradients.of(model, "cross_entropy", x, y).dense(),
        "vmap": by_vmap(model, x, y),
        "loop": by_loop(model, x, y),
    }
    return row(
        f"dense per-example gradients, {CASES[case][3]}, N = {len(x):,}", side_by_side(calls, repeats=repeats), floor, missing=MISSING
    )


def history_row(*, repeats: int) -> Row:
    """A history of 1,000 draws at batch size 1; the unit is a forward and backward pass of 1,000 examples."""
    model, x, y = problem("lenet")

    def ours() -> Tensor:
        return gradient_history(model, "cross_entropy", x, y, batch_size=1, num_draws=len(x), generator=torch.Generator().manual_seed(0))

    calls = {"fb": forward_backward(model, x, y), "ours": ours, "vmap": by_vmap(model, x, y), "loop": by_loop(model, x, y)}
    return row("history of 1,000 draws at B = 1, LeNet", side_by_side(calls, repeats=repeats), 3.0)


def first_call_row() -> Row:
    """What the check of a model costs, the first time that it is seen."""
    model, x, y = problem("lenet")

    def unseen() -> Tensor:
        fresh = lenet()
        return PerExampleGradients.of(fresh, "cross_entropy", x, y).gram()

    times = side_by_side({"fb": forward_backward(model, x, y), "ours": unseen}, repeats=3)
    return row("Gram, LeNet, N = 1,000, a model not seen before (with its check)", times, 2.5)


def memory_case(case: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """Warm-up and work of one measurement of memory."""
    _, name = case.split()
    model, x, y = problem(name)

    def work(number: int) -> None:
        PerExampleGradients.of(model, "cross_entropy", x[:number], y[:number]).gram()

    return lambda: work(4), lambda: work(len(x))


def main() -> None:
    """Prints the table and writes build/bench/gradients.json."""
    rows = [
        gram_row("lenet", 2.0, 200, repeats=9),
        gram_row("simple_cnn", 1.5, None, repeats=7),
        gram_row("mlp", 1.0, 20, repeats=11),
        dense_row("lenet", 2.5, repeats=5),
        dense_row("simple_cnn", 2.3, repeats=3),
        dense_row("mlp", 40, repeats=3),
        history_row(repeats=5),
        first_call_row(),
    ]
    report("gradients", rows)
