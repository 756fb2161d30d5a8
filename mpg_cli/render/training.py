"""Progress of a run on stderr: a bar on a terminal, a line now and then on a pipe."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from mpg_cli.io.terminal import Streams
from mpg_cli.training.watch import Figures

LINE_SECONDS = 30.0  # between two lines on a pipe
_SHARE = 0.1  # of the steps between two lines, if that is later


class Progress:
    """A `Display`; `with Progress(streams, quiet=False) as progress: …`."""

    def __init__(self, streams: Streams, *, quiet: bool) -> None:
        self._streams = streams
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._doing = "training"
        self._told_step = 0
        self._told_at = time.monotonic()

    def __enter__(self) -> Progress:
        if not self._quiet and self._streams.stderr_tty and self._streams.movable:
            self._bar = _bar(self._streams)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def stage(self, text: str) -> None:
        if self._bar is not None:
            self._show(text)
        elif not self._quiet:
            self._streams.say(f"mpg: {text}")

    def step(self, done: int, total: int, figures: Figures | None) -> None:
        if self._bar is not None:
            told = figures.summary(brief=True) if figures else ""
            self._show(self._doing, total=total, completed=done, figures=told)
        elif not self._quiet and figures is not None and self._due(done, total):
            self._streams.say(f"step {done}/{total}: {figures.summary()}")

    def stopping(self) -> None:
        self._doing = "stopping"
        if self._bar is not None:
            self._show(self._doing)

    def _show(self, text: str, **fields: Any) -> None:
        if self._task is None:
            self._task = self._bar.add_task(text, total=None, figures="")
        self._bar.update(self._task, description=text, **fields)

    def _due(self, done: int, total: int) -> bool:
        """The first step, the last, and between them neither too often nor too seldom."""
        now = time.monotonic()
        waited = now - self._told_at >= LINE_SECONDS
        due = self._told_step == 0 or done >= total or waited or done - self._told_step >= _SHARE * total
        if due:
            self._told_step, self._told_at = done, now
        return due


def _bar(streams: Streams) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
        TimeRemainingColumn(compact=True),
        console=Console(file=streams.stderr, force_terminal=True, no_color=not streams.color),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
