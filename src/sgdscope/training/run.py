"""State of one training run, and one step of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan
from typing import TypeAlias

import torch
from torch import Tensor

from sgdscope.data.synthetic import stream_generator
from sgdscope.errors import InvalidInput, NotFinite
from sgdscope.models.examples import Examples, call, take
from sgdscope.models.losses import per_example_loss
from sgdscope.training.augmentation import Augment
from sgdscope.training.batches import Batches
from sgdscope.training.checkpoint import Carried
from sgdscope.training.evaluation import evaluate, measuring
from sgdscope.training.gradient import Estimator, GradientRule, like_parameters, loss_and_gradient
from sgdscope.training.schedules import Schedule
from sgdscope.training.sgd import SGD
from sgdscope.training.snapshot import Snapshot

When: TypeAlias = bool | Callable[[int], bool]
"""True, False, or a function of the step."""


@dataclass(eq=False, kw_only=True)
class Run:
    """State and settings of one training run; `train` says what they are."""

    point: Snapshot  # what all snapshots share
    sgd: SGD
    batches: Batches
    rate: Schedule
    seed: int
    augment: Augment | None
    gradient: GradientRule | None
    estimator: Estimator | None
    mode: str
    loss_after: When
    full_loss: When
    largest_loss: float
    chunk_size: int
    carry: dict[str, Carried]
    step: int = 0
    known: tuple[int, float] = (-1, nan)  # step and loss on all data there

    def __post_init__(self) -> None:
        self.modules = list(self.point.model.modules())
        self.generators = {name: stream_generator(self.seed, name) for name in ("augment", "estimator")}

    def at(self, step: int, **more: object) -> Snapshot:
        """The snapshot of a step."""
        return replace(self.point, step=step, epoch=self.batches.epoch(step), learning_rate=self.learning_rate(step), **more)

    def learning_rate(self, step: int) -> float:
        """Rate of the step that follows ``step`` steps.

        Raises:
            InvalidInput: the schedule gives no finite number.
        """
        rate = self.rate(step, self.batches.epoch(step))
        if not (isinstance(rate, int | float) and isfinite(rate)):
            raise InvalidInput(f"the schedule must give a finite number at step {step}; {rate!r} came.")
        return rate

    def start(self) -> Snapshot:
        """The snapshot of step 0."""
        return self.at(0, full_loss_after=self.full() if due(self.full_loss, 0) else nan)

    def advance(self) -> Snapshot:
        """One step, or none where its loss or gradient diverges."""
        following = self.step + 1
        done: dict[str, object] = {}
        measured = due(self.full_loss, following)
        if measured:
            done["full_loss_before"] = self.full()
        self.set_mode()
        x, y = self.point.x, self.point.y
        if self.estimator is None:
            done["batch"] = batch = self.batches.next()
            x, y = take(x, batch), take(y, batch)
            if self.augment is not None:
                x = self.augment(x, self.generators["augment"])
        before, gradient = self._loss_and_gradient(x, y)
        norm = nan if gradient is None else torch.nn.utils.get_total_norm(gradient).item()
        done["gradient_norm"] = norm
        sound = isfinite(norm)
        if before is not None:
            done["loss_before"] = loss = before.item()
            sound = sound and isfinite(loss) and loss <= self.largest_loss
        if not sound:
            return self.at(following, status="diverged", **done)
        self.sgd.step(gradient, self.learning_rate(self.step))
        self.step = following
        if due(self.loss_after, following):
            done["loss_after"] = self._batch_loss(x, y).item()
        if measured:
            done["full_loss_after"] = self.full()
        return self.at(following, **done)

    def set_mode(self) -> None:
        """Puts the model into the mode of training; the caller may have changed it."""
        training = self.mode == "train"
        if any(module.training != training for module in self.modules):
            self.point.model.train(training)

    def full(self) -> float:
        """Loss on all data at the present parameters; that after a step is that before the next."""
        if self.known[0] != self.step:
            found = evaluate(self.point.model, self.point.loss, self.point.x, self.point.y, chunk_size=self.chunk_size)
            self.known = self.step, found.loss
        return self.known[1]

    def _loss_and_gradient(self, x: Examples, y: Examples) -> tuple[Tensor | None, Sequence[Tensor] | None]:
        """Loss of the batch, None for an estimator, and the gradient, None where its rule says that it is not finite."""
        model, loss = self.point.model, self.point.loss
        if self.estimator is None and self.gradient is None:
            return loss_and_gradient(model, loss, x, y)
        before = self._batch_loss(x, y) if self.estimator is None else None
        try:
            if self.estimator is None:
                gradient = self.gradient(model, loss, x, y)
            else:
                gradient = self.estimator.estimate(model, loss, x, y, generator=self.generators["estimator"])
        except NotFinite:
            return before, None
        return before, like_parameters(gradient, self.sgd.parameters)

    def _batch_loss(self, x: Examples, y: Examples) -> Tensor:
        with measuring(self.point.model, mode=self.mode), torch.no_grad():
            return per_example_loss(self.point.loss)(call(self.point.model, x), y).mean()


def due(when: When, step: int) -> bool:
    """Whether something is to be done at ``step``."""
    return when if isinstance(when, bool) else bool(when(step))


def check_when(name: str, when: object) -> None:
    """Refuses what is no schedule.

    Raises:
        InvalidInput: neither a bool nor a function; says which.
    """
    if not isinstance(when, bool) and not callable(when):
        raise InvalidInput(
            f"{name} must be True, False, or a function of the step, got {when!r}. For every 10 steps, give probes.Every(10)."
        )
