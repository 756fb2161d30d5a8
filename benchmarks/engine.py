"""The engine: what sharing passes gains and costs, as ratios from one run.

    python -m benchmarks.engine                      # the bundled model, a few minutes
    python -m benchmarks.engine --model smollm2      # with prompts, then with adapters as experts
    python -m benchmarks.engine --before CHECKOUT    # a single reply and a batch against other code as well

Prints, with the model and the experts loaded and the reading of the prompts included:

    samples      `-n 8` on one prompt, over the eight replies one after the other
    blends       lines of up to 192 blends (a type and a character), over the same lines with one blend
    first token  of a request while seven others run: its time, over that of its own prefill and two rounds
    before       tokens/s of this code over those of another checkout: a reply, and a batch of 32

Both sides take turns, after one run each to warm up; a ratio is the median over the turns, with its range. No
prompt comes twice, so that none is found in the cache, but for what the chat template puts before all.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Literal
from zlib import crc32

import torch
import transformers

from benchmarks.arguments import add_threads
from benchmarks.before import Turn, against
from benchmarks.models import random_adapter
from mpg_cli.config.named_models import BUNDLED, SMOLLM2
from mpg_cli.engine.core import Handle
from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import Progress, Round
from mpg_cli.engine.request import Request
from mpg_cli.evaluation.mbti import types
from mpg_cli.models.experts import ExpertCache
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.prepare import load_prepared
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.personas.expression import parse
from mpg_cli.personas.registry import load_default, resolve
from mpg_cli.sampling.params import SamplingLaw, Scheme
from recipes.mpg_tiny.heldout import PROMPTS

CHARACTERS = (
    *("pirate", "noir", "bard", "robot", "coach", "zen", "stoic", "grandmother"),
    *("scientist", "diplomat", "child", "villain"),
)
BLEND = ("INTJ", "pirate")
RANK, WEIGHT = 8, 0.2  # of random adapters
OTHERS, ROUNDS = 7, 4  # requests that run already, and rounds before the next one comes
WORDS = (10, 150)  # of the prompt of that one: one block of all rows, and several
PARTS = ("samples", "blends", "first")

Experts = Literal["adapters", "prompts", "random"]  # of the library, its prompts, adapters of random weights


@dataclass(frozen=True)
class Bench:
    """A loaded model, what its experts are, and the length of replies."""

    name: str
    loaded: LoadedModel
    cache: ExpertCache
    scheme: Scheme
    max_tokens: int
    experts: Experts
    characters: Sequence[str]

    def engine(self, slots: int | None = None) -> Engine:
        return Engine(self.loaded, batch_size=slots, cache=self.cache)

    def request(self, number: int, pair: tuple[str, str] = BLEND) -> Request:
        """The request with this number, of a type and a character."""
        kind, character = pair
        request = Request(
            ModelOptions(self.loaded.given_name),
            Prompting(f"{PROMPTS[number % len(PROMPTS)]} ({number})"),
            SamplingLaw(max_tokens=self.max_tokens),
            self.scheme,
            seed=1,
            sequence_id=number,
        )
        if self.experts == "random":
            return replace(request, adapters=tuple((self._adapter(n), WEIGHT) for n in (*kind, character)))
        blend = resolve(parse(f"{kind}+{character}"), load_default())
        return replace(request, blend=blend.with_prompts if self.experts == "prompts" else blend)

    def _adapter(self, name: str) -> AdapterPlace:
        place, seed = AdapterPlace(Path(name)), crc32(name.encode())
        self.cache.get(place, partial(random_adapter, self.loaded.model, seed, RANK))
        return place

    def pair(self, number: int) -> tuple[str, str]:
        """The type and character of a line: neighbours differ in both, and all come before one returns."""
        return types()[number % 16], self.characters[(number + number // 16) % len(self.characters)]


Side = Callable[[], Turn]


def timed(run: Callable[[], int]) -> Turn:
    """A run that returns a number of tokens."""
    began = time.perf_counter()
    tokens = run()
    return Turn(tokens, time.perf_counter() - began)


def compare(title: str, new: Side, old: Side, repeats: int, goal: float, warm: int = 1) -> None:
    """Print tokens/s of both sides, and the ratio of new to old."""
    speeds: tuple[list[float], list[float]] = ([], [])
    for turn in range(-warm, repeats):
        for side, run in enumerate((new, old)):
            found = run()
            if turn >= 0:
                speeds[side].append(found.tokens / found.seconds)
    show(title, [a / b for a, b in zip(*speeds, strict=True)], goal, [statistics.median(s) for s in speeds])


def show(title: str, ratios: Sequence[float], goal: float, sides: Sequence[float] = ()) -> None:
    """Print a ratio with its range, and its goal: at least that where there are speeds, else at most."""
    spread = f"{statistics.median(ratios):6.2f}  ({min(ratios):.2f} to {max(ratios):.2f})"
    speeds = f"  {' over '.join(f'{side:.1f}' for side in sides)} tokens/s" if sides else ""
    print(f"{title:<64}{spread}  goal {'≥' if sides else '≤'} {goal:g}{speeds}", flush=True)


def samples(bench: Bench, number: int, repeats: int, goal: float) -> None:
    """`-n` on one prompt over one reply after the other, which find the prompt in the cache."""
    together, alone, prompts = bench.engine(), bench.engine(1), count()

    def side(engine: Engine) -> Turn:
        request = replace(bench.request(next(prompts)), samples=number, sequence_id=None)
        events = engine.replies(request)
        return timed(lambda: sum(len(event.tokens) for event in events if isinstance(event, Round)))

    compare(f"{bench.name}: -n {number}", lambda: side(together), lambda: side(alone), repeats, goal)
    for engine in (together, alone):
        engine.close()


def blends(bench: Bench, lines: int, batch: int, repeats: int, goal: float) -> None:
    """Lines of many blends over the same lines with one."""
    many, one, numbers = bench.engine(batch), bench.engine(batch), count()
    pairs = [bench.pair(n) for n in range(lines)]

    def side(engine: Engine, pairs: Sequence[tuple[str, str]]) -> Turn:
        requests = [bench.request(number, pair) for number, pair in zip(numbers, pairs)]  # noqa: B905
        events = engine.run(iter(requests))
        return timed(lambda: sum(event.tokens for event in events if isinstance(event, Progress)))

    title = f"{bench.name}: {lines} lines of {len(set(pairs))} blends, batch {batch}"
    compare(title, lambda: side(many, pairs), lambda: side(one, [BLEND] * lines), repeats, goal)
    for engine in (many, one):
        engine.close()


def first_token(bench: Bench, words: int, repeats: int) -> None:
    """The time to the first token beside OTHERS, over that of its own prefill and two rounds of theirs."""
    busy, alone, numbers = bench.engine(OTHERS + 1), bench.engine(1), count()
    endless = SamplingLaw(
        max_tokens=bench.max_tokens * 4, logit_bias=tuple((end, -100.0) for end in bench.loaded.end_tokens)
    )
    ratios, rounds = [], []
    for turn in range(repeats + 1):
        others = [replace(bench.request(next(numbers)), sampling=endless) for _ in range(OTHERS)]
        handles = [busy.submit(request) for request in others]
        begun: set[Handle] = set()
        while len(begun) < OTHERS:
            begun |= set(first_rounds(busy))
        steps = [timed(lambda: len(busy.step())).seconds for _ in range(ROUNDS)]
        number = next(numbers)
        prompting = Prompting(f"{' '.join(islice(words_from(number), words))} ({number})")
        request = replace(bench.request(number), prompting=prompting, sampling=endless)
        began, taken, handle = time.perf_counter(), 1, busy.submit(request)
        while handle not in first_rounds(busy):
            taken += 1
        waited = time.perf_counter() - began
        for own in (*handles, handle):
            busy.cancel(own, None)
        own = alone.submit(request)
        while own not in (found := first_rounds(alone)):
            pass
        prefill = found[own].stats.seconds.prefill
        alone.cancel(own, None)
        for engine in (busy, alone):
            while engine.busy:
                engine.step()
        if turn:
            ratios.append(waited / (prefill + 2 * statistics.median(steps)))
            rounds.append(taken)
    show(f"{bench.name}: first token, {words} words, in {max(rounds)} steps", ratios, 1.0)
    for engine in (busy, alone):
        engine.close()


def first_rounds(engine: Engine) -> Mapping[Handle, Round]:
    """The rounds of one step, by request."""
    return {handle: event for handle, event in engine.step() if handle and isinstance(event, Round)}


def words_from(number: int) -> Iterator[str]:
    """The words of the questions from this one on, without end."""
    for n in count(number):
        yield from PROMPTS[n % len(PROMPTS)].split()


def benches(options: argparse.Namespace, of_bundled: Sequence[Experts] = ("adapters",)) -> Iterator[Bench]:
    """The bundled model with these experts; another one with prompts, then with adapters: those of the
    library for smollm2, else random ones.
    """
    loaded = load_prepared(ModelOptions(options.model, device="cpu", dtype=options.dtype))
    bundled, scheme = options.model == BUNDLED, Scheme(drafter=options.drafter)
    kind = str(loaded.dtype.value).removeprefix("torch.")
    tokens = options.max_tokens or (64 if bundled else 32)
    characters = CHARACTERS if bundled else CHARACTERS[:8]
    of_other: Sequence[Experts] = ("prompts", "adapters" if options.model == SMOLLM2 else "random")
    for experts in of_bundled if bundled else of_other:
        words = "" if bundled and experts == "adapters" else f", {experts}"
        name = f"{options.model}, {kind}{words.replace('random', 'random adapters')}"
        yield Bench(name, loaded, ExpertCache(), scheme, tokens, experts, characters)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--model", default=BUNDLED, help="its name or folder (default mpg-tiny)")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--drafter", default="auto")
    parser.add_argument("--repeats", type=int, default=3, help="turns after the warm-up (default 3)")
    add_threads(parser)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--lines", type=int, help="of the batch (200, with other models 32)")
    parser.add_argument("--batch", type=int, help="number of slots for the lines (32, with other models 8)")
    parser.add_argument("--max-tokens", type=int, help="of a reply (64, with other models 32)")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="folder with other code of mpg")
    options = parser.parse_args(arguments)
    parts = options.parts or PARTS
    if unknown := set(parts).difference(PARTS):
        parser.error(f"unknown part {', '.join(unknown)}: choose from {', '.join(PARTS)}")
    torch.set_num_threads(options.threads)
    print(f"{platform.machine()}, {options.threads} threads, Python {platform.python_version()}, ", end="")
    print(f"torch {torch.__version__}, transformers {transformers.__version__}", flush=True)
    bundled = options.model == BUNDLED
    for bench in benches(options):
        if "samples" in parts:
            samples(bench, options.samples, options.repeats, 4 if bundled else 2.5)
        if "blends" in parts:
            lines, batch = options.lines or (200 if bundled else 32), options.batch or (32 if bundled else 8)
            blends(bench, lines, batch, options.repeats, 0.7 if bundled else 0.6)
        if "first" in parts:
            for words in WORDS:
                first_token(bench, words, options.repeats)
    if options.before is not None:
        tokens = options.max_tokens or (128 if bundled else 32)
        sides = against(options.before, options.model, options.dtype, options.threads, tokens)
        for name, (ours, theirs) in sides.items():
            compare(f"{options.model}: {name}", ours, theirs, options.repeats, 0.97, warm=0)


if __name__ == "__main__":
    main()
