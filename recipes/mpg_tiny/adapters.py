"""Train the adapters with `mpg train` on preference pairs that differ in one persona only.

`train_command` builds the command; its output is copied in half precision.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from mpg_cli.cli.app import main as mpg
from recipes.mpg_tiny.corpus import messages, pairs
from recipes.mpg_tiny.voices import VOICES

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@dataclass(frozen=True)
class Schedule:
    """Steps, learning rate and target margin of one adapter."""

    steps: int
    rate: float
    margin: float  # nats between chosen and rejected, relative to the base


@dataclass(frozen=True)
class AdapterSettings:
    """Size and schedule of the adapters.

    A voice shows in every sentence, so it is learned quickly; a pole shows in one of four.
    """

    pole: Schedule = Schedule(steps=240, rate=3e-3, margin=10.0)
    voice: Schedule = Schedule(steps=90, rate=5e-3, margin=10.0)
    batch: int = 16
    rank: int = 8
    alpha: int = 16
    held_out: float = 0.05  # share of the pairs

    def schedule(self, persona: str) -> Schedule:
        """The schedule of one persona."""
        return self.voice if persona in VOICES else self.pole

    def with_steps(self, steps: int) -> AdapterSettings:
        """A copy with this many steps for every adapter."""
        return replace(self, pole=replace(self.pole, steps=steps), voice=replace(self.voice, steps=steps))

    def pairs(self, persona: str) -> int:
        """The number of pairs that fill the persona's steps once, plus those held out."""
        trained = self.schedule(persona).steps * self.batch
        return next(n for n in count(trained + 1) if n - max(1, round(self.held_out * n)) == trained)


def write_pairs(persona: str, number: int, seed: int, file: Path) -> None:
    """Write preference pairs for `mpg train`: JSONL of prompt, chosen and rejected messages."""
    with file.open("w", encoding="utf-8") as lines:
        for chosen, rejected in islice(pairs(persona, seed), number):
            *prompt, reply = messages(chosen)
            row = {"prompt": prompt, "chosen": [reply], "rejected": messages(rejected)[-1:]}
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")


def train_command(persona: str, base: Path, scratch: Path, settings: AdapterSettings, seed: int) -> list[str]:
    """The `mpg train` command for the pairs in SCRATCH/PERSONA.jsonl.

    On text of so little entropy the contrast of a pair is concentrated on a few tokens, where the margin of
    the usual DPO loss grows without bound. IPO bounds it at 1 / (2β) nats per reply.
    """
    schedule = settings.schedule(persona)
    options = {
        "data": scratch / f"{persona}.jsonl",
        "model": base,
        "device": "cpu",
        "dtype": "float32",
        "persona-dir": scratch / "personas",
        "loss": "ipo",
        "beta": f"{1 / (2 * schedule.margin):.6g}",
        "likelihood": 1,
        "rank": settings.rank,
        "alpha": settings.alpha,
        "learning-rate": schedule.rate,
        "epochs": 1,
        "batch-size": settings.batch,
        "eval-split": settings.held_out,
        "seed": seed,
        "heard": 0,  # the report judges them
        "format": "json",
    }
    flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return ["mpg", "train", persona, *flags, "--strict", "--force", "--quiet"]


def train_adapter(
    base: Path, persona: str, out: Path, scratch: Path, settings: AdapterSettings, seed: int
) -> dict[str, float]:
    """Train one adapter on the base in a folder and write it to ``out``; returns its held-out metrics.

    Pairs and persona stay in ``scratch``. Exits as `mpg train` does if that fails.
    """
    number = settings.pairs(persona)
    write_pairs(persona, number, seed, scratch / f"{persona}.jsonl")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = mpg(train_command(persona, base, scratch, settings, seed)[1:])
    if code:
        sys.exit(code)
    summary: dict[str, Any] = json.loads(printed.getvalue())
    rows = summary["rows"]
    if rows["trained"] + rows["held_out"] != number or rows["cut"]:
        sys.exit(f"mpg train did not use all of the {number} pairs of {persona}: {rows}")
    copy_adapter(Path(summary["adapter"]), out)
    held_out = summary["held_out"]
    return {"loss": held_out["loss"], "margin": held_out["margin_nats"], "accuracy": held_out["accuracy"]}


def copy_adapter(source: Path, out: Path) -> None:
    """Copy an adapter in half precision."""
    out.mkdir(parents=True, exist_ok=True)
    half = {name: tensor.to(torch.float16) for name, tensor in load_file(source / WEIGHTS).items()}
    (out / WEIGHTS).write_bytes(save(half, metadata={"format": "pt"}))
    shutil.copyfile(source / CONFIG, out / CONFIG)
