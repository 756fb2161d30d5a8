"""The page docs/library-smollm2.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mpg_cli.engine.run_spec import ModelSpec
from mpg_cli.evaluation.bootstrap import Estimate
from mpg_cli.personas.persona_data import DataPrompt
from studies.library import blind
from studies.library.blends import FREE, PAIRS, PLAIN, SINGLES, TYPES, UNRESTRICTED, sought
from studies.library.measures import Reading, Verdicts, reading, shown
from studies.library.replies import Replies

HEAD = """\
# The library on {model}

Written by `python -m studies.library`; do not edit.

Each persona and each blend answers {prompts} held-out prompts {samples} times (seeds 0 to {last}), at most
{tokens} tokens, with the model's own sampling and the library's weights, in {dtype}. The topics are not those
that the adapters and the judges were trained on. Both judges of `mpg eval` look for what the blend is made
of ([how good they are](judges.md)). Intervals of 95 % are by resampling the prompts.
"""
COLUMNS = """\
*shown*: the replies in which the judge finds all personas of the blend; of a type's four poles one may be
missing. *loops*: replies in which six words in a row occur three times. *distinct-4*: different groups of
four words among all, relative to the base's replies. *log p*: the mean log-probability of the replies' tokens
under the base, minus that of the base's own replies, in nats a token. *words*: the mean length. Empty replies
count as not shown, and are left out of log p.
"""
UNRESTRICTED_WORDS = """\
Weights that add up to more than 1 extrapolate. `mpg` then keeps to tokens that one of the personas alone
would say, or the base ([algorithm](algorithm.md#2-the-target)). The same blends with `--expert-min-p 0`:
"""
MISSED = """\
## What is missed, and why

* Blends read worse than their parts. A product multiplies the ratios of experts that were trained apart, each
  at the weight at which it is heard alone. Three to five of them together lead away from what a model of this
  size writes well. At lower weights the replies read better and show less.
* S and J are close to the base, which likes facts, steps and plans. What they have beyond the replies of N
  and P is little, and heard at a strength above 1, at which the facts are numbers without sense.
* zen is terse in the writers' replies, and so are the neutral ones: that goes with the contrast. What is
  left, moons and rivers, is found by the classifier more often than by the encoder.
* The base is sometimes found to be P, I or E: it chats, muses and encourages.
"""
KINDS = (("Single personas", SINGLES), ("A pole and a character", PAIRS), ("A type and a character", TYPES))
EXAMPLES = ("pirate", "E", "noir", "F+zen", "T+robot", "INTJ+pirate")
GOALS = {"Single personas": 0.85, "A pole and a character": 0.65, "A type and a character": 0.5}
BASE_MOST, LOOPS_MOST, DISTINCT_LEAST, FLUENCY_LEAST = 0.2, 0.03, 0.9, -0.5


@dataclass(frozen=True)
class Report:
    """All that the page says; `found` are the verdicts of each judge."""

    model: ModelSpec
    prompts: Sequence[DataPrompt]
    samples: int
    tokens: int
    replies: Replies
    found: Mapping[str, Verdicts]

    def page(self) -> str:
        """The page."""
        return "\n".join(
            [
                *self._head(),
                *self._missed(),
                *self._tables(),
                *self._unrestricted(),
                *self._base(),
                *self._blind(),
                *self._examples(),
            ]
        )

    def _head(self) -> Iterator[str]:
        yield HEAD.format(
            model=self.model.id,
            prompts=len(self.prompts),
            samples=self.samples,
            last=self.samples - 1,
            tokens=self.tokens,
            dtype=self.model.dtype,
        )
        yield "## In short\n"
        yield "| goal | least favourable | reached |"
        yield "|---|---|---|"
        yield from self._goals()
        yield ""

    def _goals(self) -> Iterator[str]:
        """Each goal with the blend and the judge that are worst at it."""
        for title, blends in KINDS:
            goal = GOALS[title]
            for judge in self.found:
                values = {blend: self._shown(blend, judge).value for blend in blends}
                reached = sum(value >= goal for value in values.values())
                worst = min(values, key=values.__getitem__)
                yield (
                    f"| {title}: shown in {goal:.0%} ({judge}) | {worst} {values[worst]:.0%} | "
                    f"{reached} of {len(blends)} |"
                )
        for judge in self.found:
            values = {name: self._of_base(name, judge).value for name in SINGLES}
            worst = max(values, key=values.__getitem__)
            reached = sum(value <= BASE_MOST for value in values.values())
            yield (
                f"| The base: at most {BASE_MOST:.0%} ({judge}) | {worst} {values[worst]:.0%} | "
                f"{reached} of {len(values)} |"
            )
        every = {blend: self._reading(blend) for _, blends in KINDS for blend in blends}
        checks: tuple[tuple[str, Callable[[Reading], float], float, int, str], ...] = (
            (f"Loops: at most {LOOPS_MOST:.0%}", lambda own: own.loops, LOOPS_MOST, -1, ".1%"),
            (f"distinct-4: at least {DISTINCT_LEAST}", lambda own: own.distinct, DISTINCT_LEAST, 1, ".2f"),
            (f"log p: at least {FLUENCY_LEAST}", lambda own: own.fluency.value, FLUENCY_LEAST, 1, ".2f"),
        )
        for words, of, goal, sign, form in checks:
            worst = min(every, key=lambda blend: sign * of(every[blend]))
            reached = sum(sign * (of(own) - goal) >= 0 for own in every.values())
            yield f"| {words} | {worst} {of(every[worst]):{form}} | {reached} of {len(every)} |"

    def _missed(self) -> Iterator[str]:
        if "smollm2" in self.model.id.lower():  # what was read there
            yield MISSED

    def _tables(self) -> Iterator[str]:
        yield COLUMNS
        for title, blends in KINDS:
            yield f"## {title}\n"
            yield from self._table(blends)

    def _unrestricted(self) -> Iterator[str]:
        yield "## Without expert-min-p\n"
        yield UNRESTRICTED_WORDS
        pairs = [(blend.removesuffix(UNRESTRICTED), blend) for blend in FREE]
        yield from self._table([blend for pair in pairs for blend in pair])

    def _table(self, blends: Sequence[str]) -> Iterator[str]:
        judges = " | ".join(f"shown ({judge})" for judge in self.found)
        yield f"| blend | {judges} | loops | distinct-4 | log p | words |"
        yield "|---" * (5 + len(self.found)) + "|"
        for blend in blends:
            own = self._reading(blend)
            found = [share(self._shown(blend, judge)) for judge in self.found]
            fluency = f"{own.fluency.value:+.2f} ({own.fluency.low:+.2f} to {own.fluency.high:+.2f})"
            cells = [blend, *found, f"{own.loops:.1%}", f"{own.distinct:.2f}", fluency, f"{own.words:.0f}"]
            yield f"| {' | '.join(cells)} |"
        empty = {blend: count for blend in blends if (count := self._reading(blend).empty)}
        if empty:
            yield f"\nEmpty replies: {', '.join(f'{blend} {count}' for blend, count in empty.items())}."
        yield ""

    def _base(self) -> Iterator[str]:
        own = self._reading(PLAIN)
        yield "## The base\n"
        yield (
            f"Without personas {own.loops:.1%} of the replies loop, their mean length is {own.words:.0f} "
            f"words, {own.empty} are empty, and {own.finished:.0%} end within {self.tokens} tokens. What the "
            "judges find in them:\n"
        )
        yield f"| persona | {' | '.join(self.found)} |"
        yield "|---" * (1 + len(self.found)) + "|"
        for name in SINGLES:
            yield f"| {name} | {' | '.join(share(self._of_base(name, judge)) for judge in self.found)} |"
        yield ""

    def _blind(self) -> Iterator[str]:
        chosen = blind.drawn(self.replies)
        if read := blind.read(blind.sheet(chosen, {one.id: one.text for one in self.prompts})):
            yield "## Read by a reader who was not told what they are\n"
            yield from blind.lines(chosen, read)
            yield ""

    def _examples(self) -> Iterator[str]:
        yield "## Replies\n"
        yield "The first reply (seed 0) to one prompt each, not chosen.\n"
        for number, blend in enumerate(EXAMPLES):
            prompt = self.prompts[number % len(self.prompts)]
            reply = next(own for own in self.replies[blend] if (own.prompt, own.sample) == (prompt.id, 0))
            text = "\n".join(f"> {line}".rstrip() for line in reply.text.strip().splitlines())
            yield f"**{blend}**: {prompt.text}\n\n{text}\n"

    def _shown(self, blend: str, judge: str) -> Estimate:
        return shown(self.replies[blend], sought(blend), self.found[judge])

    def _of_base(self, name: str, judge: str) -> Estimate:
        return shown(self.replies[PLAIN], sought(name), self.found[judge])

    def _reading(self, blend: str) -> Reading:
        return reading(self.replies[blend], self.replies[PLAIN])


def share(own: Estimate) -> str:
    return f"{own.value:.0%} ({own.low:.0%} to {own.high:.0%})"
