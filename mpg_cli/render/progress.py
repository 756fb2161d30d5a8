"""The progress of a batch: a bar on a terminal, a line per minute elsewhere, and a summary at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from mpg_cli.batch.line_engine import BatchEvent, LineDone, LineFailed
from mpg_cli.engine.events import Notice, Progress, Sized
from mpg_cli.io.terminal import Streams
from mpg_cli.render.tally import SEPARATOR
from mpg_cli.sampling.stats import Stats

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

LOG_SECONDS = 60.0
MAX_SHOWN_ERRORS = 5


@dataclass
class Totals:
    """The counts of a run."""

    done: int = 0
    failed: int = 0
    skipped: int = 0  # completed by earlier runs
    tokens: int = 0  # committed, including unfinished lines
    stats: Stats = field(default_factory=Stats)  # of the finished replies
    batch_size: int | None = None
    seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float | None:
        return self.tokens / self.seconds if self.seconds > 0 and self.tokens else None

    def as_json(self) -> dict[str, Any]:
        """The summary as JSON."""
        return {
            "done": self.done,
            "failed": self.failed,
            "skipped": self.skipped,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "tokens_per_second": self.tokens_per_second,
            "acceptance": self.stats.acceptance_rate,
            "batch_size": self.batch_size,
        }


class BatchProgress:
    """Shows the events of a batch on stderr and counts them in `totals`.

    `typed` suppresses the bar: the lines are typed on the terminal.
    """

    def __init__(
        self, streams: Streams, total: int | None, *, quiet: bool = False, typed: bool = False
    ) -> None:
        self.totals = Totals()
        self._streams, self._total, self._quiet = streams, total, quiet
        self._began = self._logged = monotonic()
        self._bar: Bar | None = None
        self._task: Any = None
        if streams.stderr_tty and streams.movable and not (quiet or typed):
            self._start_bar()

    def skip(self) -> None:
        """Count a line that an earlier run has completed."""
        self.totals.skipped += 1
        if self._bar is not None and self.totals.skipped % 100 == 0:
            self._draw()

    def show(self, event: BatchEvent) -> None:
        """Count and draw one event."""
        totals = self.totals
        match event:
            case Notice():
                self._print(f"mpg: {event.message}")
            case Sized():
                totals.batch_size = event.batch_size
                self._print(f"mpg: {event.batch_size} prompts in a batch: {event.reason}")
            case LineDone():
                totals.done += 1
                totals.stats += event.finished.stats
            case LineFailed():
                totals.failed += 1
                if totals.failed <= MAX_SHOWN_ERRORS:
                    self._print(f"mpg: line {event.line.number}: {event.message}")
                elif totals.failed == MAX_SHOWN_ERRORS + 1:
                    self._print("mpg: further errors are in the output only")
            case Progress():
                totals.tokens += event.tokens
        totals.seconds = monotonic() - self._began
        self._draw()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def summary(self) -> str:
        """The summary in one line."""
        return SEPARATOR.join(self._words())

    # -- below ---------------------------------------------------------------------------------------

    def _words(self) -> list[str]:
        totals = self.totals
        speed, rate = totals.tokens_per_second, totals.stats.acceptance_rate
        words = [
            f"{totals.done} answered",
            f"{totals.failed} failed" if totals.failed else "",
            f"{totals.skipped} skipped" if totals.skipped else "",
            f"{totals.tokens} tokens",
            "" if speed is None else f"{speed:.3g} tokens/s" if speed < 100 else f"{speed:.0f} tokens/s",
            "" if rate is None else f"{rate:.0%} accepted",
        ]
        return [word for word in words if word]

    def _start_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        console = Console(file=self._streams.stderr, force_terminal=True, no_color=not self._streams.color)
        self._bar = Bar(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[words]}", markup=False),
            TimeRemainingColumn(),
            console=console,
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
            transient=True,
        )
        self._task = self._bar.add_task("", total=self._total, words="")
        self._bar.start()

    def _draw(self) -> None:
        totals = self.totals
        if self._bar is not None:
            processed = totals.done + totals.failed + totals.skipped
            self._bar.update(self._task, completed=processed, words=SEPARATOR.join(self._words()[1:]))
        elif not self._quiet and monotonic() - self._logged >= LOG_SECONDS:
            self._logged = monotonic()
            of = "" if self._total is None else f" of {self._total}"
            self._streams.message(
                f"mpg: {SEPARATOR.join([f'{totals.done}{of} answered', *self._words()[1:]])}"
            )

    def _print(self, text: str) -> None:
        if self._quiet:
            return
        if self._bar is not None:
            from rich.text import Text

            from mpg_cli.io.terminal import clean

            self._bar.console.print(Text(clean(text)), soft_wrap=True)
        else:
            self._streams.message(text)
