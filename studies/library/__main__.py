"""Write docs/library-smollm2.md: whether the library's personas are heard on SmolLM2, and at what price.

mpg models get smollm2
python -m studies.library --log FILE               # some hours on two cores; goes on where it stopped
python -m studies.library --log FILE --blind FILE  # also writes the replies that a reader judges blindly
python -m studies.library --log FILE --blends pirate,E:0.7+pirate    # figures of these blends, no page,
                                                   # on the tuning prompts: to choose weights
python -m studies.library --short --out FOLDER     # mpg-tiny and one judge, in a minute, without meaning
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch

from benchmarks.arguments import add_threads
from mpg_cli.engine.run_spec import ModelSpec
from mpg_cli.evaluation.classifier import Features, TrainedJudge, WordFeatures
from mpg_cli.evaluation.encoder import SentenceFeatures
from mpg_cli.evaluation.judge_texts import library_texts
from mpg_cli.evaluation.judging import digest
from mpg_cli.io.log import ResumableLog
from mpg_cli.models.experts import ExpertCache
from mpg_cli.models.prepare import load_prepared
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas import persona_data
from mpg_cli.sampling.params import Sampling
from studies.library import blind
from studies.library.blends import FREE, PAIRS, PLAIN, SINGLES, TYPES, sought
from studies.library.measures import Verdicts, reading, shown, verdicts
from studies.library.page import Report, share
from studies.library.replies import Bench, Replies

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str] | None = None) -> int:
    """Command line of the study."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.library",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--persona-dir", type=Path, action="append", default=[])
    parser.add_argument("--log", type=Path, help="file of the replies, with which an interrupted run goes on")
    parser.add_argument("--out", type=Path, help="folder of the page (default: docs of this checkout)")
    parser.add_argument("--blind", type=Path, metavar="FILE", help="write the replies to read blindly")
    parser.add_argument("--blends", type=lambda text: text.split(","), help="figures on tuning prompts")
    parser.add_argument("--prompts", type=int, help="only the first of the prompts")
    parser.add_argument("--samples", type=int, default=2, help="replies to each prompt (default 2)")
    parser.add_argument("--tokens", type=int, default=128, help="of a reply at most (default 128)")
    parser.add_argument("--batch", type=int, default=16, help="replies that run together (default 16)")
    add_threads(parser)
    parser.add_argument("--short", action="store_true", help="short replies of mpg-tiny; needs --out")
    args = parser.parse_args(arguments)
    if args.short:
        if args.out is None:
            parser.error("--short needs --out: it would overwrite the real results")
        args.model, args.prompts, args.tokens = "mpg-tiny", args.prompts or 2, 12
    torch.set_num_threads(args.threads)
    loaded = load_prepared(ModelOptions(args.model, dtype="float32"))
    prompts = (persona_data.tuning() if args.blends else persona_data.heldout())[: args.prompts]
    spec = ModelSpec.of(loaded)
    law = Sampling().over(loaded.own.values).as_json()
    config = {**spec.as_json(), "sampling": law, "tokens": args.tokens, "data": persona_data.digest()}
    bench = Bench(
        loaded, prompts, args.samples, args.tokens, args.batch, tuple(args.persona_dir), ExpertCache()
    )
    blends = [PLAIN, *(args.blends or (*SINGLES, *PAIRS, *TYPES, *FREE))]
    log = ResumableLog(args.log, config, of="this study", restart_by="remove it") if args.log else None
    with log or nullcontext():
        replies = bench.measure(blends, log)
    features: Sequence[Features] = (WordFeatures(), *([] if args.short else [SentenceFeatures()]))
    found = judged(replies, features)
    if args.blends:
        print(figures(replies, found))
        return 0
    if args.blind:
        questions = {one.id: one.text for one in prompts}
        text = blind.sheet(blind.drawn(replies), questions)
        args.blind.write_text(text, encoding="utf-8")
        print(f"{args.blind}: the first line of the reading is {json.dumps({'sheet': digest(text)})}")
    report = Report(spec, prompts, args.samples, args.tokens, replies, found)
    (args.out or ROOT / "docs").joinpath("library-smollm2.md").write_text(report.page(), encoding="utf-8")
    return 0


def judged(replies: Replies, features: Sequence[Features]) -> dict[str, Verdicts]:
    """What each judge finds in these replies of all personas that are in any blend."""
    wanted = {name for blend in replies for name in sought(blend).names}
    names = [name for name in persona_data.NAMES if name in wanted]
    texts = [reply.text for own in replies.values() for reply in own]
    return {own.kind: verdicts(TrainedJudge(own, library_texts(names)), texts, names) for own in features}


def figures(replies: Replies, found: dict[str, Verdicts]) -> str:
    """One line a blend: shown by each judge, in the base's replies too, loops, distinct-4, log p, words."""
    lines = []
    for blend in filter(None, replies):
        own, what = reading(replies[blend], replies[PLAIN]), sought(blend)
        shares = (
            f"{judge} {share(shown(replies[blend], what, verdict))}, base "
            f"{shown(replies[PLAIN], what, verdict).value:.0%}"
            for judge, verdict in found.items()
        )
        lines.append(
            f"{blend}: {'; '.join(shares)}; loops {own.loops:.1%}; distinct-4 {own.distinct:.2f}; "
            f"log p {own.fluency.value:+.2f}; {own.words:.0f} words"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
