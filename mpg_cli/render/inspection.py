"""What `mpg personas check` prints: a line for each mistake, and a summary."""

from __future__ import annotations

from collections.abc import Iterable

from mpg_cli.io.terminal import Streams, clean
from mpg_cli.personas.inspection import Report


def write_problems(streams: Streams, problems: Iterable[str]) -> None:
    """Each of them, at once."""
    for problem in problems:
        streams.stdout.write(clean(problem) + "\n")
    streams.stdout.flush()


def write_summary(streams: Streams, report: Report, problems: int, note: str) -> None:
    """What was read and how many problems there are."""
    counts = (
        _count(report.files, "file"),
        _count(report.personas, "persona"),
        _count(len(report.adapters), "adapter"),
    )
    outcome = _count(problems, "problem") if problems else "all right"
    streams.stdout.write(f"{', '.join(counts)}: {outcome}{note}\n")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
