"""What the default gains or costs against the best draft source: ratios from one run.

    python -m benchmarks.drafts                    # the bundled model, with its adapters, then with prompts
    python -m benchmarks.drafts --model smollm2    # with prompts, then with adapters

Candidates are no drafts, and merged, reference and lookup drafts at each chunk size. All candidates and the
default (`--drafter auto --chunk-size auto`) take turns. The best candidate is chosen by the first half of
the turns; the ratio of the default to it is that of the second half. After the first turn candidates far
behind the best are left out. Reading the prompts is included.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count

import torch

from benchmarks.arguments import add_threads
from benchmarks.before import Turn
from benchmarks.engine import Bench, benches, timed
from mpg_cli.config.named_models import BUNDLED
from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import Round
from mpg_cli.sampling.params import Scheme

DRAFTERS, SIZES = ("merged", "reference", "lookup"), (1, 2, 4, 8)
FAR = 0.85  # of the best in the first turn; slower candidates are left out
DEFAULT = "default"


@dataclass
class Side:
    """A scheme, its engine, and tokens/s of its turns."""

    scheme: Scheme
    engine: Engine
    speeds: list[float] = field(default_factory=list)
    accepted: int = 0
    evaluated: int = 0

    def run(self, bench: Bench, numbers: Iterator[int], batch: int) -> Turn:
        """Replies to `batch` prompts that run together."""
        requests = [
            replace(bench.request(next(numbers)), scheme=self.scheme, sequence_id=n) for n in range(batch)
        ]

        def tokens() -> int:
            found = 0
            for event in self.engine.replies(*requests):
                if isinstance(event, Round):
                    found += len(event.tokens)
                    self.accepted += event.accepted
                    self.evaluated += event.evaluated
            return found

        return timed(tokens)


def sides_of(bench: Bench, batch: int) -> dict[str, Side]:
    """The default and all candidates, by name."""
    schemes = {DEFAULT: Scheme(), "none": Scheme(drafter="none")}
    schemes |= {f"{d} {g}": Scheme(drafter=d, chunk_size=g) for d in DRAFTERS for g in SIZES}
    return {name: Side(scheme, bench.engine(batch)) for name, scheme in schemes.items()}


def compare(bench: Bench, batch: int, turns: int) -> None:
    """Print the best candidate and the ratio of the default to it."""
    sides, numbers = sides_of(bench, batch), count()
    for side in sides.values():  # loads experts, warms up
        side.run(bench, numbers, batch)
    for turn in range(2 * turns):
        for side in sides.values():
            found = side.run(bench, numbers, batch)
            side.speeds.append(found.tokens / found.seconds)
        if turn == 0:
            best = max(side.speeds[0] for name, side in sides.items() if name != DEFAULT)
            sides = {n: s for n, s in sides.items() if n == DEFAULT or s.speeds[0] >= FAR * best}
    first = {name: statistics.median(side.speeds[:turns]) for name, side in sides.items() if name != DEFAULT}
    chosen = sides[max(first, key=first.__getitem__)]
    pairs = zip(sides[DEFAULT].speeds[turns:], chosen.speeds[turns:], strict=True)
    ratios = [ours / theirs for ours, theirs in pairs]
    rates = {n: f"{s.accepted / s.evaluated:.0%} accepted" for n, s in sides.items() if s.evaluated}
    print(
        f"{bench.name}, batch {batch}: {statistics.median(ratios):.2f} of {max(first, key=first.__getitem__)}"
        f" ({min(ratios):.2f} to {max(ratios):.2f}), goal ≥ 0.97\n    "
        + ", ".join(f"{name} {value:.1f}" for name, value in sorted(first.items(), key=lambda p: -p[1])[:5])
        + f" tokens/s; {rates}",
        flush=True,
    )
    for side in sides.values():
        side.engine.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=BUNDLED, help="its name or folder (default mpg-tiny)")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--turns", type=int, default=3, help="in each half (default 3)")
    add_threads(parser)
    parser.add_argument("--max-tokens", type=int, help="of a reply (64, with other models 32)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    options = parser.parse_args()
    options.drafter = "auto"
    torch.set_num_threads(options.threads)
    for bench in benches(options, ("adapters", "prompts")):
        for batch in options.batch:
            compare(bench, batch, options.turns)


if __name__ == "__main__":
    main()
