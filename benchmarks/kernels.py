"""Measure the constants of the fast paths: ratios of times on this processor, from one run.

    python -m benchmarks.kernels            # two minutes
    python -m benchmarks.kernels --small    # seconds, rough figures

Below 1 the implementation of mpg_cli/models is faster. The constants are in mpg_cli/models/fast/prepacked.py
(SMALLEST, WORTH, MANY), mpg_cli/models/fast/plan.py (near, alike, max_gap, min_keys),
mpg_cli/models/run/attention.py (SCORES, TOGETHER) and mpg_cli/models/run/assignment.py (FIXED, ENTRY,
GATHERED). The last tables are the price of equal bits in bfloat16: passes of a model of SmolLM2's shape over
those with PyTorch's attention.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, AutoModelForCausalLM, LlamaConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from benchmarks.arguments import add_threads
from benchmarks.models import build_model
from mpg_cli.models.fast.prepacked import available, packed, prepack
from mpg_cli.models.load.adapter import Adapter, LoraPair, Row
from mpg_cli.models.run.attention import has_products, plain_products, use_few_queries
from mpg_cli.models.run.forward import Forward
from mpg_cli.models.run.lora_bank import LoraBank
from mpg_cli.models.run.row_pool import NewRow, NewRows, RowPool
from mpg_cli.personas.adapter_config import Targets

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


def seconds(runs: Sequence[Run], repeats: int) -> list[float]:
    """The median time of each of interleaved runs; the first two warm up."""
    found: list[list[float]] = [[] for _ in runs]
    for repeat in range(repeats + 2):
        for run, times in zip(runs, found, strict=True):
            began = time.perf_counter()
            run()
            if repeat >= 2:
                times.append(time.perf_counter() - began)
    return [statistics.median(times) for times in found]


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
    pool = RowPool(model)
    pool.insert({0: NewRows([NewRow("row", (), range(3, count + 4))])})
    while pool.unread:
        pool.read(count)


def prompts(layers: int, repeats: int) -> None:
    """near and alike: prefill of n tokens over prefill of a single token."""
    model = build_model("385m", layers, torch.float32, torch.device("cpu"))
    lengths, found = (16, 32, 64, 128, 256), []
    for length in lengths:
        found.append(ratio(partial(read, model, length), partial(read, model, 1), repeats))
    show("reading a prompt, over one of 1 token", [str(n) for n in lengths], {f"{layers} layers": found})


class Adapted:
    """A layer and 24 adapters of one rank; passes give each row an adapter, None: the reference."""

    def __init__(self, d_in: int, d_out: int, rank: int, dtype: torch.dtype) -> None:
        self.model = nn.ModuleDict({"layer": nn.Linear(d_in, d_out, bias=False, dtype=dtype)})
        self.bank, self.d_in, self.dtype = LoraBank(self.model), d_in, dtype
        self.experts: list[Row] = []
        for name in map(str, range(24)):
            pair = LoraPair(torch.randn(rank, d_in), torch.randn(d_out, rank), 1.0)
            adapter = Adapter(name, Path(name), {"layer": pair}, None, name, Targets(("layer",)))
            self.experts.append([(adapter, 1.0)])
        self.bank.retain(self.experts)

    def run(self, which: Sequence[int | None], tokens: int) -> Run:
        """A pass of `tokens` tokens a row."""
        assignment = self.bank.assign([[] if n is None else self.experts[n] for n in which])
        x = torch.randn(len(which), tokens, self.d_in).to(self.dtype)

        def run() -> None:
            with self.bank.active(assignment):
                self.model["layer"](x)

        return run


def blend(batch: int) -> list[int | None]:
    """Rows of `batch` replies of one blend: the reference and five experts."""
    return [n for n in (None, 0, 1, 2, 3, 4) for _ in range(batch)]


def blends(batch: int) -> list[int | None]:
    """As many rows of `batch` blends, each with the reference and five of 24 experts, reply by reply."""
    draw = Random(0)
    return [n for _ in range(batch) for n in (None, *draw.sample(range(24), 5))]


def adapters(dtype: torch.dtype, repeats: int) -> None:
    """Rows of many blends, which are gathered, over those of one blend, which are views: whole layers."""
    shapes = {
        "mpg-tiny": [(160, 160, 8)] * 4 + [(160, 448, 8)] * 2 + [(448, 160, 8)],
        "SmolLM2": [(576, 576, 16)] * 2 + [(576, 192, 16)] * 2 + [(576, 1536, 16)] * 2 + [(1536, 576, 16)],
    }
    columns, rows = [(1, 1), (8, 1), (32, 1), (8, 5)], dict[str, list[float]]()
    for name, layers in shapes.items():
        block = [Adapted(*shape, dtype) for shape in layers]
        rows[name], rows[f"{name}, none"] = [], []
        for batch, tokens in columns:
            views, mixed, plain = (
                partial(each, [layer.run(which, tokens) for layer in block])
                for which in (blend(batch), blends(batch), [None] * (6 * batch))
            )
            rows[name].append(ratio(mixed, views, repeats))
            rows[f"{name}, none"].append(ratio(plain, views, repeats))
    titles = [f"{batch} x {tokens}" for batch, tokens in columns]
    show(f"layers with the adapters of many blends, {dtype}, by replies x tokens", titles, rows)


def each(runs: Sequence[Run]) -> None:
    """One after the other."""
    for run in runs:
        run()


def products(repeats: int) -> None:
    """FIXED, ENTRY and GATHERED: costs of adapters over that of the products of a row with one token.

    The fixed costs are in thousands of multiplications.
    """
    rows = dict[str, list[float]]()
    for d_in, d_out, rank in ((160, 448, 8), (576, 1536, 16), (1536, 576, 16)):
        a, b = torch.randn(64, rank, d_in).mT, torch.randn(64, d_out, rank).mT

        def segment(entries: int, length: int, a: Tensor = a, b: Tensor = b) -> Run:
            x, y = torch.randn(entries, length, a.shape[1]), torch.randn(entries, length, b.shape[2])
            return lambda: y.baddbmm_(torch.bmm(x, a[:entries]), b[:entries])

        def gather(count: int, d_in: int = d_in, d_out: int = d_out) -> Run:
            x, y, order = torch.randn(count, 1, d_in), torch.randn(count, 1, d_out), torch.randperm(count)
            return lambda: (x.index_select(0, order), y.index_select(0, order).index_select(0, order))

        names = [segment(1, 1), segment(1, 16), segment(1, 64), segment(16, 4), gather(1), gather(64)]
        first, short, long, split, one, many = seconds(names, 10 * repeats)
        row = (long - short) / 48
        thousands = rank * (d_in + d_out) / 1000
        rows[f"{d_in} to {d_out}"] = [
            (first - row) / row * thousands,
            (split - long) / 15 / row,
            one / row * thousands,
            (many - one) / 63 / row,
        ]
    show("costs of adapters in products of a row", ["segment", "entry", "gather", "a row"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="fewer runs, 2 layers")
    add_threads(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}")
    repeats = 3 if options.small else 15
    with torch.inference_mode():
        for dtype in (torch.float32, torch.bfloat16):
            weights(dtype, repeats)
            adapters(dtype, repeats)
        products(repeats)
        attention(repeats)
        gaps(repeats)
        passes(2 if options.small or not has_products() else 30, 3 if options.small else 9)
    prompts(2 if options.small else 8, 3 if options.small else 9)


if __name__ == "__main__":
    main()
