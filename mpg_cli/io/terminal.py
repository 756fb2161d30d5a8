"""The standard streams and their capabilities; the only module that checks isatty and TERM."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from io import TextIOWrapper
from types import TracebackType
from typing import TextIO, cast

# C0 except \n and \t, DEL, C1, and bidirectional controls.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """The text without terminal control characters; works piece by piece."""
    return _CONTROLS.sub("", text)


@dataclass(frozen=True)
class Streams:
    """stdin, stdout and stderr, and the capabilities of the terminal."""

    stdin: TextIO
    stdout: TextIO
    stderr: TextIO
    stdin_tty: bool
    stdout_tty: bool
    stderr_tty: bool
    color: bool  # NO_COLOR is unset and the terminal is not dumb
    movable: bool  # the terminal can move its cursor (it is not dumb)

    @classmethod
    def current(cls, environ: Mapping[str, str] = os.environ) -> Streams:
        """The streams of this process; a stream closed at the start is replaced by an empty one."""
        stdin = sys.stdin or _empty("r")
        stdout = sys.stdout or _empty("w")
        stderr = sys.stderr or _empty("w")
        if isinstance(stdout, TextIOWrapper):
            stdout.reconfigure(errors="replace")  # '?' for unencodable characters, not an error in mid-reply
        movable = environ.get("TERM", "") != "dumb"
        return cls(
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            stdin_tty=_is_tty(stdin),
            stdout_tty=_is_tty(stdout),
            stderr_tty=_is_tty(stderr),
            color=movable and not environ.get("NO_COLOR"),
            movable=movable,
        )

    def message(self, text: str, *, dim: bool = False) -> None:
        """Write lines to stderr without control characters, dimmed with `dim` on a colour terminal."""
        text = clean(text)
        if dim and self.stderr_tty and self.color:
            text = f"\x1b[2m{text}\x1b[22m"
        try:
            self.stderr.write(text + "\n")
            self.stderr.flush()
        except (OSError, ValueError):  # stderr is closed: ignore it, the reply matters more
            discard(self.stderr)

    def status(self, message: str, *, shown: bool = True) -> Status:
        """A progress line for a slow operation: `with streams.status("loading") as status: ...`."""
        return Status(self.stderr, message, shown=shown and self.stderr_tty and self.movable)


class Status:
    """A spinner and a message on stderr; it appears after `delay` seconds and is erased at the end."""

    FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
    PLAIN_FRAMES = "|/-\\"
    PERIOD = 0.1  # seconds a frame

    def __init__(self, stream: TextIO, message: str, *, shown: bool, delay: float = 0.5) -> None:
        self._stream = stream
        self._message = message
        self._delay = delay
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True) if shown else None

    def update(self, message: str) -> None:
        """Show another message; an empty one hides the line (to make room for a download bar)."""
        self._message = message

    def __enter__(self) -> Status:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def _spin(self) -> None:
        if self._done.wait(self._delay):
            return
        utf8 = (self._stream.encoding or "").lower().replace("-", "") == "utf8"
        frames = self.FRAMES if utf8 else self.PLAIN_FRAMES
        drawn = False
        turn = 0
        while True:
            message = self._message
            if message:
                room = max(1, shutil.get_terminal_size().columns - 3)
                self._write(f"\r{frames[turn % len(frames)]} {clean(message)[:room]}\x1b[K")
            elif drawn:
                self._write("\r\x1b[K")
            drawn = bool(message)
            turn += 1
            if self._done.wait(self.PERIOD):
                break
        if drawn:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # the terminal is closed: stop the progress line
            self._done.set()


def _empty(mode: str) -> TextIO:
    return cast(TextIO, open(os.devnull, mode, encoding="utf-8"))


def _is_tty(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def discard(stream: TextIO | None) -> None:
    """Redirect the stream to /dev/null, so that the interpreter's final flush does not fail."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, cast(TextIO, stream).fileno())
        os.close(devnull)
