"""The input of a batch: a file, a pipe or a terminal, and the checks before the run. Torch-free."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, cast

from mpg_cli.batch.feed import Feed, may_block
from mpg_cli.batch.kinds import await_first_line, check_first_lines
from mpg_cli.batch.lines import BadLine, InputFormat, Line, LineReader
from mpg_cli.errors import MpgError, UsageError
from mpg_cli.io.lines import raw_lines
from mpg_cli.io.text import visible

LISTED = 20  # bad lines that --strict lists


class Source:
    """The opened INPUT; `stack` closes its files."""

    def __init__(self, path: Path, format_: InputFormat, stdin: BinaryIO, stack: ExitStack) -> None:
        """Raises UsageError where it cannot be read; `-` is `stdin`."""
        self._format, self._stack = format_, stack
        self._name = "stdin" if str(path) == "-" else visible(str(path))
        self.stream = stdin
        if str(path) != "-":
            path = Path(os.path.expanduser(path))
            try:
                self.stream = stack.enter_context(path.open("rb"))
            except OSError as error:
                raise UsageError(f"INPUT {path} cannot be read: {error.strerror}") from None

    @property
    def is_terminal(self) -> bool:
        return self.stream.isatty()

    def differs_from(self, output: Path) -> None:
        """Raise UsageError where the output is the same file."""
        if self._name != "stdin" and output.exists() and os.path.samefile(self.stream.name, output):
            raise UsageError("INPUT and --output are the same file", hint="choose another output")

    def spool(self) -> None:
        """Make the stream one that can be read twice: a pipe or terminal is read to its end."""
        if not may_block(self.stream):
            return
        spool = self._stack.enter_context(tempfile.SpooledTemporaryFile(2**24))  # noqa: SIM115
        for raw in raw_lines(self.stream):
            spool.write(raw)
        spool.seek(0)
        self.stream = cast(BinaryIO, spool)

    def lines(self) -> Iterator[bytes | None]:
        """The raw lines; a pipe or terminal is read from now on, while the model loads.

        Raises UsageError for a file of another format.
        """
        if may_block(self.stream):
            feed = iter(self._stack.enter_context(Feed(self.stream)))
            try:
                return (
                    feed
                    if self.is_terminal
                    else await_first_line(check_first_lines(feed, self._name, self._format))
                )
            except OSError as error:
                raise UsageError(f"{self._name} cannot be read: {error.strerror}") from None
        place = self.stream.tell()
        next(check_first_lines(raw_lines(self.stream), self._name, self._format), None)
        self.stream.seek(place)
        return raw_lines(self.stream)

    def count(self) -> int | None:
        """The number of lines of a file; None for a pipe."""
        if may_block(self.stream):
            return None
        place, count = self.stream.tell(), 0
        while block := self.stream.read(2**20):
            count += block.count(b"\n")
        self.stream.seek(place)
        return count

    # -- with --strict -----------------------------------------------------------------------------

    def check_lines(self, reader: LineReader) -> None:
        """Raise UsageError if a line is invalid."""
        bad = [line for line in reader.read(raw_lines(self.stream)) if isinstance(line, BadLine)]
        self.stream.seek(0)
        _refuse([f"line {line.number}: {line.message}" for line in bad])

    def check_lengths(self, reader: LineReader, check: Callable[[Line], object]) -> None:
        """Raise UsageError if `check` raises MpgError for a line: its prompt leaves no room for a reply."""
        problems = []
        lines = (line for line in reader.read(raw_lines(self.stream)) if isinstance(line, Line))
        for line in lines:
            try:
                check(line)
            except MpgError as error:
                problems.append(f"line {line.number}: {error.text}")
        self.stream.seek(0)
        _refuse(problems)


def _refuse(problems: list[str]) -> None:
    if problems:
        more = [f"… and {len(problems) - LISTED} more"] if len(problems) > LISTED else []
        listed = "\n".join(f"  {text}" for text in [*problems[:LISTED], *more])
        raise UsageError(
            f"{len(problems)} bad lines, nothing was run:\n{listed}",
            hint="correct them, or leave out --strict to turn them into error records",
        )
