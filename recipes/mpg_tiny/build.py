"""Rebuilds the bundled model and its adapters: ``python -m recipes.mpg_tiny.build``.

Seeded; two CPU cores are enough. The base goes to ``OUT/mpg_cli/data/mpg-tiny``, the adapters to
``OUT/personas/adapters/mpg-tiny``. The model card and the persona files are written by hand and left alone.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from recipes.mpg_tiny.adapters import MODEL_ID, AdapterSettings, train_adapter
from recipes.mpg_tiny.base import BaseSettings, save_base, train_base
from recipes.mpg_tiny.corpus import PERSONAS, persona_prompts

ROOT = Path(__file__).resolve().parents[2]
SHORT_BASE = BaseSettings(
    steps=12, tokens_per_step=1024, vocabulary=512, hidden=64, layers=2, heads=2, intermediate=128
)
SHORT_ADAPTER = AdapterSettings(steps=3, batch=4)


def build(
    out: Path,
    base: BaseSettings,
    adapter: AdapterSettings,
    personas: list[str],
    seed: int,
    skip_base: bool = False,
) -> None:
    """Trains the base, then one adapter a persona, and says what each took."""
    folder = out / "mpg_cli" / "data" / MODEL_ID
    started = time.perf_counter()
    if not skip_base:
        model, tokenizer = train_base(base, seed, persona_prompts())
        save_base(model, tokenizer, folder)
        print(f"base: written, {time.perf_counter() - started:.0f} s", flush=True)
    for number, persona in enumerate(personas, 1):
        begun = time.perf_counter()
        target = out / "personas" / "adapters" / MODEL_ID / persona
        metrics = train_adapter(folder, persona, target, adapter, seed)
        told = ", ".join(f"{key} {value:.2f}" for key, value in metrics.items())
        print(
            f"adapter {number}/{len(personas)} {persona}: {told}, {time.perf_counter() - begun:.0f} s",
            flush=True,
        )
    print(f"done: {(time.perf_counter() - started) / 60:.1f} min", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Command line of the recipe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT, help="root of the written tree (default: this repository)"
    )
    parser.add_argument(
        "--short", action="store_true", help="a toy size that runs in seconds and says nothing"
    )
    parser.add_argument("--steps", type=int, help=f"steps of the base (default {BaseSettings.steps})")
    parser.add_argument(
        "--adapter-steps", type=int, help=f"steps of each adapter (default {AdapterSettings.steps})"
    )
    parser.add_argument("--only", nargs="+", choices=PERSONAS, metavar="NAME", help="only these adapters")
    parser.add_argument("--skip-base", action="store_true", help="keep the base that is there")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    transformers_logging.disable_progress_bar()
    base = SHORT_BASE if args.short else BaseSettings()
    adapter = SHORT_ADAPTER if args.short else AdapterSettings()
    if args.steps is not None:
        base = replace(base, steps=args.steps)
    if args.adapter_steps is not None:
        adapter = replace(adapter, steps=args.adapter_steps)
    build(args.out, base, adapter, args.only or list(PERSONAS), args.seed, args.skip_base)


if __name__ == "__main__":
    main()
