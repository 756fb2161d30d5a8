"""This code against another checkout of it: tokens/s of single replies, and of `mpg batch`.

Every turn is a process of its own, which loads the model before the clock starts. What runs there uses the
public API and the command line only, so the other checkout may be an old one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recipes.mpg_tiny.heldout import PROMPTS

HERE = Path(__file__).resolve().parents[1]
SINGLE = 6  # replies of a turn, after one that warms up
LINES, BATCH = 96, 32

REPLIES = """
import json, sys, time
import torch, mpg_cli
settings = json.loads(sys.argv[1])
torch.set_num_threads(settings["threads"])
with mpg_cli.load("INTJ+pirate", model=settings["model"], dtype=settings["dtype"], device="cpu") as speaker:
    def reply(n):
        return speaker.reply(settings["prompts"][n], seed=n, max_tokens=settings["max_tokens"])
    reply(0)
    began = time.perf_counter()
    replies = [reply(n) for n in range(1, len(settings["prompts"]))]
    seconds = time.perf_counter() - began
print(json.dumps({"tokens": sum(len(reply.token_ids) for reply in replies), "seconds": seconds}))
"""


@dataclass(frozen=True)
class Turn:
    """Tokens and seconds of a run."""

    tokens: int
    seconds: float


@dataclass(frozen=True)
class Code:
    """A checkout, and the settings of its runs."""

    folder: Path
    model: str
    dtype: str
    threads: int
    max_tokens: int

    def single(self) -> Turn:
        """One reply after the other, by the API."""
        settings = {
            "model": self.model,
            "dtype": self.dtype,
            "threads": self.threads,
            "max_tokens": self.max_tokens,
            "prompts": PROMPTS[: SINGLE + 1],
        }
        found = json.loads(self._run("-c", REPLIES, json.dumps(settings)).stdout.splitlines()[-1])
        return Turn(found["tokens"], found["seconds"])

    def batch(self) -> Turn:
        """`mpg batch` with lines of one blend; its summary counts the seconds after the model is loaded."""
        with tempfile.TemporaryDirectory() as folder:
            lines = Path(folder, "lines.jsonl")
            prompts = [json.dumps({"id": str(n), "prompt": PROMPTS[n]}) for n in range(LINES)]
            lines.write_text("\n".join(prompts) + "\n", encoding="utf-8")
            options = ["-p", "INTJ+pirate", "--model", self.model, "--dtype", self.dtype, "--device", "cpu"]
            options += ["--batch-size", str(BATCH), "--max-tokens", str(self.max_tokens), "--seed", "1"]
            done = self._run("-m", "mpg_cli", "batch", str(lines), "--format", "json", *options)
        found = json.loads(done.stderr.splitlines()[-1])
        return Turn(found["tokens"], found["seconds"])

    def _run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.folder),
            "OMP_NUM_THREADS": str(self.threads),
        }
        done = subprocess.run(
            [sys.executable, *argv], cwd=self.folder, env=environment, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"in {self.folder}: {done.stderr.strip()[-500:]}")
        return done


def against(
    other: Path, model: str, dtype: str, threads: int, max_tokens: int
) -> dict[str, tuple[Callable[[], Turn], Callable[[], Turn]]]:
    """What is compared: runs of this code, and of the other, by name."""
    ours, theirs = (Code(folder, model, dtype, threads, max_tokens) for folder in (HERE, other.resolve()))
    return {
        f"a reply, over {other}": (ours.single, theirs.single),
        f"mpg batch, batch {BATCH}, over {other}": (ours.batch, theirs.batch),
    }
