"""What running prompts together gains: tokens/s of a batch over those of one prompt at a time.

    python -m benchmarks.batch            # bundled model, batch 32; random bf16 Qwen3 of 385 M, batch 8
    python -m benchmarks.batch --small    # the bundled model only, fewer prompts

Both sides are the batch runner on the same prompts, so the texts are the same (in bfloat16 up to near-ties);
the runs take turns, the ratios come from one run. Memory is the process's peak.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
import transformers

from benchmarks.models import build_model, random_adapter
from mpg_cli.batch.events import Progress
from mpg_cli.batch.lines import Line
from mpg_cli.batch.runner import Runner
from mpg_cli.engine.request import Request
from mpg_cli.models.experts import Expert
from mpg_cli.models.load.loader import LoadedModel, load_model
from mpg_cli.models.prepare import load_prepared, prepare_model
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.expression import parse
from mpg_cli.personas.registry import load_default, resolve
from mpg_cli.sampling.params import Sampling, Scheme

QUESTION = "How should I spend {}?"
TIMES = ("my weekend", "a rainy day", "the evening", "my holiday", "an hour", "next week", "the morning")


def lines(count: int, max_tokens: int) -> Iterator[Line]:
    """Questions of a few kinds."""
    for n in range(count):
        prompting = Prompting(QUESTION.format(TIMES[n % len(TIMES)]))
        yield Line(n + 1, str(n), "0", prompting, Sampling(max_tokens=max_tokens))


def speed(runner: Runner, count: int, max_tokens: int) -> float:
    """Tokens a second over so many prompts."""
    began, tokens = time.perf_counter(), 0
    for event in runner.run(lines(count, max_tokens)):
        if isinstance(event, Progress):
            tokens += event.tokens
    return tokens / (time.perf_counter() - began)


def compare(
    name: str, runners: tuple[Runner, Runner], counts: tuple[int, int], max_tokens: int, repeats: int
) -> None:
    """Prints both speeds and the ratio of their medians, the runs in turn after one of each to warm up."""
    found: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        for side, runner in enumerate(runners):
            measured = speed(runner, counts[side], max_tokens)
            if repeat:
                found[side].append(measured)
    alone, together = (statistics.median(values) for values in found)
    ratios = [b / a for a, b in zip(*found, strict=True)]
    print(
        f"{name:<28} one at a time {alone:7.1f} tokens/s, together {together:7.1f}: "
        f"{together / alone:.2f} times ({min(ratios):.2f} to {max(ratios):.2f})",
        flush=True,
    )


def pair(loaded: LoadedModel, request: Request, size: int) -> tuple[Runner, Runner]:
    """Runners of one prompt at a time and of so many together."""
    return tuple(  # type: ignore[return-value]
        Runner(request, loaded, lambda persona: request.blend, batch_size=n) for n in (1, size)
    )


def bundled(repeats: int, count: int, dtype: str) -> None:
    """INTJ+pirate on the bundled model, batch size 32."""
    loaded = load_prepared(ModelOptions(device="cpu", dtype=dtype))
    blend = resolve(parse("INTJ+pirate"), load_default())
    scheme = Scheme(drafter="merged")
    request = Request(ModelOptions(), Prompting("?"), Sampling(), scheme, blend=blend, seed=1)
    compare(f"mpg-tiny {dtype}, batch 32", pair(loaded, request, 32), (count // 16, count), 128, repeats)


class RandomRunner(Runner):
    """A runner whose experts are random adapters."""

    experts: Sequence[Expert] = ()

    def _experts(self, request: Request, said: list[str]) -> tuple[Expert, ...]:
        return tuple(self.experts)


def large(repeats: int, experts: int, count: int) -> None:
    """Random adapters of rank 16 on a random Qwen3 of 385 M parameters, bf16, batch size 8."""
    model = build_model("385m", None, torch.bfloat16, torch.device("cpu"))
    base = load_model(device="cpu", dtype="float32")  # for its tokenizer
    loaded = replace(base, model=model, config=model.config, id="random-qwen3")
    loaded = prepare_model(loaded)
    chosen = [Expert(f"e{n}", 0.2, adapter=random_adapter(model, n)) for n in range(experts)]
    request = Request(ModelOptions(), Prompting("?"), Sampling(), Scheme(drafter="none"), blend=None, seed=1)
    runners = []
    for size in (1, 8):
        runner = RandomRunner(request, loaded, lambda persona: None, batch_size=size)
        runner.experts = chosen
        runners.append(runner)
    compare(f"Qwen3 385 M, {experts} LoRA, batch 8", (runners[0], runners[1]), (2, count), 32, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="the bundled model only, fewer prompts")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
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
