"""Reads the prompt from the argument, a file, stdin, or a JSON conversation."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mpg_cli.chat.transcript import answered_turns, is_saved_chat
from mpg_cli.engine.messages import Turns, check_turns
from mpg_cli.errors import UsageError
from mpg_cli.io.terminal import Streams
from mpg_cli.io.text import check_text, visible
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.prompt import PromptOptions


def read_prompting(options: PromptOptions, streams: Streams) -> Prompting:
    """The prompt or messages with their options; stdin is read for `-` or if there is no prompt."""
    text, turns = _read(options, streams)
    return Prompting(
        prompt=text,
        messages=turns,
        system=options.system,
        raw=options.raw,
        template_args=options.template_args,
        prefill=options.prefill or "",
    )


def _read(options: PromptOptions, streams: Streams) -> tuple[str | None, Turns | None]:
    """The prompt and None, or None and the messages."""
    prompt, file, messages = options.prompt, options.prompt_file, options.messages
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
        hint = 'as in: mpg generate -p pirate "How do I make tea?"; or pipe it in, or give - to type it'
        raise UsageError("a prompt is missing", hint=hint)
    return _without_newline(_stdin(streams)), None


def parse_messages(text: str) -> Turns:
    """Messages from JSON: a list of {role, content} that ends with a user turn, an object with such a list as
    `messages`, or a saved chat up to its last user turn. Raises UsageError.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise UsageError(f"--messages is not JSON: {error.msg} at {where}") from None
    except RecursionError:
        raise UsageError("--messages is nested too deeply") from None
    except ValueError as error:  # an integer with too many digits for Python
        raise UsageError(f"--messages cannot be read: {error}") from None
    if is_saved_chat(data):
        return answered_turns(data, "--messages")
    return check_turns(
        _of_request(data) if isinstance(data, dict) and "messages" in data else data, "--messages"
    )


def _of_request(data: Mapping[str, Any]) -> Any:
    """The messages of an OpenAI-style request. Raises UsageError for other fields that change the reply."""
    from mpg_cli.batch.fields import effective_fields

    other = min(effective_fields(data, "openai").keys() - {"messages"}, default=None)
    if other is not None:
        raise UsageError(
            f"--messages has the field '{visible(other, 60)}' in addition to the messages",
            hint="remove it from the file and give it as an option",
        )
    return data["messages"]


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
    """The text without one line end, as added by an editor or `echo`."""
    return text.removesuffix("\r\n" if text.endswith("\r\n") else "\n")
