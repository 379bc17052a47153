"""What has to be found out once about a model: its layers, where the examples are in their inputs, and that all this is right.

A plan is made by running the model on two examples together and alone, and on up to eight for the comparison with autograd. It is kept
as long as the model lives and serves all later calls with the same modules, modes, loss and shapes.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sgdscope.errors import InvalidInput
from sgdscope.gradients.axes import UseAxes, axes_of
from sgdscope.gradients.capture import capture, forward
from sgdscope.gradients.factors import Factor
from sgdscope.gradients.inputs import Examples, leaves, take
from sgdscope.gradients.layers import add_up, factors_of, smaller_bytes

CHECKED = 8
"""Examples whose gradients are compared with autograd."""


@dataclass
class Plan:
    """How to take the gradients of a model apart.

    Attributes:
        names: of the trainable parameters, in the order of ``model.parameters()``.
        shapes: theirs.
        columns: theirs in the flattened gradient.
        layers: name of a module -> (name of a parameter in it -> index); which module each parameter is taken from.
        uses: axes of all uses of these modules in one forward pass, in their order.
        multiplications: in the forward pass of one example: the entries of each weight times its positions.
        bytes_captured: bytes of inputs and output gradients of one example.
        bytes_kept: form -> bytes of factors that are kept of one example.
    """

    names: list[str]
    shapes: list[torch.Size]
    columns: list[slice]
    layers: dict[str, dict[str, int]]
    uses: list[UseAxes]
    multiplications: int = 0
    bytes_captured: int = 0
    bytes_kept: dict[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """d, the number of trainable parameters."""
        return self.columns[-1].stop

    @property
    def groups(self) -> list[list[int]]:
        """Indices of the parameters of each layer, each parameter once."""
        seen: set[int] = set()
        groups = []
        for owned in self.layers.values():
            groups.append([index for index in owned.values() if index not in seen])
            seen.update(owned.values())
        return [group for group in groups if group]


def factors(
    model: nn.Module, plan: Plan, loss: Callable[[object, object], Tensor], x: Examples, y: Examples, num_examples: int, form: str
) -> tuple[dict[int, Factor], int]:
    """Factors of all parameters for one chunk (a parameter that it does not use is missing), and the bytes that were captured for them."""
    uses = capture(model, loss, x, y, num_examples, plan.layers)
    if [use.layer for use in uses] != [axes.layer for axes in plan.uses]:
        raise InvalidInput(
            "the model must call the same layers in the same order whatever the values; it called "
            f"{[use.layer for use in uses]} and before {[axes.layer for axes in plan.uses]}. Measure its branches apart."
        )
    captured = sum(leaf.nbytes for use in uses for leaf in [*use.inputs, *use.gradients] if isinstance(leaf, Tensor))
    found = []
    for i, axes in enumerate(plan.uses):
        use, uses[i] = uses[i], None  # lets go of what is not kept
        found.append(factors_of(model.get_submodule(use.layer), plan.layers[use.layer], use, axes, num_examples))
    return add_up(found, form), captured


def make_plan(model: nn.Module, loss: Callable[[object, object], Tensor], x: Examples, y: Examples, num_examples: int) -> Plan:
    """The plan of a model, checked.

    Raises:
        InvalidInput: a model that couples examples or draws at random, or parameters that the rules for layers miss.
    """
    parameters = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    index = {id(parameter): i for i, (_, parameter) in enumerate(parameters)}
    columns, start = [], 0
    for _, parameter in parameters:
        columns.append(slice(start, start + parameter.numel()))
        start += parameter.numel()
    devices = {parameter.device for _, parameter in parameters if parameter.device.type == "cuda"}
    with torch.random.fork_rng(devices=list(devices)):  # a model that draws is refused, and leaves the global generator as it was
        layers, uses = _layers(model, index, loss, x, y, num_examples)
        plan = Plan([name for name, _ in parameters], [parameter.shape for _, parameter in parameters], columns, layers, uses)
        _compare(model, [parameter for _, parameter in parameters], plan, loss, x, y, num_examples)
    return plan


def _own_layers(model: nn.Module, index: dict[int, int]) -> dict[str, dict[str, int]]:
    """Each module with parameters of its own; attention with all that it holds, for it never calls its output projection."""
    layers: dict[str, dict[str, int]] = {}
    inside: tuple[str, ...] = ()
    for name, module in model.named_modules():
        if inside and name.startswith(inside):
            continue
        whole = isinstance(module, nn.MultiheadAttention)
        owned = {local: index[id(p)] for local, p in module.named_parameters(recurse=whole, remove_duplicate=False) if id(p) in index}
        if owned:
            layers[name] = owned
        if whole:
            inside += (name + ".",)
    return layers


def _layers(model, index, loss, x, y, num_examples) -> tuple[dict[str, dict[str, int]], list[UseAxes]]:
    """Layers and axes. What a layer does once for all examples (a table of positions, a reparametrised weight) is left to the module around it."""
    layers = _own_layers(model, index)
    uses = _examples_alone_and_together(model, loss, x, y, num_examples, layers)
    moved: set[str] = set()
    while shared := _shared(layers, uses, moved):
        for name in shared:
            owned, parent = layers.pop(name), name.rpartition(".")[0]
            local = name[len(parent) + 1 :] if parent else name
            layers.setdefault(parent, {}).update({f"{local}.{key}": i for key, i in owned.items()})
            moved.add(parent)
        uses = _examples_alone_and_together(model, loss, x, y, num_examples, layers)
    return layers, uses


def _shared(layers: dict[str, dict[str, int]], uses: list[UseAxes], moved: set[str]) -> list[str]:
    called = {use.layer for use in uses}
    shared = {use.layer for use in uses if use.layer and None in use.outputs and not any(use.outputs)}
    return [name for name in layers if name in shared or (name and name in moved and name not in called)]


def _examples_alone_and_together(model, loss, x, y, num_examples, layers) -> list[UseAxes]:
    """Axes of the examples, from two examples together and alone, which must have the same losses."""
    pair = torch.tensor([0, num_examples - 1])
    x2, y2 = (take(data, pair.to(next(leaves(data, ""))[1].device)) for data in (x, y))
    together, uses2 = forward(model, loss, x2, y2, 2, layers)
    again, _ = forward(model, loss, x2, y2, 2)
    together, again = together.detach(), again.detach()
    scale = torch.finfo(together.dtype).eps ** 0.5 * together.abs().max().clamp_min(torch.finfo(together.dtype).tiny)
    if ((together - again).abs() > scale).any():
        raise InvalidInput(
            "the loss must be a fixed function of the parameters; the same two examples gave the losses "
            f"{together.tolist()} and then {again.tolist()}. Switch off what is random (functional dropout, noise, augmentation)."
        )
    first, uses1 = forward(model, loss, take(x2, slice(0, 1)), take(y2, slice(0, 1)), 1, layers)
    second, _ = forward(model, loss, take(x2, slice(1, 2)), take(y2, slice(1, 2)), 1)
    alone = torch.cat([first, second]).detach()
    if ((together - alone).abs() > scale).any():
        raise InvalidInput(
            "each loss must depend on its own example only; two examples gave the losses "
            f"{together.tolist()} together and {alone.tolist()} alone. The model or the loss couples examples (a statistic or a softmax over the "
            "batch, weights that a batch normalises); take that out."
        )
    return axes_of(uses1, uses2)


def _compare(model, parameters: list[nn.Parameter], plan: Plan, loss, x, y, num_examples: int) -> None:
    """Compares a weighted sum of up to eight per-example gradients with autograd's.

    The weights differ, so that gradients of the right sum that are given to the wrong examples are found as well.
    """
    number = min(CHECKED, num_examples)
    x, y = take(x, slice(0, number)), take(y, slice(0, number))
    losses, _ = forward(model, loss, x, y, number)
    generator = torch.Generator().manual_seed(0)
    weights = (1 + torch.rand(number, generator=generator)).to(losses)
    expected = torch.autograd.grad(losses, parameters, weights, allow_unused=True)
    found, captured = factors(model, plan, loss, x, y, number, "factored")
    plan.bytes_captured = -(-captured // number)
    plan.multiplications = sum(factor.positions * factor.size for factor in found.values())
    for form in ("auto", "factored", "materialised"):
        plan.bytes_kept[form] = -(-sum(smaller_bytes(factor, form) for factor in found.values()) // number)
    whole = max((float(gradient.norm()) for gradient in expected if gradient is not None), default=0.0)
    rounding = 200 * torch.finfo(losses.dtype).eps * whole  # gradients that cancel to zero: a bias before a norm, keys of attention
    for i, (name, gradient) in enumerate(zip(plan.names, expected, strict=True)):
        ours = theirs = torch.zeros(parameters[i].numel(), dtype=losses.dtype, device=losses.device)
        size = 0.0
        if i in found:
            ours = found[i].rmatvec(weights)
            size = float(found[i].squared_norms().clamp_min(0).dot(weights.square()).sqrt())
        if gradient is not None:
            theirs = (gradient.to_dense() if gradient.is_sparse else gradient).flatten()
        difference, norm = float((ours - theirs).norm()), float(theirs.norm())
        if not difference <= max(rounding, _tolerance(losses) * max(size, norm)):
            raise InvalidInput(
                f"parameter {name!r} must be used only by calling the module that holds it, with the examples in order; its per-example gradients "
                f"miss autograd's sum by {difference:.3g} (norm {norm:.3g}). Is it tied to another layer, or used by a functional call, or are "
                "examples and positions mixed? Call the module itself."
            )


def _tolerance(losses: Tensor) -> float:
    """4 sqrt(eps) of the norm (1.4e-3 in float32), ten times that where convolutions may run in TF32."""
    coarse = losses.device.type == "cuda" and losses.dtype == torch.float32
    return (40 if coarse else 4) * torch.finfo(losses.dtype).eps ** 0.5


_plans: weakref.WeakKeyDictionary[nn.Module, dict[object, Plan]] = weakref.WeakKeyDictionary()


def plan_of(model: nn.Module, loss: Callable[[object, object], Tensor], x: Examples, y: Examples, num_examples: int) -> Plan:
    """The plan of this model in this mode for this loss and these shapes: an earlier one if there is one."""
    try:
        which = weakref.ref(loss)
        plans = _plans.setdefault(model, {})
        for known in [key for key in plans if key[0]() is None]:  # losses that are gone
            del plans[known]
    except TypeError:
        return make_plan(model, loss, x, y, num_examples)
    shapes = tuple((name, tensor.shape[1:], tensor.dtype) for name, tensor in [*leaves(x, "x"), *leaves(y, "y")])
    modules = tuple((name, type(module), module.training) for name, module in model.named_modules())
    parameters = tuple(
        (name, id(p), p.shape, p.dtype, p.device, p.requires_grad) for name, p in model.named_parameters(remove_duplicate=False)
    )
    key = (which, num_examples == 1, shapes, modules, parameters)
    if key not in plans:
        plans[key] = make_plan(model, loss, x, y, num_examples)
    return plans[key]
