"""Output files (`--output FILE`) that are written to FILE.part and renamed at the end."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import TextIO

from mpg_cli.errors import UsageError, unwritable
from mpg_cli.io.files import check_writable, replace_file


class OutputFile:
    """A file that appears at the end of the run; an interrupted run keeps its text so far, a failed one
    nothing.

    Text is written to FILE.part, so an older FILE is kept until the new one is complete. A pipe or a device
    is written directly.
    """

    def __init__(self, path: Path, flag: str = "--output") -> None:
        if os.path.isdir(path):
            raise UsageError(f"{flag} {path} is a directory", hint="name a file in it")
        self._direct = os.path.exists(path) and not os.path.isfile(path)
        # Keep links; the link of a pipe (/dev/stdout) cannot be resolved to a name.
        target = path if self._direct else Path(os.path.realpath(path))
        self._target = target
        self._part = target if self._direct else target.with_name(target.name + ".part")
        try:
            if not self._direct:
                check_writable(target)
            # newline="": the model's text unchanged
            self.stream: TextIO = self._part.open("w", encoding="utf-8", errors="replace", newline="")
        except OSError as error:
            raise unwritable(f"{flag} {path}", error) from error

    def __enter__(self) -> TextIO:
        return self.stream

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stream.close()
        if self._direct:
            return
        # An interruption is not an `Exception`; its file is kept unless it is empty.
        failed = isinstance(error, Exception)
        if failed or (error is not None and not self._part.stat().st_size):
            self._part.unlink(missing_ok=True)
        else:
            replace_file(self._part, self._target)
