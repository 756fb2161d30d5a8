"""The speed page of the docs: results, method, goals and limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.table import MIXED, PLAIN, SEQUENTIAL, Table, conditions, markdown, title


@dataclass(frozen=True)
class Goal:
    """A goal for five experts and the measured value."""

    model: str
    what: str
    wanted: float
    found: float
    least: bool = True

    @property
    def met(self) -> bool:
        """Whether the goal is met."""
        return self.found >= self.wanted if self.least else self.found <= self.wanted


def goals(tables: Sequence[Table]) -> Iterator[Goal]:
    """The goals on two CPU cores with five experts, for the fastest setting of the exact rule."""
    for table in (table for table in tables if table.experts == 5):
        best = table.best
        mixed = table.times(MIXED)[best.name]
        if table.subject == "mpg-tiny, float32":
            yield Goal(table.subject, "times PEFT's mixed batch", 3.0, mixed)
            yield Goal(table.subject, "of `generate` on the base alone", 0.8, table.times(PLAIN)[best.name])
        elif table.subject == "random Qwen3 of 385 M, bfloat16":
            yield Goal(table.subject, "times one pass per adapter", 4.0, table.times(SEQUENTIAL)[best.name])
            yield Goal(table.subject, "times PEFT's mixed batch", 1.9, mixed)
            what, most = "base steps per token", 1.45
            yield Goal(table.subject, f"{what}, prefill included", most, best.base_steps, least=False)
            if best.decode_steps is not None:
                yield Goal(table.subject, f"{what}, decoding", most, best.decode_steps, least=False)


def page(
    command: str, about: Mapping[str, str], tables: Sequence[Table], *, aimed: bool = True, gpu: bool = False
) -> str:
    """The whole page; `command` produced it; `aimed`: the goals apply to this machine."""
    head = "Speed on a GPU" if gpu else "Speed"
    return "\n".join(_lines(head, command, about, tables, list(goals(tables)) if aimed else [])) + "\n"


def _lines(
    head: str, command: str, about: Mapping[str, str], tables: Sequence[Table], reached: Sequence[Goal]
) -> Iterator[str]:
    yield f"# {head}"
    yield ""
    yield f"Written by `{command}`; do not edit."
    yield ""
    yield from (f"- {key}: {value}" for key, value in about.items())
    yield ""
    if reached:
        yield "## Goals"
        yield ""
        yield "The fastest setting of mpg with the text of token-by-token decoding, with five experts:"
        yield ""
        yield "| model | figure | goal | measured | met |"
        yield "|---|---|---:|---:|---|"
    for goal in reached:
        bound = "at least" if goal.least else "at most"
        met = "yes" if goal.met else "**no**"
        yield f"| {goal.model} | {goal.what} | {bound} {goal.wanted:g} | {goal.found:.2f} | {met} |"
    if reached:
        yield ""
    yield from METHOD.strip().splitlines()
    if any(row.memory is not None for table in tables for row in table.rows):
        yield from MEMORY.strip().splitlines()
    for table in tables:
        yield ""
        yield f"## {title(table)}"
        yield ""
        yield conditions(table)
        yield ""
        yield markdown(table)
    yield ""
    yield from LIMITS.strip().splitlines()
    if any("mpg-tiny" in table.subject for table in tables):
        yield from TINY.strip().splitlines()


METHOD = """
## Method

- Every contender answers the same prompts, one at a time, at temperature 1, prefill included. The runs take
  turns, after a warm-up of one run each (two of mpg's with `--compile`). The figures are medians; the range
  is over all turns. The seeds are the same in every turn, so the range is that of the clock, not of the
  text.
- Each contender draws its own text, and replies may end before the limit: “tokens” counts those of a run.
- `generate` is that of transformers, on the base alone and on the base with the exact sum of the adapters
  added to its weights (a mixture of weights in one model, not the product). Neither pays the costs of a
  blend; they are the yardstick.
- “One pass per adapter” is token-by-token decoding as in DExperts and proxy-tuning: base and experts are
  separate models, run one after another, each with its own cache. They share the weights of the base.
  “PEFT's mixed batch” runs them as the rows of one pass.
- “mpg, token by token” is one pass over all rows per token. The other settings of mpg draft and verify
  chunks. Under `exact` the text is that of token-by-token decoding for the same seed, up to the rounding of
  16-bit numbers. Under `threshold` (the paper's rule) the distribution is biased, in a round by at most the
  bias bound; a bound of 1 guarantees nothing.
- The chunk size of each drafter is the best above 0 that tuning finds in the same process, with no limit on
  the bias. `mpg tune` itself chooses among all drafters and token-by-token decoding, under `threshold` only
  where the bound is 0.02 or less.
- “Steps/token” is the time per token divided by that of a one-token pass of the bare base, timed between
  the runs. “Decoding” is the same for the tokens of the second half of the replies: each turn is also run
  with replies of half the length, and that time is subtracted.
- The base, `generate` and the token-by-token decoding of others run as transformers and PEFT run them. On a
  CPU mpg packs weights into the blocks that the kernels read, and its attention makes no copies of the
  keys, as in every command. With `--compile` mpg's passes are compiled, on CUDA recorded as graphs, and
  those of the others, base step included, are not: × mixed then measures what a user gains, not what the
  method does.
- On CUDA, times are those between two events on the stream.
- The adapters of the random model are random, of rank 16 on all linear layers; its prompts have about 64
  tokens. The weight of several experts is chosen so that merged drafts are accepted about as often as on
  the bundled model with five; a single expert has weight 1.
"""

MEMORY = """
- “Peak MiB” is the memory of a process that runs this contender alone, for one prompt and 16 tokens or two
  chunks: on a CPU all resident memory, Python and torch included, on CUDA what torch has reserved there. A
  folded drafter keeps a second copy of the layers that the adapters change; the merged adapter is added to
  the base in place.
"""

LIMITS = """
## Limits

- One machine, one prompt at a time: [a CPU](speed.md), [a GPU](speed-cuda.md). With `mpg batch` prompts run
  together (`python -m benchmarks.batch`).
- A pass that is not compiled leaves a GPU waiting for the processor, which launches every kernel one by
  one. All contenders other than mpg are of this kind; compiled, they would be faster too.
- A random model has the shape and the cost of a real one, but not its text: only the acceptance of merged
  drafts is set to that of the bundled model. In a deep random model this takes a small weight, with which
  the blend is close to the base, so reference drafts are accepted more often than they would be otherwise.
"""

TINY = """
- Tokens/s of a model of 1.6 million parameters measure Python and kernel launches, not arithmetic.
"""
