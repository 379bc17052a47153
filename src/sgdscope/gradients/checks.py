"""Checks by running the model on a few examples: each loss on its own, and per-example gradients that add up to autograd's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from sgdscope.errors import InvalidInput
from sgdscope.gradients.axes import UseAxes, axes_of
from sgdscope.gradients.capture import Use, forward
from sgdscope.gradients.factors import Factor
from sgdscope.models.examples import Examples, RefusedByModel, device_of, leaves, take
from sgdscope.models.refusals import NoPerExampleGradients, check_function, largest, rounding

CHECKED = 8
"""Examples whose losses are compared together and alone, and whose gradients with autograd."""

REACH = 1000
"""How far from an example another one of its target is looked for."""


def spread(y: Examples, num_examples: int) -> Tensor:
    """Indices of up to `CHECKED` examples: half of them spread evenly over all, each with a partner that follows it, of the same target and of
    another one by turns.

    So a loss that couples the examples of one class, or those of different classes, shows it. Without such a partner in `REACH` the next example
    is taken. Targets are the first tensor of whole numbers in ``y``, or else the first.
    """
    device = device_of(y)
    if num_examples <= CHECKED:
        return torch.arange(num_examples, device=device)
    target = min((tensor for _, tensor in leaves(y, "y")), key=Tensor.is_floating_point)
    half = CHECKED // 2
    chosen = torch.arange(half) * (num_examples - 1) // (half - 1)
    following = torch.arange(1, min(REACH, num_examples), device=device)
    partners = []
    for k, anchor in enumerate(chosen.tolist()):
        near = (anchor + following) % num_examples
        same = (target[near] == target[anchor]).reshape(len(near), -1).all(1)
        partners.append(near[(same == (k % 2 == 0)).int().argmax()])
    return torch.cat([chosen.to(device), torch.stack(partners)]).unique()


def each_alone(model: nn.Module, loss: Callable[[object, object], Tensor], x: Examples, y: Examples, num_examples: int) -> None:
    """Each of a few examples must have the loss alone that it has together with the others: see `check_function`.

    Raises:
        InvalidInput: random losses, or losses that depend on other examples.
    """
    together, _, outputs = forward(model, loss, x, y, num_examples)
    again, *_ = forward(model, loss, x, y, num_examples)
    alone = [_alone(model, loss, x, y, i)[0] for i in range(num_examples)]
    check_function(together, again, torch.cat(alone), largest(outputs))


def _alone(
    model: nn.Module, loss: Callable[[object, object], Tensor], x: Examples, y: Examples, i: int, layers: Iterable[str] = ()
) -> tuple[Tensor, list[Use]]:
    """The loss (1,) of one example of several that the model has taken together, and the uses of layers."""
    one = slice(i, i + 1)
    try:
        losses, uses, _ = forward(model, loss, take(x, one), take(y, one), 1, layers)
    except RefusedByModel as error:
        raise InvalidInput(
            "each loss must depend on its own example only; the model takes several examples together, and fails on one of them alone: "
            f"{error.__cause__} Does it normalise by a statistic over the batch?"
        ) from error
    return losses, uses


def examples_alone_and_together(
    model: nn.Module, loss: Callable[[object, object], Tensor], x: Examples, y: Examples, num_examples: int, layers: Iterable[str]
) -> list[UseAxes]:
    """Axes of the examples, from two examples together and alone, which must have the same losses: see `check_function`.

    Raises:
        InvalidInput: random losses, or losses that depend on other examples.
    """
    pair = torch.tensor([0, num_examples - 1], device=device_of(x))
    x2, y2 = take(x, pair), take(y, pair)
    together, uses2, outputs = forward(model, loss, x2, y2, 2, layers)
    again, *_ = forward(model, loss, x2, y2, 2)
    first, uses1 = _alone(model, loss, x2, y2, 0, layers)
    second, _ = _alone(model, loss, x2, y2, 1)
    check_function(together, again, torch.cat([first, second]), largest(outputs))
    return axes_of(uses1, uses2)


def compare_with_autograd(
    model: nn.Module,
    names: Sequence[str],
    found: dict[int, Factor],
    loss: Callable[[object, object], Tensor],
    x: Examples,
    y: Examples,
    num_examples: int,
) -> None:
    """Compares a weighted sum of the per-example gradients ``found`` of these examples with autograd's.

    The weights differ, so that gradients of the right sum that are given to the wrong examples are found as well. Sums may differ by
    4 sqrt(eps) of their norm (1.4e-3 in float32), or by 200 eps of the norm of the whole gradient.

    Raises:
        NoPerExampleGradients: parameters that the rules for layers miss; the first is named.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    losses, *_ = forward(model, loss, x, y, num_examples)
    weights = (1 + torch.rand(num_examples, generator=torch.Generator().manual_seed(0))).to(losses)
    expected = torch.autograd.grad(losses, parameters, weights, allow_unused=True)
    whole = max((float(gradient.norm()) for gradient in expected if gradient is not None), default=0.0)
    floor = 200 * torch.finfo(losses.dtype).eps * whole  # gradients that cancel to zero: a bias before a norm, keys of attention
    for i, (name, gradient) in enumerate(zip(names, expected, strict=True)):
        ours = theirs = torch.zeros(parameters[i].numel(), dtype=losses.dtype, device=losses.device)
        size = 0.0
        if i in found:
            ours = found[i].rmatvec(weights)
            size = float(found[i].squared_norms().clamp_min(0).dot(weights.square()).sqrt())
        if gradient is not None:
            theirs = (gradient.to_dense() if gradient.is_sparse else gradient).flatten()
        difference, norm = float((ours - theirs).norm()), float(theirs.norm())
        if not difference <= max(floor, 4 * rounding(losses) * max(size, norm)):
            raise NoPerExampleGradients(
                f"parameter {name!r} must be used only by calling the module that holds it, with the examples in order; its per-example gradients "
                f"miss autograd's sum by {difference:.3g} (norm {norm:.3g}). Is it tied to another layer, or used by a functional call, or are "
                "examples and positions mixed? Call the module itself."
            )
