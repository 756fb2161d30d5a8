"""Exceptions for user errors, and the exit codes of the command.

Every error that a user can cause is an `MpgError`: one message that names the place, and a hint with the
remedy. Any other exception is a bug; MPG_DEBUG=1 shows its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from errno import ENOMEM


class ExitCode(IntEnum):
    """Exit codes of `mpg`, documented in the README."""

    OK = 0
    FAILURE = 1  # loading and running: model, adapter, context
    USAGE = 2  # errors found before weights load
    INTERRUPTED = 130  # Ctrl-C
    TERMINATED = 143  # SIGTERM


class MpgError(Exception):
    """A user error: a message, an optional hint and an exit code."""

    exit_code: ExitCode = ExitCode.FAILURE

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(MpgError):
    """An invalid flag, expression, persona file or prompt; raised before any weights load."""

    exit_code = ExitCode.USAGE


class RangeError(UsageError):
    """An invalid value of an option: the message is `setting` (the option's name) followed by `fault`."""

    def __init__(self, setting: str, fault: str, *, hint: str | None = None) -> None:
        super().__init__(f"{setting} {fault}", hint=hint)
        self.setting, self.fault = setting, fault

    def renamed(self, setting: str) -> RangeError:
        """The same error under another name of the option."""
        return RangeError(setting, self.fault, hint=self.hint)


class UnknownChoice(RangeError):
    """A value that is not among the option's choices: `unknown drafter 'x' (choose from auto, …)`."""

    def __init__(self, setting: str, value: str, choices: Iterable[str], *, close: str = "") -> None:
        super().__init__(setting, f"{value} is unknown")
        self._arguments = value, tuple(choices), close
        name = setting.removeprefix("--").replace("-", " ")
        self.message = f"unknown {name} {value} (choose from {', '.join(self._arguments[1])}){close}"
        self.args = (self.message,)

    def renamed(self, setting: str) -> UnknownChoice:
        """The same error under another name of the option."""
        value, choices, close = self._arguments
        return UnknownChoice(setting, value, choices, close=close)


def require(valid: bool, setting: str, value: object, must: str, hint: str | None = None) -> None:
    """Raise RangeError unless `valid`; `must` names the valid values, such as `must be positive`."""
    if not valid:
        shown = f"{value:g}" if isinstance(value, float) else value
        raise RangeError(setting, f"{shown} {must}", hint=hint)


class ExpressionError(UsageError):
    """A persona expression that does not parse; `column` (from 0) is where the caret points."""

    def __init__(self, message: str, *, text: str, column: int, hint: str | None = None) -> None:
        super().__init__(f"{message}\n  {text}\n  {' ' * column}^", hint=hint)
        self.column = column


class PersonaError(UsageError):
    """An unknown persona, or a persona file that violates the schema."""


class ModelError(MpgError):
    """A model that is unknown, unreachable or unsupported."""


class AdapterError(MpgError):
    """An adapter that is missing, damaged, of the wrong shape or of an unsupported kind."""


class ContextError(MpgError):
    """A prompt that leaves no room for a reply."""


class NumericsError(MpgError):
    """A model produced NaN; the message names the row (persona)."""


def unwritable(what: str, error: OSError) -> UsageError:
    """The error for a file that cannot be opened for writing; `what` is such as `--output replies.jsonl`."""
    return UsageError(
        f"{what} cannot be written: {error.strerror}",
        hint="choose a file in an existing directory that you may write to",
    )


_OUT_OF_MEMORY = ("allocate memory", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out. PyTorch has an exception class for CUDA, but only messages for the CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def brief(error: Exception) -> str:
    """The first line of an error's message (two if the first ends in a colon), or its type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1])[:300]
