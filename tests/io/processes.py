"""Python in a process of its own, to be killed, and the log that it writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mpg_cli.io.log import ResumableLog

ROOT = Path(__file__).parents[2]
KILLS = 12
CONFIG = {"model": "m", "seed": 3, "weights": [1.0, 0.5], "args": {}}


def start(code: str, *argv: str | Path) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *map(str, argv)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def open_log(file: Path, config: dict[str, Any] = CONFIG, *, sidecar: bool, **how: Any) -> ResumableLog:
    return ResumableLog(file, config, of="a test", restart_by="--again", sidecar=sidecar, **how)


def numbers(log: ResumableLog) -> list[int]:
    return list(log.records(lambda record: int(record["n"])))
