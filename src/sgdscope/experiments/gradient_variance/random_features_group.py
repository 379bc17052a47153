"""What is measured of students on one training set: the variance of four estimators at each log point."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from sgdscope.data.synthetic import stream_generator
from sgdscope.estimators.clustering import GradientClustering
from sgdscope.estimators.mini_batch import MiniBatch
from sgdscope.estimators.readouts import ReadoutGradients
from sgdscope.estimators.variance import variance_of_estimates
from sgdscope.experiments.gradient_variance.random_features_data import SETUPS, RandomFeatures
from sgdscope.runs.files import Result
from sgdscope.training.batches import Batches

ESTIMATORS = ("SG-B", "SG-2B", "SVRG", "GC")
COLUMNS = ["step", "estimator", "loss", "accuracy", "example_square", "gradient_square", "exact"]
COLUMNS += ["variance", "normalised", "normalised_mean", "guarded", "unguarded", "extreme_moment", "extreme_noise", "extreme_share"]
EXTREME = 0.01
"""Share of the coordinates, those with the largest ratios, that the columns ``extreme_*`` describe."""


class Group:
    """M students on one training set: what is measured along their trajectories, with the same draws for all of them."""

    def __init__(self, configs: Sequence[RandomFeatures], features: Tensor, labels: Tensor):
        self.configs, self.first, self.features, self.labels = configs, configs[0], features, labels
        self.inputs = features[:, : self.first.hidden]  # without the bias's ones
        self.squared_norms = features.double().square().sum(1)
        seed, number = self.first.seed, self.first.num_examples
        self.batches = Batches(number, self.first.batch_size, generator=stream_generator(seed, "batches"))
        self.generators = {name: stream_generator(seed, "estimates", name) for name in ESTIMATORS}
        self.outputs = SETUPS[self.first.definition][1]
        clusters = {"centres": "rank1", "biases": False, "steps": self.first.clustering_steps}  # as the authors' code
        self.clusterings = [GradientClustering(self.first.batch_size, **clusters) for _ in configs]
        self.heads = [_head(self.first.hidden, self.outputs, features) for _ in configs]
        self.clustering_generators = [stream_generator(seed, "clustering") for _ in configs]
        self.snapshot: Tensor | None = None  # (M, N) residuals there
        self.snapshot_mean: Tensor | None = None  # (M, p) full gradient there
        self.partition: Tensor | None = None  # (M, N)
        self.rows: list[list[dict[str, float]]] = [[] for _ in configs]
        self.diverged: list[int | None] = [None] * len(configs)

    def gradients(self, residuals: Tensor) -> ReadoutGradients:
        """Of students with these residuals (M, N)."""
        return ReadoutGradients(self.features, residuals, squared_norms=self.squared_norms)

    def refresh(self, residuals: Tensor, weights: Tensor) -> None:
        """SVRG's snapshot, and the clusters of each student's gradients."""
        self.snapshot, self.snapshot_mean = residuals, self.gradients(residuals).mean()
        two = self.outputs == 2
        loss, labels = ("cross_entropy", self.labels.long()) if two else ("binary_cross_entropy", self.labels[:, :, None])
        for m, (clustering, head) in enumerate(zip(self.clusterings, self.heads, strict=True)):
            _set_head(head, weights[m])
            clustering.refresh(head, loss, self.inputs, labels[m], generator=self.clustering_generators[m])
        self.partition = torch.stack([clustering.partition for clustering in self.clusterings])

    def measure(self, step: int, losses: Tensor, accuracies: Tensor, residuals: Tensor) -> None:
        """Rows of one log point."""
        gradients, batch = self.gradients(residuals), self.first.batch_size
        mean = gradients.mean()
        shared = {
            "loss": losses,
            "accuracy": accuracies,
            "example_square": gradients.average_square(),
            "gradient_square": mean.double().square().mean(1),
        }
        exact, made = {"SG-B": gradients.mini_batch_variance(batch)}, {}
        if self.first.repeats:
            change = self.gradients(residuals - self.snapshot)
            exact |= {
                "SG-2B": gradients.mini_batch_variance(2 * batch),
                "SVRG": change.mini_batch_variance(batch),
                "GC": gradients.stratified_variance(self.partition),
            }
            made = {name: self._estimates(name, gradients, change) for name in ESTIMATORS}
        finite = torch.isfinite(losses).tolist()
        for m in range(len(self.configs)):
            if self.diverged[m] is None and not finite[m]:
                self.diverged[m] = step
            if self.diverged[m] is not None:
                continue
            common = {"step": step} | {name: values[m].item() for name, values in shared.items()}
            for name, values in exact.items():
                row = common | {"estimator": name, "exact": values[m].item()}
                self.rows[m].append(row | (_statistics(name, made[name][m]) if made else {}))

    def _estimates(self, name: str, gradients: ReadoutGradients, change: ReadoutGradients) -> Tensor:
        """(M, 2 R, p)"""
        if name == "GC":
            start = self.generators[name].get_state()
            return torch.cat([self._clustered(m, gradients.residuals[m, None], start) for m in range(len(self.configs))])
        index, weights = self._drawn(MiniBatch(self.first.batch_size * (2 if name == "SG-2B" else 1)), name)
        if name == "SVRG":
            return change.estimates(index, weights) + self.snapshot_mean[:, None]
        return gradients.estimates(index, weights)

    def _clustered(self, m: int, residuals: Tensor, start: Tensor) -> Tensor:
        """(1, 2 R, p) of one student; all of them take the same random numbers."""
        self.generators["GC"].set_state(start)
        return self.gradients(residuals).estimates(*self._drawn(self.clusterings[m], "GC"))

    def _drawn(self, estimator: MiniBatch | GradientClustering, name: str) -> tuple[Tensor, Tensor]:
        """Examples (2 R, B) and weights (B,)."""
        number, device = self.first.num_examples, self.features.device
        drawn = [estimator.draw(number, generator=self.generators[name]) for _ in range(2 * self.first.repeats)]
        return torch.stack([index for index, _ in drawn]).to(device), drawn[0][1].to(device)

    def results(self) -> list[Result]:
        """A table a student; numbers in float32."""
        made = []
        for rows, diverged in zip(self.rows, self.diverged, strict=True):
            table = pd.DataFrame(rows, columns=COLUMNS if self.first.repeats else COLUMNS[:7])
            small = {name: "float32" for name in table.columns if name not in ("step", "estimator")}
            small |= {"step": "int32", "estimator": "str"}
            made.append(Result(table.astype(small), status="finished" if diverged is None else "diverged", diverged_at=diverged))
        return made


def _statistics(name: str, estimates: Tensor) -> dict[str, float]:
    first, second = estimates.double().chunk(2)
    found = variance_of_estimates([first], [second])
    row = {
        "variance": found.average,
        "normalised": found.normalised,
        "normalised_mean": found.normalised_mean,
        "guarded": found.normalised_guarded,
        "unguarded": found.normalised_unguarded,
    }
    return row | (_extreme(first, second) if name == "SG-B" else {})


def _extreme(first: Tensor, second: Tensor) -> dict[str, float]:
    """Of the coordinates with the largest two-pass ratios: second moment, noise and share of the sum; see `train`."""
    moments, noise = second.square().mean(0), first.var(0)
    ratios = ((second - first.mean(0)).square().mean(0) / moments).nan_to_num(nan=0.0)
    top = ratios.topk(max(1, round(EXTREME * len(ratios)))).indices
    return {
        "extreme_moment": (moments[top].mean() / moments.mean()).item(),
        "extreme_noise": (noise[top].mean() / noise.mean()).item(),
        "extreme_share": (ratios[top].sum() / ratios.sum()).item(),
    }


def _head(hidden: int, outputs: int, like: Tensor) -> nn.Linear:
    """The readout as a module, for the clustering."""
    return torch.nn.utils.skip_init(nn.Linear, hidden, outputs, bias=outputs == 2, device=like.device, dtype=like.dtype)


@torch.no_grad()
def _set_head(head: nn.Linear, weights: Tensor) -> None:
    """Weights (p,) of one logit; of two, half the difference each."""
    if head.bias is None:
        head.weight.copy_(weights[None])
        return
    both = torch.stack([-weights / 2, weights / 2])
    head.weight.copy_(both[:, :-1])
    head.bias.copy_(both[:, -1])
