"""Layers without a rule of their own: their vector-Jacobian product for each example, by `torch.func` over their own parameters.

Given a layer's inputs and the gradients at its outputs, ``g_n = J_n(theta)^T d_n`` needs the layer alone. `vmap` does all examples at once;
what it cannot do (fused recurrence, in-place writes) is done one example at a time.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_flatten, tree_unflatten

from sgdscope.gradients.axes import UseAxes, split
from sgdscope.gradients.capture import Use, differentiable

ALONE: set[type] = {nn.LSTM, nn.GRU, nn.RNN}
"""Layers that vmap would call one example at a time as well, or fails on."""


def layer_gradients(module: nn.Module, names: Sequence[str], use: Use, axes: UseAxes, num_examples: int) -> list[Tensor]:
    """Per-example gradients (N, ...) of the named parameters of one use of a layer, each of the parameter's shape behind N."""
    parameters = {name: module.get_parameter(name).detach() for name in names}
    outputs = [i for i, gradient in enumerate(use.gradients) if gradient is not None]
    gradients = [split(use.gradients[i], axes.outputs[i], num_examples, use.layer) for i in outputs]
    batched = [i for i, axis in enumerate(axes.inputs) if axis is not None]
    inputs = [split(use.inputs[i], axes.inputs[i], num_examples, use.layer) for i in batched]

    def run(values: dict[str, Tensor], own: Sequence[Tensor]) -> tuple[Tensor, ...]:
        leaves = list(use.inputs)
        for i, leaf in zip(batched, own, strict=True):
            leaves[i] = leaf
        args, kwargs = tree_unflatten(leaves, use.spec)
        results, _ = tree_flatten(functional_call(module, values, args, kwargs))
        return tuple(results[i] for i in outputs)

    def one(own: Sequence[Tensor], gradient: Sequence[Tensor]) -> dict[str, Tensor]:
        _, pull = vjp(lambda values: run(values, own), parameters)
        return pull(tuple(gradient))[0]

    with torch.inference_mode(False), sdpa_kernel(SDPBackend.MATH), differentiable(module), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "performance drop because we have not yet implemented the batching rule"
        if type(module) not in ALONE:
            try:
                with torch.no_grad():  # vjp tracks its own arguments; the other parameters need no graph
                    found = vmap(one)(inputs, gradients)
                return [found[name] for name in names]
            except RuntimeError:  # an operation without a batching rule
                pass
        with torch.enable_grad():
            return _one_by_one(run, parameters, inputs, gradients, num_examples)


def _one_by_one(run, parameters: dict[str, Tensor], inputs: list[Tensor], gradients: list[Tensor], num_examples: int) -> list[Tensor]:
    """The same by ordinary autograd, one example after the other."""
    values = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    found = [value.new_zeros(num_examples, *value.shape) for value in parameters.values()]
    for n in range(num_examples):
        results = run(values, [leaf[n] for leaf in inputs])
        taken = torch.autograd.grad(results, list(values.values()), [gradient[n] for gradient in gradients], allow_unused=True)
        for rows, gradient in zip(found, taken, strict=True):
            if gradient is not None:
                rows[n] = gradient
    return found
