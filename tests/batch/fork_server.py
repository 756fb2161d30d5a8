"""Runs `mpg` in forks of one process, each killed after a while, until one ends by itself.

    python -m tests.batch.fork_server SEED LONGEST ARGUMENT ...

Prints how many forks were killed, and exit code and seconds of the last one. Everything heavy is imported
before the first fork, so that a kill falls into the run and not into the imports.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time

import torch
from transformers import LlamaForCausalLM  # noqa: F401

from mpg_cli.cli.app import main
from mpg_cli.engine.scheduler import Scheduler  # noqa: F401

torch.set_num_threads(1)


def run(seed: int, longest: float, arguments: list[str]) -> None:
    points, kills = random.Random(seed), 0
    while True:
        child = os.fork()
        if child == 0:
            os._exit(main(arguments))
        began = time.monotonic()
        deadline = began + points.uniform(0, longest)
        ended = 0
        while not ended and time.monotonic() < deadline:
            ended, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.001)
        if ended:
            print(kills, os.waitstatus_to_exitcode(status), time.monotonic() - began)
            return
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += 1
        longest *= 1.05  # on a slow machine it ends as well


if __name__ == "__main__":
    run(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
