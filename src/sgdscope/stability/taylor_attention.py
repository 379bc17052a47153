"""Taylor rule of `torch.nn.MultiheadAttention`, written out in functions that have rules; see `sgdscope.stability.taylor`."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sgdscope.stability.taylor import NoRule, Series, rule


@rule("multi_head_attention_forward")
def _attention(
    func: Callable,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    unusual = {
        "more keys": bias_k is not None or bias_v is not None or add_zero_attn or static_k is not None or static_v is not None,
        "dropout": training and dropout_p > 0,
        "one sequence alone": query.dim() != 3,
        "is_causal without a mask": is_causal and attn_mask is None,
        "a mask that depends on the parameters": isinstance(attn_mask, Series) or isinstance(key_padding_mask, Series),
    }
    for what, here in unusual.items():
        if here:
            raise NoRule(f"attention has no rule with {what}")
    biases = (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
    weights = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else in_proj_weight.chunk(3)
    if query is key and key is value and not use_separate_proj_weight:
        parts = F.linear(query, in_proj_weight, in_proj_bias).chunk(3, -1)
    else:
        parts = [F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]
    q, k, v = (part.unflatten(-1, (num_heads, -1)).permute(1, 2, 0, 3) for part in parts)  # (N, heads, positions, features)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (N, heads, L, S)
    if attn_mask is not None:
        mask = _additive(attn_mask, scores)
        scores = scores + (mask if mask.dim() == 2 else mask.unflatten(0, (-1, num_heads)))
    if key_padding_mask is not None:
        scores = scores + _additive(key_padding_mask, scores)[:, None, None]
    shares = torch.softmax(scores, -1)
    output = F.linear((shares @ v).permute(2, 0, 1, 3).flatten(2), out_proj_weight, out_proj_bias)
    if not need_weights:
        return output, None
    return output, shares.mean(1) if average_attn_weights else shares


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    """A mask whose True hides a key, as what is added to the scores."""
    return torch.zeros(mask.shape, dtype=like.dtype, device=like.device).masked_fill(mask, -torch.inf) if mask.dtype == torch.bool else mask
