"""Losses, accuracies, predictions and gradient norms along training."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from sgdscope.errors import InvalidInput, NotFinite
from sgdscope.gradients import PerExampleGradients
from sgdscope.models.examples import Examples
from sgdscope.probes.probe import Measured, Probe, examples, set_whole
from sgdscope.training import Snapshot, evaluate, measuring, predictions


@dataclass(frozen=True, eq=False)
class Accuracy(Probe):
    """Mean loss and accuracy, in eval mode, on the training data, a fixed subset of it, or other data.

    Measures (with ``name`` before each):
        loss: mean over examples.
        accuracy: share of examples whose largest output is that of the label.

    Attributes:
        name: ``train`` or ``test``, the first half of the column names.
        x: inputs; those of the snapshot by default.
        y: their targets.
        num_examples: size of the subset of the training data; all by default.
        seed: of the subset.
    """

    name: str = "train"
    x: Examples | None = None
    y: Examples | None = None
    num_examples: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        set_whole(self, num_examples=1)
        if (self.x is None) != (self.y is None) or (self.x is not None and self.num_examples is not None):
            raise InvalidInput("give x with y, or neither; num_examples selects from the training data only. Cut other data before.")

    def measure(self, snapshot: Snapshot) -> Measured:
        """Loss and accuracy at one snapshot.

        Raises:
            NotFinite: the loss is NaN or infinite.
        """
        x, y = (self.x, self.y) if self.x is not None else examples(snapshot, self.num_examples, self.seed)
        found = evaluate(snapshot.model, snapshot.loss, x, y)
        if not isfinite(found.loss):
            raise NotFinite(f"the mean loss must be finite; {found.loss} came at step {snapshot.step}. Has the training diverged?")
        return {f"{self.name}_loss": found.loss, f"{self.name}_accuracy": found.accuracy}


@dataclass(frozen=True)
class LossChange(Probe):
    """What the step that led to the snapshot did to the loss. Needs a loop that measures it: ``train(full_loss=..., loss_after=...)``.

    Measures:
        loss_change: mean loss on all training examples after the step less before it, in eval mode (paper: Delta L).
        batch_loss_change: the same on the step's own mini-batch, in the mode of training.
    """

    def measure(self, snapshot: Snapshot) -> Measured:
        """The two differences; NaN for what the loop did not measure, and at step 0."""
        return {
            "loss_change": snapshot.full_loss_after - snapshot.full_loss_before,
            "batch_loss_change": snapshot.loss_after - snapshot.loss_before,
        }


@dataclass(frozen=True)
class GradientNorms(Probe):
    """Lengths of the per-example gradients and of their mean, in eval mode, on a fixed subset of the training data.

    Linear in the loss, the variances quadratic. A mini-batch of M examples drawn with replacement has 1/M of the variance.

    Measures:
        mean_gradient_norm: ``|g|``, g the mean gradient.
        example_gradient_norm: mean over examples of ``|g_i|``.
        gradient_variance: ``(1/d) (1/N) sum_i |g_i - g|^2``: average over coordinates of the variance of a single example's gradient.
        noise_scale: ``(1/N) sum_i |g_i - g|^2 / |g|^2``: the batch size at which noise and mean gradient are of one length.

    Attributes:
        num_examples: size of the subset; all training data by default.
        seed: of the subset.
    """

    num_examples: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        set_whole(self, num_examples=1)

    def measure(self, snapshot: Snapshot) -> Measured:
        """The numbers at one snapshot."""
        x, y = examples(snapshot, self.num_examples, self.seed)
        with measuring(snapshot.model):
            gradients = PerExampleGradients.of(snapshot.model, snapshot.loss, x, y)
            squares, mean = gradients.squared_norms().double(), float(gradients.mean().double().norm())
        variance = max(float(squares.mean()) - mean**2, 0.0)
        return {
            "mean_gradient_norm": mean,
            "example_gradient_norm": float(squares.sqrt().mean()),
            "gradient_variance": variance / gradients.shape[1],
            "noise_scale": variance / mean**2 if mean > 0 else float("inf"),
        }


@dataclass(frozen=True, eq=False)
class Predictions(Probe):
    """Softmax outputs on fixed inputs, one vector: a point of the trajectory in the space of predictions (paper, Fig. 1).

    Measures:
        predictions: (N * classes,).

    Attributes:
        x: inputs, usually of the test set.
    """

    x: Examples

    def measure(self, snapshot: Snapshot) -> Measured:
        """The predictions at one snapshot."""
        return {"predictions": predictions(snapshot.model, self.x).flatten()}
