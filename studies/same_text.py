"""How many texts of a seed are the same whatever drafts, chunk size, batch and companions.

    python -m studies.same_text --dtype bfloat16 --log same.jsonl    # SmolLM2, 200 replies: hours on a CPU
    python -m studies.same_text --short --replies 30                 # mpg-tiny, in a minute

Half of the replies are blends of five prompts, half of five random adapters, some with long prompts. Each is
generated token by token, beside seven others, and once more in one of the ways: draft source, chunk size,
number of replies that run together, each among replies of other blends. Prints how many are equal, and the
first difference of those that are not. With --log an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import torch

from benchmarks.arguments import add_threads
from benchmarks.models import random_adapter
from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import Finished
from mpg_cli.engine.request import Request
from mpg_cli.engine.run_spec import ModelSpec
from mpg_cli.io.log import ResumableLog
from mpg_cli.models.experts import ExpertCache
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.prepare import load_prepared
from mpg_cli.models.run.invariance import invariance_of
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.personas.expression import parse
from mpg_cli.personas.registry import load_default, resolve
from mpg_cli.sampling.params import SamplingLaw, Scheme
from recipes.mpg_tiny.heldout import PROMPTS

DRAFTERS, SIZES, BATCHES = ("merged", "reference", "lookup"), (2, 5, 16), (1, 3, 8)
BLENDS = ("INTJ+pirate", "ENFP+noir", "ISTP+bard", "INTJ+coach")
RANK, WEIGHT = 8, 0.2  # of random adapters
LONG_EVERY = 50  # replies; one of them has a long prompt


@dataclass(frozen=True)
class Way:
    """How a reply is generated."""

    drafter: str
    chunk_size: int
    batch: int

    @property
    def scheme(self) -> Scheme:
        return Scheme(drafter=self.drafter, chunk_size=self.chunk_size)

    def __str__(self) -> str:
        return f"{self.drafter} {self.chunk_size}, {self.batch} together"


PLAIN = Way("none", 0, 8)
WAYS = (
    *(Way("none", 0, batch) for batch in (1, 3)),
    *(Way(*way) for way in product(DRAFTERS, SIZES, BATCHES)),
)


class Requests:
    """The requests of the study by number."""

    def __init__(self, loaded: LoadedModel, max_tokens: int, long_tokens: int) -> None:
        self.cache = ExpertCache()
        self._loaded, self._long = loaded, long_tokens
        self._law = SamplingLaw(max_tokens=max_tokens)
        self._blends = [resolve(parse(text), load_default()).with_prompts for text in BLENDS]
        self._places = []
        for seed in range(9):
            place = AdapterPlace(Path(f"random-{seed}"))
            self.cache.get(place, partial(random_adapter, loaded.model, seed, RANK))
            self._places.append(place)

    def request(self, number: int, way: Way) -> Request:
        """Even numbers have prompts as experts, odd ones adapters."""
        prompt = f"{PROMPTS[number % len(PROMPTS)]} ({number})"
        if number % LONG_EVERY == LONG_EVERY - 1:
            prompt = self._longer(prompt)
        asked = Request(
            ModelOptions(self._loaded.given_name), Prompting(prompt), self._law, way.scheme, seed=number
        )
        asked = replace(asked, sequence_id=number)
        if number % 2 == 0:
            return replace(asked, blend=self._blends[number // 2 % len(self._blends)])
        first = number // 2 % 5
        return replace(asked, adapters=tuple((place, WEIGHT) for place in self._places[first : first + 5]))

    def _longer(self, prompt: str) -> str:
        while len(self._loaded.tokenizer(prompt)["input_ids"]) < self._long:
            prompt = f"{' '.join(PROMPTS)} {prompt}"
        return prompt


def replies(requests: Requests, loaded: LoadedModel, way: Way, numbers: Sequence[int]) -> Iterator[Finished]:
    """The replies of these numbers, generated in this way."""
    engine = Engine(loaded, batch_size=way.batch, cache=requests.cache)
    for event in engine.run(requests.request(number, way) for number in numbers):
        if isinstance(event, Finished):
            yield event
    engine.close()


def difference(ours: Sequence[int], theirs: Sequence[int]) -> int | None:
    """The first position at which two replies differ."""
    if list(ours) == list(theirs):
        return None
    return next(
        (place for place, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
        min(len(ours), len(theirs)),
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m studies.same_text",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--replies", type=int, default=200)
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--long", type=int, default=2000, help="tokens of the long prompts (default 2000)")
    add_threads(parser)
    parser.add_argument("--log", type=Path, help="file of the replies, with which an interrupted run goes on")
    parser.add_argument("--short", action="store_true", help="16 tokens of mpg-tiny in float32")
    args = parser.parse_args(arguments)
    if args.short:
        args.model, args.dtype, args.max_tokens, args.long = "mpg-tiny", "float32", 16, 300
    torch.set_num_threads(args.threads)
    loaded = load_prepared(ModelOptions(args.model, device=args.device, dtype=args.dtype))
    bits = "equal" if invariance_of(loaded.model).text else "not equal"
    print(f"{loaded.id}, {args.dtype} on {args.device}, {args.threads} threads; bits of passes are {bits}")
    config = {
        **ModelSpec.of(loaded).as_json(),
        **{name: getattr(args, name) for name in ("replies", "max_tokens", "long", "threads")},
    }
    with (
        ResumableLog(args.log, config, of="this study", restart_by="remove it") if args.log else nullcontext()
    ) as log:
        differ = _compare(Requests(loaded, args.max_tokens, args.long), loaded, args.replies, log)
    print(f"{args.replies - differ} of {args.replies} replies are equal")
    return 0


def _compare(requests: Requests, loaded: LoadedModel, count: int, log: ResumableLog | None) -> int:
    """Print the replies that differ; returns their number."""
    found: dict[tuple[str, int], list[int]] = {}
    for record in log.records(dict) if log else ():
        found[record["way"], record["number"]] = record["ids"]
    tasks = [(PLAIN, list(range(count)))]
    tasks += [(way, list(range(n, count, len(WAYS)))) for n, way in enumerate(WAYS)]
    began, differ = time.perf_counter(), 0
    for way, numbers in tasks:
        missing = [number for number in numbers if (str(way), number) not in found]
        for event in replies(requests, loaded, way, missing):
            number = int(event.spec.sequence)
            found[str(way), number] = list(event.token_ids)
            if log:
                log.append({"way": str(way), "number": number, "ids": list(event.token_ids)})
        for number in numbers if way is not PLAIN else ():
            place = difference(found[str(way), number], found[str(PLAIN), number])
            if place is not None:
                differ += 1
                print(f"reply {number}, {way}: differs from token {place} on")
        print(f"{time.perf_counter() - began:6.0f} s  {way}: {len(numbers)} replies", flush=True)
    return differ


if __name__ == "__main__":
    raise SystemExit(main())
