"""One point of a training trajectory: what a probe sees."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

from torch import Tensor, nn

from sgdscope.errors import whole
from sgdscope.models.examples import Examples, num_examples
from sgdscope.models.losses import Loss


@dataclass(frozen=True, eq=False, kw_only=True)
class Snapshot:
    """The model after ``step`` steps, and the step that led here.

    The training loop yields these; in a loop of your own, make one with the first four attributes and ``step``, and hand it to probes.

    Attributes:
        model: the live model, not a copy: measure it before the next step, or copy it.
        loss: of single examples, a name or a function.
        x: all training inputs.
        y: all training targets.
        step: steps made so far; 0 before the first.
        epoch: passes through the data so far, a fraction.
        learning_rate: of the step that *follows* this point (what decides whether this point is stable).
        batch_size: of training; None if not stated.
        batch: indices of the examples of the step that led here; None at step 0, or where an estimator drew its own.
        loss_before: mean loss over that batch before that step, in the mode of training, after augmentation.
        loss_after: the same after the step; NaN unless asked for.
        full_loss_before: mean loss over all training examples before that step, in eval mode; NaN unless asked for.
        full_loss_after: the same after the step, at this point.
        gradient_norm: Euclidean norm of that step's gradient, without weight decay and momentum.
        status: running, finished (the last step), or diverged: loss or gradient of step ``step`` was not finite or too large, so that the
            step was not made and the parameters are those before it. A step is judged by the loss and the gradient that it starts from.

    Raises:
        InvalidInput: a step that is no whole number of at least 0.
    """

    model: nn.Module
    loss: Loss
    x: Examples
    y: Examples
    step: int = 0
    epoch: float = nan
    learning_rate: float = nan
    batch_size: int | None = None
    batch: Tensor | None = None
    loss_before: float = nan
    loss_after: float = nan
    full_loss_before: float = nan
    full_loss_after: float = nan
    gradient_norm: float = nan
    status: str = "running"

    def __post_init__(self) -> None:
        object.__setattr__(self, "step", whole("step", self.step, 0))

    @property
    def num_examples(self) -> int:
        """N of the training data."""
        return num_examples(self.x)

    def __repr__(self) -> str:
        """Where on the trajectory; not the data."""
        return f"Snapshot(step={self.step}, epoch={self.epoch:.4g}, status={self.status!r})"
