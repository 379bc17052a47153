"""Row of design.md's table on many small models: readouts of random features, trained at once and one by one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.timing import Row, report, row, side_by_side
from sgdscope.training import Readouts

MODELS, EXAMPLES, HIDDEN, BATCH, STEPS = 50, 1000, 1000, 10, 200


def problem(groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features (G, N, p) with a column of ones, labels (G, M, N) and batches (steps, G, B) of 50 models in G groups."""
    generator = torch.Generator().manual_seed(0)
    features = torch.ones(groups, EXAMPLES, HIDDEN + 1)
    features[:, :, :HIDDEN] = torch.randn(groups, EXAMPLES, HIDDEN, generator=generator).relu_()
    labels = torch.randint(2, (groups, MODELS // groups, EXAMPLES), generator=generator)
    return features, labels, torch.randint(EXAMPLES, (STEPS, groups, BATCH), generator=generator)


def training_row(name: str, groups: int, floor: float, *, repeats: int) -> Row:
    """200 steps of 50 models with two logits; the unit is a loop over models with autograd and `torch.optim.SGD`."""
    features, labels, batches = problem(groups)
    each = MODELS // groups

    def ours() -> Tensor:
        readouts = Readouts(features, labels, torch.zeros(groups, each, HIDDEN + 1), outputs=2)
        rates = torch.full((groups, each), 0.01)
        for index in batches:
            readouts.step(index, rates)
        return readouts.weights

    def loop() -> None:
        for g in range(groups):
            for m in range(each):
                model = nn.Linear(HIDDEN, 2)
                optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
                for index in batches[:, g]:
                    optimizer.zero_grad()
                    nn.functional.cross_entropy(model(features[g, index, :HIDDEN]), labels[g, m, index]).backward()
                    optimizer.step()

    def batched_autograd() -> None:
        weights = torch.zeros(groups, each, 2, HIDDEN + 1, requires_grad=True)
        place = torch.arange(groups)[:, None]
        for index in batches:
            rows = features[place, index]  # (G, B, p)
            logits = torch.einsum("gbp,gmcp->gmbc", rows, weights)
            targets = labels.gather(2, index[:, None].expand(-1, each, -1))
            loss = nn.functional.cross_entropy(logits.flatten(0, 2), targets.flatten(), reduction="sum") / BATCH
            with torch.no_grad():
                weights -= 0.01 * torch.autograd.grad(loss, weights)[0]

    times = side_by_side({"loop": loop, "batched autograd": batched_autograd, "ours": ours}, repeats=repeats)
    return row(f"50 random-features models, h_s = N = 1,000, 200 steps of B = 10, {name}", times, floor, unit="loop")


def main() -> None:
    """Prints the table and writes build/bench/random_features.json."""
    rows = [
        training_row("sharing features and batches", 1, 1 / 50, repeats=5),
        training_row("each with its own features", MODELS, 1 / 4, repeats=5),
    ]
    report("random_features", rows)
