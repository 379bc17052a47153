"""State of one training run: one step of it, and what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite, nan
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from sgdscope.errors import InvalidInput
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
    """State and settings of one training run."""

    point: Snapshot
    sgd: SGD
    batches: Batches
    generators: dict[str, torch.Generator]
    rate: Schedule
    carry: dict[str, Carried]
    settings: dict[str, object]
    augment: Augment | None
    gradient: GradientRule | None
    estimator: Estimator | None
    mode: str
    loss_after: When
    full_loss: When
    largest_loss: float
    chunk_size: int
    step: int = 0
    known: tuple[int, float] = (-1, nan)  # step and loss on all data there

    def at(self, step: int, **more: object) -> Snapshot:
        """The snapshot of a step."""
        epoch = step / self.batches.steps_per_epoch
        full = self.full(step) if step == 0 and due(self.full_loss, step) else nan
        more = {"full_loss_after": full} | more
        return replace(self.point, step=step, epoch=epoch, learning_rate=self.rate(step, epoch), **more)

    def full(self, step: int) -> float:
        """Loss on all data at the present parameters, those of ``step``; a loss after a step is the loss before the next."""
        if self.known[0] != step:
            self.known = step, evaluate(self.point.model, self.point.loss, self.point.x, self.point.y, chunk_size=self.chunk_size).loss
        return self.known[1]

    def advance(self) -> Snapshot:
        """One step."""
        model, loss, following = self.point.model, self.point.loss, self.step + 1
        learning_rate = self.rate(self.step, self.step / self.batches.steps_per_epoch)
        if not (isinstance(learning_rate, int | float) and isfinite(learning_rate)):
            raise InvalidInput(f"the schedule must give a finite number at step {self.step}; {learning_rate!r} came.")
        wants_full = due(self.full_loss, following)
        full_before = self.full(self.step) if wants_full else nan
        model.train(self.mode == "train")
        batch, inputs, targets, before = None, None, None, None
        if self.estimator is not None:
            parts = self.estimator.estimate(model, loss, self.point.x, self.point.y, generator=self.generators["estimator"])
        else:
            batch = self.batches.next()
            inputs, targets = take(self.point.x, batch), take(self.point.y, batch)
            if self.augment is not None:
                inputs = self.augment(inputs, self.generators["augment"])
            if self.gradient is None:
                before, parts = loss_and_gradient(model, loss, inputs, targets)
            else:
                before = self._batch_loss(inputs, targets)
                parts = self.gradient(model, loss, inputs, targets)
        parts = like_parameters(parts, self.sgd.parameters)
        norm = torch.nn.utils.get_total_norm(parts)
        before, norm = torch.stack([norm if before is None else before.to(norm), norm]).tolist()  # one wait for the device
        finite = isfinite(norm) and (self.estimator is not None or (isfinite(before) and before <= self.largest_loss))
        before = nan if self.estimator is not None else before
        done = {"batch": batch, "loss_before": before, "full_loss_before": full_before, "gradient_norm": norm}
        if not finite:
            return self.at(following, status="diverged", **done)
        self.sgd.step(parts, learning_rate)
        self.step = following
        if due(self.loss_after, following):
            done["loss_after"] = self._batch_loss(inputs, targets).item()
        if wants_full:
            done["full_loss_after"] = self.full(following)
        return self.at(following, **done)

    def _batch_loss(self, x: Examples, y: Examples) -> Tensor:
        with measuring(self.point.model, mode=self.mode), torch.no_grad():
            return per_example_loss(self.point.loss)(call(self.point.model, x), y).mean()

    def state(self) -> dict[str, object]:
        """All that decides the steps to come, and what is carried along."""
        return {
            "settings": self.settings,
            "step": self.step,
            "known": list(self.known),
            "model": self.point.model.state_dict(),
            "sgd": self.sgd.state(),
            "batches": self.batches.state(),
            "generators": {name: generator.get_state() for name, generator in self.generators.items()},
            "carry": {name: item.state() for name, item in self.carry.items()},
        }

    def restore(self, state: dict[str, object], path: Path) -> None:
        """Take up a `state`; ``path`` is for the message.

        Raises:
            InvalidInput: the state is of other settings.
        """
        for name, value in self.settings.items():
            if state["settings"].get(name) != value:
                came = state["settings"].get(name)
                raise InvalidInput(
                    f"checkpoint {path} is of another run: {name} was {came!r}, is {value!r}. Use another file or delete it."
                )
        if set(state["carry"]) != set(self.carry):
            raise InvalidInput(f"checkpoint {path} carries {sorted(state['carry'])}, the run {sorted(self.carry)}. Give the same ones.")
        self.step, self.known = state["step"], tuple(state["known"])
        self.point.model.load_state_dict(state["model"])
        self.sgd.restore(state["sgd"])
        self.batches.restore(state["batches"])
        for name, generator in self.generators.items():
            generator.set_state(state["generators"][name])
        for name, item in self.carry.items():
            item.restore(state["carry"][name])


def due(when: When, step: int) -> bool:
    """Whether something is to be done at ``step``."""
    return when if isinstance(when, bool) else bool(when(step))


def describe(value: object) -> object:
    """A text that tells settings apart: dataclasses by their fields, functions by their name, partial ones with their arguments."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, partial):
        return f"{describe(value.func)} {value.args!r} {sorted(value.keywords.items())!r}"
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return repr(value)
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"
