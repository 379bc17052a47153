"""The mean loss of a model over examples as a function of its parameters: checked once, frozen, cut into chunks.

Parameters are all of ``model.parameters()``, in that order, flat; tied ones once, those that do not require a gradient included. Values
are copied, so that a later training step changes nothing here; inputs and targets are not copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from sgdscope.errors import InvalidInput, unknown_name

Examples: TypeAlias = "Tensor | Mapping[str, Examples]"
"""A tensor, or a (nested) dict of tensors, each with the examples along its first axis."""

Loss: TypeAlias = str | Callable[[object, object], Tensor]
"""``(outputs, y) -> (N,)`` losses of single examples, or a name of `LOSSES`."""


def _over_outputs(values: Tensor) -> Tensor:
    return values.flatten(1).sum(1) if values.dim() > 1 else values


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": lambda f, y: F.cross_entropy(f, y, reduction="none"),
    "squared_error": lambda f, y: _over_outputs((f - y).square()) / 2,
    "mse": lambda f, y: _over_outputs((f - y).square()) / f[0].numel(),
    "binary_cross_entropy": lambda f, y: _over_outputs(F.softplus(f) - y * f),
}
"""``cross_entropy`` of labels; ``squared_error`` = 1/2 sum over outputs; ``mse`` = mean over outputs; ``binary_cross_entropy`` of logits, summed."""

_fixed_functions: WeakKeyDictionary[nn.Module, set] = WeakKeyDictionary()


class Objective:
    """``L(theta) = (1/N) sum_i loss(model(x_i; theta), y_i)`` at the parameters that the model has now.

    Attributes:
        parameters: copies, in ``model.parameters()`` order.
        num_examples: N.
        dimension: d, the number of parameters.

    Raises:
        InvalidInput: empty or NaN data, mixed devices or dtypes, batch norm in training mode, active dropout, a model that couples examples
            or is not the same function twice, labels out of range, a loss that is not (N,).
        NotFound: an unknown name of a loss.
    """

    def __init__(self, model: nn.Module, loss: Loss, x: Examples, y: Examples) -> None:
        if isinstance(loss, str) and loss not in LOSSES:
            raise unknown_name("loss", loss, LOSSES)
        if not isinstance(loss, str) and not callable(loss):
            raise InvalidInput(f"loss must be a callable (outputs, y) -> (N,) or one of {', '.join(LOSSES)}; {type(loss).__name__} came.")
        self.model, self.x, self.y, self.name = model, x, y, loss if isinstance(loss, str) else ""
        self.loss = LOSSES[loss] if isinstance(loss, str) else loss
        named = dict(model.named_parameters())
        if not named:
            raise InvalidInput(f"the model must have parameters; {type(model).__name__} has none.")
        self.num_examples = _check_examples(model, x, y)
        _check_modes(model)
        self.names = list(named)
        self.parameters = [value.detach().clone() for value in named.values()]
        self.buffers = {name: value.detach().clone() for name, value in model.named_buffers()}
        self.dimension = sum(value.numel() for value in self.parameters)
        self._check_labels()
        self._check_function()

    def losses(self, parameters: Sequence[Tensor], start: int = 0, stop: int | None = None) -> Tensor:
        """(stop - start,) losses of single examples at other parameters, differentiable."""
        x, y = take(self.x, start, stop), take(self.y, start, stop)
        values = dict(zip(self.names, parameters, strict=True)) | self.buffers
        outputs = functional_call(self.model, values, (), dict(x)) if isinstance(x, Mapping) else functional_call(self.model, values, (x,))
        return self.loss(outputs, y)

    def chunks(self, size: int) -> Iterator[tuple[int, int]]:
        """``(start, stop)`` of the chunks of ``size`` examples."""
        return ((start, min(start + size, self.num_examples)) for start in range(0, self.num_examples, size))

    def unflatten(self, flat: Tensor) -> list[Tensor]:
        """(d,) as tensors of the parameters' shapes (views)."""
        parts = flat.split([value.numel() for value in self.parameters])
        return [part.view(value.shape) for part, value in zip(parts, self.parameters, strict=True)]

    def direction(self, name: str, flat: Tensor) -> Tensor:
        """``flat`` as a (d,) vector of the parameters' dtype and device.

        Raises:
            InvalidInput: another shape, integers, NaN or infinite values, or zero.
        """
        if not isinstance(flat, Tensor) or flat.shape != (self.dimension,):
            came = tuple(flat.shape) if isinstance(flat, Tensor) else type(flat).__name__
            raise InvalidInput(f"{name} must be a flat tensor ({self.dimension},) in model.parameters() order; {came} came.")
        if not flat.is_floating_point() or not torch.isfinite(flat).all():
            raise InvalidInput(f"{name} must hold finite floating-point numbers; {flat.dtype} with NaN, infinite values or integers came.")
        if not flat.any():
            raise InvalidInput(f"{name} must not be zero: it has no direction. Pass an eigenvector or a gradient that is not zero.")
        return flat.detach().to(self.parameters[0])

    def _check_labels(self) -> None:
        if self.name != "cross_entropy":
            return
        y = self.y
        if not isinstance(y, Tensor) or y.dtype != torch.int64 or y.dim() != 1:
            came = f"{tuple(y.shape)} of {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
            raise InvalidInput(f"cross_entropy takes labels y (N,) of int64; {came} came. Pass y.long(), or a callable.")
        with torch.no_grad():
            x = take(self.x, 0, 1)
            outputs = self.model(**x) if isinstance(x, Mapping) else self.model(x)
        if not isinstance(outputs, Tensor) or outputs.dim() != 2:
            raise InvalidInput("cross_entropy takes a model with outputs (N, classes). Pass a callable (outputs, y) -> (N,).")
        low, high = int(y.min()), int(y.max())
        if low < 0 or high >= outputs.shape[1]:
            raise InvalidInput(
                f"labels must lie in 0..{outputs.shape[1] - 1}, for the model has {outputs.shape[1]} outputs; {low if low < 0 else high} came. "
                "Check the labels, or the size of the last layer."
            )

    def _check_function(self) -> None:
        """Two examples together, again, and alone: the same finite losses. Once a model, mode and loss, for it costs forward passes."""
        key, seen = (id(self.loss), self.model.training), _fixed_functions.setdefault(self.model, set())
        if key in seen:
            return
        number = min(2, self.num_examples)
        with torch.no_grad():
            try:
                together = self.losses(self.parameters, 0, number)
            except IndexError as error:  # F.cross_entropy inside a callable: "Target 10 is out of bounds."
                raise InvalidInput(f"labels must lie within the outputs of the model; the loss says: {error} Check the labels.") from None
            check_losses(together, number)
            again = self.losses(self.parameters, 0, number)
            alone = torch.cat([self.losses(self.parameters, i, i + 1) for i in range(number)])
        close = torch.finfo(together.dtype).eps ** 0.5
        if not torch.allclose(together, again, rtol=close, atol=close):
            raise InvalidInput(
                "the losses must be a fixed function of the parameters; two calls with the same examples differ (dropout or noise in forward?). "
                "Call model.eval(), or take the noise out."
            )
        if not torch.allclose(together, alone, rtol=close, atol=close):
            raise InvalidInput(
                "the loss of an example must not depend on the others; two examples together and alone differ (batch statistics in forward?). "
                "Call model.eval(), or average within an example only."
            )
        seen.add(key)


def check_losses(losses: Tensor, number: int) -> Tensor:
    """``losses`` themselves, if they are (number,) finite floating numbers.

    Raises:
        InvalidInput: another shape, type, or value.
    """
    if not isinstance(losses, Tensor) or losses.shape != (number,):
        came = ("a scalar" if losses.dim() == 0 else f"{tuple(losses.shape)}") if isinstance(losses, Tensor) else type(losses).__name__
        raise InvalidInput(
            f'loss must return one number per example, shape ({number},); {came} came. Use reduction="none", and sum or average over what is '
            "left of each example."
        )
    if not losses.is_floating_point():
        raise InvalidInput(f"losses must be floating-point numbers; {losses.dtype} came. An accuracy has no curvature.")
    if not torch.isfinite(losses.detach()).all():
        raise InvalidInput("losses must be finite; NaN or infinite ones came. Has the training diverged?")
    return losses


def take(examples: Examples, start: int, stop: int | None) -> Examples:
    """The examples ``start`` to ``stop`` (views)."""
    if isinstance(examples, Tensor):
        return examples[start:stop]
    return {key: take(value, start, stop) for key, value in examples.items()}


def leaves(examples: Examples, name: str) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of all tensors in it."""
    if isinstance(examples, Tensor):
        yield name, examples
    elif isinstance(examples, Mapping):
        for key, value in examples.items():
            yield from leaves(value, f"{name}[{key!r}]")
    else:
        raise InvalidInput(f"{name} must be a tensor or a (nested) dict of tensors; {type(examples).__name__} came. Convert it to tensors.")


def _check_examples(model: nn.Module, x: Examples, y: Examples) -> int:
    """N, if there is one, with one device and floating dtype and finite values."""
    tensors = [*leaves(x, "x"), *leaves(y, "y")]
    sizes = {name: len(tensor) if tensor.dim() else -1 for name, tensor in tensors}
    if len(set(sizes.values())) != 1 or -1 in sizes.values():
        listed = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors)
        raise InvalidInput(f"x and y must hold the same number of examples along their first axis; {listed} came.")
    number = next(iter(sizes.values()))
    if number == 0:
        raise InvalidInput("x must hold at least one example; 0 came (empty data). Check the subset that was selected.")
    everything = [*model.named_parameters(), *model.named_buffers(), *tensors]
    for what, kinds in (
        ("device", {tensor.device: name for name, tensor in everything}),
        ("floating dtype", {tensor.dtype: name for name, tensor in everything if tensor.is_floating_point()}),
    ):
        if len(kinds) > 1:
            listed = ", ".join(f"{name}: {kind}" for kind, name in kinds.items())
            raise InvalidInput(f"parameters, buffers, x and y must have one {what}; {listed} came. Convert them with .to().")
    for name, tensor in [*model.named_parameters(), *tensors]:
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise InvalidInput(f"{name} must be finite; NaN or infinite values came. Drop or mend them (a diverged run?) first.")
    return number


def _check_modes(model: nn.Module) -> None:
    """Refuses layers that make the loss of an example depend on the others or on chance."""
    for name, module in model.named_modules():
        if not module.training:
            continue
        batch = isinstance(module, nn.modules.batchnorm._BatchNorm)
        rate = getattr(module, "p", 0.0) if isinstance(module, nn.modules.dropout._DropoutNd) else 0.0
        if isinstance(module, nn.RNNBase | nn.MultiheadAttention):
            rate = module.dropout
        if batch or rate > 0 or isinstance(module, nn.RReLU):
            what = "batch norm in training mode" if batch else "active dropout"
            raise InvalidInput(
                f"the loss of an example must be a fixed function of the parameters; {name or 'the model'} ({type(module).__name__}) is {what}. "
                "Call model.eval() first."
            )
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise InvalidInput(
                f"{name or 'the model'} ({type(module).__name__}) has no running statistics and couples examples. Track them."
            )
