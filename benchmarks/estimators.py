"""Rows of design.md's table on clustering: weighted Lloyd on a Gram matrix, and an iteration with factored centres."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.gradients import forward_backward, problem
from benchmarks.timing import Row, report, row, side_by_side
from benchmarks.two_passes import TwoPasses
from sgdscope.estimators import GradientClustering, MiniBatch, estimates, factored_lloyd, weighted_lloyd
from sgdscope.gradients import PerExampleGradients
from sgdscope.models import build
from sgdscope.models.examples import take


def lloyd_row(*, repeats: int) -> Row:
    """10 steps of weighted Lloyd given the Gram matrix; the unit is 10 iterations of scikit-learn's KMeans on the dense gradients."""
    from sklearn.cluster import KMeans

    model, x, y = problem("lenet")
    gradients = PerExampleGradients.of(model, "cross_entropy", x, y)
    gram, dense = gradients.gram(), gradients.dense()
    rows = dense.numpy()

    def by_matrices() -> Tensor:
        """Lloyd in torch on the dense gradients."""
        centres = dense[:16].clone()
        for _ in range(10):
            assignment = torch.cdist(dense, centres).argmin(1)
            sums = torch.zeros_like(centres).index_add_(0, assignment, dense)
            centres = sums / torch.bincount(assignment, minlength=16).clamp(min=1)[:, None]
        return assignment

    calls = {
        "ours": lambda: weighted_lloyd(gram, 16, steps=10, sizes="running", generator=torch.Generator().manual_seed(0)),
        "KMeans": lambda: KMeans(16, n_init=1, max_iter=10, tol=0, init="random", random_state=0, algorithm="lloyd").fit(rows),
        "torch Lloyd on dense": by_matrices,
    }
    times = side_by_side(calls, repeats=repeats)
    return row("weighted Lloyd given the Gram, N = 1,000, K = 16, 10 steps", times, 1 / 50, unit="KMeans")


def iteration_row(name: str, model: nn.Module, x: Tensor, y: Tensor, floor: float, memory: int, *, repeats: int) -> Row:
    """One assignment and update by rank-1 centres, the model's passes included: the difference of four steps and two, over two.

    Beside it the algorithm as it is written in the paper, which goes over the data twice.
    """

    def gradients(index: Tensor | None) -> PerExampleGradients:
        a, b = (x, y) if index is None else (take(x, index), take(y, index))
        return PerExampleGradients.of(model, "cross_entropy", a, b, form="factored", memory=memory)

    assert not gradients(None).kept, "factors that are kept would leave the passes out"

    def steps(number: int) -> Callable[[], object]:
        settings = {"steps": number, "sizes": "running", "refill": "none"}
        return lambda: factored_lloyd(gradients, 128, generator=torch.Generator().manual_seed(0), **settings)

    plain = TwoPasses(copy.deepcopy(model), 128)  # hooks stay with the copy
    calls = {"fb": forward_backward(model, x, y), "two": steps(2), "four": steps(4), "two passes, plainly": lambda: plain.iteration(x, y)}
    times = side_by_side(calls, repeats=repeats)
    times["ours"] = [(b - a) / 2 for a, b in zip(times.pop("two"), times.pop("four"), strict=True)]
    return row(f"one assignment + update iteration, rank 1, K = 128, {name}, N = {len(x):,}", times, floor)


def update_row(name: str, model: nn.Module, x: Tensor, y: Tensor, floor: float, *, repeats: int) -> Row:
    """One incremental update by a mini-batch of all of ``x``: assignment of its examples and running means of the rank-1 centres."""
    estimator = GradientClustering(64, centres="rank1", steps=1)
    estimator.refresh(model, "cross_entropy", x, y, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    calls = {
        "fb": forward_backward(model, x, y),
        "ours": lambda: estimator.update(model, "cross_entropy", x, y, num_examples=len(x), generator=generator),
    }
    times = side_by_side(calls, repeats=repeats)
    return row(f"one update of the centres by a mini-batch of {len(x)}, rank 1, K = 64, {name}", times, floor)


def estimates_row(*, repeats: int) -> Row:
    """50 mini-batches of 128 out of 1,000 examples; the unit is one backward pass each."""
    model, x, y = problem("lenet")

    def made(method: str) -> Callable[[], object]:
        settings = {"repeats": 50, "method": method}
        return lambda: list(estimates(MiniBatch(128), model, "cross_entropy", x, y, generator=torch.Generator().manual_seed(0), **settings))

    times = side_by_side({"loop": made("batches"), "ours": made("auto")}, repeats=repeats)
    return row("50 estimates at B = 128, N = 1,000, LeNet", times, 0.5, unit="loop")


def main() -> None:
    """Prints the table and writes build/bench/estimators.json."""
    mlp, x, y = problem("mlp", 1500)
    resnet = build("resnet8", seed=0, batch_norm=False)
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.randn(200, 3, 32, 32, generator=generator), torch.randint(10, (200,), generator=generator)
    rows = [
        lloyd_row(repeats=3),
        iteration_row("MLP 784-1024-1024-10", mlp, x, y, 1.3, 64 << 20, repeats=5),
        iteration_row("ResNet8 without batch norm", resnet, images, labels, 3.0, 128 << 20, repeats=5),
        update_row("MLP 784-1024-1024-10", mlp, x[:128], y[:128], 1.5, repeats=5),
        update_row("ResNet8 without batch norm", resnet, images[:128], labels[:128], 4.0, repeats=5),
        estimates_row(repeats=3),
    ]
    report("estimators", rows)
