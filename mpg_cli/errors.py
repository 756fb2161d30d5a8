"""Exceptions for user errors, and the exit codes of the command.

Every error that a user can cause is an `MpgError`: one message that names the place, and a hint with the
remedy. Any other exception is a bug; MPG_DEBUG=1 shows its traceback.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from errno import ENOMEM

# A flag in a message, outside words, paths and quoted values.
FLAG = re.compile(r"(?<![\w'\"/.-])--[a-z][a-z-]*")


class ExitCode(IntEnum):
    """Exit codes of `mpg`, documented in the README."""

    OK = 0
    FAILURE = 1  # loading and running: model, adapter, context
    USAGE = 2  # errors found before weights load
    INTERRUPTED = 130  # Ctrl-C
    TERMINATED = 143  # SIGTERM


class MpgError(Exception):
    """A user error: a message, an optional hint and an exit code.

    Messages and hints name an option by its flag. `setting` is the flag of the option whose value is wrong,
    for messages that need not name it.
    """

    exit_code: ExitCode = ExitCode.FAILURE

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.setting = ""

    @property
    def text(self) -> str:
        """Message and hint together, for records and lists of errors."""
        between = "\n  " if "\n" in self.message else "; "
        return f"{self.message}{between}{self.hint}" if self.hint else self.message

    def rename(self, names: Mapping[str, str]) -> None:
        """Replace flags in the message and the hint: `names` maps a flag to another name of its option."""
        self.message = renamed(self.message, names)
        self.hint = self.hint and renamed(self.hint, names)
        self.args = (self.message,)


def renamed(text: str, names: Mapping[str, str]) -> str:
    """The text with flags replaced by other names; unknown flags stay."""
    return FLAG.sub(lambda found: names.get(found.group(), found.group()), text)


class UsageError(MpgError):
    """An invalid flag, expression, persona file or prompt; raised before any weights load."""

    exit_code = ExitCode.USAGE


class RangeError(UsageError):
    """An invalid value of an option: the message is `setting` (its flag) followed by `fault`."""

    def __init__(self, setting: str, fault: str, *, hint: str | None = None) -> None:
        super().__init__(f"{setting} {fault}", hint=hint)
        self.setting = setting


class UnknownChoice(RangeError):
    """A value that is not among the option's choices: `unknown drafter 'x' (choose from auto, …)`."""

    def __init__(self, setting: str, value: str, choices: Iterable[str], *, close: str = "") -> None:
        super().__init__(setting, f"{value} is unknown")
        name = setting.removeprefix("--").replace("-", " ")
        self.message = f"unknown {name} {value} (choose from {', '.join(choices)}){close}"
        self.args = (self.message,)


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


@contextmanager
def caused_by(setting: str, instead_of: Collection[str] = ()) -> Iterator[None]:
    """Errors raised inside are due to the value of this option, unless they name another one themselves.

    `instead_of` are options that have got their values from this one.
    """
    try:
        yield
    except MpgError as error:
        if not error.setting or error.setting in instead_of:
            error.setting = setting
        raise


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
