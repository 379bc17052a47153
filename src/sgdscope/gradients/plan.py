"""What has to be found out once about a model: its layers, where the examples are in their inputs, and that all this is right.

A plan is made by running the model on two examples together and alone, and on up to eight together, alone, and for the comparison with autograd.
It is kept as long as the model lives and serves all later calls with the same modules, modes, loss and shapes; see `once`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sgdscope.gradients.axes import UseAxes
from sgdscope.gradients.capture import capture
from sgdscope.gradients.checks import compare_with_autograd, each_alone, examples_alone_and_together, spread
from sgdscope.gradients.factors import Factor
from sgdscope.gradients.layers import add_up, factors_of, smaller_bytes
from sgdscope.gradients.once import once
from sgdscope.models.examples import Examples, take
from sgdscope.models.refusals import NoPerExampleGradients


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
        raise NoPerExampleGradients(
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
    layers, uses = _layers(model, index, loss, x, y, num_examples)
    plan = Plan([name for name, _ in parameters], [parameter.shape for _, parameter in parameters], columns, layers, uses)
    few = spread(y, num_examples)
    x, y, number = take(x, few), take(y, few), len(few)
    once(each_alone, model, loss, x, y, number)
    found, captured = factors(model, plan, loss, x, y, number, "factored")
    compare_with_autograd(model, plan.names, found, loss, x, y, number)
    plan.bytes_captured = -(-captured // number)
    plan.multiplications = sum(factor.positions * factor.size for factor in found.values())
    for form in ("auto", "factored", "materialised"):
        plan.bytes_kept[form] = -(-sum(smaller_bytes(factor, form) for factor in found.values()) // number)
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


def _layers(
    model: nn.Module, index: dict[int, int], loss: Callable[[object, object], Tensor], x: Examples, y: Examples, num_examples: int
) -> tuple[dict[str, dict[str, int]], list[UseAxes]]:
    """Layers and axes. What a layer does once for all examples (a table of positions, a reparametrised weight) is left to the module around it.

    So are lists and dicts of parameters, which are never called.
    """
    layers = _own_layers(model, index)
    uses = examples_alone_and_together(model, loss, x, y, num_examples, layers)
    moved = {name for name, module in model.named_modules() if isinstance(module, nn.ParameterList | nn.ParameterDict)}
    while shared := _shared(layers, uses, moved):
        for name in shared:
            owned, parent = layers.pop(name), name.rpartition(".")[0]
            local = name[len(parent) + 1 :] if parent else name
            layers.setdefault(parent, {}).update({f"{local}.{key}": i for key, i in owned.items()})
            moved.add(parent)
        uses = examples_alone_and_together(model, loss, x, y, num_examples, layers)
    return layers, uses


def _shared(layers: dict[str, dict[str, int]], uses: list[UseAxes], moved: set[str]) -> list[str]:
    called = {use.layer for use in uses}
    shared = {use.layer for use in uses if use.layer and None in use.outputs and not any(use.outputs)}
    return [name for name in layers if name in shared or (name and name in moved and name not in called)]


def plan_of(model: nn.Module, loss: Callable[[object, object], Tensor], x: Examples, y: Examples, num_examples: int) -> Plan:
    """The plan of this model in this state for this loss and these shapes: an earlier one if there is one."""
    return once(make_plan, model, loss, x, y, num_examples)
