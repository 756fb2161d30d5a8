"""Whether the rows of a model have the same bits whatever shares their passes, found at load.

A library may sum a row in another order when others are multiplied with it, and a difference in the last of
16 bits changes the text of a seed within some tokens. In bfloat16 on a CPU the model's products, attention,
normalisations and activations are therefore compared, each with few and many rows. Float32 needs no check:
there a difference matters at near-ties only.

The inputs are made to show a change: their sums are 0, so that what comes out is the rounding alone, and
any other order gives other bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mpg_cli.models.linear import PlainLinear, RepackedLinear, linear_shape, with_weight
from mpg_cli.models.run.attention import KEYS, NAME, row_invariant

LEAST = (1, 2, 4, 8)  # rows to which products are padded, tried in this order
FEW = (1, 2, 3, 5, 17)  # rows compared with MANY
MANY = 65
LARGEST = 2**11  # columns of a compared weight; wider ones have the same kernels
QUERIES, STREAMS = 17, 3  # queries and rows of the compared attention
SPANS = (64, KEYS, 3 * KEYS)  # its keys


@dataclass(frozen=True)
class Invariance:
    """What holds for the log-probabilities of a position, whatever else is computed with them."""

    bits: bool  # they are equal to the last bit
    text: bool  # the text of a seed stays, at least up to near-ties
    reason: str


def invariance_of(model: Any) -> Invariance:
    """What `check_invariance` has found at load."""
    found: Invariance = getattr(model, "_mpg_invariance", Invariance(False, False, "it was not checked"))
    return found


def check_invariance(model: Any, *, compiled: bool = False) -> Invariance:
    """Find out what holds for a model that is ready for decoding, and record it on the model.

    A layer that needs more rows for that than a pass may have pads its products from now on.
    """
    with torch.inference_mode():
        found = model._mpg_invariance = _found(model, compiled)
    return found


def _found(model: Any, compiled: bool) -> Invariance:
    if model.dtype == torch.float32:
        return Invariance(False, True, "equal up to near-ties in float32")
    kind = str(model.dtype).removeprefix("torch.")
    if model.device.type != "cpu" or model.dtype != torch.bfloat16:
        return Invariance(
            False, False, f"kernels for {kind} on {model.device.type} round by the shape of a pass"
        )
    if compiled:
        return Invariance(False, False, "compiled passes round by their shape")
    if model.config._attn_implementation != NAME:
        return Invariance(False, False, "the attention of this architecture is not covered")
    broken = next(_broken(model), None)
    if broken is not None:
        return Invariance(False, False, f"{broken} rounds by the shape of a pass on this CPU")
    return Invariance(True, True, f"equal bits in {kind} on this CPU")


def _broken(model: Any) -> Iterator[str]:
    """Names of what differs with the rows beside it."""
    layers: dict[tuple[Any, ...], list[nn.Module]] = {}
    for module in model.modules():
        shape = linear_shape(module)
        if shape is not None:
            layers.setdefault((type(module), *shape, module.bias is None), []).append(module)
    for (_, d_in, d_out, _), same in layers.items():
        least = _least(same[0], d_in, d_out)
        if least is None or not all(_pad(layer, least) for layer in same):
            yield f"the product of {d_in} x {d_out}"
    config = model.config.get_text_config()
    if not all(attention_is_invariant(*shape) for shape in _head_shapes(config)):
        yield "attention"
    for name, apply, size in _row_by_row(model, config):
        x = torch.randn(MANY, size, generator=torch.Generator().manual_seed(0)).bfloat16()
        if not rows_are_equal(apply, x):
            yield name


def rows_are_equal(apply: Callable[[Tensor], Tensor], x: Tensor, least: int = 1) -> bool:
    """Whether the function of rows (MANY, d) gives each the same bits with `least` rows or more beside it."""
    whole = apply(x)
    return all(
        torch.equal(apply(x[at : at + n]), whole[at : at + n])
        for n in FEW
        if n >= least
        for at in (0, len(x) - n)
    )


def _least(layer: nn.Module, d_in: int, d_out: int) -> int | None:
    """Rows from which on a layer like this one treats every row alike; None: not even LEAST[-1]."""
    weight, x = cancelling(min(d_out, LARGEST), d_in)
    of_layer = getattr(layer, "weight")  # noqa: B009  # mypy knows no weight of a module
    if of_layer.shape[0] == d_in and of_layer.shape[0] != of_layer.shape[1]:  # transformers' Conv1D
        weight = weight.T.contiguous()
    probe = with_weight(layer, weight)
    if isinstance(probe, RepackedLinear):
        probe.out_features = len(weight)
    return next((least for least in LEAST if rows_are_equal(probe, x, least)), None)


def cancelling(d_out: int, d_in: int) -> tuple[Tensor, Tensor]:
    """A weight (d_out, d_in) and rows (MANY, d_in) in bfloat16 whose products are 0 but for rounding."""
    draw = torch.Generator().manual_seed(0)
    half = d_in // 2
    some = torch.randn(min(d_out, 64), half, generator=draw).exp_()  # of very different sizes
    some *= torch.randn(some.shape, generator=draw).sign()
    rows = torch.randn(MANY, half, generator=draw)
    weight, x = torch.zeros(len(some), d_in), torch.zeros(MANY, d_in)
    weight[:, :half], weight[:, half : 2 * half] = some, -some.roll(1, dims=1)
    x[:, :half], x[:, half : 2 * half] = rows, rows.roll(1, dims=1)
    return weight.bfloat16().repeat(-(-d_out // len(some)), 1)[:d_out], x.bfloat16()


def _pad(layer: nn.Module, least: int) -> bool:
    """Let a layer pad its products to this many rows; False for one that cannot."""
    if least == 1:
        return True
    if type(layer) is nn.Linear:
        layer.__class__ = PlainLinear
    if isinstance(layer, RepackedLinear):
        layer.least = least
    return isinstance(layer, RepackedLinear)


def _head_shapes(config: Any) -> set[tuple[int, int, int]]:
    """Query heads, key heads and head size of all layers."""
    shapes = set()
    for own in getattr(config, "per_layer_config", None) or [config]:
        heads = own.num_attention_heads
        size = getattr(own, "head_dim", None) or own.hidden_size // heads
        shapes.add((heads, getattr(own, "num_key_value_heads", None) or heads, size))
    return shapes


def attention_is_invariant(heads: int, key_heads: int, d: int) -> bool:
    """Whether attention with such heads has the same bits for fewer queries, for fewer rows, and with masked
    keys after it. The values of each query cancel.
    """
    draw = torch.Generator().manual_seed(0)
    query = torch.randn(STREAMS, heads, QUERIES, d, generator=draw).bfloat16()
    for keys in SPANS:
        key, value = (torch.randn(STREAMS, key_heads, keys // 2, d, generator=draw) for _ in range(2))
        rest = torch.randn(2, STREAMS, key_heads, KEYS, d, generator=draw)  # masked
        key = torch.cat([key, key, rest[0]], dim=2).bfloat16()  # (STREAMS, h, keys + KEYS, d)
        value = torch.cat([value, -value.flip(2), rest[1]], dim=2).bfloat16()
        mask = torch.zeros(1, 1, 1, keys + KEYS).bfloat16()
        mask[..., keys:] = torch.finfo(torch.bfloat16).min
        if not _queries_are_equal(query, key, value, mask, keys):
            return False
    return True


def _queries_are_equal(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, keys: int) -> bool:
    """Compare all queries of all rows with some, alone and with more keys; `keys` are not masked."""

    def some(rows: slice, queries: slice, width: int) -> Tensor:
        k, v = key[rows, :, :width], value[rows, :, :width]
        return row_invariant(query[rows, :, queries], k, v, mask[..., :width], None)

    every = slice(None)
    whole = some(every, every, keys)
    parts = [(every, every, key.shape[2]), (slice(1, 2), every, keys), (slice(1), slice(2, 7), keys)]
    parts += [(every, slice(at, at + n), keys) for n in (1, 2, 5) for at in (0, 9)]
    return all(torch.equal(some(*part), whole[part[0], part[1]]) for part in parts)


def _row_by_row(model: Any, config: Any) -> Iterator[tuple[str, Callable[[Tensor], Tensor], int]]:
    """Normalisations and activations: name, function and the size of a row, each kind once."""
    wide = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None)
    wide = wide or 4 * config.hidden_size
    seen = set[tuple[str, int]]()
    for module in model.modules():
        name, weight = type(module).__name__, getattr(module, "weight", None)
        if name.endswith("Norm") and isinstance(weight, Tensor) and (name, len(weight)) not in seen:
            seen.add((name, len(weight)))
            yield name, module, len(weight)
        act = getattr(module, "act_fn", None) or getattr(module, "act", None)
        name = type(act).__name__
        if callable(act) and (name, wide) not in seen:
            seen.add((name, wide))
            yield name, act, wide
