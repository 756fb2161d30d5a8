"""Where the prompt comes from: the argument, a file, stdin, or a conversation as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mpg_cli.commands.values import check_text
from mpg_cli.errors import UsageError
from mpg_cli.personas.text import visible
from mpg_cli.render.terminal import Streams

ROLES = ("system", "user", "assistant")
Turns = tuple[dict[str, str], ...]


def read_prompt(
    prompt: str | None, file: Path | None, messages: str | None, streams: Streams
) -> tuple[str | None, Turns | None]:
    """The prompt or the messages, one of them; stdin is read for `-`, or when nothing else is given."""
    given = {"PROMPT": prompt, "--prompt-file": file, "--messages": messages}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise UsageError(f"the prompt is given twice: {' and '.join(named)}", hint="leave one out")
    if messages is not None:
        text = _stdin(streams) if messages == "-" else _file("--messages", Path(messages))
        return None, parse_messages(text)
    if file is not None:
        return _without_newline(_file("--prompt-file", file)), None
    if prompt is not None and prompt != "-":
        return check_text("the prompt", prompt), None
    if prompt is None and streams.stdin_tty:
        hint = 'as in: mpg generate -p pirate "How do I make tea?"; or pipe it in, or use - to type it'
        raise UsageError("a prompt is missing", hint=hint)
    return _without_newline(_stdin(streams)), None


def parse_messages(text: str) -> Turns:
    """A JSON list of {role, content} that ends with a user turn."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise UsageError(f"--messages is not JSON: {error.msg} at {where}") from None
    except RecursionError:
        raise UsageError("--messages is nested too deeply") from None
    except ValueError as error:  # a number beyond Python's limit
        raise UsageError(f"--messages cannot be read: {error}") from None
    if not isinstance(data, list) or not data:
        hint = 'as in [{"role": "user", "content": "Hello"}]'
        raise UsageError("--messages must be a list of messages", hint=hint)
    turns = tuple(_turn(i, item) for i, item in enumerate(data))
    late = next((i for i, turn in enumerate(turns) if i and turn["role"] == "system"), None)
    if late is not None:
        hint = "one system turn, the first, is joined with the personas' own"
        raise UsageError(f"--messages has a system turn at place {late + 1}", hint=hint)
    if turns[-1]["role"] != "user":
        hint = "the model answers the last user turn"
        raise UsageError(f"--messages ends with a turn of {turns[-1]['role']}, not of the user", hint=hint)
    if not turns[-1]["content"].strip():
        raise UsageError("the last turn of --messages is empty", hint="say something, the model answers it")
    return turns


def _turn(index: int, item: Any) -> dict[str, str]:
    where = f"--messages[{index}]"
    if not isinstance(item, dict):
        raise UsageError(f"{where} must be an object with role and content")
    unknown = item.keys() - {"role", "content"}
    if unknown:
        raise UsageError(
            f"{where} has an unknown key '{visible(min(unknown), 60)}'", hint="role and content are known"
        )
    role, content = item.get("role"), item.get("content")
    if role not in ROLES:
        raise UsageError(f"{where}.role must be {', '.join(ROLES)}, not {visible(json.dumps(role), 60)}")
    if not isinstance(content, str):
        raise UsageError(f"{where}.content must be text, not {visible(json.dumps(content), 60)}")
    return {"role": role, "content": check_text(f"{where}.content", content)}


def _file(flag: str, path: Path) -> str:
    try:
        raw = Path(os.path.expanduser(path)).read_bytes()
    except OSError as error:
        raise UsageError(f"{flag} {visible(str(path))} cannot be read: {error.strerror}") from None
    return _decoded(raw, f"{flag} {visible(str(path))}")


def _stdin(streams: Streams) -> str:
    return _decoded(streams.stdin.buffer.read(), "stdin")


def _decoded(raw: bytes, source: str) -> str:
    try:
        text = raw.decode("utf-8-sig")
        if "\x00" not in text:
            return text
        message = f"{source} is not UTF-8 text: it holds NUL bytes"
        raise UsageError(message, hint="convert it, for instance with iconv")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        message = f"{source} is not UTF-8 text: byte 0x{raw[error.start]:02x} in line {line}"
        raise UsageError(message, hint="convert it, for instance with iconv") from None


def _without_newline(text: str) -> str:
    """Without the line end that an editor or `echo` puts there; one, not all."""
    return text.removesuffix("\r\n" if text.endswith("\r\n") else "\n")
