"""What a user can get wrong, as exceptions with a remedy, and the exit codes of the command.

Anything a user can cause is an `MpgError`: one message, where it happened, a hint what to do.
Everything else is a bug and may show a traceback (with MPG_DEBUG=1).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from errno import ENOMEM


class ExitCode(IntEnum):
    """Exit codes of `mpg`, documented in the README."""

    OK = 0
    FAILURE = 1  # loading and running: model, adapter, context
    USAGE = 2  # whatever can be decided before weights load
    INTERRUPTED = 130  # Ctrl-C
    TERMINATED = 143  # SIGTERM


class MpgError(Exception):
    """A mistake with a message, an optional hint and the exit code it leads to."""

    exit_code: ExitCode = ExitCode.FAILURE

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(MpgError):
    """Flags, expressions, persona files, prompts: decided before any weights load."""

    exit_code = ExitCode.USAGE


class RangeError(UsageError):
    """A setting that cannot be, or not with this value: `setting` is its name, `fault` what is said of it."""

    def __init__(self, setting: str, fault: str, *, hint: str | None = None) -> None:
        super().__init__(f"{setting} {fault}", hint=hint)
        self.setting, self.fault = setting, fault

    def called(self, setting: str) -> RangeError:
        """The same, where the setting has another name."""
        return RangeError(setting, self.fault, hint=self.hint)


class UnknownChoice(RangeError):
    """A value that is none of those that a setting has: `unknown drafter 'x' (choose from auto, …)`."""

    def __init__(self, setting: str, value: str, choices: Iterable[str], *, close: str = "") -> None:
        super().__init__(setting, f"{value} is unknown")
        self._given = value, tuple(choices), close
        name = setting.removeprefix("--").replace("-", " ")
        self.message = f"unknown {name} {value} (choose from {', '.join(self._given[1])}){close}"
        self.args = (self.message,)

    def called(self, setting: str) -> UnknownChoice:
        """The same, where the setting has another name."""
        value, choices, close = self._given
        return UnknownChoice(setting, value, choices, close=close)


def require(fine: bool, setting: str, value: object, must: str, hint: str | None = None) -> None:
    """Raise RangeError where a setting does not have a value that it `must` have."""
    if not fine:
        shown = f"{value:g}" if isinstance(value, float) else value
        raise RangeError(setting, f"{shown} {must}", hint=hint)


class ExpressionError(UsageError):
    """A persona expression that does not parse; `column` (from 0) is where the caret points."""

    def __init__(self, message: str, *, text: str, column: int, hint: str | None = None) -> None:
        super().__init__(f"{message}\n  {text}\n  {' ' * column}^", hint=hint)
        self.column = column


class PersonaError(UsageError):
    """A persona that is unknown, or a persona file that is not as the schema says."""


class ModelError(MpgError):
    """A model that is unknown, cannot be reached or cannot be served exactly."""


class AdapterError(MpgError):
    """An adapter that is missing, damaged, of another shape or of an unsupported kind."""


class ContextError(MpgError):
    """A prompt that leaves no room for a reply."""


class NumericsError(MpgError):
    """NaN from a model; the message names the row (persona) it came from."""


def unwritable(what: str, error: OSError) -> UsageError:
    """The error of a flag and its file, such as `--output replies.jsonl`, that cannot be opened to write."""
    return UsageError(
        f"{what} cannot be written: {error.strerror}",
        hint="choose a file in an existing directory that you may write to",
    )


_NO_MEMORY = ("allocate memory", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python and PyTorch have a class for it, for CUDA, and words for the CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def brief(error: Exception) -> str:
    """The first line of an error (two where the first announces the second), or its kind."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1])[:300]
