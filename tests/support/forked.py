"""`mpg` in processes of its own, forked from one that has imported what is heavy."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

HEAVY = ["torch", "transformers.models.llama.modeling_llama", "mpg_cli.cli.app", "mpg_cli.engine.engine"]


class Mpg:
    """`mpg` with these arguments: a process with a pipe for each of stdin, stdout and stderr.

    `to` replaces stdout (1) or stderr (2) by an open file. `interrupt` is the number of a pass of the model
    after which Ctrl-C comes.
    """

    def __init__(self, arguments: list[str], *, to: Mapping[int, int] = {}, interrupt: int = 0) -> None:
        (given, stdin), (stdout, out), (stderr, err) = os.pipe(), os.pipe(), os.pipe()
        self.stdin, self.stdout, self.stderr = os.fdopen(stdin, "w"), os.fdopen(stdout), os.fdopen(stderr)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(HEAVY)
        files = [Pipe(given), Pipe(to.get(1, out)), Pipe(to.get(2, err))]
        self.process = context.Process(
            target=_run, args=(arguments, dict(os.environ), Path.cwd(), files, interrupt), daemon=True
        )
        self.process.start()
        for file in (given, out, err):
            os.close(file)

    def wait(self, seconds: float) -> int | None:
        """The exit code, or None if it has not ended by then."""
        self.process.join(seconds)
        return self.process.exitcode

    def send(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def output(self) -> str:
        """stderr, when it has ended."""
        return self.stderr.read()


class Pipe:
    """A file descriptor that a process takes along."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __getstate__(self) -> dict[str, Any]:
        return {"taken": DupFd(self.number)}  # type: ignore[no-untyped-call]


def _run(
    arguments: list[str], environment: dict[str, str], folder: Path, files: list[Any], interrupt: int
) -> None:
    from mpg_cli.cli.app import main
    from tests.support.steps import after_passes

    for number, file in enumerate(files):
        os.dup2(file.taken.detach(), number)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    # Whoever runs the tests in the background may ignore Ctrl-C, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with after_passes(lambda number: number == interrupt and os.kill(os.getpid(), signal.SIGINT)):
        sys.exit(main(arguments))
