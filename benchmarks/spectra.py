"""Rows of design.md's table on Hessians and covariances: products, top eigenvalues, warm starts, the Gram matrix of a long history.

It takes about ten minutes, most of them for the peers.
"""

from __future__ import annotations

import copy
import importlib.util
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from scipy.linalg.blas import ssyrk
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn

from benchmarks.gradients import CASES, forward_backward, problem, simple_cnn
from benchmarks.timing import Row, peak_memory, report, row, side_by_side
from sgdscope.data import load_dataset
from sgdscope.spectra import HessianOperator, covariance_spectrum, gram_matrix, hessian_eigenpairs, hessian_vector_product

CROSS_ENTROPY = "cross_entropy"
PEERS = {"curvlinops": "curvlinops", "PyHessian": "pyhessian"}
MISSING = {name: "not installed" for name, module in PEERS.items() if importlib.util.find_spec(module) is None}
TOLERANCE = 1e-2  # residuals relative to each eigenvalue, for ours and for ARPACK
DATA_MIB = 5000 * 62_006 * 4 / 2**20


def curvlinops_operator(model: nn.Module, x: Tensor, y: Tensor) -> object:
    """The same Hessian in curvlinops."""
    from curvlinops import HessianLinearOperator

    parameters = [p for p in model.parameters() if p.requires_grad]
    return HessianLinearOperator(model, nn.CrossEntropyLoss(), parameters, [(x, y)], check_deterministic=False)


def double_backward(model: nn.Module, x: Tensor, y: Tensor, v: Tensor) -> Callable[[], Tensor]:
    """One product the plain way, the graph built each time."""
    parameters = list(model.parameters())
    parts = [part.view_as(p) for part, p in zip(v.split([p.numel() for p in parameters]), parameters, strict=True)]

    def run() -> Tensor:
        gradient = torch.autograd.grad(F.cross_entropy(model(x), y), parameters, create_graph=True)
        return torch.cat([product.flatten() for product in torch.autograd.grad(gradient, parameters, grad_outputs=parts)])

    return run


def product_row(case: str, *, repeats: int) -> Row:
    """One Hessian-vector product: of an operator that is there, as in an eigenproblem; ``once`` is all that one product alone takes."""
    model, x, y = problem(case)
    operator = HessianOperator(model, CROSS_ENTROPY, x, y)
    v = torch.randn(operator.shape[0], generator=torch.Generator().manual_seed(2))
    calls = {
        "fb": forward_backward(model, x, y),
        "ours": lambda: operator @ v,
        "ours, once": lambda: hessian_vector_product(model, CROSS_ENTROPY, x, y, v),
        "double backward": double_backward(model, x, y, v),
    }
    if "curvlinops" not in MISSING:
        peer = curvlinops_operator(model, x, y)
        calls["curvlinops"] = lambda: peer @ v
    missing = {name: why for name, why in MISSING.items() if name == "curvlinops"}
    times = side_by_side(calls, repeats=repeats)
    note = f"graph kept for {operator.kept} examples, {operator.graph_bytes() / 2**20:.2f} MiB each"
    return row(f"one Hessian-vector product, {CASES[case][3]}, N = {len(x):,}", times, 2.2, missing=missing, note=note)


def images(number: int) -> tuple[Tensor, Tensor]:
    """Shipped FashionMNIST, standardised, padded to 32 x 32 and repeated for three channels."""
    data = load_dataset("fashion_mnist_small")
    x = (data.x[:number] - data.x.mean()) / data.x.std()
    return F.pad(x, (2, 2, 2, 2)).repeat(1, 3, 1, 1), data.y[:number]


def trained(num_steps: int) -> nn.Module:
    """SimpleCNN after so many steps of Adam, batches of 64."""
    x, y = images(4000)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = simple_cnn()
    optimizer, generator = torch.optim.Adam(model.parameters(), lr=1e-3), torch.Generator().manual_seed(0)
    for _ in range(num_steps):
        batch = torch.randint(len(x), (64,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
    return model


def by_arpack(product: Callable[[Tensor], Tensor], dimension: int, calls: list[int]) -> np.ndarray:
    """Top 10 by scipy's ARPACK."""

    def matvec(v: np.ndarray) -> np.ndarray:
        calls.append(1)
        return product(torch.from_numpy(v.ravel().astype(np.float32))).numpy()

    operator = LinearOperator((dimension, dimension), matvec=matvec, dtype=np.float32)
    return eigsh(operator, k=10, which="LA", tol=TOLERANCE, return_eigenvectors=True)[0]


def by_pyhessian(model: nn.Module, x: Tensor, y: Tensor) -> list[float]:
    """Top 10 by power iteration, ordered by magnitude."""
    from pyhessian import hessian

    return hessian(copy.deepcopy(model), nn.CrossEntropyLoss(), data=(x, y), cuda=False).eigenvalues(top_n=10, tol=TOLERANCE)[0]


def eigenvalues_row(model: nn.Module, state: str, floor: float, *, repeats: int, power_iteration: bool) -> Row:
    """Top 10 eigenvalues, everything included."""
    x, y = images(250)
    ours, theirs = [], []
    calls = {
        "fb": forward_backward(model, x, y),
        "ours": lambda: ours.append(hessian_eigenpairs(model, CROSS_ENTROPY, x, y, k=10, tolerance=TOLERANCE).products),
        "ours + eigsh": lambda: by_arpack(HessianOperator(model, CROSS_ENTROPY, x, y).__matmul__, sum(p.numel() for p in model.parameters()), []),
    }  # fmt: skip
    if "curvlinops" not in MISSING:

        def by_curvlinops() -> None:
            peer, counted = curvlinops_operator(model, x, y), []
            by_arpack(peer.__matmul__, peer.shape[0], counted)
            theirs.append(len(counted))

        calls["curvlinops + eigsh"] = by_curvlinops
    times = side_by_side(calls, repeats=repeats, seconds=600)
    if power_iteration and "PyHessian" not in MISSING:
        start = time.perf_counter()
        by_pyhessian(model, x, y)
        times["PyHessian (once)"] = [(time.perf_counter() - start) * 1e3]
    note = f"products: ours {ours[-1]}, its check included" + (f", curvlinops + eigsh {theirs[-1]}" if theirs else "")
    name = f"top-10 Hessian eigenvalues, SimpleCNN (dense 512), N = 250, FashionMNIST, {state}"
    return row(name, times, floor, missing=MISSING, note=note)


def warm_row(model: nn.Module, state: str, k: int, *, learning_rate: float, num_steps: int = 3) -> Row:
    """Products of warm starts over those of cold ones, an eigenproblem after each step of SGD; a ratio of counts, not of times."""
    x, y = images(4000)
    model, generator = copy.deepcopy(model), torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    cold, warm, times, before = [], [], [], None
    for step in range(num_steps + 1):
        start = time.perf_counter()
        fresh = hessian_eigenpairs(model, CROSS_ENTROPY, x[:100], y[:100], k=k, tolerance=TOLERANCE)
        times.append((time.perf_counter() - start) * 1e3)
        if before is not None:
            before = hessian_eigenpairs(model, CROSS_ENTROPY, x[:100], y[:100], k=k, tolerance=TOLERANCE, start=before)
            cold.append(fresh.products), warm.append(before.products)
        before = before or fresh
        if step < num_steps:
            batch = torch.randint(len(x), (64,), generator=generator)
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    name = f"top-{k} of SimpleCNN along training, warm start, a ratio of products; {state}, SGD at {learning_rate:g}, every step, N = 100"
    note = f"products: cold {cold}, warm {warm}; k + 1 = {k + 1} is the least that a warm start can take"
    return Row(name, statistics.median(times), sum(warm) / sum(cold), 1 / 3, note=note, unit_name="cold start")


def history_row() -> Row:
    """Gram matrix of a history at full size, once each, after one at a fifth of the rows."""
    rows = torch.randn(5000, 62_006, generator=torch.Generator().manual_seed(0))
    calls = {
        "torch": lambda g: g @ g.T,
        "ours": gram_matrix,
        "ours, centred": lambda g: gram_matrix(g, centered=True),
        "scipy ssyrk": lambda g: ssyrk(1.0, g.numpy().T, trans=1, lower=1),
    }
    times: dict[str, list[float]] = {}
    for name, call in calls.items():
        call(rows[:1000])
        start = time.perf_counter()
        call(rows)
        times[name] = [(time.perf_counter() - start) * 1e3]
    del rows
    memory = peak_memory("benchmarks.spectra", "history")
    return row(
        "Gram of a 5,000 x 62,006 history, float32", times, 0.7, unit="torch", memory=memory, memory_floor=4e9 / 2**20,
        note=f"memory: the spectrum of the covariance in all, with the {DATA_MIB:.0f} MiB of the history itself",
    )  # fmt: skip


def memory_case(case: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """Warm-up and work of one measurement of memory; the work makes its data, so that they count."""

    def work(number: int, dimension: int) -> None:
        covariance_spectrum(torch.randn(number, dimension, generator=torch.Generator().manual_seed(0)))

    return lambda: work(10, 100), lambda: work(5000, 62_006)


def main() -> None:
    """Prints the table and writes build/bench/spectra.json."""
    later, start = trained(100), trained(0)
    rows = [
        product_row("simple_cnn", repeats=7),
        product_row("lenet", repeats=7),
        product_row("mlp", repeats=11),
        eigenvalues_row(later, "after 100 steps of Adam", 70, repeats=2, power_iteration=True),
        warm_row(start, "from the initialisation", 10, learning_rate=0.01),
        warm_row(start, "from the initialisation", 1, learning_rate=0.01),
        warm_row(later, "after 100 steps of Adam", 10, learning_rate=0.001),
        warm_row(later, "after 100 steps of Adam", 1, learning_rate=0.001),
        history_row(),
    ]
    report("spectra", rows)


if __name__ == "__main__":
    main()
