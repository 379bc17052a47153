"""From the uses of layers to factors of parameters: a rule for each layer type, and what adds up several uses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sgdscope.gradients.axes import UseAxes, split
from sgdscope.gradients.capture import Use
from sgdscope.gradients.convolution import Geometry, Patches
from sgdscope.gradients.factors import Factor, Outer, Rows
from sgdscope.gradients.fallback import layer_gradients
from sgdscope.gradients.tokens import Tokens, Total


def factors_of(module: nn.Module, owned: Mapping[str, int], use: Use, axes: UseAxes, num_examples: int) -> dict[int, Factor]:
    """Factors of the parameters ``owned`` (name in the module: index) for one use of a layer."""
    if all(gradient is None for gradient in use.gradients):
        return {}
    if (
        set(owned) <= {"weight", "bias"}
        and axes.inputs
        and axes.inputs[0] is not None
        and sum(axis is not None for axis in axes.inputs) == 1
    ):
        forward = type(module).forward
        if forward is nn.Linear.forward:
            return _linear(owned, *_inputs_and_gradients(use, axes, num_examples))
        if forward is nn.Embedding.forward:
            return _embedding(module, owned, *_inputs_and_gradients(use, axes, num_examples))
        if _is_convolution(module, use) and axes.inputs[0].axis == 0:
            return _convolution(module, owned, *_inputs_and_gradients(use, axes, num_examples))
    names = list(owned)
    gradients = layer_gradients(module, names, use, axes, num_examples)
    return {owned[name]: Rows(gradient.reshape(num_examples, -1)) for name, gradient in zip(names, gradients, strict=True)}


def _inputs_and_gradients(use: Use, axes: UseAxes, num_examples: int) -> tuple[Tensor, Tensor]:
    inputs = split(use.inputs[0], axes.inputs[0], num_examples, use.layer)
    return inputs, split(use.gradients[0], axes.outputs[0], num_examples, use.layer)


def _linear(owned: Mapping[str, int], inputs: Tensor, gradients: Tensor) -> dict[int, Factor]:
    a = inputs.reshape(len(inputs), -1, inputs.shape[-1])
    d = gradients.reshape(len(gradients), -1, gradients.shape[-1])
    found: dict[int, Factor] = {}
    if "weight" in owned:
        found[owned["weight"]] = Outer(a, d)
    if "bias" in owned:
        found[owned["bias"]] = Rows(d[:, 0] if d.shape[1] == 1 else d.sum(1))
    return found


def _embedding(module: nn.Embedding, owned: Mapping[str, int], tokens: Tensor, gradients: Tensor) -> dict[int, Factor]:
    tokens = tokens.reshape(len(tokens), -1).long()
    gradients = gradients.reshape(*tokens.shape, module.embedding_dim)
    if module.padding_idx is not None:
        gradients = gradients * (tokens != module.padding_idx)[:, :, None]
    return {owned["weight"]: Tokens(tokens, gradients, module.num_embeddings)}


def _is_convolution(module: nn.Module, use: Use) -> bool:
    for kind, dims in ((nn.Conv2d, 4), (nn.Conv1d, 3)):
        if type(module).forward is kind.forward and type(module)._conv_forward is kind._conv_forward:
            return use.inputs[0].dim() == dims
    return False


def _convolution(module: nn.Conv1d | nn.Conv2d, owned: Mapping[str, int], inputs: Tensor, gradients: Tensor) -> dict[int, Factor]:
    found: dict[int, Factor] = {}
    if "bias" in owned:
        found[owned["bias"]] = Rows(gradients.flatten(3).sum((1, 3)))
    if "weight" in owned:
        padding = tuple(module._reversed_padding_repeated_twice)
        settings = [tuple(module.kernel_size), tuple(module.stride), tuple(module.dilation)]
        if isinstance(module, nn.Conv1d):
            inputs, gradients, padding = inputs.unsqueeze(3), gradients.unsqueeze(3), (*padding, 0, 0)
            settings = [(1, *setting) for setting in settings]
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        found[owned["weight"]] = Patches(inputs, gradients, Geometry(*settings, module.groups, padding, mode))
    return found


def add_up(uses: list[dict[int, Factor]], form: str) -> dict[int, Factor]:
    """One factor a parameter: several uses become one with more positions, or a sum. What is smaller as rows is kept as rows."""
    parts: dict[int, list[Factor]] = defaultdict(list)
    for use in uses:
        for index, factor in use.items():
            parts[index].append(factor)
    return {index: _smaller(_joined(several), form) for index, several in sorted(parts.items())}


def _joined(parts: list[Factor]) -> Factor:
    first = parts[0]
    if len(parts) == 1:
        return first
    if all(isinstance(part, Outer) for part in parts):
        return Outer(torch.cat([part.inputs for part in parts], 1), torch.cat([part.gradients for part in parts], 1))
    if all(isinstance(part, Tokens) for part in parts):
        tokens = torch.cat([part.tokens for part in parts], 1)
        return Tokens(tokens, torch.cat([part.gradients for part in parts], 1), first.num_embeddings)
    if all(isinstance(part, Patches) and _alike(part, first) for part in parts):
        return Patches(torch.cat([part.inputs for part in parts], 1), torch.cat([part.gradients for part in parts], 1), first.geometry)
    if all(isinstance(part, Rows) for part in parts):
        return Rows(torch.stack([part.matrix for part in parts]).sum(0))
    return Total(parts)


def _alike(part: Patches, first: Patches) -> bool:
    return part.geometry == first.geometry and part.inputs.shape[2:] == first.inputs.shape[2:]


def smaller_bytes(factor: Factor, form: str) -> int:
    """Bytes of a factor, or of its rows where these are kept instead: they take no more, and factors are not forced."""
    if form == "factored" or (isinstance(factor, Outer) and factor.positions == 1):
        return factor.nbytes
    return min(factor.nbytes, factor.num_examples * factor.size * factor.dtype.itemsize)


def _smaller(factor: Factor, form: str) -> Factor:
    """Rows instead of factors where they take less memory; then they are the faster form as well."""
    return Rows(factor.rows()) if smaller_bytes(factor, form) < factor.nbytes else factor
