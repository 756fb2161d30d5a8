"""Rebuild the bundled model, its adapters, report and model card: ``python -m recipes.mpg_tiny.build``.

Seeded; two CPU cores are enough. The base goes to ``OUT/mpg_cli/data/mpg-tiny`` and the model card beside it,
the adapters to ``OUT/personas/adapters/mpg-tiny``, the report to ``OUT/docs/library.md``. Each adapter is
written as soon as it is trained: after an interruption ``--skip-base --only NAME …`` trains the missing ones
and writes the report. The persona files are handwritten and not changed. The exit code is 1 if the report
misses a target and no reason is given for it.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from recipes.mpg_tiny.adapters import AdapterSettings, train_adapter, train_command
from recipes.mpg_tiny.base import BaseSettings, save_base, train_base
from recipes.mpg_tiny.corpus import PERSONAS, persona_prompts

ROOT = Path(__file__).resolve().parents[2]
MODEL_ID = "mpg-tiny"
REPLIES = 200
SHORT_BASE = BaseSettings(
    steps=12, tokens_per_step=1024, vocabulary=512, hidden=64, layers=2, heads=2, intermediate=128
)
SHORT_ADAPTER = AdapterSettings(batch=4).with_steps(3)
SHORT_REPLIES = 4


def build_base(out: Path, settings: BaseSettings, seed: int) -> None:
    """Train and save the base; prints the duration."""
    begun = time.perf_counter()
    model, tokenizer = train_base(settings, seed, persona_prompts())
    save_base(model, tokenizer, _base(out))
    print(f"base: written, {time.perf_counter() - begun:.0f} s", flush=True)


def build_adapters(
    out: Path, scratch: Path, settings: AdapterSettings, personas: Sequence[str], seed: int, threads: int
) -> None:
    """Train one adapter per persona in single-threaded processes; prints command and metrics of each.

    Parallel adapters are faster than parallel threads for a model this small, and the weights do not depend
    on the number of processes.
    """
    with ProcessPoolExecutor(threads, mp_context=get_context("spawn")) as pool:
        tasks = [pool.submit(_build_adapter, out, scratch, settings, name, seed) for name in personas]
        try:
            for number, task in enumerate(as_completed(tasks), 1):
                print(f"adapter {number}/{len(personas)} {task.result()}", flush=True)
        except BaseException:  # a failure or Ctrl-C: do not start the queued ones
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _build_adapter(out: Path, scratch: Path, settings: AdapterSettings, persona: str, seed: int) -> str:
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
    begun = time.perf_counter()
    target = out / "personas" / "adapters" / MODEL_ID / persona
    figures = train_adapter(_base(out), persona, target, scratch, settings, seed)
    metrics = ", ".join(f"{key} {value:.2f}" for key, value in figures.items())
    command = shlex.join(train_command(persona, _base(out), scratch, settings, seed))
    return f"{persona}: held out: {metrics}, {time.perf_counter() - begun:.0f} s\n{command}"


def build_report(out: Path, replies: int, blends: Sequence[str] | None) -> int:
    """Write report and model card; returns the number of figures that miss their target without a reason."""
    from recipes.mpg_tiny.report import measure, print_unexplained, write_report

    page = measure(out, replies, blends)
    write_report(page)
    return print_unexplained(page)


def _base(out: Path) -> Path:
    return out / "mpg_cli" / "data" / MODEL_ID


def main(arguments: list[str] | None = None) -> int:
    """Command line of the recipe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="root of the written tree (default: this repository)")
    parser.add_argument("--short", action="store_true", help="a toy size for tests, in a minute; needs --out")
    poles, voices = AdapterSettings().pole, AdapterSettings().voice
    parser.add_argument("--steps", type=int, help=f"steps of the base (default {BaseSettings.steps})")
    parser.add_argument(
        "--adapter-steps",
        type=int,
        help=f"steps of each adapter (default {poles.steps} for a pole, {voices.steps} for a voice)",
    )
    parser.add_argument("--only", nargs="+", choices=PERSONAS, metavar="NAME", help="only these adapters")
    parser.add_argument("--skip-base", action="store_true", help="keep the base that is there")
    parser.add_argument("--skip-adapters", action="store_true", help="keep the adapters that are there")
    parser.add_argument("--skip-report", action="store_true", help="keep report and card as they are")
    parser.add_argument(
        "--scratch", type=Path, metavar="DIR", help="keep the preference pairs in this folder"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--threads", type=int, default=2, help="threads of torch, and adapters at a time (default 2)"
    )
    args = parser.parse_args(arguments)
    if args.short and args.out is None:
        parser.error("--short would overwrite the model of this repository: give --out")
    out: Path = args.out or ROOT
    torch.set_num_threads(args.threads)
    transformers_logging.disable_progress_bar()
    base = SHORT_BASE if args.short else BaseSettings()
    adapter = SHORT_ADAPTER if args.short else AdapterSettings()
    if args.steps is not None:
        base = replace(base, steps=args.steps)
    if args.adapter_steps is not None:
        adapter = adapter.with_steps(args.adapter_steps)
    personas = args.only or PERSONAS
    begun = time.perf_counter()
    missed = 0
    if not args.skip_base:
        build_base(out, base, args.seed)
    if not args.skip_adapters:
        with tempfile.TemporaryDirectory() as temporary:
            scratch: Path = args.scratch or Path(temporary)
            scratch.mkdir(parents=True, exist_ok=True)
            build_adapters(out, scratch, adapter, personas, args.seed, args.threads)
    if not args.skip_report and args.short:
        build_report(out, SHORT_REPLIES, personas)
    elif not args.skip_report:
        missed = build_report(out, REPLIES, None)
    print(f"done: {(time.perf_counter() - begun) / 60:.1f} min", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
