"""One forward and one backward pass that leave, for each layer with parameters, its inputs and the gradients of its outputs.

Forward hooks note the inputs of a layer and the graph edge of its output, so that layers which overwrite their input afterwards
(``ReLU(inplace=True)``) change nothing. The backward pass is asked for these edges only; PyTorch then skips the weight gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.backends import cudnn
from torch.utils._pytree import tree_flatten

from sgdscope.errors import InvalidInput, NotFinite
from sgdscope.models.examples import Examples, call
from sgdscope.models.losses import losses_of


@dataclass
class Use:
    """One call of one layer.

    Attributes:
        layer: name of the module.
        spec: structure of ``(args, kwargs)``.
        inputs: its leaves, tensors detached.
        edges: for each leaf of the output its graph edge, None where it is no tensor with a gradient.
        shapes: shapes of the output leaves, None where they are no tensors.
        gradients: per output leaf the gradient of the summed losses, None where the losses do not depend on it.
    """

    layer: str
    spec: object
    inputs: list[object]
    edges: list[torch.autograd.graph.GradientEdge | None]
    shapes: list[torch.Size | None]
    versions: list[int]
    gradients: list[Tensor | None]


def _detached(leaf: object) -> object:
    return leaf.detach() if isinstance(leaf, Tensor) else leaf


def _version(leaf: object) -> int:
    return leaf._version if isinstance(leaf, Tensor) else 0


@contextmanager
def _watching(model: nn.Module, layers: Iterable[str], uses: list[Use]) -> Iterator[None]:
    """Appends to ``uses`` each call of the named modules; the hooks run before those of the user."""

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple, kwargs: dict, output: object) -> None:
            inputs, spec = tree_flatten((args, kwargs))
            outputs, _ = tree_flatten(output)
            with_gradient = [isinstance(leaf, Tensor) and leaf.requires_grad for leaf in outputs]
            uses.append(
                Use(
                    name,
                    spec,
                    [_detached(leaf) for leaf in inputs],
                    [
                        torch.autograd.graph.get_gradient_edge(leaf) if yes else None
                        for leaf, yes in zip(outputs, with_gradient, strict=True)
                    ],
                    [leaf.shape if isinstance(leaf, Tensor) else None for leaf in outputs],
                    [_version(leaf) for leaf in inputs],
                    [None] * len(outputs),
                )
            )

        return hook

    handles = []
    try:
        for name in layers:
            handles.append(model.get_submodule(name).register_forward_hook(watch(name), with_kwargs=True, prepend=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def differentiable(model: nn.Module) -> Iterator[None]:
    """Runs recurrent layers in eval mode without cuDNN: PyTorch does not differentiate its recurrences there."""
    off = cudnn.enabled and any(isinstance(module, nn.RNNBase) and not module.training for module in model.modules())
    if off:
        cudnn.enabled = False
    try:
        yield
    finally:
        if off:
            cudnn.enabled = True


def forward(
    model: nn.Module, loss: Callable[[object, object], Tensor], x: Examples, y: Examples, num_examples: int, layers: Iterable[str] = ()
) -> tuple[Tensor, list[Use], object]:
    """Losses (N,) with their graph, the uses of the named modules in the order of their ends, and the outputs.

    Raises:
        InvalidInput: losses that are no (N,) finite numbers, or depend on no trainable parameter.
    """
    uses: list[Use] = []
    with torch.inference_mode(False), torch.enable_grad():
        with _watching(model, layers, uses), differentiable(model):
            outputs = call(model, x)
        losses = losses_of(loss, outputs, y, num_examples)
    if not losses.requires_grad:
        raise InvalidInput(
            "losses must depend on trainable parameters; these have no gradient. Does the model or the loss detach or convert to numpy?"
        )
    return losses, uses, outputs


def capture(
    model: nn.Module, loss: Callable[[object, object], Tensor], x: Examples, y: Examples, num_examples: int, layers: Iterable[str]
) -> list[Use]:
    """The uses of the named modules in ``model(x)`` with the gradients of the summed losses at their outputs.

    Raises:
        InvalidInput: losses that are no (N,) finite numbers or depend on no trainable parameter; NaN gradients; a layer's input overwritten.
    """
    losses, uses, _ = forward(model, loss, x, y, num_examples, layers)
    edges = [edge for use in uses for edge in use.edges if edge is not None]
    if not edges:
        return uses
    with torch.enable_grad():
        gradients = iter(torch.autograd.grad(losses.sum(), edges, allow_unused=True))
    for use in uses:
        use.gradients = [None if edge is None else next(gradients) for edge in use.edges]
        use.edges = [None] * len(use.edges)  # lets go of the graph
        for leaf, version in zip(use.inputs, use.versions, strict=True):
            if _version(leaf) != version:
                raise InvalidInput(
                    f"the input of layer {use.layer!r} must stay as it was until the backward pass; the model overwrites it in place. "
                    "Use the out-of-place form of what follows the layer."
                )
    check_finite(uses)
    return uses


def check_finite(uses: list[Use]) -> None:
    """Refuses NaN and infinite gradients: one sum a tensor, one look at all sums."""
    sums = [(use.layer, gradient.sum()) for use in uses for gradient in use.gradients if gradient is not None]
    if sums and not torch.isfinite(torch.stack([total for _, total in sums])).all():
        layer = next(name for name, total in reversed(sums) if not torch.isfinite(total))
        raise NotFinite(
            f"gradients must be finite; NaN or infinite values came at the output of layer {layer!r} though the losses are finite. "
            "Look for sqrt, norm or log at zero behind it, or for an overflow."
        )
