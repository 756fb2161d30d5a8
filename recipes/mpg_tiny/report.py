"""Measure the persona library on the bundled model: ``python -m recipes.mpg_tiny.report``.

Samples replies to held-out questions, evaluates them with two judges and a sentence check, and writes
ROOT/docs/library.md and the model card. With ``--blends`` but without ``--root`` it only
prints. The exit code is 1 if a figure misses its target and no reason is given for it.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import torch
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from benchmarks.arguments import add_threads
from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import Finished
from mpg_cli.engine.request import Request
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.sampling.params import Sampling, Scheme
from recipes.mpg_tiny.base import MIN_P
from recipes.mpg_tiny.blends import (
    POLE_CHARACTER,
    TYPE_CHARACTER,
    Blend,
    Sample,
    library_blends,
    read_blend,
)
from recipes.mpg_tiny.card import render_card
from recipes.mpg_tiny.classifier import Classifier
from recipes.mpg_tiny.corpus import TOPICS, persona_prompts
from recipes.mpg_tiny.figures import (
    all_figures,
    engine_figure,
    percent,
    prompt_figure,
    share,
    untruncated_figures,
)
from recipes.mpg_tiny.fluency import SentenceCheck
from recipes.mpg_tiny.heldout import PROMPTS
from recipes.mpg_tiny.page import Page, number
from recipes.mpg_tiny.questions import ask
from recipes.mpg_tiny.token_by_token import generate, load_experts
from recipes.mpg_tiny.voices import VOICES

ROOT = Path(__file__).resolve().parents[2]
SEED = 0
UNTRUNCATED = 8  # blends also sampled without min-p
REASONS: dict[str, str] = {}  # explanations of missed figures by name ("group: key"), written by hand


Judges = tuple[Classifier, SentenceCheck]


class Bench:
    """The model with its adapters; logs progress."""

    def __init__(self, root: Path, expressions: Sequence[str]) -> None:
        self.base = root / "mpg_cli" / "data" / "mpg-tiny"
        self.adapters = root / "personas" / "adapters" / "mpg-tiny"
        self.blends = [read_blend(expression, root / "personas") for expression in expressions]
        names = sorted({name for blend in self.blends for name in blend.weights})
        self.experts = load_experts(self.base, self.adapters, names)
        self.tokenizer = AutoTokenizer.from_pretrained(self.base)
        self._began = time.perf_counter()

    def log(self, what: str) -> None:
        """Print a finished step with the elapsed time."""
        print(f"{time.perf_counter() - self._began:6.0f} s  {what}", flush=True)

    def sample(self, blend: Blend, prompts: Sequence[str], system: str = "", min_p: float = MIN_P) -> Sample:
        """One reply per prompt from the plain sampler, as the model asks for unless given."""
        texts = generate(
            self.experts, blend.weights, prompts, self.tokenizer, SEED, min_p=min_p, system=system
        )
        return Sample(blend, tuple(texts))

    def through_engine(self, blend: Blend, prompts: Sequence[str]) -> Sample:
        """One reply per prompt from the sampler of mpg."""
        request = Request(
            model=ModelOptions(str(self.base), device="cpu", dtype="float32"),
            prompting=Prompting("?"),
            sampling=Sampling(),
            scheme=Scheme(),
            adapters=tuple(
                (AdapterPlace(self.adapters / name), weight) for name, weight in blend.weights.items()
            ),
            seed=SEED,
        )
        asked = [replace(request, prompting=Prompting(p), sequence_id=n) for n, p in enumerate(prompts)]
        events = Engine.load(request.model).run(iter(asked))
        texts = {event.sequence: event.text for event in events if isinstance(event, Finished)}
        return Sample(blend, tuple(texts[n] for n in range(len(prompts))))


def measure(
    root: Path,
    replies: int,
    blends: Sequence[str] | None = None,
    judges: Judges | None = None,
    reasons: Mapping[str, str] = REASONS,
) -> Page:
    """Sample and evaluate the model below ``root``: all blends of the library, or those given.

    ``judges`` are trained on the grammar unless given; ``reasons`` explain missed figures.
    """
    bench = Bench(root, ("", *(library_blends() if blends is None else blends)))
    prompts = list(islice(cycle(PROMPTS), replies))
    samples = []
    for blend in bench.blends:
        samples.append(bench.sample(blend, prompts))
        bench.log(blend.expression or "base")
    typed = [sample for sample in samples if sample.blend.kind == TYPE_CHARACTER]
    engine = [bench.through_engine(sample.blend, prompts) for sample in typed[:1]]
    bench.log("the program's own engine")
    second, check = judges or (Classifier(), SentenceCheck())
    bench.log("second judge and sentence check")
    figures = all_figures(samples, second, check) + [engine_figure(sample) for sample in engine]
    systems = persona_prompts()
    for name in (name for name in VOICES if name in bench.experts):
        replied = bench.sample(bench.blends[0], prompts, system=systems[name]).texts
        figures.append(prompt_figure(name, replied))
    bench.log("prompts as experts")
    mixed = [b for b in bench.blends if b.kind in (POLE_CHARACTER, TYPE_CHARACTER)]
    for blend in mixed[:: max(1, len(mixed) // UNTRUNCATED)]:
        figures += untruncated_figures(bench.sample(blend, prompts, min_p=0.0), check)
    bench.log("without min-p")
    return Page(root, replies, SEED, samples, figures, check.least, reasons)


def write_report(page: Page) -> None:
    """Write the report and the model card below the measured root."""
    (page.root / "docs").mkdir(exist_ok=True)
    (page.root / "docs" / "library.md").write_text(page.render(), encoding="utf-8")
    card = page.root / "mpg_cli" / "data" / "mpg-tiny" / "README.md"
    card.write_text(render_card(page.root, page.replies, page.figures), encoding="utf-8")


def print_unexplained(page: Page) -> int:
    """Print the missed figures without an explanation; returns their number."""
    for figure in page.unexplained:
        print(f"missed and not explained: {figure.name}", flush=True)
    return len(page.unexplained)


def tuning_questions(count: int, seed: int = 7) -> list[str]:
    """Questions drawn from the grammar, for choosing weights; none of them is among the reported ones."""
    rng = random.Random(f"{seed}/tuning")
    return [ask(rng.choice(TOPICS), rng) for _ in range(count)]


def try_weights(
    root: Path,
    replies: int,
    expressions: Sequence[str],
    type_weights: Sequence[float | None],
    min_ps: Sequence[float],
) -> None:
    """Print how often blends show with other weights of a type's poles and other truncations."""
    bench, check, prompts = Bench(root, expressions), SentenceCheck(), tuning_questions(replies)
    for min_p in min_ps:
        for weight in type_weights:
            for blend in bench.blends:
                weights = dict(blend.weights)
                if blend.kind == TYPE_CHARACTER and weight is not None:
                    weights |= {name: weight for name in weights if name not in VOICES}
                texts = generate(bench.experts, weights, prompts, bench.tokenizer, SEED, min_p=min_p)
                shown = percent(share("", "", map(blend.shown, texts)).value)
                passed = percent(share("", "", check.passed(texts)).value)
                poles = "default" if weight is None else f"{weight:g}"
                bench.log(
                    f"{blend.expression:18s} poles {poles} min-p {min_p:g}: shown {shown}, sentences {passed}"
                )


def main(
    arguments: list[str] | None = None, judges: Judges | None = None, reasons: Mapping[str, str] = REASONS
) -> int:
    """Command line of the report; see `measure` for judges and reasons."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, help="tree to read and write (default: this one)")
    parser.add_argument("--replies", type=int, default=200, help="replies per blend (default 200)")
    add_threads(parser)
    parser.add_argument(
        "--blends",
        nargs="+",
        metavar="PERSONA",
        help="only these and the base; without --root nothing is written",
    )
    tuning = parser.add_argument_group("trying weights, on other questions; prints and writes nothing")
    tuning.add_argument("--type-weight", type=float, nargs="+", help="weights of a type's poles")
    tuning.add_argument("--min-p", type=float, nargs="+", help="truncations")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    transformers_logging.disable_progress_bar()
    if args.type_weight or args.min_p:
        tried = args.blends or [name for name in library_blends() if "+" in name]
        weights, min_ps = args.type_weight or [None], args.min_p or [MIN_P]
        try_weights(args.root or ROOT, args.replies, tried, weights, min_ps)
        return 0
    page = measure(args.root or ROOT, args.replies, args.blends, judges, reasons)
    if args.blends and args.root is None:
        for figure in page.figures:
            print(f"{figure.name}: {number(figure)} {figure.evidence}".rstrip())
    else:
        write_report(page)
    return 1 if print_unexplained(page) else 0


if __name__ == "__main__":
    sys.exit(main())
