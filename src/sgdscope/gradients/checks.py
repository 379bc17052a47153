"""Checks by running the model on a few examples: each loss on its own, and per-example gradients that add up to autograd's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from sgdscope.errors import InvalidInput
from sgdscope.gradients.axes import UseAxes, axes_of
from sgdscope.gradients.capture import forward
from sgdscope.gradients.factors import Factor
from sgdscope.models.examples import Examples, leaves, take
from sgdscope.models.refusals import check_function, largest, rounding


def examples_alone_and_together(
    model: nn.Module, loss: Callable[[object, object], Tensor], x: Examples, y: Examples, num_examples: int, layers: Iterable[str]
) -> list[UseAxes]:
    """Axes of the examples, from two examples together and alone, which must have the same losses: see `check_function`.

    Raises:
        InvalidInput: random losses, or losses that depend on other examples.
    """
    pair = torch.tensor([0, num_examples - 1])
    x2, y2 = (take(data, pair.to(next(leaves(data, ""))[1].device)) for data in (x, y))
    together, uses2, outputs = forward(model, loss, x2, y2, 2, layers)
    again, *_ = forward(model, loss, x2, y2, 2)
    first, uses1, _ = forward(model, loss, take(x2, slice(0, 1)), take(y2, slice(0, 1)), 1, layers)
    second, *_ = forward(model, loss, take(x2, slice(1, 2)), take(y2, slice(1, 2)), 1)
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
        InvalidInput: parameters that the rules for layers miss; the first is named.
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
            raise InvalidInput(
                f"parameter {name!r} must be used only by calling the module that holds it, with the examples in order; its per-example gradients "
                f"miss autograd's sum by {difference:.3g} (norm {norm:.3g}). Is it tied to another layer, or used by a functional call, or are "
                "examples and positions mixed? Call the module itself."
            )
