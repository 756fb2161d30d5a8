"""The progress of training on stderr: a bar on a terminal, periodic lines on a pipe."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from mpg_cli.io.terminal import Streams
from mpg_cli.training.watch import Figures

LINE_SECONDS = 30.0  # maximum time between two lines on a pipe
_SHARE = 0.1  # maximum share of the steps between two lines


class Progress:
    """A `Display`; `with Progress(streams, quiet=False) as progress: …`."""

    def __init__(self, streams: Streams, *, quiet: bool, label: str = "") -> None:
        """`label` names the run where there are several."""
        self._streams = streams
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._label = f"{label}: " if label else ""
        self._doing = "training"
        self._last_step = 0
        self._last_time = time.monotonic()

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
            self._streams.message(f"mpg: {text}")

    def phase(self, text: str) -> None:
        self._doing = text
        self.stage(text)

    def step(self, done: int, total: int, figures: Figures | None) -> None:
        if self._bar is not None:
            words = figures.summary(brief=True) if figures else ""
            self._show(self._doing, total=total, completed=done, figures=words)
        elif not self._quiet and figures is not None and self._due(done, total):
            self._streams.message(f"{self._label}step {done}/{total}: {figures.summary()}")

    def stopping(self) -> None:
        self._doing = "stopping"
        if self._bar is not None:
            self._show(self._doing)

    def _show(self, text: str, **fields: Any) -> None:
        if self._task is None:
            self._task = self._bar.add_task(text, total=None, figures="")
        self._bar.update(self._task, description=self._label + text, **fields)

    def _due(self, done: int, total: int) -> bool:
        """Whether to print a line: at the first and last step, after LINE_SECONDS or _SHARE of the steps."""
        now = time.monotonic()
        waited = now - self._last_time >= LINE_SECONDS
        self._last_step = min(self._last_step, done - 1)  # of an earlier phase
        due = self._last_step == 0 or done >= total or waited or done - self._last_step >= _SHARE * total
        if due:
            self._last_step, self._last_time = done, now
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
