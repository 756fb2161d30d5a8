"""Ctrl-C and SIGTERM: while a reply grows the first one asks for an end between two events; otherwise,
and the second time, they end at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Literal, NoReturn

from mpg_cli.errors import ExitCode

_EXIT_CODES = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}
_received: ExitCode | None = None  # handlers belong to the process, and so does this


class Terminated(BaseException):
    """SIGTERM came. Like KeyboardInterrupt no `Exception`, so that nothing but clean-up stops it."""


def raise_on_signals() -> None:
    """From now on both unwind the main thread, so that clean-up runs, and `received` knows of it."""
    global _received
    _received = None
    _install(_raise)


def received() -> ExitCode | None:
    """The exit code of a signal that was raised; what it interrupted may have made another error of it."""
    return _received


def forget() -> None:
    """What was raised has been dealt with: the program goes on."""
    global _received
    _received = None


def check() -> None:
    """Raise again what was raised before, in case a library swallowed it (imports do)."""
    if _received is ExitCode.TERMINATED:
        raise Terminated
    if _received is ExitCode.INTERRUPTED:
        raise KeyboardInterrupt


class Graceful:
    """While it is entered, a first signal calls `stop("interrupted")`; `exit_code` tells which one came."""

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
    """Handle both signals, and what handled them before. Only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    # Who started us in the background may have asked to ignore Ctrl-C.
    wanted = [number for number in _EXIT_CODES if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handle) for number in wanted}


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    global _received
    _received = _EXIT_CODES[signal.Signals(number)]
    if number == signal.SIGTERM:
        raise Terminated
    raise KeyboardInterrupt
