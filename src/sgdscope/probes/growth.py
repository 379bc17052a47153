"""Strong growth: how much longer the gradients of single examples are than their mean."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt

from sgdscope.gradients import PerExampleGradients
from sgdscope.gradients.budget import MEMORY
from sgdscope.probes.probe import Measured, Probe, examples, set_whole
from sgdscope.training import Snapshot, measuring


@dataclass(frozen=True)
class StrongGrowth(Probe):
    """The ratios that the strong growth condition bounds (Schmidt and Le Roux 2013), in eval mode, on the training data or a fixed subset.

    The condition, ``max_i |g_i| <= c |g|`` with one c for all parameters, makes the variance vanish where the mean gradient g does. The ratios do
    not depend on the scale of the loss; the variance is quadratic in it.

    Measures:
        growth_max: ``max_i |g_i| / |g|``; infinite where g is zero.
        growth_mean_square: ``(1/N) sum_i |g_i|^2 / |g|^2``, at most the square of the other.
        growth_gradient_norm: ``|g|``.
        growth_variance: ``(1/d) (1/N) sum_i |g_i - g|^2``; over B, the average variance of a mini-batch of B drawn with replacement.

    Attributes:
        num_examples: size of the subset, whose own mean g is then; all training data by default.
        seed: of the subset.
        memory: bytes for the factors of the per-example gradients; where they are not kept, a measurement takes two passes.
    """

    num_examples: int | None = None
    seed: int = 0
    memory: int = MEMORY

    def __post_init__(self) -> None:
        set_whole(self, num_examples=1)

    def measure(self, snapshot: Snapshot) -> Measured:
        """The ratios at one snapshot."""
        x, y = examples(snapshot, self.num_examples, self.seed)
        with measuring(snapshot.model):
            gradients = PerExampleGradients.of(snapshot.model, snapshot.loss, x, y, memory=self.memory, form="factored")
            squares = gradients.squared_norms().double()
            of_mean = float(gradients.mean().double().square().sum())
        return {
            "growth_max": sqrt(float(squares.max()) / of_mean) if of_mean else inf,
            "growth_mean_square": float(squares.mean()) / of_mean if of_mean else inf,
            "growth_gradient_norm": sqrt(of_mean),
            "growth_variance": max(float(squares.mean()) - of_mean, 0.0) / gradients.shape[1],
        }
