"""Attention of few queries over many keys on a CPU, by plain matrix products.

Decoding has few queries, while libraries optimise for prompts. For masked passes of several tokens
transformers first copies keys and values for every query head that shares them, and PyTorch's kernel computes
whole blocks of queries. Plain products without these copies took a tenth to nine tenths of that time, least
with shared keys (AMD EPYC, two threads; `python -m benchmarks.kernels`). They are used in float32 only: in
half precision they would round the scores, so PyTorch's kernel is used there, without the copies.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "mpg"
SCORES = 2**22  # of a layer; more do not fit the CPU caches, and a kernel that stores none is faster
OTHER = ("softcap", "position_bias", "s_aux", "cache")  # arguments that plain products do not cover


def use_few_queries(model: Any) -> None:
    """Switch a model on a CPU to `attend`, if its attention is PyTorch's."""
    if model.device.type == "cpu" and model.config._attn_implementation == "sdpa":
        AttentionInterface.register(NAME, attend)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """As transformers' `sdpa_attention_forward`: query (rows, H, T, d), key and value (rows, h, S, d), mask
    (rows or 1, 1, T, S) added to the scores; returns (rows, T, H, d).
    """
    rows, heads, T, _ = query.shape
    shared = heads // key.shape[1]  # query heads a key head
    added = attention_mask is not None and attention_mask.dtype == query.dtype  # not boolean
    plain = added and not dropout and all(kwargs.get(name) is None for name in OTHER)
    few = rows * T > 1 and query.shape[:3].numel() * key.shape[2] <= SCORES
    if plain and few and query.dtype == torch.float32:
        assert attention_mask is not None
        return plain_products(query, key, value, attention_mask, scaling), None
    if plain and shared > 1 and T > 1:
        found = scaled_dot_product_attention(
            query, key, value, attention_mask, scale=scaling, enable_gqa=True
        )
        return found.transpose(1, 2).contiguous(), None
    found, _ = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
    )
    return found, None


def plain_products(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float | None) -> Tensor:
    """softmax(scaling * query key^T + mask) value, with one product for all queries of a key head.

    Shapes as for `attend`; scaling None is d ** -0.5.
    """
    rows, heads, T, d = query.shape
    key_heads, width = key.shape[1:3]
    q = query.reshape(rows * key_heads, -1, d)  # (rows*h, H/h*T, d)
    scores = torch.bmm(q, key.flatten(0, 1).mT)  # (rows*h, H/h*T, S)
    each = scores.view(rows, key_heads, -1, T, width)  # (rows, h, H/h, T, S)
    torch.add(mask[:, :, None], each, alpha=d**-0.5 if scaling is None else scaling, out=each)
    found = torch.bmm(scores.softmax(dim=-1), value.flatten(0, 1))  # (rows*h, H/h*T, d)
    return found.view(rows, heads, T, -1).transpose(1, 2).contiguous()  # (rows, T, H, d)
