"""Read the lines of a pipe or terminal in a thread, so that waiting for input blocks nothing. Torch-free."""

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

READ_AHEAD = 64  # lines in the queue


def may_block(source: BinaryIO) -> bool:
    """Whether reading may block: a pipe or a terminal, not a file (`seekable` is true for some of both)."""
    real = isinstance(source, io.BufferedReader | io.FileIO)
    return real and not stat.S_ISREG(os.fstat(source.fileno()).st_mode)


class Feed:
    """The lines of a source that may block, read by a thread.

    Iterating never blocks: it yields None while no line is available and stops at the end of the source. An
    OSError is raised in place of the line that could not be read.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._queue: Queue[bytes | OSError | None] = Queue(READ_AHEAD)  # None: the end
        self._closed, self._ended = Event(), False
        # The thread reads a duplicate: a file cannot be closed while another thread blocks in its read.
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

    def _put(self, item: bytes | OSError | None) -> bool:
        """False once the feed is closed."""
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.5)
            except Full:
                continue
            return True
        return False
