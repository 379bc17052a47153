"""Estimates that are weighted sums of the gradients of a few drawn examples: what all estimators of this room share.

An estimator draws B examples n_b with weights w_b and returns ``offset + sum_b w_b sum_p s_p g_{n_b}(theta_p)``, where the parts p are the
present parameters with sign 1 and, for SVRG, those of a snapshot with sign -1. This linear form is what `variance` makes use of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from sgdscope.errors import InvalidInput
from sgdscope.estimators.checks import augmented, check_fixed, check_generator
from sgdscope.gradients.capture import forward
from sgdscope.models.examples import Examples, check_finite, device_of, leaves, num_examples, take
from sgdscope.models.losses import Loss, per_example_loss
from sgdscope.models.parameters import trainable

Augment: TypeAlias = Callable[[Examples, torch.Generator], Examples]
"""``augment(x, generator)``: a changed copy of the drawn examples, such as `sgdscope.training.random_crop_and_flip`."""

CHUNK = 1000
"""Examples in one forward and backward pass of a sum over many."""


class Sampled:
    """Base of the estimators: ``refresh`` at a snapshot, then ``estimate`` as often as wanted.

    For an estimator of your own: a subclass gives `batch_size` and `draw`, whose indices and weights make it unbiased, and `parts`, `offset`,
    `check`, `state` and `restore` where they are not the plain ones. It can then be measured in either way (`estimates`), followed by
    `sgdscope.probes.EstimatorVariance`, and carried through checkpoints.

    >>> class Antithetic(Sampled):  # an example and its opposite in the order
    ...     batch_size = 2
    ...     def draw(self, number, *, generator):
    ...         first = torch.randint(number, (1,), generator=generator)
    ...         return torch.cat([first, number - 1 - first]), torch.full((2,), 0.5, dtype=torch.float64)
    >>> int(Antithetic().draw(8, generator=torch.Generator().manual_seed(0))[0].sum())
    7

    Attributes:
        batch_size: B, the number of examples of one estimate.
        augment: applied to the drawn examples, or None.
    """

    batch_size: int
    augment: Augment | None = None

    def refresh(self, model: nn.Module, loss: Loss, x: Examples, y: Examples, *, generator: torch.Generator) -> None:
        """Nothing to prepare, except for the checks.

        Raises:
            InvalidInput: data that is empty or not finite, active dropout, no generator.
        """
        check_generator(generator)
        check_fixed(model)
        count(x, y)
        check_finite(x, y)

    def draw(self, number: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Indices (B,) and weights (B,) of float64 of one estimate for ``number`` examples, on the generator's device."""
        raise NotImplementedError

    def outcomes(self, number: int) -> tuple[Tensor, Tensor]:
        """All that `draw` can return, each equally likely: indices (M, B) and weights (M, B). For small problems; M grows fast."""
        raise NotImplementedError

    def check(self, model: nn.Module, loss: Loss, x: Examples, y: Examples) -> int:
        """N, if the estimator can be used on these.

        Raises:
            InvalidInput: it cannot.
        """
        return count(x, y)

    def parts(self, model: nn.Module) -> Sequence[tuple[float, nn.Module]]:
        """Signs and models whose gradients at the drawn examples are added."""
        return [(1.0, model)]

    def offset(self) -> Tensor | None:
        """(d,) added to each estimate, or None."""
        return None

    def estimate(self, model: nn.Module, loss: Loss, x: Examples, y: Examples, *, generator: torch.Generator) -> Tensor:
        """(d,) unbiased estimate of the gradient of the mean loss over all of ``x`` and ``y``, in the model's present mode.

        Columns follow ``model.parameters()``, those with ``requires_grad=False`` left out. Scales with the loss. Unbiased for models that treat
        each example by itself; with batch norm in training mode each estimate is the gradient of its own batch's loss, as in training.

        Args:
            model: where it was refreshed, at its present parameters.
            loss: of single examples, a name or a function.
            x: all N examples.
            y: their targets.
            generator: on the CPU if there is an augmentation; the only source of chance.

        Raises:
            InvalidInput: what `check` refuses, losses that are no (N,) finite numbers, active dropout, examples of a shape or dtype that the
                model does not take. Losses that couple examples bias it unseen; `gradient_variance` looks for them.
        """
        check_generator(generator)
        check_fixed(model)
        index, weights = self.draw(self.check(model, loss, x, y), generator=generator)
        index = index.to(device_of(x))
        x, y = augmented(self.augment, take(x, index), generator), take(y, index)
        total = self.offset()
        for sign, part in self.parts(model):
            found = weighted_gradient(part, loss, x, y, sign * weights)
            total = found if total is None else total + found
        return total

    def options(self) -> dict[str, object]:
        """What it was made with, as far as it decides the estimates: numbers, texts, None and lists of them."""
        return {"batch_size": self.batch_size}

    def state(self) -> dict[str, object]:
        """All that decides the estimates to come beside the generator, for checkpoints."""
        return {"kind": type(self).__name__, "options": self.options()}

    def restore(self, state: dict[str, object]) -> None:
        """Take up a `state`.

        Raises:
            InvalidInput: it is of another kind of estimator, or of one with other options.
        """
        self._check_state(state, "options")
        if not isinstance(state["options"], Mapping):
            raise InvalidInput(f"the options of a state must be a dict, as state() gives them; {state['options']!r} came.")
        for name, ours in self.options().items():
            if state["options"].get(name) != ours:
                raise InvalidInput(
                    f"the state must be of an estimator with the same options; {name} was {state['options'].get(name)!r}, is {ours!r}."
                )

    def _check_state(self, state: object, *names: str) -> None:
        """Refuses what is no state of this kind of estimator, which holds these names."""
        kind = type(self).__name__
        came = state.get("kind", kind) if isinstance(state, Mapping) else type(state).__name__
        missing = [name for name in names if name not in state] if came == kind else []
        if came != kind or missing:
            what = f"one without {', '.join(missing)}" if missing else f"that of {came}"
            raise InvalidInput(f"the state must be what state() of {kind} returned; {what} came.")


def count(x: Examples, y: Examples) -> int:
    """N, the number of examples and of targets.

    Raises:
        InvalidInput: no or unequal numbers of them.
    """
    next(leaves(y, "y"), None)  # refuses None, which would stand for no targets
    return num_examples(x, y)


def weighted_gradient(model: nn.Module, loss: Loss, x: Examples, y: Examples, weights: Tensor, *, chunk_size: int = CHUNK) -> Tensor:
    """(d,) ``sum_n w_n g_n`` by ordinary backward passes over ``chunk_size`` examples at a time, in the model's present mode.

    Raises:
        InvalidInput: losses that are no (N,) finite numbers (`NotFinite`), or depend on no trainable parameter.
    """
    function, parameters = per_example_loss(loss), list(trainable(model).values())
    weights = weights.to(parameters[0].device, parameters[0].dtype)
    total = torch.zeros(sum(p.numel() for p in parameters), dtype=parameters[0].dtype, device=parameters[0].device)
    columns = total.split([p.numel() for p in parameters])
    for start in range(0, len(weights), chunk_size):
        rows = slice(start, min(start + chunk_size, len(weights)))
        losses, *_ = forward(model, function, take(x, rows), take(y, rows), rows.stop - rows.start)
        with torch.enable_grad():
            gradients = torch.autograd.grad(losses @ weights[rows], parameters, allow_unused=True)
        for place, found in zip(columns, gradients, strict=True):
            if found is not None:
                place += (found.to_dense() if found.is_sparse else found).reshape(-1)
    return total
