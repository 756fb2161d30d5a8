"""A progress bar on stderr."""

from __future__ import annotations

from typing import Any

from mpg_cli.io import signals
from mpg_cli.io.terminal import Streams, clean


class Bar:
    """A progress bar on a terminal; nothing is shown elsewhere."""

    def __init__(self, streams: Streams, *, shown: bool) -> None:
        self._bar: Any = None
        self._task: Any = None
        if shown and streams.stderr_tty and streams.movable:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            console = Console(file=streams.stderr, force_terminal=True, no_color=not streams.color)
            words = TextColumn("{task.description}", markup=False)
            self._bar = Progress(BarColumn(), words, console=console, transient=True)
            self._task = self._bar.add_task("", total=1.0)

    def show(self, what: str, share: float) -> None:
        signals.check()
        if self._bar is not None:
            self._bar.update(self._task, description=clean(what), completed=share)

    def __enter__(self) -> Bar:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()
