"""Attention on a CPU, by plain matrix products.

In float32 for speed: decoding has few queries, while libraries optimise for prompts. For masked passes of
several tokens transformers first copies keys and values for every query head that shares them, and PyTorch's
kernel computes whole blocks of queries. Plain products without these copies took a tenth to nine tenths of
that time, least with shared keys (AMD EPYC, two threads; `python -m benchmarks.kernels`).

In bfloat16 for equal bits: PyTorch's kernel rounds a query differently with other queries beside it and with
more keys after it, and a 16-bit difference changes the text of a seed within some tokens. The products here
have shapes for which libraries sum every row in one order: at least LEAST rows, at most KEYS keys in the
product with the values, no scores of many queries at once. Fixed blocks of keys are added in their order.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "mpg"
SCORES = 2**22  # of a layer; more do not fit the CPU caches, and a kernel that stores none is faster
LEAST = 4  # rows of a product in bfloat16; for fewer MKL has kernels that sum in another order
KEYS = 128  # keys in a product with values in bfloat16; longer sums are divided, at places that vary
TOGETHER = 2**19  # numbers of scores, and of keys, that bfloat16 attention computes at once
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
    if plain and query.dtype == torch.bfloat16:
        assert attention_mask is not None
        return row_invariant(query, key, value, attention_mask, scaling), None
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


def row_invariant(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float | None) -> Tensor:
    """The same in bfloat16, with the same bits for a query whatever queries, rows and masked keys are beside
    it; shapes as for `attend`.
    """
    rows, heads, T, d = query.shape
    key_heads, width = key.shape[1:3]
    scale = d**-0.5 if scaling is None else scaling
    kind = torch.bfloat16 if has_products() else torch.float32
    some = rows if kind == key.dtype else max(1, TOGETHER // (key_heads * width * d))  # rows at once
    few = max(1, TOGETHER // (min(some, rows) * heads * width))  # queries at once
    found = query.new_empty(rows, T, heads, value.shape[3])
    for r in range(0, rows, some):
        k, v = (x[r : r + some].to(kind).flatten(0, 1) for x in (key, value))  # (n*h, S, d)
        own = mask if len(mask) == 1 else mask[r : r + some]
        for t in range(0, T, few):
            q = query[r : r + some, :, t : t + few]  # (n, H, t, d)
            result = _products(q.to(kind), k, v, own[:, :, t : t + few], scale)  # (n, H, t, d)
            found[r : r + some, t : t + few] = result.transpose(1, 2)
    return found


def _products(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    """query (n, H, t, d), key and value (n*h, S, d), mask (n or 1, 1, t, S) -> (n, H, t, d).

    Scores are rounded to the dtype of the products; the softmax is computed in float32.
    """
    n, heads, t, d = query.shape
    key_heads, width = len(key) // n, key.shape[1]
    shared = heads // key_heads
    q = query.reshape(len(key), shared * t, d)  # (n*h, H/h*t, d)
    used = q.shape[1]
    if used < LEAST:
        q = torch.nn.functional.pad(q, (0, 0, 0, LEAST - used))
    scores = torch.bmm(q, key.mT)  # (n*h, M, S)
    each = scores[:, :used].view(n, key_heads, shared, t, width)
    torch.add(mask[:, :, None], each, alpha=scale, out=each)
    shares = scores.softmax(dim=-1)
    found = torch.bmm(shares[..., :KEYS], value[:, :KEYS])  # (n*h, M, d)
    if width > KEYS:
        found = found.float()
    for at in range(KEYS, width, KEYS):
        found += torch.bmm(shares[..., at : at + KEYS], value[:, at : at + KEYS])
    return found[:, :used].reshape(n, heads, t, -1)


@cache
def has_products() -> bool:
    """Whether this CPU multiplies bfloat16 matrices with oneDNN's kernels; PyTorch's own are slow."""
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # undocumented
        return False
