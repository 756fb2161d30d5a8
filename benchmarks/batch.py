"""Throughput gain of batching: tokens/s of a batch relative to one prompt at a time.

    python -m benchmarks.batch            # bundled model, batch 32; random bf16 Qwen3 of 385 M, batch 8
    python -m benchmarks.batch --small    # the bundled model only, fewer prompts

Both sides are the engine on the same prompts, so the texts are the same (in bfloat16 up to near-ties);
runs are interleaved and ratios come from one run. Memory is the peak of the process.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import transformers

from benchmarks.arguments import add_threads
from benchmarks.models import build_model, random_adapter
from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import Progress
from mpg_cli.engine.request import Request
from mpg_cli.models.experts import ExpertCache
from mpg_cli.models.load.loader import load_model
from mpg_cli.models.prepare import load_prepared, prepare_model
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.personas.expression import parse
from mpg_cli.personas.registry import load_default, resolve
from mpg_cli.sampling.params import SamplingLaw, Scheme
from recipes.mpg_tiny.heldout import PROMPTS


def questions(request: Request, count: int, max_tokens: int) -> Iterator[Request]:
    """The requests of the benchmark."""
    for n in range(count):
        prompting = Prompting(PROMPTS[n % len(PROMPTS)])
        yield replace(
            request, prompting=prompting, sampling=SamplingLaw(max_tokens=max_tokens), sequence_id=n
        )


def speed(engine: Engine, request: Request, count: int, max_tokens: int) -> float:
    """Tokens per second over `count` prompts."""
    began, tokens = time.perf_counter(), 0
    for event in engine.run(questions(request, count, max_tokens)):
        if isinstance(event, Progress):
            tokens += event.tokens
    return tokens / (time.perf_counter() - began)


def compare(
    name: str,
    request: Request,
    engines: tuple[Engine, Engine],
    counts: tuple[int, int],
    max_tokens: int,
    repeats: int,
) -> None:
    """Print both speeds and the ratio of their medians; interleaved runs, after one of each to warm up."""
    found: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        for side, engine in enumerate(engines):
            measured = speed(engine, request, counts[side], max_tokens)
            if repeat:
                found[side].append(measured)
    alone, together = (statistics.median(values) for values in found)
    ratios = [b / a for a, b in zip(*found, strict=True)]
    print(
        f"{name:<28} one at a time {alone:7.1f} tokens/s, together {together:7.1f}: "
        f"{together / alone:.2f} times ({min(ratios):.2f} to {max(ratios):.2f})",
        flush=True,
    )


def bundled(repeats: int, count: int, dtype: str) -> None:
    """INTJ+pirate on the bundled model, batch size 32."""
    loaded = load_prepared(ModelOptions("mpg-tiny", device="cpu", dtype=dtype))
    blend = resolve(parse("INTJ+pirate"), load_default())
    scheme = Scheme(drafter="merged")
    request = Request(ModelOptions("mpg-tiny"), Prompting("?"), SamplingLaw(), scheme, blend=blend, seed=1)
    engines = Engine(loaded, batch_size=1), Engine(loaded, batch_size=32)
    compare(f"mpg-tiny {dtype}, batch 32", request, engines, (count // 16, count), 128, repeats)


def large(repeats: int, experts: int, count: int) -> None:
    """Random adapters of rank 16 on a random Qwen3 of 385 M parameters, bf16, batch size 8."""
    model = build_model("385m", None, torch.bfloat16, torch.device("cpu"))
    base = load_model("mpg-tiny", device="cpu", dtype="float32")  # for its tokenizer
    loaded = replace(base, model=model, config=model.config, id="random-qwen3")
    loaded = prepare_model(loaded)
    cache, adapters = ExpertCache(), []
    for n in range(experts):
        place = AdapterPlace(Path(f"e{n}"))
        cache.get(place, partial(random_adapter, model, n))
        adapters.append((place, 0.2))
    request = Request(
        ModelOptions("mpg-tiny"),
        Prompting("?"),
        SamplingLaw(),
        Scheme(drafter="none"),
        adapters=tuple(adapters),
        seed=1,
    )
    engines = Engine(loaded, batch_size=1, cache=cache), Engine(loaded, batch_size=8, cache=cache)
    compare(f"Qwen3 385 M, {experts} LoRA, batch 8", request, engines, (2, count), 32, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="the bundled model only, fewer prompts")
    add_threads(parser)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{platform.machine()}, {options.threads} threads, Python {platform.python_version()}, ", end="")
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    for dtype in ("float32", "bfloat16"):
        bundled(1 if options.small else options.repeats, 64 if options.small else 1024, dtype)
    if not options.small:
        large(options.repeats, 5, 16)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


if __name__ == "__main__":
    main()
