"""Measure the constants of the fast paths: ratios of times on this processor, from one run.

    python -m benchmarks.kernels            # some minutes
    python -m benchmarks.kernels --small    # seconds, rough figures

Below 1 the implementation of mpg_cli/models is faster. The constants are in mpg_cli/models/fast/prepacked.py
(SMALLEST, WORTH, MANY), mpg_cli/models/fast/plan.py (near, alike, max_gap, min_keys) and
mpg_cli/models/run/attention.py (SCORES, TOGETHER). The last tables are the price of equal bits in bfloat16:
passes of a model of SmolLM2's shape over those with PyTorch's attention.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, AutoModelForCausalLM, LlamaConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from benchmarks.models import build_model
from mpg_cli.models.fast.prepacked import available, packed, prepack
from mpg_cli.models.run.attention import has_products, plain_products, use_few_queries
from mpg_cli.models.run.forward import Forward
from mpg_cli.models.run.row_group import RowGroup

HEADS, SHARED, SIZE = 16, 2, 64  # query heads, query heads per key head, head size
SMOLLM2 = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
STEPS = ((1, 1), (1, 5), (6, 1), (6, 5), (48, 1), (48, 5))  # rows and tokens of passes while decoding
BLOCKS = (0, 1000, 1900)  # first positions of blocks of a prompt of 2,000 tokens, in six rows
Run = Callable[[], object]


def ratio(new: Run, old: Run, repeats: int) -> float:
    """Time of `new` over that of `old`: the median of interleaved runs; the first two warm up."""
    found = []
    for repeat in range(repeats + 2):
        seconds = []
        for run in (new, old):
            began = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - began)
        if repeat >= 2:
            found.append(seconds[0] / seconds[1])
    return statistics.median(found)


def show(title: str, columns: list[str], rows: dict[str, list[float]]) -> None:
    """Print a table of ratios."""
    print(f"\n{title}\n{'':>14}" + "".join(f"{column:>10}" for column in columns))
    for name, values in rows.items():
        print(f"{name:>14}" + "".join(f"{value:10.2f}" for value in values))


def weights(dtype: torch.dtype, repeats: int) -> None:
    """SMALLEST, WORTH and MANY: products with packed weights over plain ones, by size and rows."""
    if not available(dtype):
        print(f"\nno oneDNN kernels for {dtype} on this machine")
        return
    counts, rows = (1, 6, 16, 32, 64, 256), dict[str, list[float]]()
    for side in (64, 128, 256, 512, 1024):
        layer = nn.Linear(side, side, bias=False, dtype=dtype).requires_grad_(False)
        blocks = packed(layer.weight)
        found = []
        for count in counts:
            x = torch.randn(count, side).to(dtype)
            new = partial(torch.ops.mkldnn._linear_pointwise, x, blocks, None, "none", [], "")
            found.append(ratio(new, partial(layer, x), repeats))
        rows[f"2^{(side * side).bit_length() - 1} numbers"] = found
    show(f"weights in blocks, {dtype}, by rows", [str(n) for n in counts], rows)


def attention(repeats: int) -> None:
    """SCORES: plain products over PyTorch's kernel, by queries and keys, of six rows in float32."""
    widths, rows = (64, 512, 2048), dict[str, list[float]]()
    for queries in (1, 5, 64, 256):
        found = []
        for width in widths:
            query = torch.randn(6, HEADS, queries, SIZE)
            key, value = (torch.randn(6, HEADS // SHARED, width, SIZE) for _ in range(2))
            mask = torch.zeros(1, 1, queries, width)

            own = partial(plain_products, query, key, value, mask, None)
            found.append(ratio(own, partial(library_attention, query, key, value, mask), repeats))
        rows[f"{queries} queries"] = found
    show("attention by plain products, by keys", [str(width) for width in widths], rows)


def library_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Attention as in transformers for a masked pass: keys and values repeated for every query head."""
    key, value = key.repeat_interleave(SHARED, 1), value.repeat_interleave(SHARED, 1)
    return scaled_dot_product_attention(query, key, value, mask)


def gaps(repeats: int) -> None:
    """max_gap and min_keys: reading keys to the end of their storage over reading them up to a gap."""
    sizes, rows = (16, 64, 256), dict[str, list[float]]()
    for width in (64, 256, 1024):
        found = []
        for gap in sizes:  # positions of SIZE numbers of 4 bytes
            keys = torch.randn(6, HEADS, width + gap, SIZE)
            query = torch.randn(6 * HEADS, 1, SIZE)
            part = keys[:, :, :width]
            found.append(ratio(partial(scores, query, keys), partial(scores, query, part), repeats))
        rows[f"{keys[:, :, :width].nbytes >> 10} KiB keys"] = found
    show("keys without gaps, by bytes of a gap", [str(4 * SIZE * gap) for gap in sizes], rows)


def scores(query: Tensor, keys: Tensor) -> Tensor:
    """query (n, 1, d), keys (rows, heads, positions, d) -> (n, 1, positions)."""
    return torch.bmm(query, keys.flatten(0, 1).mT)


def passes(layers: int, repeats: int) -> None:
    """TOGETHER: whole passes in bfloat16 with attention of equal bits over PyTorch's, by keys."""
    own, library = (smollm2(layers) for _ in range(2))
    use_few_queries(own)
    AttentionInterface.register("library", grouped_attention)
    AttentionMaskInterface.register("library", sdpa_mask)
    library.set_attn_implementation("library")
    rows = {}
    for count, tokens in STEPS:
        found = [compared(own, library, count, tokens, keys, repeats) for keys in (300, 1000)]
        rows[f"{count} rows, T {tokens}"] = found
    show("passes in bfloat16 while decoding, by keys", ["300", "1000"], rows)
    found = [compared(own, library, 6, 85, start, repeats) for start in BLOCKS]
    show("blocks of a prompt, by first position", [str(n) for n in BLOCKS], {"6 rows, T 85": found})


def smollm2(layers: int) -> Any:
    """A random model of SmolLM2's shape with fewer layers, in bfloat16."""
    config = LlamaConfig(**SMOLLM2, num_hidden_layers=layers)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa")
    model.eval().requires_grad_(False)
    prepack(model)
    return model


def grouped_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """PyTorch's attention without copies of keys and values."""
    if query.shape[2] == 1:
        found, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return found, None
    scale = kwargs.get("scaling")
    found = scaled_dot_product_attention(query, key, value, attention_mask, scale=scale, enable_gqa=True)
    return found.transpose(1, 2).contiguous(), None


def compared(own: Any, library: Any, rows: int, tokens: int, start: int, repeats: int) -> float:
    """Ratio of passes over new tokens of each row after `start` positions; without the logits."""
    ids = torch.randint(0, SMOLLM2["vocab_size"], (rows, tokens))
    runs = []
    for model in (own, library):
        forward = Forward(model)
        runs.append(partial(forward.read, forward.new_cache(rows), ids, start, None))
    return ratio(runs[0], runs[1], repeats)


def read(model: nn.Module, count: int) -> None:
    """Prefill `count` tokens and one more, which stays pending."""
    RowGroup(model, ["row"]).prefill([[list(range(3, count + 4))]])


def prompts(layers: int, repeats: int) -> None:
    """near and alike: prefill of n tokens over prefill of a single token."""
    model = build_model("385m", layers, torch.float32, torch.device("cpu"))
    lengths, found = (16, 32, 64, 128, 256), []
    for length in lengths:
        found.append(ratio(partial(read, model, length), partial(read, model, 1), repeats))
    show("reading a prompt, over one of 1 token", [str(n) for n in lengths], {f"{layers} layers": found})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="fewer runs, 2 layers")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}")
    repeats = 3 if options.small else 15
    with torch.inference_mode():
        for dtype in (torch.float32, torch.bfloat16):
            weights(dtype, repeats)
        attention(repeats)
        gaps(repeats)
    prompts(2 if options.small else 8, 3 if options.small else 9)
    passes(2 if options.small or not has_products() else 30, 3 if options.small else 9)


if __name__ == "__main__":
    main()
