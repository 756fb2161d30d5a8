"""Constants of mpg_cli/engine/pass_cost.py: the time of rounds by model, experts, replies and chunk size.

    python -m benchmarks.pass_constants                    # mpg-tiny, SmolLM2 and a random Qwen3; ten minutes
    python -m benchmarks.pass_constants --dtype bfloat16

Prints each measured time over that of the fitted model, then the constants. A fit minimises relative errors;
what would be negative is zero.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.arguments import add_threads
from benchmarks.models import random_adapter, random_model
from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import Round
from mpg_cli.engine.pass_cost import Constants, Load, round_load
from mpg_cli.engine.request import Request
from mpg_cli.models.experts import ExpertCache, find_experts
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.prepare import load_prepared, prepare_model
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.personas.expression import parse
from mpg_cli.personas.registry import load_default, resolve
from mpg_cli.sampling.params import SamplingLaw, Scheme

RANK, EXPERTS = 8, 5
PROMPTS = "INTJ+pirate"  # the blend without adapters
SIZES = (0, 1, 2, 4, 8)
ROUNDS, WARM = (6, 30), 2  # measured rounds of each (of mpg-tiny), and those before


@dataclass(frozen=True)
class Timed:
    """The measured seconds of a phase of a round, and what it does."""

    name: str
    load: Load
    seconds: float


def rounds(
    loaded: LoadedModel, cache: ExpertCache, request: Request, gamma: int, batch: int
) -> list[tuple[str, Load, float]]:
    """The phases of a round of `batch` replies: name, what it does, and its median seconds."""
    scheme = Scheme(drafter="merged" if gamma else "none", chunk_size=gamma or None)
    request = replace(request, scheme=scheme, samples=batch)
    engine = Engine(loaded, batch_size=batch, cache=cache)
    handle = engine.submit(request)
    found: list[tuple[float, float]] = []
    count = ROUNDS[loaded.id == "mpg-tiny"] + WARM
    while len(found) < count and engine.busy:
        of_step = [event.seconds for _, event in engine.step() if isinstance(event, Round)]
        if len(of_step) == batch:
            found.append((sum(s.draft for s in of_step), sum(s.score + s.verify for s in of_step)))
    engine.cancel(handle, None)
    experts = find_experts(request.blend, request.adapters, loaded, _quiet, _quiet, cache)
    rows = BlendRows.of(loaded, experts, scheme)
    load = round_load([rows] * batch)
    engine.close()
    draft, score = (statistics.median(part) for part in zip(*found[WARM:], strict=True))
    phases = [("score", load.score.plus(load.position, gamma), score)]
    return phases + ([("draft", Load().plus(load.step, gamma), draft)] if gamma else [])


def requests(loaded: LoadedModel, cache: ExpertCache) -> Iterator[tuple[str, Request]]:
    """One with adapters and one with prompts."""
    endless = SamplingLaw(max_tokens=400, logit_bias=tuple((end, -100.0) for end in loaded.end_tokens))
    plain = Request(
        ModelOptions(loaded.given_name), Prompting("How can I sleep better?"), endless, Scheme(), seed=1
    )
    places = []
    for seed in range(EXPERTS):
        place = AdapterPlace(Path(f"random-{seed}"))
        cache.get(place, partial(random_adapter, loaded.model, seed, RANK))
        places.append((place, 0.2))
    yield "adapters", replace(plain, adapters=tuple(places))
    if loaded.id == "smollm2":  # a model that follows prompts
        yield "prompts", replace(plain, blend=resolve(parse(PROMPTS), load_default()).with_prompts)


def measure(loaded: LoadedModel, batches: Sequence[int], sizes: Sequence[int]) -> Iterator[Timed]:
    """The rounds of a model."""
    cache = ExpertCache()
    for kind, request in requests(loaded, cache):
        for batch in batches:
            for gamma in sizes:
                for phase, load, seconds in rounds(loaded, cache, request, gamma, batch):
                    yield Timed(f"{loaded.id}, {kind}, batch {batch}, gamma {gamma}, {phase}", load, seconds)


def fit(timed: Sequence[Timed]) -> Constants:
    """The constants of least squared relative error; those that would be negative are zero."""
    rows = torch.tensor([list(one.load) for one in timed], dtype=torch.float64)
    rows /= torch.tensor([[one.seconds] for one in timed], dtype=torch.float64)
    kept = list(range(rows.shape[1]))
    while True:
        found = torch.linalg.lstsq(rows[:, kept], torch.ones(len(timed), 1, dtype=torch.float64)).solution
        values = dict(zip(kept, found.flatten().tolist(), strict=True))
        worst = min(values, key=values.__getitem__)
        if values[worst] >= 0:
            return Constants(*(values.get(n, 0.0) for n in range(rows.shape[1])))
        kept.remove(worst)


def models(dtype: str, scratch: Path) -> Iterator[tuple[LoadedModel, Sequence[int], Sequence[int]]]:
    """The models, with the batches and chunk sizes that take minutes, not hours."""
    yield load_prepared(ModelOptions("mpg-tiny", device="cpu", dtype=dtype)), (1, 8, 32), SIZES
    yield load_prepared(ModelOptions("smollm2", device="cpu", dtype=dtype)), (1, 8), SIZES
    large = random_model("385m", None, "cpu", dtype, 16, 8, scratch)
    yield prepare_model(large.loaded), (1, 8), (0, 1, 4)


def _quiet(message: str) -> None:
    """Drop a message."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="float32")
    add_threads(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}, {options.dtype}")
    timed: list[Timed] = []
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        for loaded, batches, sizes in models(options.dtype, Path(scratch)):
            for one in measure(loaded, batches, sizes):
                timed.append(one)
                print(
                    f"{time.perf_counter() - began:5.0f} s  {one.name:<56}{1e3 * one.seconds:9.1f} ms",
                    flush=True,
                )
    constants = fit(timed)
    print("\nmeasured over fitted")
    for one in timed:
        print(f"{one.name:<56}{one.seconds / one.load.seconds(constants):6.2f}")
    print(f"\n{constants}")


if __name__ == "__main__":
    main()
