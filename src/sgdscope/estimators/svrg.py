"""Stochastic variance reduced gradient (Johnson and Zhang 2013), as measured by Faghri et al. (2020, Sec. 4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sgdscope.errors import InvalidInput
from sgdscope.estimators.checks import augmented, keeping_buffers, modes_of_norms
from sgdscope.estimators.identity import RefreshedOn
from sgdscope.estimators.mini_batch import MiniBatch
from sgdscope.estimators.sampled import weighted_gradient
from sgdscope.gradients.budget import frozen
from sgdscope.models.examples import Examples, num_examples
from sgdscope.models.losses import Loss


class SVRG(MiniBatch):
    """Control variate at a snapshot theta_0 of the parameters, which `refresh` takes:

        ``mu + (1/B) sum_b (g_{n_b}(theta) - g_{n_b}(theta_0))``, mu the full-batch gradient at theta_0.

    Its covariance is that of a mini-batch of the differences; zero at the snapshot itself. Each estimate takes two gradients of B examples.
    With batch norm in training mode the gradients are those of batches: of the drawn examples, and for mu of up to 1,000 at a time.

    Args:
        batch_size: B.
        replacement: as for `MiniBatch`.
        augment: on each batch, the same for both gradients; mu is then of one augmented copy of the data, so that the estimate is
            unbiased up to the noise of that one pass.

    Raises:
        InvalidInput: as `MiniBatch`; use before `refresh`, or on another model, other data, with another loss or with batch norm in another
            mode than there; a model that cannot be copied.
    """

    _on: RefreshedOn | None = None
    _snapshot: nn.Module | None = None
    _weights: dict[str, Tensor] | None = None
    _mean: Tensor | None = None
    _modes: list[bool] | None = None  # of the norms, at the refresh

    def refresh(self, model: nn.Module, loss: Loss, x: Examples, y: Examples, *, generator: torch.Generator) -> None:
        """Keeps a copy of the model and its full-batch gradient: a pass over all data."""
        super().refresh(model, loss, x, y, generator=generator)
        on, snapshot = RefreshedOn(model, x, y, loss), frozen(model, "SVRG keeps a copy", "Make")
        number = num_examples(x, y)
        inputs = augmented(self.augment, x, generator)
        with keeping_buffers(snapshot):
            self._mean = weighted_gradient(snapshot, loss, inputs, y, torch.full((number,), 1 / number, dtype=torch.float64))
        self._on, self._snapshot, self._weights, self._modes = on, snapshot, None, modes_of_norms(model)

    def check(self, model: nn.Module, loss: Loss, x: Examples, y: Examples) -> int:
        """N, if it was refreshed on these: mu is of one loss and mode, and others would bias the estimate."""
        if self._on is None:
            raise InvalidInput("SVRG has no snapshot yet. Call refresh(model, loss, x, y, generator=...) first.")
        self._on.check(model, x, y)
        self._on.check_loss(loss)
        if self._modes != modes_of_norms(model):
            raise InvalidInput(
                "SVRG was refreshed with batch norm in another mode (train or eval), of which its full-batch gradient is. Call refresh in the "
                "mode of the estimates, and give training and measurement an SVRG each."
            )
        if self._snapshot is None:  # restored from a checkpoint
            self._snapshot = frozen(model, "SVRG keeps a copy", "Make")
            self._snapshot.load_state_dict(self._weights)
            self._mean, self._weights = self._mean.to(next(model.parameters()).device), None
        return super().check(model, loss, x, y)

    def parts(self, model: nn.Module) -> Sequence[tuple[float, nn.Module]]:
        """The present model, and that of the snapshot with sign -1."""
        for ours, theirs in zip(self._snapshot.modules(), model.modules(), strict=True):
            ours.training = theirs.training
        return [(1.0, model), (-1.0, self._snapshot)]

    def estimate(self, model: nn.Module, loss: Loss, x: Examples, y: Examples, *, generator: torch.Generator) -> Tensor:
        """As that of a mini-batch; the snapshot's running statistics stay as they are."""
        self.check(model, loss, x, y)
        with keeping_buffers(self._snapshot):
            return super().estimate(model, loss, x, y, generator=generator)

    def offset(self) -> Tensor | None:
        """mu."""
        return self._mean

    def state(self) -> dict[str, object]:
        """The snapshot and mu."""
        weights = self._weights if self._snapshot is None else dict(self._snapshot.state_dict())
        on = None if self._on is None else self._on.state()
        return super().state() | {"on": on, "weights": weights, "mean": self._mean, "modes": self._modes}

    def restore(self, state: dict[str, object]) -> None:
        """Take up a `state`; the copy of the model is made at the next estimate."""
        super().restore(state)
        self._check_state(state, "on", "weights", "mean", "modes")
        self._on = None if state["on"] is None else RefreshedOn.restored(state["on"])
        self._snapshot, self._weights, self._mean, self._modes = None, state["weights"], state["mean"], state["modes"]
