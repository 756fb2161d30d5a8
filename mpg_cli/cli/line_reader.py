"""Reads chat turns from a terminal or a pipe: one per line, or several lines joined by \\ or \"\"\"."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from mpg_cli.errors import UsageError
from mpg_cli.io.lines import UnreadableLine, raw_lines, text_of
from mpg_cli.io.terminal import Streams
from mpg_cli.io.text import check_text

PROMPT, MORE = "> ", ". "
QUOTES = '"""'
HISTORY_LINES = 1000


class LineReader:
    """Reads turns from stdin; on a terminal with a prompt and, where readline exists, with a history."""

    def __init__(self, streams: Streams, history: Path | None, words: Callable[[str], Sequence[str]]) -> None:
        """`history` is the history file, `words` returns the completions after the start of a line."""
        self._streams = streams
        self._typed = streams.stdin_tty
        self._line = 0
        self._history = History(history, words) if self._typed and streams.stdout_tty else None

    def close(self) -> None:
        """Save the history."""
        if self._history:
            self._history.save()

    def read(self) -> str | None:
        """The next turn, or None at the end of the input.

        Raises UsageError for invalid text, KeyboardInterrupt on Ctrl-C (the typed text is dropped).
        """
        line = self._next(PROMPT)
        if line is None:
            return None
        if line.lstrip().startswith(QUOTES):
            return self._quoted(line.lstrip().removeprefix(QUOTES))
        lines = [line]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            following = self._next(MORE)
            if following is None:
                break
            lines.append(following)
        return "\n".join(lines)

    def _quoted(self, line: str) -> str | None:
        """Lines up to the closing quotes, or to the end of a pipe."""
        lines: list[str] = []
        while True:
            head, closed, rest = line.partition(QUOTES)
            lines.append(head + rest)
            if closed:
                break
            following = self._next(MORE)
            if following is None:
                if self._typed:
                    return None
                break
            line = following
        return "\n".join(lines).strip("\n")

    def _next(self, prompt: str) -> str | None:
        """One line without its end; None at the end of the input."""
        if self._history:
            try:
                return check_text("the line", input(prompt))
            except EOFError:
                return None
        if self._typed:  # stdout is redirected and must not contain prompts
            self._streams.stderr.write(prompt)
            self._streams.stderr.flush()
        raw = next(raw_lines(self._streams.stdin.buffer), b"")
        self._line += 1
        try:
            return text_of(raw, self._line) if raw else None
        except UnreadableLine as error:
            raise UsageError(f"line {self._line} of stdin: {error.message}") from None


class History:
    """readline with a private history file (mode 0600) and TAB completion."""

    def __init__(self, file: Path | None, words: Callable[[str], Sequence[str]]) -> None:
        self._file, self._words, self._found = file, words, list[str]()
        self._readline: ModuleType | None = None
        with contextlib.suppress(ImportError):  # not on every system: lines are then read without editing
            import readline

            self._readline = readline
            self._bind(readline)

    def save(self) -> None:
        """Append the new lines; errors are ignored."""
        if self._readline is None or self._file is None:
            return
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(self._file, os.O_CREAT | os.O_WRONLY, 0o600))
            os.chmod(self._file, 0o600)
            new = self._readline.get_current_history_length() - self._loaded_lines
            self._readline.append_history_file(max(0, new), self._file)

    def _bind(self, readline: ModuleType) -> None:
        readline.clear_history()
        readline.set_history_length(HISTORY_LINES)
        if self._file is not None:
            with contextlib.suppress(OSError):
                readline.read_history_file(self._file)
        self._loaded_lines = readline.get_current_history_length()
        readline.set_completer(self._complete)
        readline.set_completer_delims(" \t+:")
        libedit = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")

    def _complete(self, word: str, state: int) -> str | None:
        """readline's protocol: suggestion number `state` for a word, None after the last."""
        assert self._readline is not None
        if state == 0:
            before = self._readline.get_line_buffer()[: self._readline.get_begidx()]
            known = self._words(before)
            self._found = [w for w in known if w.lower().startswith(word.lower())]
        return self._found[state] if state < len(self._found) else None
