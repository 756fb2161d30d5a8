"""`mpg train` run in this process on a tiny model: its quick options, and what comes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

QUICK = ("--epochs", "2", "--batch-size", "8", "--learning-rate", "0.02", "--rank", "4", "--device", "cpu")
Mpg = Callable[..., tuple[int, str, str]]


def trained(mpg: Mpg, model: Path, *argv: str | Path, name: str = "grump") -> dict[str, Any]:
    """The summary of a run that must succeed."""
    more = () if "--data" in argv else ("--data", "prefs.jsonl")
    code, out, err = mpg("train", name, "--model", model, *QUICK, "--format", "json", *more, *argv)
    assert code == 0, err
    summary: dict[str, Any] = json.loads(out)
    return summary


def refused(mpg: Mpg, *argv: str | Path, code: int = 2) -> str:
    """stderr of a run that fails with this code and writes nothing."""
    before = sorted(Path().rglob("*"))
    found, out, err = mpg("train", *argv)
    assert (found, out) == (code, ""), err
    assert sorted(Path().rglob("*")) == before
    return err
