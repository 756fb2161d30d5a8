"""mpg against the alternatives, with 1, 3 and 5 experts: tokens/s and ratios from one run.

    python -m benchmarks.compare                    # bundled model, and a random bf16 Qwen3 of 385 M
    python -m benchmarks.compare --model tiny       # the bundled one only
    python -m benchmarks.compare --small            # everything in a few minutes
    python -m benchmarks.compare --json FILE --page docs/speed.md

Contenders: transformers' `generate` on the base alone and on the exactly merged adapter; token-by-token
decoding with one pass per adapter, with PEFT's mixed batch, and with mpg; the rules exact and threshold
with reference, merged and folded drafts, each at its best chunk size by tuning. Every run uses the same
prompts, prefill included. Runs are interleaved after a warm-up of one each; figures are medians with their
range. "Steps" are base steps: the time of a token in one-token passes of the bare base, measured in the
same turns; "decoding" is that of the second half of the replies. Peak memory is measured in a separate
process for each contender. On CUDA times are those of CUDA events, and the random model has 8 B parameters
unless --shape says otherwise.
"""

from __future__ import annotations

import argparse
import gc
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from benchmarks.arguments import add_threads, positive
from benchmarks.baselines import (
    Run,
    base_step,
    generate_base,
    generate_merged,
    generate_merged_in_place,
    mixed_batch,
    sequential,
)
from benchmarks.measure import Measured, machine, measure, peak_memory, peak_report, ratio
from benchmarks.models import BLENDS, SHAPES, Subject, bundled, random_model
from benchmarks.ours import DRAFTERS, Ours, acceptance, scaled_to, tuned
from benchmarks.page import page
from benchmarks.table import MIXED, PLAIN, SEQUENTIAL, Table, table, title
from mpg_cli.models.load.device import choose_device
from mpg_cli.sampling.params import RuleName, Scheme

MERGED = "generate, merged adapter"
BASELINES = {
    PLAIN: generate_base,
    MERGED: generate_merged,
    SEQUENTIAL: sequential,
    MIXED: mixed_batch,
}
TOKEN_BY_TOKEN = "mpg, token by token"
NOT_COMPILED = f"{TOKEN_BY_TOKEN}, not compiled"
RULES: tuple[RuleName, ...] = ("exact", "threshold")
EXPERTS = (1, 3, 5)
BASELINES_ALONE = {**BASELINES, MERGED: generate_merged_in_place}  # if no other run needs the base
MORE_TURNS = 3  # times as many for the bundled model, whose runs of half a second are noisier
ALONE_TOKENS = 16  # minimum for the run that measures peak memory: room for whole chunks


def with_experts(subject: Subject, count: int) -> Subject:
    """The subject with the first `count` experts."""
    if subject.is_bundled:
        folders = tuple(subject.folders[0].parent / name for name in BLENDS[count])
        return replace(subject, folders=folders)
    return replace(subject, folders=subject.folders[:count])


def schemes(subject: Subject, seconds: float) -> dict[str, Scheme]:
    """mpg's contenders by name, with tuned chunk sizes."""
    found = {TOKEN_BY_TOKEN: Scheme(drafter="none")}
    for rule in RULES:
        _log(f"tuning {rule}")
        sizes = tuned(subject, rule, seconds)
        for drafter in DRAFTERS:
            name = f"mpg, {rule}, {drafter} drafts of {sizes[drafter]}"
            found[name] = Scheme(rule=rule, drafter=drafter, chunk_size=sizes[drafter])
    return found


def compare(subject: Subject, ours: Mapping[str, Scheme], options: argparse.Namespace) -> Table:
    """Measure all contenders on one subject, interleaved."""
    runs: dict[str, Run] = {name: make(subject) for name, make in BASELINES.items()}
    engines = {name: Ours(subject, scheme) for name, scheme in ours.items()}
    if options.compile:
        engines = {NOT_COMPILED: Ours(subject.with_prepared(), ours[TOKEN_BY_TOKEN]), **engines}
    device = subject.loaded.device.value
    repeats = options.repeats * (MORE_TURNS if subject.is_bundled and not options.small else 1)
    found = measure(
        base_step(subject),
        {**runs, **engines},
        subject.max_tokens,
        repeats,
        device,
        _log,
        dict.fromkeys(engines, 2) if options.compile else {},  # a graph is recorded when its shape recurs
    )
    rows = []
    for one in found:
        stats = engines[one.name].stats if one.name in engines else None
        more: dict[str, Any] = {}
        if stats is not None and stats.evaluated:
            more = {"acceptance": stats.acceptance_rate, "committed": stats.committed_per_pass}
            more["bias_bound"] = stats.bias_bound
        rows.append(replace(one, **more))
    for engine in engines.values():
        engine.close()
    packed = device.type == "cpu" and not options.compile
    prepared = ratio(base_step(subject, prepared=True), base_step(subject), device) if packed else None
    return Table(
        subject.name,
        len(subject.folders),
        subject.scale,
        prepared,
        len(subject.prompts),
        subject.max_tokens,
        tuple(rows),
    )


def with_memory(
    found: Table, subject: Subject, ours: Mapping[str, Scheme], options: argparse.Namespace, scratch: Path
) -> Iterator[Table]:
    """The table after each measurement of peak memory, one contender per process."""
    shared = {
        "experts": found.experts,
        "scale": found.scale,
        "tiny": subject.is_bundled,
        "options": {name: value for name, value in vars(options).items() if name not in ("page", "json")},
        "scratch": str(scratch),
    }

    def peak(row: Measured) -> Measured:
        _log(f"peak memory: {row.name}")
        scheme = ours[TOKEN_BY_TOKEN] if row.name == NOT_COMPILED else ours.get(row.name)
        settings = scheme and {name: getattr(scheme, name) for name in ("rule", "drafter", "chunk_size")}
        job = json.dumps({**shared, "contender": row.name, "scheme": settings})
        try:
            memory = peak_memory([sys.executable, "-m", "benchmarks.compare", "--alone", job])
        except RuntimeError as error:  # the times are valid without it
            _log(f"no peak memory of {row.name!r}: {error}")
            return row
        return replace(row, memory=memory)

    gc.collect()  # free the memory of the engines for these processes
    if subject.loaded.device.value.type == "cuda":
        torch.cuda.empty_cache()
    rows = list(found.rows)
    with ThreadPoolExecutor(options.memory_jobs) as jobs:
        for place, row in enumerate(jobs.map(peak, found.rows)):
            rows[place] = row
            yield replace(found, rows=tuple(rows))


def alone(job: dict[str, Any]) -> None:
    """Run one contender on one prompt in this process."""
    options = argparse.Namespace(**job["options"])
    torch.set_num_threads(int(options.threads))
    subject = _subject(bool(job["tiny"]), options, Path(job["scratch"]))
    subject = with_experts(subject, job["experts"])
    scheme = job["scheme"]
    tokens = max(ALONE_TOKENS, 2 * (1 + ((scheme or {}).get("chunk_size") or 0)))
    subject = replace(
        subject,
        scale=job["scale"],
        prompts=subject.prompts[:1],
        max_tokens=min(subject.max_tokens, tokens),
    )
    if scheme is None:
        BASELINES_ALONE[str(job["contender"])](subject)(subject.max_tokens)
    else:
        compiled = options.compile and job["contender"] != NOT_COMPILED
        Ours(subject.with_prepared(copied=False, compiled=compiled), Scheme(**scheme))(subject.max_tokens)
    print(peak_report(subject.loaded.device.value))


def _subject(tiny: bool, options: argparse.Namespace, scratch: Path) -> Subject:
    if tiny:
        subject = bundled(options.device, "auto")
        return replace(subject, prompts=subject.prompts[: 2 if options.small else 4])
    context, tokens = 64, 16 if options.small else 32
    subject = random_model(
        options.shape, options.layers, options.device, "bfloat16", context, tokens, scratch
    )
    return replace(subject, prompts=subject.prompts[:2])  # two, so that no prompt is cached


def run(options: argparse.Namespace) -> Iterator[tuple[Table, bool]]:
    """The tables of all models and numbers of experts as they grow, and whether each is complete."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        tiny = _subject(True, options, scratch).with_prepared(compiled=options.compile)
        wanted = acceptance(with_experts(tiny, 5))
        print(f"acceptance of merged drafts of 4 on the bundled model, 5 experts: {100 * wanted:.1f} %\n")
        subjects = [tiny] if options.model in ("tiny", "both") else []
        if options.model in ("random", "both"):
            random = _subject(False, options, scratch)
            subjects.append(random.with_prepared(compiled=options.compile))
        for subject in subjects:
            for count in options.experts:
                one, sought, reached = with_experts(subject, count), None, None
                if subject is not tiny and count > 1:
                    _log(f"choosing the weight of {count} experts")
                    sought = wanted
                    one, reached = scaled_to(one, sought, seconds=0.4 * options.tune_seconds)
                ours = schemes(one, options.tune_seconds)
                found = replace(compare(one, ours, options), wanted=sought, reached=reached)
                yield found, not options.memory
                if options.memory:
                    parts = with_memory(found, one, ours, options, scratch)
                    yield from ((part, place == len(part.rows)) for place, part in enumerate(parts, 1))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=["tiny", "random", "both"], default="both")
    parser.add_argument("--shape", choices=tuple(SHAPES), help="of the random model (385m, on CUDA 8b)")
    parser.add_argument("--layers", type=positive, help="fewer layers of the random model")
    parser.add_argument("--experts", type=int, nargs="+", choices=EXPERTS, default=list(EXPERTS))
    parser.add_argument("--device", default="auto")
    add_threads(parser)
    parser.add_argument(
        "--repeats", type=positive, help="turns (3); three times as many for the bundled model"
    )
    parser.add_argument("--tune-seconds", type=float, help="for each rule (20), 0.4 of it for a weight")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="skip the peak memory")
    parser.add_argument("--memory-jobs", type=positive, default=1, help="number of its processes at once")
    parser.add_argument("--compile", action="store_true", help="mpg's passes compiled, on CUDA recorded")
    parser.add_argument("--small", action="store_true", help="4 layers, one run, few prompts")
    parser.add_argument("--json", type=Path, help="write everything to a file as well")
    parser.add_argument("--page", type=Path, help="write the page of the docs")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    options = parser.parse_args()
    transformers_logging.set_verbosity_error()
    if options.alone:
        alone(json.loads(options.alone))
        return
    if options.small:
        options.layers = options.layers or 4
    options.repeats = options.repeats or (1 if options.small else 3)
    options.tune_seconds = options.tune_seconds or (4.0 if options.small else 20.0)
    for file in (file for file in (options.json, options.page) if file):
        file.parent.mkdir(parents=True, exist_ok=True)
    device = choose_device(options.device).value
    if options.shape is None:
        options.shape = "8b" if device.type == "cuda" else "385m"
    torch.set_num_threads(options.threads)
    about = machine(device, options.threads)
    print("\n".join(f"{key}: {value}" for key, value in about.items()), flush=True)
    kind = {
        # the goals are for two CPU cores
        "aimed": device.type == "cpu" and options.threads == 2 and not (options.compile or options.small),
        "gpu": device.type == "cuda",
    }
    tables: dict[str, Table] = {}
    for found, complete in run(options):  # write after every table, in case the run is stopped
        tables[title(found)] = found
        if complete:
            print(table(found), flush=True)
        _write(options, about, list(tables.values()), kind)


def _log(what: str) -> None:
    """Log the current step to stderr."""
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def _write(
    options: argparse.Namespace, about: dict[str, str], tables: list[Table], kind: dict[str, bool]
) -> None:
    if options.json:
        data = {"machine": about, "tables": [asdict(one) for one in tables]}
        options.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    if options.page:
        command = f"python -m benchmarks.compare {shlex.join(sys.argv[1:])}"
        options.page.write_text(page(command, about, tables, **kind), encoding="utf-8")


if __name__ == "__main__":
    main()
