"""Measure sampling parameters on a model: the plain model, and blends of personas that are system prompts.

Writes own-sampling.md, from which the table in mpg_cli/models/load/own_sampling.py takes its values.

mpg models get smollm2
python -m studies.own_sampling --log FILE   # within an hour on one core; goes on where it stopped
python -m studies.own_sampling --short      # in seconds on mpg-tiny, results without meaning; needs --out
"""

from __future__ import annotations

import argparse
import math
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

import torch

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.engine.request import Request
from mpg_cli.engine.run_spec import ModelSpec
from mpg_cli.engine.sequence import prepare
from mpg_cli.engine.teacher_forcing import TeacherForcing
from mpg_cli.evaluation.diversity import distinct, ngrams, words
from mpg_cli.evaluation.prompts import EvalPrompt, Reply, read_prompts
from mpg_cli.evaluation.replies import Source, draw
from mpg_cli.io.log import ResumableLog
from mpg_cli.models.experts import ExpertCache, find_experts
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.load.own_sampling import MEASURED
from mpg_cli.models.prepare import load_prepared
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.models.text.vocabulary import logits_width
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas import expression, registry
from mpg_cli.sampling.params import Sampling, SamplingLaw, Scheme
from mpg_cli.sampling.scorer import padded
from mpg_cli.sampling.targets import combine

ROOT = Path(__file__).resolve().parents[1]
SEED = 0
STRAY = 1e-3  # a sampled token less likely than this under the target at temperature 1
LOOP = 3  # a reply in which four words in a row occur so often repeats itself
BYTES = 1 << 28  # of log-probabilities in a pass
PLAIN = ""  # the blend of no personas
BLENDS = ("pirate", "F+zen", "T+J+coach", "INTJ+pirate")
MIN_P = SamplingLaw(temperature=0.8, min_p=0.1)
PENALTIES = (1.05, 1.1, 1.15, 1.2)  # of repetition
LAWS = (  # of the plain model and of blends
    replace(MIN_P, temperature=1.0),
    MIN_P,
    *(replace(MIN_P, repetition_penalty=rho) for rho in PENALTIES),
    replace(MIN_P, temperature=1.0, repetition_penalty=1.1),
    replace(MIN_P, temperature=0.6, repetition_penalty=1.1),
)
PLAIN_LAWS = (
    SamplingLaw(),
    SamplingLaw(top_p=0.9),
    SamplingLaw(temperature=0.8, top_p=0.9),
    SamplingLaw(temperature=0.6, min_p=0.1),
    SamplingLaw(temperature=0),
    *LAWS,
)
HEAD = """\
The model {model} ({revision}) in {dtype} replies with at most {tokens} tokens with each of these parameters:
without personas to {plain} prompts, and as each of {blends} blends to {blended} of them. All personas are
system prompts, and the target of a blend is the product.
"""
COLUMNS = """\
* NLL: mean −log p of the sampled tokens under the target at temperature 1 without penalties, in nats.
* stray: sampled tokens with p < {stray:g} under the same target, in a hundred. One of them can turn a
  sentence into nonsense.
* clean: replies without any.
* loops: replies in which the same four words in a row occur {loop} times or more.
* distinct-2: distinct pairs of words within a reply.
* persona: how much likelier the reply is under an expert than under the plain model, in nats per token; the
  mean over experts.
"""
FOLLOWS = """\
Truncation removes the stray tokens. Personas make the model repeat itself: at temperature {t:g} and min-p
{min_p:g}, {plain} of {plain_of} replies of the plain model loop, and {blended} of {blended_of} of the blends.
A repetition penalty of {rho:g} leaves {plain_left} and {blended_left}, with {stray_left} stray tokens; one of
{most:g} brings {stray_most}. Lower temperatures loop more.
"""
CHOSEN = """\
So `mpg` takes {chosen} for SmolLM2, whose file generation_config.json says nothing. A loop more or less in a
line is chance. Beside it `mpg` takes expert-min-p {expert:g}, which was chosen on blends of adapters
(`python -m studies.library`) and is off here.
"""


@dataclass(frozen=True)
class Size:
    """Prompts of the plain model and of each blend, and the longest reply in tokens."""

    plain: int = 24
    blended: int = 6
    tokens: int = 128

    def prompts(self, blend: str) -> list[EvalPrompt]:
        count = self.blended if blend else self.plain
        return [EvalPrompt(str(at), text) for at, text in enumerate(read_prompts(None, count))]


@dataclass(frozen=True)
class Scored:
    """A reply, log p of its tokens under the target at temperature 1, and the log-ratio of its experts."""

    text: str
    log_probs: tuple[float, ...]
    persona: float  # mean log-ratio of the experts, in nats per token

    @property
    def stray(self) -> int:
        """Tokens of p < STRAY."""
        return sum(p < math.log(STRAY) for p in self.log_probs)

    @property
    def loops(self) -> bool:
        grams = ngrams(words(self.text), 4)
        return any(grams.count(gram) >= LOOP for gram in set(grams))


Found = Mapping[tuple[str, SamplingLaw], Sequence[Scored]]


class Bench:
    """The loaded model, which replies as blends."""

    def __init__(self, loaded: LoadedModel, size: Size) -> None:
        self._loaded, self._size, self._cache = loaded, size, ExpertCache()

    def replies(self, blend: str, law: SamplingLaw) -> list[Scored]:
        """Scored replies of a blend, or of the plain model."""
        terms = expression.parse(blend) if blend else []
        request = Request(
            ModelOptions(self._loaded.id),
            Prompting("?"),
            replace(law, max_tokens=self._size.tokens),
            Scheme(drafter="none"),
            blend=registry.resolve(terms, registry.load_default()).with_prompts if blend else None,
            seed=SEED,
        )
        prompts = self._size.prompts(blend)
        found = draw(Source(self._loaded, request), prompts, cache=self._cache, batch_size=len(prompts))
        return list(self._scored(request, prompts, found))

    def _scored(
        self, request: Request, prompts: Sequence[EvalPrompt], replies: Sequence[Reply]
    ) -> Iterator[Scored]:
        """The replies in teacher-forced passes over the rows of the blend."""
        loaded = self._loaded
        experts = find_experts(request.blend, (), loaded, _quiet, _quiet, self._cache)
        weights = torch.tensor([expert.weight for expert in experts])
        rows = BlendRows.of(loaded, experts, request.scheme)
        each = (1 + len(experts)) * (self._size.tokens + 1) * logits_width(loaded.model) * 4
        batch = max(1, BYTES // each)
        forcing = TeacherForcing(rows)
        for at in range(0, len(replies), batch):
            part = replies[at : at + batch]
            asked = [
                replace(request, prompting=Prompting(one.prompt), sequence_id=one.id)
                for one in prompts[at : at + batch]
            ]
            drafts = padded([own.token_ids for own in part])[:, None]  # (B, 1, T)
            texts = forcing.log_probs([prepare(rows, own).rows for own in asked], drafts)
            log_probs = texts[:, :, 0]  # (R, B, T, V)
            target = combine("product", log_probs, weights)  # (B, T, V)
            of_target = target.gather(-1, drafts[:, 0, :, None])[..., 0]  # (B, T)
            of_rows = log_probs.gather(-1, drafts[:, 0, :, None].expand(len(log_probs), -1, -1, -1))[..., 0]
            for b, own in enumerate(part):
                length = len(own.token_ids)
                means = of_rows[:, b, :length].mean(-1)  # (R,)
                persona = float((means[1:] - means[0]).mean()) if len(experts) and length else 0.0
                yield Scored(own.text, tuple(of_target[b, :length].tolist()), persona)


def _quiet(message: str) -> None:
    pass


# -- the page --------------------------------------------------------------------------------------


def table(found: Found, laws: Sequence[SamplingLaw], blends: Sequence[str]) -> list[str]:
    """One row for each law, over the replies of all these blends."""
    names = ["parameters", "NLL", "stray", "clean", "loops", "distinct-2", "words"]
    names += ["persona"] * any(blends)
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for law in laws:
        own = [reply for blend in blends for reply in found[blend, law]]
        p = [value for reply in own for value in reply.log_probs]
        cells = [
            parameters(law),
            f"{-fmean(p):.2f}",
            f"{100 * sum(r.stray for r in own) / len(p):.2f}",
            f"{sum(not r.stray for r in own)} of {len(own)}",
            f"{sum(r.loops for r in own)}",
            f"{fmean(distinct([words(r.text)], 2) or 0.0 for r in own):.2f}",
            f"{fmean(len(words(r.text)) for r in own):.0f}",
            *[f"{fmean(r.persona for r in own):.2f}"] * any(blends),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def loops(found: Found) -> list[str]:
    """Loops of each blend, a row for each law."""
    lines = ["| parameters | " + " | ".join(BLENDS) + " |", "|---" * (1 + len(BLENDS)) + "|"]
    for law in LAWS:
        counts = [str(sum(reply.loops for reply in found[blend, law])) for blend in BLENDS]
        lines.append(f"| {parameters(law)} | {' | '.join(counts)} |")
    return lines


def parameters(law: SamplingLaw) -> str:
    """The parameters that are not neutral, and the temperature."""
    neutral = SamplingLaw()
    named = {"temperature": law.temperature} | {
        key.replace("_penalty", " penalty").replace("_", "-"): value
        for key, value in vars(law).items()
        if value != getattr(neutral, key) and key != "temperature"
    }
    return ", ".join(f"{key} {value:g}" for key, value in named.items())


def page(found: Found, loaded: LoadedModel, size: Size) -> str:
    """The page."""
    spec = ModelSpec.of(loaded)
    head = HEAD.format(
        model=spec.id, revision=spec.revision, dtype=spec.dtype, blends=len(BLENDS), **asdict(size)
    )
    return "\n".join(
        [
            "# Sampling of models that say nothing\n",
            "Written by `python -m studies.own_sampling`; do not edit.\n",
            _filled(head),
            COLUMNS.format(stray=STRAY, loop=LOOP),
            "## The plain model\n",
            *table(found, PLAIN_LAWS, [PLAIN]),
            "\n## Blends\n",
            *table(found, LAWS, BLENDS),
            f"\nLoops among the {size.blended} replies of each blend:\n",
            *loops(found),
            "\n## What follows\n",
            conclusion(found),
        ]
    )


def conclusion(found: Found) -> str:
    """What the numbers say about the values in the table of mpg."""
    own = MEASURED["smollm2"].over(Sampling())
    chosen = replace(own, expert_min_p=0.0)  # as measured
    penalties = (1.0, chosen.repetition_penalty, PENALTIES[-1])
    plain, plain_left, plain_most = (
        found[PLAIN, replace(chosen, repetition_penalty=rho)] for rho in penalties
    )
    blended, blended_left, blended_most = (
        [reply for blend in BLENDS for reply in found[blend, replace(chosen, repetition_penalty=rho)]]
        for rho in penalties
    )
    follows = FOLLOWS.format(
        t=chosen.temperature,
        min_p=chosen.min_p,
        rho=chosen.repetition_penalty,
        plain=sum(reply.loops for reply in plain),
        plain_of=len(plain),
        blended=sum(reply.loops for reply in blended),
        blended_of=len(blended),
        plain_left=sum(reply.loops for reply in plain_left),
        blended_left=sum(reply.loops for reply in blended_left),
        stray_left=sum(reply.stray for reply in (*plain_left, *blended_left)),
        most=PENALTIES[-1],
        stray_most=sum(reply.stray for reply in (*plain_most, *blended_most)),
    )
    return f"{_filled(follows)}\n{_filled(CHOSEN.format(chosen=parameters(chosen), expert=own.expert_min_p))}"


def _filled(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 116) + "\n"


def measure(bench: Bench, log: ResumableLog | None) -> Found:
    """The replies of every blend and law; those in the log are read from it. Prints progress."""
    todo = [(blend, law) for law in LAWS for blend in BLENDS] + [(PLAIN, law) for law in PLAIN_LAWS]
    found: dict[tuple[str, SamplingLaw], list[Scored]] = {}
    laws = {parameters(law): law for law in PLAIN_LAWS}
    for record in log.records(dict) if log else ():
        found[record["blend"], laws[record["law"]]] = [Scored(**reply) for reply in record["replies"]]
    began = time.perf_counter()
    for number, (blend, law) in enumerate(todo, 1):
        if (blend, law) not in found:
            found[blend, law] = own = bench.replies(blend, law)
            if log:
                log.append({"blend": blend, "law": parameters(law), "replies": [asdict(r) for r in own]})
        line = f"{blend or 'plain'}, {parameters(law)}: {sum(r.loops for r in found[blend, law])} loops"
        print(f"{time.perf_counter() - began:6.0f} s  {number}/{len(todo)}  {line}", flush=True)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Command line of the study."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.own_sampling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, help="folder of own-sampling.md (default: docs of this checkout)")
    parser.add_argument("--log", type=Path, help="file of the replies, with which an interrupted run goes on")
    parser.add_argument("--short", action="store_true", help="short replies of mpg-tiny; needs --out")
    args = parser.parse_args(arguments)
    if args.short and args.out is None:
        parser.error("--short needs --out: it would overwrite the real results")
    size = Size(2, 1, 12) if args.short else Size()
    loaded = load_prepared(ModelOptions("mpg-tiny" if args.short else "smollm2", dtype="float32"))
    config = {**ModelSpec.of(loaded).as_json(), **asdict(size), "seed": SEED}
    with (
        ResumableLog(args.log, config, of="this study", restart_by="remove it") if args.log else nullcontext()
    ) as log:
        found = measure(Bench(loaded, size), log)
    (args.out or ROOT / "docs").joinpath("own-sampling.md").write_text(
        page(found, loaded, size), encoding="utf-8"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
