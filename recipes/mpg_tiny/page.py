"""The page of the report, docs/library.md: targets, tables, examples and misses."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from safetensors import safe_open

from recipes.mpg_tiny.base import MIN_P
from recipes.mpg_tiny.blends import BASE, POLE_CHARACTER, SINGLE, TYPE_CHARACTER, Sample
from recipes.mpg_tiny.figures import (
    AGREEMENT,
    BLEND_AGREEMENT,
    DISTINCT,
    ENGINE,
    MARKERS_USED,
    OWN_WORD,
    PROMPT,
    RARE,
    SENTENCES,
    SENTENCES_OF,
    SHUFFLES,
    TARGETS,
    TOP_MARKER,
    UNTRUNCATED,
    UNTRUNCATED_SENTENCES,
    Figure,
    percent,
    wilson,
)
from recipes.mpg_tiny.heldout import KEYWORDS, PROMPTS

EXAMPLES = 3
UNEXPLAINED = "Not explained."
_ABOUT = {
    SINGLE: "the persona shows",
    BASE: "the base shows a persona",
    POLE_CHARACTER: "both show",
    TYPE_CHARACTER: "three poles of four and the character show",
    ENGINE: "the same, sampled by the program",
    MARKERS_USED: "markers of a persona that its replies have",
    TOP_MARKER: "replies that have the persona's most frequent marker",
    AGREEMENT: "both judges agree, on the persona's replies and as many others",
    BLEND_AGREEMENT: "both judges agree, on blends with the persona and as many replies without",
    DISTINCT: "different replies of a blend",
    SENTENCES: "sentences that pass the check, by kind of blend",
    SHUFFLES: "sentences with shuffled words that the check refuses",
}


@dataclass(frozen=True)
class Page:
    """The content of the report."""

    root: Path
    replies: int
    seed: int
    samples: Sequence[Sample]
    figures: Sequence[Figure]
    least: float  # minimum share of known pairs of a passing sentence
    reasons: Mapping[str, str]

    @property
    def missed(self) -> list[Figure]:
        """The figures that miss their target."""
        return [figure for figure in self.figures if not figure.met]

    def reason(self, figure: Figure) -> str | None:
        """The handwritten explanation of a missed figure, if there is one."""
        return self.reasons.get(figure.name)

    @property
    def unexplained(self) -> list[Figure]:
        """The missed figures without a reason."""
        return [figure for figure in self.missed if self.reason(figure) is None]

    def render(self) -> str:
        """The whole page."""
        parts = (
            self._header(),
            self._summary(),
            self._singles(),
            self._blends("A pole and a character", POLE_CHARACTER),
            self._blends("A type and a character", TYPE_CHARACTER),
            self._engine(),
            self._second_judge(),
            self._sentences(),
            self._prompts(),
            self._untruncated(),
            self._examples(),
            self._misses(),
        )
        return "\n\n".join("\n".join(part) for part in map(list, parts) if part) + "\n"

    # -- parts -----------------------------------------------------------------------------------

    def _header(self) -> Iterator[str]:
        base, adapters = digests(self.root)
        weights = self.root / "mpg_cli" / "data" / "mpg-tiny" / "model.safetensors"
        command = f"python -m recipes.mpg_tiny.report --replies {self.replies}"
        low, high = wilson(0.9, self.replies)
        yield "# How well the personas show on mpg-tiny"
        yield ""
        yield f"Written by `{command}`; do not edit."
        yield ""
        yield f"- {self.replies} replies per blend, seed {self.seed}, temperature 1 and min-p {MIN_P} as the"
        yield "  model asks for, default weights; the"
        yield f"  questions are {len(PROMPTS)} on {len(KEYWORDS)} topics that training never saw"
        yield "  (`recipes/mpg_tiny/heldout.py`). The forms of the questions (“How should I …?”) are those of"
        yield "  the training text; only what they ask about is new."
        yield "- Replies are drawn by a plain token-by-token sampler that shares no code with the program's"
        yield "  (`recipes/mpg_tiny/token_by_token.py`), and judged by markers (`recipes/mpg_tiny/judge.py`)."
        yield f"- {parameters(weights):,} parameters, sha256 {base};"
        yield f"  adapters sha256 {adapters};"
        yield f"  torch {torch.__version__}, transformers {transformers.__version__}."
        yield f"- A share is of {self.replies} replies unless said otherwise; a measured 90 % means"
        yield f"  {percent(low)} to {percent(high)} with 95 % confidence (Wilson)."
        yield f"- A blend's share of sentences is bold where it is not {TARGETS[SENTENCES].asked(True)}:"
        yield "  that is asked of all blends of a kind together, and not of each."

    def _summary(self) -> Iterator[str]:
        yield "## Targets"
        yield ""
        yield "| figure | target | worst | mean | met | |"
        yield "|---|---|---|---|---|---|"
        for group, target in TARGETS.items():
            found = [figure for figure in self.figures if figure.group == group]
            if not found:
                continue
            worst = (min if target.least else max)(found, key=lambda figure: figure.value)
            mean = sum(figure.value for figure in found) / len(found)
            met = sum(figure.met for figure in found)
            yield row(
                _ABOUT[group],
                target.asked(worst.total > 0),
                f"{number(worst)} ({worst.key})",
                percent(mean, target) if worst.total else f"{mean:.1f}",
                f"{met} of {len(found)}",
                "pass" if met == len(found) else "**MISSED**",
            )

    def _singles(self) -> Iterator[str]:
        names = [figure.key for figure in self.figures if figure.group == SINGLE]
        yield "## Single personas"
        yield ""
        yield "| persona | shown | base | distinct | sentences | markers | most frequent | in | own word | |"
        yield "|---|---|---|---|---|---|---|---|---|---|"
        for name in names:
            groups = (SINGLE, BASE, DISTINCT, SENTENCES_OF, MARKERS_USED, TOP_MARKER, OWN_WORD)
            shown, base, distinct, passed, used, top, own = (self._at[group, name] for group in groups)
            listed = used.evidence.split(";")[0].removeprefix("of ").removesuffix(" listed")
            yield row(
                name,
                *map(number, (shown, base, distinct)),
                sentence_number(passed),
                f"{used.value:g} of {listed}",
                top.evidence,
                number(top),
                f"{own.evidence}: {number(own)}",
                pass_mark(shown, base, distinct, used, top),
            )
        yield ""
        yield from prose(f"""
            The column “base” is how often replies of the base alone show the persona. “Markers” are those
            that occur in the persona's replies, of all that the judge counts. “Own word”, which has no
            target, is the word in most of the persona's replies that is in fewer than {100 * RARE:g} % of
            the base's; it is part of a marker of the judge, or the judge does not count it.
        """)

    def _blends(self, title: str, kind: str) -> Iterator[str]:
        yield f"## {title}"
        yield ""
        yield "| blend | shown | each | distinct | sentences | |"
        yield "|---|---|---|---|---|---|"
        for figure in (figure for figure in self.figures if figure.group == kind):
            distinct, passed = (self._at[group, figure.key] for group in (DISTINCT, SENTENCES_OF))
            cells = (number(figure), figure.evidence, number(distinct), sentence_number(passed))
            yield row(figure.key, *cells, pass_mark(figure, distinct))

    def _engine(self) -> Iterator[str]:
        for figure in (figure for figure in self.figures if figure.group == ENGINE):
            plain = self._at[TYPE_CHARACTER, figure.key]
            low, high = plain.interval
            yield "## With the program's own sampler"
            yield ""
            yield f"{figure.key} sampled by `mpg`'s default sampler: shown in {number(figure)}"
            yield f"({pass_mark(figure)}; {figure.evidence}). The plain sampler has {number(plain)}, 95 %"
            yield f"confidence interval {percent(low)} to {percent(high)}."

    def _second_judge(self) -> Iterator[str]:
        yield "## The second judge"
        yield ""
        yield from prose("""
            One logistic regression per persona, trained on words and pairs of words, without punctuation, of
            texts of the grammar from which every marker of every persona was removed; markers are removed
            from the replies as well. What remains of a voice are the words that it replaces (ye, thee) and
            the other words of its stock phrases (“by the” of “by the seven seas”). So agreement on a voice
            shows that its phrases are complete, not that the voice is in more than its phrases.
        """)
        yield ""
        yield from prose("""
            The first column is for the persona's own replies and as many others, half of the base and half
            of the other personas; “on blends” is for replies of blends with the persona and as many others,
            half of the base and half of blends without it. A constant answer agrees in half of the cases.
        """)
        yield ""
        yield "| persona | agree | | agree on blends | disagreements | |"
        yield "|---|---|---|---|---|---|"
        for figure in (figure for figure in self.figures if figure.group == AGREEMENT):
            mixed = self._at.get((BLEND_AGREEMENT, figure.key))
            both = [figure] if mixed is None else [figure, mixed]
            low, high = figure.interval
            yield row(
                figure.key,
                number(figure),
                f"{percent(low)} to {percent(high)}",
                "" if mixed is None else number(mixed),
                figure.evidence,
                pass_mark(*both),
            )

    def _sentences(self) -> Iterator[str]:
        yield "## Sentences"
        yield ""
        yield f"A sentence passes if at least {percent(self.least)} of its pairs of neighbouring words, ends"
        yield "included, are in a large draw of the grammar; 99 % of fresh sentences of the grammar do."
        yield ""
        yield "| replies | pass | sentences | |"
        yield "|---|---|---|---|"
        for figure in (figure for figure in self.figures if figure.group == SENTENCES):
            yield row(figure.key, number(figure), str(figure.total), pass_mark(figure))
        shuffles = self._at[SHUFFLES, "all replies"]
        yield row("words shuffled: refused", number(shuffles), str(shuffles.total), pass_mark(shuffles))

    def _prompts(self) -> Iterator[str]:
        found = [figure for figure in self.figures if figure.group == PROMPT]
        if not found:
            return
        yield "## A prompt as the expert"
        yield ""
        yield "No target: a character whose expert is its system prompt, at weight 1, which is the base with"
        yield "that prompt. Shown: " + ", ".join(f"{f.key} {number(f)}" for f in found) + "."

    def _untruncated(self) -> Iterator[str]:
        found = [figure for figure in self.figures if figure.group == UNTRUNCATED]
        if not found:
            return
        yield "## Without min-p"
        yield ""
        yield from prose("""
            No target: some of the blends with `--min-p 0`. A product of several experts multiplies their
            noise on unlikely tokens; min-p removes it.
        """)
        yield ""
        yield "| blend | shown without | with | sentences without | with |"
        yield "|---|---|---|---|---|"
        for figure in found:
            kind = POLE_CHARACTER if (POLE_CHARACTER, figure.key) in self._at else TYPE_CHARACTER
            plain, sentences = self._at[kind, figure.key], self._at[SENTENCES_OF, figure.key]
            passed = self._at[UNTRUNCATED_SENTENCES, figure.key]
            yield row(figure.key, *map(number, (figure, plain, passed, sentences)))

    def _examples(self) -> Iterator[str]:
        yield "## Example replies"
        for kind in (BASE, SINGLE, POLE_CHARACTER, TYPE_CHARACTER):
            samples = [sample for sample in self.samples if sample.blend.kind == kind]
            if not samples:
                continue
            yield ""
            yield f"### {kind[0].upper()}{kind[1:]}"
            for place in range(EXAMPLES):
                # Evenly spread over blends and questions, not hand-picked.
                sample = samples[place * len(samples) // EXAMPLES]
                index = (37 * place + 11) % self.replies
                yield ""
                yield f"> **{sample.blend.expression or BASE}** — {PROMPTS[index % len(PROMPTS)]}  "
                yield f"> {sample.texts[index]}"

    def _misses(self) -> Iterator[str]:
        yield "## What is missed, and why"
        yield ""
        if not self.missed:
            yield "Nothing: every figure meets its target."
        for figure in self.missed:
            asked = TARGETS[figure.group].asked(figure.total > 0)
            evidence = f" ({figure.evidence})" if figure.evidence else ""
            yield f"- **{figure.name}**: {number(figure)}, asked {asked}{evidence}."
            yield f"  {self.reason(figure) or UNEXPLAINED}"

    @property
    def _at(self) -> dict[tuple[str, str], Figure]:
        return {(figure.group, figure.key): figure for figure in self.figures}


def prose(text: str) -> list[str]:
    """The lines of a paragraph."""
    return textwrap.wrap(" ".join(text.split()), 100)


def row(*cells: str) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def number(figure: Figure) -> str:
    """A figure as text."""
    return percent(figure.value, TARGETS.get(figure.group)) if figure.total else f"{figure.value:g}"


def sentence_number(figure: Figure) -> str:
    """The share of a blend's sentences that pass, in bold if it is below the target of its kind."""
    target = TARGETS[SENTENCES]
    text = percent(figure.value, target)
    return text if target.met(figure.value) else f"**{text}**"


def pass_mark(*figures: Figure) -> str:
    """ "pass" if all figures meet their targets."""
    return "pass" if all(figure.met for figure in figures) else "**MISSED**"


def parameters(weights: Path) -> int:
    """The number of values in a safetensors file."""
    with safe_open(weights, "pt") as file:
        return sum(torch.Size(file.get_slice(name).get_shape()).numel() for name in file.keys())  # noqa: SIM118


def digests(root: Path) -> tuple[str, str]:
    """The starts of the sha256 over the weights of the base and over those of the adapters."""
    adapters = root / "personas" / "adapters" / "mpg-tiny"
    base = digest([root / "mpg_cli" / "data" / "mpg-tiny"])
    return base, digest(sorted(path for path in adapters.iterdir() if path.is_dir()))


def digest(folders: Sequence[Path]) -> str:
    """The start of the sha256 over the weights in some folders."""
    total = hashlib.sha256()
    for path in (path for folder in folders for path in sorted(folder.glob("*.safetensors"))):
        total.update(path.read_bytes())
    return total.hexdigest()[:16]
