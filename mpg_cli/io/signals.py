"""Ctrl-C and SIGTERM. During a reply the first signal requests a stop between two events; otherwise, and the
second time, they raise at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Literal, NoReturn

from mpg_cli.errors import ExitCode

_EXIT_CODES = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}
_received: ExitCode | None = None  # global, like signal handlers


class Terminated(BaseException):
    """SIGTERM was received. Like KeyboardInterrupt it is not an `Exception`, so only clean-up handles it."""


def raise_on_signals() -> None:
    """Install handlers that raise in the main thread, so that clean-up runs, and set `received`."""
    global _received
    _received = None
    _install(_raise)


def received() -> ExitCode | None:
    """The exit code of a raised signal, even if the interrupted code turned it into another error."""
    return _received


def forget() -> None:
    """Clear `received` after the signal was handled and the program continues."""
    global _received
    _received = None


def check() -> None:
    """Raise a received signal again, in case a library suppressed it (imports do)."""
    if _received is ExitCode.TERMINATED:
        raise Terminated
    if _received is ExitCode.INTERRUPTED:
        raise KeyboardInterrupt


class Graceful:
    """A context in which the first signal calls `stop("interrupted")` and sets `exit_code`."""

    def __init__(self, stop: Callable[[Literal["interrupted"]], None]) -> None:
        self._stop = stop
        self._before: dict[signal.Signals, Any] = {}
        self.exit_code: ExitCode | None = None

    def __enter__(self) -> Graceful:
        self._before = _install(self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.exit_code is not None:
            _raise(number, frame)
        self.exit_code = _EXIT_CODES[signal.Signals(number)]
        self._stop("interrupted")


def _install(handle: Callable[[int, FrameType | None], None]) -> dict[signal.Signals, Any]:
    """Install a handler for both signals and return the previous ones; no-op outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    # A background job is often started with SIGINT ignored: keep that.
    handled = [number for number in _EXIT_CODES if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handle) for number in handled}


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    global _received
    _received = _EXIT_CODES[signal.Signals(number)]
    if number == signal.SIGTERM:
        raise Terminated
    raise KeyboardInterrupt
