"""The output of `mpg personas check`: a line per error, and a summary."""

from __future__ import annotations

from collections.abc import Iterable

from mpg_cli.io.terminal import Streams, clean
from mpg_cli.personas.inspection import Report


def write_problems(streams: Streams, problems: Iterable[str]) -> None:
    """Write a line per problem and flush."""
    for problem in problems:
        streams.stdout.write(clean(problem) + "\n")
    streams.stdout.flush()


def write_summary(streams: Streams, report: Report, problems: int, note: str) -> None:
    """Write the counts of files, personas, adapters and problems."""
    counts = (
        _count(report.files, "file"),
        _count(report.personas, "persona"),
        _count(len(report.adapters), "adapter"),
    )
    outcome = _count(problems, "problem") if problems else "no problems"
    streams.stdout.write(f"{', '.join(counts)}: {outcome}{note}\n")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
