"""Layers written out in plain operations, for derivatives that PyTorch's fused kernels get wrong or do not have.

| layer | fused kernel (PyTorch 2.11 to 2.13) |
| --- | --- |
| layer norm, instance norm | nested `torch.func.jvp` gives wrong second derivatives, silently |
| gated linear unit | forward mode twice raises |
| LSTM, GRU, RNN | forward mode raises on oneDNN and cuDNN; backward twice raises on cuDNN |
| scaled dot-product attention | forward mode and backward twice raise on flash and memory-efficient kernels |
| weight norm | forward mode raises; backward twice takes the norm as constant, silently |
| embedding | forward mode differentiates in the row of ``padding_idx``, which autograd takes as constant |

`COMPOSITES` maps the name of a torch function to its plain form. The plain forms hold no in-place operation and no choice by type, so
that they run on tensors, on `torch.func` duals and on Taylor series alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode


def layer_norm(
    input: Tensor, normalized_shape: list[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5, *_: object
) -> Tensor:
    """`torch.nn.functional.layer_norm`."""
    axes = tuple(range(-len(normalized_shape), 0))
    centred = input - input.mean(axes, keepdim=True)
    output = centred * torch.rsqrt((centred * centred).mean(axes, keepdim=True) + eps)
    output = output if weight is None else output * weight
    return output if bias is None else output + bias


def rms_norm(input: Tensor, normalized_shape: list[int], weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """`torch.nn.functional.rms_norm`."""
    axes = tuple(range(-len(normalized_shape), 0))
    output = input * torch.rsqrt((input * input).mean(axes, keepdim=True) + (torch.finfo(input.dtype).eps if eps is None else eps))
    return output if weight is None else output * weight


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *_: object,
) -> Tensor:
    """`torch.nn.functional.instance_norm`, without its update of running statistics."""
    channels = (1, -1, *[1] * (input.dim() - 2))
    if use_input_stats:
        output = layer_norm(input, list(input.shape[2:]), eps=eps)
    else:
        output = (input - running_mean.view(channels)) * torch.rsqrt(running_var.view(channels) + eps)
    output = output if weight is None else output * weight.view(channels)
    return output if bias is None else output + bias.view(channels)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """`torch.nn.functional.glu`."""
    value, gate = input.chunk(2, dim)
    return value * torch.sigmoid(gate)


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """The weight of `torch.nn.utils.parametrizations.weight_norm`: ``g v / |v|``, norms over all axes but ``dim``."""
    axes = [axis for axis in range(v.dim()) if axis != dim]
    return v * (g * torch.rsqrt((v * v).sum(axes, keepdim=True)))


def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None, *settings: object, **named: object) -> Tensor:
    """`torch.nn.functional.embedding`."""
    rows = F.embedding(input, weight, None, *settings, **named)
    if padding_idx is None:
        return rows
    return torch.where((input == padding_idx % len(weight)).unsqueeze(-1), rows.detach(), rows)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`torch.nn.functional.scaled_dot_product_attention` with dropout off."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    scores = (query @ key.transpose(-2, -1)) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return torch.softmax(scores, -1) @ value


def _lstm_step(gates: Tensor, state: list[Tensor], weights: list[Tensor], hidden: Tensor) -> list[Tensor]:
    i, f, g, o = (gates + hidden).chunk(4, -1)
    cell = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    output = torch.sigmoid(o) * torch.tanh(cell)
    return [F.linear(output, weights[0]) if weights else output, cell]


def _gru_step(gates: Tensor, state: list[Tensor], weights: list[Tensor], hidden: Tensor) -> list[Tensor]:
    (reset, update, new), (reset_h, update_h, new_h) = gates.chunk(3, -1), hidden.chunk(3, -1)
    update = torch.sigmoid(update + update_h)
    new = torch.tanh(new + torch.sigmoid(reset + reset_h) * new_h)
    return [new + update * (state[0] - new)]


def _layer(step: Callable, x: Tensor, state: list[Tensor], weights: list[Tensor], bias: bool, reverse: bool) -> tuple[Tensor, list[Tensor]]:
    """One direction of one layer over x (time, batch, features): outputs and last state."""
    w_in, w_hidden, *more = weights
    b_in, b_hidden = more[:2] if bias else (None, None)
    gates, projection = F.linear(x, w_in, b_in), more[2:] if bias else more
    outputs = []
    for at in gates.unbind(0)[::-1] if reverse else gates.unbind(0):
        state = step(at, state, projection, F.linear(state[0], w_hidden, b_hidden))
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if reverse else outputs), state


def _recurrence(step: Callable, *arguments: object) -> tuple[Tensor, list[Tensor]]:
    """All layers and directions; arguments as of `torch.lstm` for padded sequences."""
    x, states, flat, bias, layers, _dropout, _training, bidirectional, batch_first = arguments
    states = list(states) if isinstance(states, tuple | list) else [states]
    x, directions = x.transpose(0, 1) if batch_first else x, 2 if bidirectional else 1
    each, last = len(flat) // (layers * directions), []
    for layer in range(layers):
        parts = []
        for direction in range(directions):
            n = layer * directions + direction
            weights = list(flat[n * each : (n + 1) * each])
            out, end = _layer(step, x, [state[n] for state in states], weights, bias, direction == 1)
            parts.append(out), last.append(end)
        x = torch.cat(parts, -1) if directions == 2 else parts[0]
    return x.transpose(0, 1) if batch_first else x, [torch.stack(ends) for ends in zip(*last, strict=True)]


def _recurrent(step: Callable, fused: Callable) -> Callable:
    def run(*arguments: object) -> tuple[Tensor, ...]:
        if len(arguments) != 9 or isinstance(arguments[3], tuple | list):
            return fused(*arguments)  # a packed sequence: (data, batch_sizes, states, weights, ...)
        output, states = _recurrence(step, *arguments)
        return output, *states

    return run


COMPOSITES: dict[str, Callable] = {
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "instance_norm": instance_norm,
    "glu": glu,
    "embedding": embedding,
    "_weight_norm": weight_norm,
    "scaled_dot_product_attention": scaled_dot_product_attention,
    "lstm": _recurrent(_lstm_step, torch._VF.lstm),
    "gru": _recurrent(_gru_step, torch._VF.gru),
    "rnn_tanh": _recurrent(lambda gates, state, weights, hidden: [torch.tanh(gates + hidden)], torch._VF.rnn_tanh),
    "rnn_relu": _recurrent(lambda gates, state, weights, hidden: [torch.relu(gates + hidden)], torch._VF.rnn_relu),
}
"""Name of a torch function to its plain form."""


class _Replace(TorchFunctionMode):
    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names

    def __torch_function__(self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        plain = COMPOSITES[func.__name__] if getattr(func, "__name__", "") in self.names else func
        return plain(*args, **(kwargs or {}))


@contextmanager
def composite_forms(names: tuple[str, ...] = tuple(COMPOSITES)) -> Iterator[None]:
    """Runs the named torch functions by their plain forms, and attention modules without their fused inference path.

    What a function of Python calls, as `torch.nn.functional.multi_head_attention_forward` its attention, is out of reach of a mode: there
    PyTorch's own kernel of plain operations is chosen.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH) if "scaled_dot_product_attention" in names else nullcontext(), _Replace(names):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """What backward twice needs: attention, weight norm, and recurrences on a GPU; the other fused layers are right, and faster."""
    recurrent = ("lstm", "gru", "rnn_tanh", "rnn_relu") if torch.cuda.is_available() else ()
    with composite_forms(("scaled_dot_product_attention", "_weight_norm", *recurrent)):
        yield
