"""The page of the docs about speed: what was measured, how, what was reached, and what it does not say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.table import MIXED, PLAIN, SEQUENTIAL, Table, markdown, title


@dataclass(frozen=True)
class Goal:
    """What was to be reached with five experts, and what was."""

    model: str
    what: str
    wanted: float
    found: float
    least: bool = True

    @property
    def met(self) -> bool:
        """Whether it was."""
        return self.found >= self.wanted if self.least else self.found <= self.wanted


def goals(tables: Sequence[Table]) -> Iterator[Goal]:
    """The goals on two CPU cores, five experts, for the fastest setting whose text is the lock-step's."""
    for table in (table for table in tables if table.experts == 5):
        best = table.best
        mixed = table.times(MIXED)[best.name]
        if table.subject == "mpg-tiny, float32":
            yield Goal(table.subject, "times PEFT's mixed batch", 3.0, mixed)
            yield Goal(table.subject, "of `generate` on the base alone", 0.8, table.times(PLAIN)[best.name])
        elif table.subject == "random Qwen3 of 385 M, bfloat16":
            yield Goal(table.subject, "times a pass an adapter", 4.0, table.times(SEQUENTIAL)[best.name])
            yield Goal(table.subject, "times PEFT's mixed batch", 1.9, mixed)
            what, most = "base steps a token", 1.45
            yield Goal(table.subject, f"{what}, reading included", most, best.base_steps, least=False)
            if best.decode_steps is not None:
                yield Goal(table.subject, f"{what}, decoding", most, best.decode_steps, least=False)


def page(
    command: str, about: Mapping[str, str], tables: Sequence[Table], *, aimed: bool = True, gpu: bool = False
) -> str:
    """The whole page; `command` is the one that made it, `aimed` if the goals are for such a machine."""
    title = "Speed on a GPU" if gpu else "Speed"
    return "\n".join(_lines(title, command, about, tables, list(goals(tables)) if aimed else [])) + "\n"


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
        yield "## Reached"
        yield ""
        yield "The fastest setting of mpg whose text is the lock-step's, with five experts:"
        yield ""
        yield "| model | figure | wanted | found | met |"
        yield "|---|---|---:|---:|---|"
    for goal in reached:
        bound = "at least" if goal.least else "at most"
        met = "yes" if goal.met else "**no**"
        yield f"| {goal.model} | {goal.what} | {bound} {goal.wanted:g} | {goal.found:.2f} | {met} |"
    if reached:
        yield ""
    yield from METHOD.strip().splitlines()
    for table in tables:
        yield ""
        yield f"## {title(table)}"
        yield ""
        yield (
            f"Each expert has weight {table.scale:.3g}. A pass of the bare base with its weights in mpg's "
            f"layout takes {table.served_step:.2f} base steps."
        )
        yield ""
        yield markdown(table)
    yield ""
    yield from LIMITS.strip().splitlines()


METHOD = """
## Method

- Every contender answers the same prompts, one at a time, at temperature 1, and reading the prompts counts.
  The runs take turns, after one of each to warm up. The figures are medians, the range is that of all turns.
- `generate` is that of transformers, on the base alone and on the base with the exact sum of the adapters
  added to its weights (that is one persona mixture of weights, not the product). Both do without what a blend
  costs; they are the yardstick.
- “A pass an adapter” is lock-step as published decoding-time code does it: base and adapters run one after
  the other, each with its own cache. “PEFT's mixed batch” runs them as the rows of one pass.
- mpg's lock-step is one pass over all rows a token. Its other settings draft chunks and judge them. Under
  `exact` the text is that of the lock-step for the same seed; under `threshold` (the paper's rule) the law is
  biased where the bound says so.
- The chunk size of each is the one that `mpg tune` finds in the same process.
- “Steps/token” is the time of a token over that of a one-token pass of the bare base, timed between the
  runs. “Decoding” is the same for the tokens of the second half of the replies: each turn is made with
  replies of half the length as well, and that time taken off. The prompts of the random model have 64 tokens,
  which every row of a blend reads, and its replies 32: reading is a good part of the whole.
- The base, `generate` and the lock-steps of others run as transformers and PEFT run them. On a CPU mpg's
  weights lie in the blocks that the kernels read (mpg_cli/models/prepacked.py), as they do in every command.
  With `--compile` mpg's passes are compiled, on CUDA recorded as graphs, and those of the others are not.
- On CUDA times are those between two events on the stream.
- The adapters of the random model are random, of rank 16 on all linear layers; the weight of each is chosen
  so that merged drafts are accepted as often as on the bundled model with five experts.
- “Peak MiB” is the memory of a process that runs this contender and nothing else: on a CPU all that is
  resident, with Python and torch, on CUDA what torch has reserved there. A folded drafter keeps a second copy
  of the layers that the adapters change.
"""

LIMITS = """
## What this does not say

- One machine, one prompt at a time: [a CPU](speed.md), [a GPU](speed-cuda.md). With `mpg batch` prompts run
  together (`python -m benchmarks.batch`).
- A pass that is not compiled leaves a GPU waiting for the processor, which starts every kernel by hand. The
  contenders that are not mpg's are all of this kind; compiled, they would be faster too.
- A random model has the shape and the cost of a real one, but not its text: only the acceptance of merged
  drafts is set to that of the bundled model, not that of reference drafts.
- Tokens/s of a model of 1.6 million parameters are those of Python and kernel launches, not of arithmetic.
"""
