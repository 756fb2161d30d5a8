"""The raw lines of a batch, of a file or of a pipe that may be slow. Torch-free."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread
from types import TracebackType
from typing import BinaryIO

from mpg_cli.io.lines import raw_lines

HELD = 64  # lines that are read before they are asked for


def has_to_wait(source: BinaryIO) -> bool:
    """Whether lines may come late: a pipe or a terminal, not a file (`seekable` is true of some of both)."""
    real = isinstance(source, io.BufferedReader | io.FileIO)
    return real and not stat.S_ISREG(os.fstat(source.fileno()).st_mode)


class Feed:
    """Lines of a pipe, a terminal or whatever else has to be waited for: a thread waits, the caller does not.

    Iterating never blocks: it gives None where no line has come yet, and ends where the source ends. An
    OSError of the source is raised where its line would have come.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._queue: Queue[bytes | OSError | None] = Queue(HELD)  # None: the end
        self._closed, self._ended = Event(), False
        # The thread has a reader of its own: one that a thread waits in cannot be closed by another.
        own = open(os.dup(source.fileno()), "rb")  # noqa: SIM115
        Thread(target=self._read, args=(own,), daemon=True).start()

    def __enter__(self) -> Feed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()  # the thread ends with its next line, or with the process

    def __iter__(self) -> Iterator[bytes | None]:
        return self

    def __next__(self) -> bytes | None:
        if self._ended:
            raise StopIteration
        try:
            found = self._queue.get_nowait()
        except Empty:
            return None
        if isinstance(found, bytes):
            return found
        self._ended = True
        if found is None:
            raise StopIteration
        raise found

    def _read(self, source: io.BufferedReader) -> None:
        with source:
            try:
                for raw in raw_lines(source):
                    if not self._put(raw):
                        return
            except OSError as error:
                self._put(error)
            else:
                self._put(None)

    def _put(self, what: bytes | OSError | None) -> bool:
        """False once the feed is closed."""
        while not self._closed.is_set():
            try:
                self._queue.put(what, timeout=0.5)
            except Full:
                continue
            return True
        return False
