"""Cost of the rows of a blend: one pass over base and experts, as a multiple of one base pass.

    python -m benchmarks.pass_cost           # random bf16 Qwen3 of 0.39 B parameters, 5 experts of rank 16
    python -m benchmarks.pass_cost --small   # in a minute

Prints ratios from one run: base pass (transformers, DynamicCache), pass over 6 rows and one position, score
pass over 6 rows x 5 positions, and the share of a whole SCR round that is not a forward pass. The runs are
interleaved, the figures medians with their range.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from transformers import DynamicCache

from benchmarks.arguments import add_threads
from benchmarks.models import RANK, build_model, random_adapter
from mpg_cli.models.fast import accelerate
from mpg_cli.models.load.checkpoint import cache_argument
from mpg_cli.models.run.attention import use_few_queries
from mpg_cli.models.run.fold import fold
from mpg_cli.models.run.lora_bank import LoraBank
from mpg_cli.models.run.row_pool import NewRow, NewRows, RowPool
from mpg_cli.sampling.drafters import RowDrafter, SlotDrafters
from mpg_cli.sampling.noise import Noise
from mpg_cli.sampling.params import SamplingLaw, Scheme
from mpg_cli.sampling.sampler import Sampler
from mpg_cli.sampling.scorer import Kept
from mpg_cli.sampling.state import Decoding, SequenceState

EXPERTS, CONTEXT, CHUNK = 5, 64, 4


@dataclass
class Timing:
    """Seconds of repeated, interleaved runs."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        low, high = min(self.seconds), max(self.seconds)
        return f"{1e3 * self.median:8.1f} ms  ({1e3 * low:.1f} to {1e3 * high:.1f})"


def base_pass(model: torch.nn.Module, prompt: torch.Tensor) -> Callable[[], None]:
    """One token through the plain model, as in transformers' generate: a pass over one row."""
    cache = DynamicCache(config=model.config)
    inputs: dict[str, Any] = {cache_argument(type(model)): cache, "use_cache": True}
    with torch.inference_mode():
        model(prompt, **inputs)

    def run() -> None:
        with torch.inference_mode():
            model(prompt[:, -1:], **inputs)
        cache.crop(-1)

    return run


def read_rows(model: torch.nn.Module, rows: list[NewRow]) -> RowPool:
    """A pool with a sequence of these rows, whose prompts are read."""
    pool = RowPool(model, LoraBank.of(model))
    pool.insert({0: NewRows(rows)})
    while pool.unread:
        pool.read(pool.plan.block)
    return pool


def rows_pass(rows: RowPool, drafted: int) -> Callable[[], None]:
    """One pass over all rows at a fixed context, rolled back afterwards."""
    drafts = torch.full((1, 1, drafted), 7, dtype=torch.long)

    def run() -> None:
        rows.score(drafts, [0]).of([0])
        rows.commit({0: Kept(-1, [7])})

    return run


def measure(runs: dict[str, Callable[[], None]], repeats: int) -> dict[str, Timing]:
    """Time each run `repeats` times, interleaved, after two rounds of warm-up."""
    timings = {name: Timing() for name in runs}
    for repeat in range(repeats + 2):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if repeat >= 2:
                timings[name].seconds.append(time.perf_counter() - began)
    return timings


def overhead(model: torch.nn.Module, rows: RowPool, merged: RowPool, tokens: int) -> float:
    """Share of the time of SCR rounds spent outside of the model (the sampler's overhead)."""
    inside = 0.0

    def enter(*_: Any) -> None:
        nonlocal inside
        inside -= time.perf_counter()

    def leave(*_: Any) -> None:
        nonlocal inside
        inside += time.perf_counter()

    how = Decoding(SamplingLaw(), Scheme(chunk_size=CHUNK), (1.0,) * EXPERTS)
    sampler = Sampler(
        rows, SlotDrafters.all(RowDrafter(merged), 1), [SequenceState(Noise(0, 0), how, tokens)]
    )
    hooks = model.register_forward_pre_hook(enter), model.register_forward_hook(leave)
    began = time.perf_counter()
    for _ in sampler.run():
        pass
    spent = time.perf_counter() - began
    for hook in hooks:
        hook.remove()
    return 1 - inside / spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="4 layers, fewer runs")
    add_threads(parser)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--repeats", type=int, default=0, help="runs of each (default 15, small 5)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    model = build_model(
        "385m", 4 if options.small else None, getattr(torch, options.dtype), torch.device("cpu")
    )
    size = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"Qwen3 {size:.0f} M, {options.dtype}, {EXPERTS} LoRA of rank {RANK}, context {CONTEXT}")
    print(f"{platform.machine()}, {options.threads} threads, Python {platform.python_version()}, ", end="")
    print(f"torch {torch.__version__}, transformers {transformers.__version__}\n")

    prompt = torch.randint(0, 32_000, (1, CONTEXT), generator=torch.Generator().manual_seed(1))
    ids = prompt[0].tolist()
    plain = base_pass(fold(model, ()), prompt)
    use_few_queries(model)
    accelerate(model)
    adapters = [random_adapter(model, seed) for seed in range(EXPERTS)]
    experts = [NewRow(adapter.label, ((adapter, 1.0),), ids) for adapter in adapters]
    rows = read_rows(model, [NewRow("reference", (), ids), *experts])
    merged = read_rows(model, [NewRow("merged", tuple((adapter, 1.0) for adapter in adapters), ids)])
    timings = measure(
        {
            "base, 1 row": plain,
            f"one token, {rows.size} rows": rows_pass(rows, 0),
            f"score, {rows.size} rows x {CHUNK + 1}": rows_pass(rows, CHUNK),
            "draft step, merged row": rows_pass(merged, 0),
        },
        options.repeats or (5 if options.small else 15),
    )
    base = timings["base, 1 row"].median
    for name, timing in timings.items():
        print(f"{name:<24} {timing}  {timing.median / base:5.2f} base passes")
    share = overhead(model, rows, merged, 20 if options.small else 40)
    print(f"\nsampler overhead: {100 * share:.1f} % of the rounds of a reply, chunk size {CHUNK}")


if __name__ == "__main__":
    main()
