"""The mean loss of a model over examples as a function of its trainable parameters: checked once, frozen, cut into chunks.

Values of parameters and buffers are copied, so that a later training step changes nothing here; inputs and targets are not copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sgdscope.errors import InvalidInput
from sgdscope.gradients.checks import spread
from sgdscope.models.examples import Examples, call, check_examples, take
from sgdscope.models.losses import Loss, check_losses, check_targets, per_example_loss
from sgdscope.models.parameters import trainable, unflatten
from sgdscope.models.refusals import check_function, check_modules, largest

_checked: WeakKeyDictionary[nn.Module, set] = WeakKeyDictionary()


class Objective:
    """``L(theta) = (1/N) sum_i loss(model(x_i; theta), y_i)`` at the parameters that the model has now.

    Attributes:
        names: of the trainable parameters, in ``model.parameters()`` order; tied ones once.
        parameters: copies of their values.
        num_examples: N.
        dimension: d, their number of entries.

    Raises:
        InvalidInput: empty or NaN data, mixed devices or dtypes, batch norm in training mode, active dropout, a model that couples examples
            or is not the same function twice, no trainable parameters, labels out of range, a loss that is not (N,).
        NotFound: an unknown name of a loss.
    """

    def __init__(self, model: nn.Module, loss: Loss, x: Examples, y: Examples) -> None:
        check_modules(model)
        self.model, self.x, self.y, self.loss = model, x, y, per_example_loss(loss)
        self.num_examples = check_examples(model, x, y)
        named = trainable(model)
        self.names = list(named)
        self.parameters = [value.detach().clone() for value in named.values()]
        others = [*((name, p) for name, p in model.named_parameters() if name not in named), *model.named_buffers()]
        self._fixed = {name: value.detach().clone() for name, value in others}
        self.dimension = sum(value.numel() for value in self.parameters)
        self._check()

    def outputs(self, parameters: Sequence[Tensor], x: Examples) -> object:
        """The model's outputs for inputs at other values of the trainable parameters, differentiable."""
        values = dict(zip(self.names, parameters, strict=True)) | self._fixed
        return call(lambda *inputs, **named: functional_call(self.model, values, inputs, named), x)

    def losses(self, parameters: Sequence[Tensor], start: int = 0, stop: int | None = None) -> Tensor:
        """(stop - start,) losses of single examples at other values of the trainable parameters, differentiable."""
        which = slice(start, stop)
        return self.loss(self.outputs(parameters, take(self.x, which)), take(self.y, which))

    def chunks(self, size: int) -> Iterator[tuple[int, int]]:
        """``(start, stop)`` of the chunks of ``size`` examples."""
        return ((start, min(start + size, self.num_examples)) for start in range(0, self.num_examples, size))

    def unflatten(self, vector: Tensor) -> list[Tensor]:
        """(d,) as tensors of the parameters' shapes (views)."""
        return unflatten(vector, self.parameters)

    def direction(self, name: str, vector: Tensor) -> Tensor:
        """``vector`` as (d,) of the parameters' dtype and device.

        Raises:
            InvalidInput: another shape, integers, NaN or infinite values, or zero.
        """
        if not isinstance(vector, Tensor) or vector.shape != (self.dimension,):
            came = tuple(vector.shape) if isinstance(vector, Tensor) else type(vector).__name__
            raise InvalidInput(f"{name} must be a flat tensor ({self.dimension},), one entry a trainable parameter; {came} came.")
        if not vector.is_floating_point() or not torch.isfinite(vector).all():
            raise InvalidInput(
                f"{name} must hold finite floating-point numbers; {vector.dtype} with NaN, infinite values or integers came."
            )
        if not vector.any():
            raise InvalidInput(f"{name} must not be zero: it has no direction. Pass an eigenvector or a gradient that is not zero.")
        return vector.detach().to(self.parameters[0])

    def _check(self) -> None:
        """Targets; and a few examples together, again, and alone, once a model, its modes and loss: the same finite losses."""
        modes = tuple(module.training for module in self.model.modules())
        key, seen = (_reference(self.loss), modes), _checked.setdefault(self.model, set())
        few = spread(self.y, self.num_examples).tolist()
        with torch.no_grad():
            outputs = self.outputs(self.parameters, take(self.x, slice(0, 1)))
            check_targets(self.loss, outputs, self.y, 1)
            if key[0] is not None and key in seen:
                return
            try:
                together, again, *alone = (self._losses_at(index) for index in (few, few, *([i] for i in few)))
            except IndexError as error:  # F.cross_entropy inside a callable: "Target 10 is out of bounds."
                raise InvalidInput(f"labels must lie within the outputs of the model; the loss says: {error} Check the labels.") from None
        check_function(together, again, torch.cat(alone), largest(outputs))
        if key[0] is not None:
            seen.difference_update({known for known in seen if known[0]() is None})  # losses that are gone
            seen.add(key)

    def _losses_at(self, index: list[int]) -> Tensor:
        which = torch.tensor(index, device=self.parameters[0].device)
        losses = self.loss(self.outputs(self.parameters, take(self.x, which)), take(self.y, which))
        return check_losses(losses, len(index))


def _reference(loss: Callable) -> ref | None:
    """A weak reference that can be looked up, or None where the loss allows none."""
    try:
        reference = ref(loss)
        hash(reference)
    except TypeError:
        return None
    return reference
