"""A conversation as JSON: a list of {role, content} that ends with a user turn, or with the beginning of its
reply. Torch-free.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from mpg_cli.errors import UsageError
from mpg_cli.personas.text import visible

ROLES = ("system", "user", "assistant")
TEXT_PARTS = ("text", "input_text", "output_text")
Turns = tuple[dict[str, str], ...]

# Keys of messages and parts on which no reply depends: the last two say that a last turn of the assistant is
# to be continued, which it is anyway.
UNHEEDED = ("annotations", "cache_control", "partial", "prefix")
# What the model would have to know, and is not told.
UNREAD = {
    **dict.fromkeys(("tool_calls", "function_call", "tool_call_id"), "leave out the turns that call tools"),
    **dict.fromkeys(
        ("reasoning", "reasoning_content", "reasoning_details", "thinking"),
        "leave it out, a model is not shown what it thought in earlier turns",
    ),
    "refusal": "write what was said as content",
    **dict.fromkeys(("audio", "images"), "only text is read"),
}


def check_text(name: str, text: str) -> str:
    """Text that was not UTF-8 where it came from holds lone surrogates: refuse it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(f"{name} is not UTF-8 text", hint="convert it, for instance with iconv") from None
    return text


def check_turns(data: Any, name: str) -> Turns:
    """The turns of decoded JSON that end with the user's, called `name` in messages. Raises UsageError.

    An assistant turn may follow: the reply goes on from it.
    """
    turns = check_messages(data, name)
    asked = turns[-2] if turns[-1]["role"] == "assistant" and len(turns) > 1 else turns[-1]
    if asked["role"] != "user":
        hint = "the model answers the last user turn, or goes on with one assistant turn after it"
        raise UsageError(f"{name} ends with a turn of {turns[-1]['role']}, not of the user", hint=hint)
    if not asked["content"].strip():
        raise UsageError(f"the last turn of {name} is empty", hint="say something, the model answers it")
    return turns


def check_messages(data: Any, name: str) -> Turns:
    """Messages of decoded JSON, whoever speaks last; a system turn can only be the first."""
    if not isinstance(data, list) or not data:
        hint = 'as in [{"role": "user", "content": "Hello"}]'
        raise UsageError(f"{name} must be a list of messages", hint=hint)
    turns = tuple(_turn(f"{name}[{i}]", item) for i, item in enumerate(data))
    late = next((i for i, turn in enumerate(turns) if i and turn["role"] == "system"), None)
    if late is not None:
        hint = "one system turn, the first, is joined with the personas' own"
        raise UsageError(f"{name} has a system turn at place {late + 1}", hint=hint)
    return turns


def _turn(where: str, item: Any) -> dict[str, str]:
    if not isinstance(item, dict):
        raise UsageError(f"{where} must be an object with role and content")
    _check_rest(where, item, ("role", "content", "name"))
    role = "system" if item.get("role") == "developer" else item.get("role")
    if role not in ROLES:
        raise UsageError(f"{where}.role must be {', '.join(ROLES)}, not {visible(json.dumps(role), 60)}")
    turn = {"role": role, "content": _content(f"{where}.content", item.get("content"))}
    if item.get("name"):  # a few templates show who of several speaks, the others pass over it
        turn["name"] = _text(f"{where}.name", item["name"])
    return turn


def _content(where: str, value: Any) -> str:
    """Text, or the parts of one."""
    if isinstance(value, list):
        return "".join(_part(f"{where}[{i}]", part) for i, part in enumerate(value))
    return _text(where, value)


def _part(where: str, part: Any) -> str:
    if isinstance(part, str):
        return check_text(where, part)
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in TEXT_PARTS:
        what = f"is of type {visible(kind, 60)}" if isinstance(kind, str) else "has no type"
        raise UsageError(f"{where} {what}, and only parts of type text are read")
    _check_rest(where, part, ("type", "text"))
    return _text(f"{where}.text", part.get("text"))


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{where} must be text, not {visible(json.dumps(value), 60)}")
    return check_text(where, value)


def _check_rest(where: str, item: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse what else an object says; SDKs write every key they know, and most of them say nothing."""
    said = {key for key, value in item.items() if value not in (None, "", [], {})}
    rest = min(said.difference(known, UNHEEDED), default=None)
    if rest in UNREAD:
        raise UsageError(f"{where}.{rest} is not supported: {UNREAD[rest]}")
    if rest is not None:
        raise UsageError(
            f"{where} has an unknown key '{visible(rest, 60)}'", hint=f"{', '.join(known)} are known"
        )
