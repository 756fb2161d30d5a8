"""Validation of conversations in JSON: lists of {role, content} that end with a user turn, or with the
beginning of its reply. Torch-free.

Training data uses the same tables of role and part names.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from mpg_cli.errors import UsageError
from mpg_cli.io.text import check_text, visible

# Names of roles in the wild, and the role that each means.
ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "ai", "gpt", "chatgpt", "model", "bot"), "assistant"),
}
TEXT_PARTS = ("text", "input_text", "output_text")
Turns = tuple[dict[str, str], ...]

# Keys of messages and parts that do not affect the reply: metadata, and `partial` and `prefix`, which request
# that a last assistant turn is continued, as it always is.
IGNORED_KEYS = (
    *("id", "type", "status", "weight", "timestamp", "created_at", "createdAt"),
    *("annotations", "cache_control", "logprobs", "response_metadata", "usage_metadata"),
    *("partial", "prefix"),
)
# Keys that would affect the reply and are not supported, with the remedy.
UNSUPPORTED_KEYS = {
    **dict.fromkeys(("tool_calls", "function_call", "tool_call_id"), "leave out the turns that call tools"),
    **dict.fromkeys(
        ("reasoning", "reasoning_content", "reasoning_details", "thinking"),
        "leave it out, reasoning of earlier turns is not part of the prompt",
    ),
    "refusal": "give its text as content",
    **dict.fromkeys(("audio", "images"), "only text is read"),
}


def role_of(name: Any) -> str | None:
    """The role of a name in ROLES, in any case; None for an unknown one."""
    return ROLES.get(name.lower()) if isinstance(name, str) else None


def is_empty(value: Any) -> bool:
    """Whether a value holds nothing: null, false, "", and lists and objects of only these."""
    left = [value]
    while left:
        part = left.pop()
        if isinstance(part, Mapping):
            left += part.values()
        elif isinstance(part, list):
            left += part
        elif part is not None and part is not False and part != "":
            return False
    return True


def leading_system(roles: Iterable[str]) -> int:
    """Number of system turns at the start of a conversation; `joined` makes them one."""
    return sum(1 for _ in takewhile(lambda role: role == "system", roles))


def joined(texts: Iterable[str]) -> str:
    """System texts as one, without empty ones."""
    return "\n\n".join(text for text in texts if text.strip())


def check_turns(data: Any, name: str) -> Turns:
    """Turns from decoded JSON, the last one a user turn; `name` is the place in messages. Raises UsageError.

    One assistant turn may follow, which the reply continues.
    """
    turns = check_messages(data, name)
    question = turns[-2] if turns[-1]["role"] == "assistant" and len(turns) > 1 else turns[-1]
    if question["role"] != "user":
        hint = "end with a user turn, or with one assistant turn after it, which the reply continues"
        raise UsageError(f"the last turn of {name} must have role user, not {turns[-1]['role']}", hint=hint)
    if not question["content"].strip():
        raise UsageError(f"the last user turn of {name} is empty", hint="write what to answer")
    return turns


def check_messages(data: Any, name: str) -> Turns:
    """Turns from decoded JSON, whatever the last role. System turns must come first and become one."""
    if not isinstance(data, list) or not data:
        hint = 'as in [{"role": "user", "content": "Hello"}]'
        raise UsageError(f"{name} must be a list of messages", hint=hint)
    turns = tuple(_turn(f"{name}[{i}]", item) for i, item in enumerate(data))
    first = leading_system(turn["role"] for turn in turns)
    for i, turn in enumerate(turns):
        if i > first and turn["role"] == "system":
            hint = "move its text into a system turn at the start"
            raise UsageError(f"{name}[{i}] is a system turn after other turns", hint=hint)
        if first > 1 and i < first and "name" in turn:  # usually a few-shot example, not an instruction
            hint = "write examples as turns of user and assistant"
            raise UsageError(f"{name}[{i}] is one of several system turns, and has a name", hint=hint)
    return _one_system(turns[:first]) + turns[first:]


def _one_system(turns: Sequence[dict[str, str]]) -> Turns:
    if len(turns) < 2:
        return tuple(turns)
    return ({"role": "system", "content": joined(turn["content"] for turn in turns)},)


def _turn(where: str, item: Any) -> dict[str, str]:
    if not isinstance(item, dict):
        raise UsageError(f"{where} must be an object with role and content")
    _check_rest(where, item, ("role", "content", "name"))
    key = "type" if "type" in item and "role" not in item else "role"  # as LangChain writes it
    role = role_of(item.get(key))
    if role is None:
        given = _shown(item.get(key))
        raise UsageError(f"{where}.{key} must be system, user or assistant, not {given}")
    no_text = role == "system" and item.get("content", "?") is None
    turn = {"role": role, "content": "" if no_text else _content(f"{where}.content", item.get("content"))}
    if item.get("name"):  # a few templates render the speaker's name, the others ignore it
        turn["name"] = _text(f"{where}.name", item["name"])
    return turn


def _content(where: str, value: Any) -> str:
    """The content of a turn: text, or a list of parts."""
    if isinstance(value, list):
        return "".join(_part(f"{where}[{i}]", part) for i, part in enumerate(value))
    return _text(where, value)


def _part(where: str, part: Any) -> str:
    if isinstance(part, str):
        return check_text(where, part)
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in TEXT_PARTS:
        what = f"is of type {visible(kind, 60)}" if isinstance(kind, str) else "has no type"
        raise UsageError(f"{where} {what}, but only parts of type text are supported")
    _check_rest(where, part, ("type", "text"))
    return _text(f"{where}.text", part.get("text"))


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{where} must be text, not {_shown(value)}")
    return check_text(where, value)


def _shown(value: Any) -> str:
    """A value as JSON, or as Python where it has no JSON."""
    return visible(json.dumps(value, default=repr, skipkeys=True), 60)


def _check_rest(where: str, item: Mapping[str, Any], known: Collection[str]) -> None:
    """Raise UsageError for any other key with a value; SDKs write all their keys, most of them empty."""
    given = {str(key) for key, value in item.items() if not is_empty(value)}
    rest = min(given.difference(known, IGNORED_KEYS), default=None)
    if rest in UNSUPPORTED_KEYS:
        raise UsageError(f"{where}.{rest} is not supported: {UNSUPPORTED_KEYS[rest]}")
    if rest is not None:
        raise UsageError(
            f"{where} has an unknown key '{visible(rest, 60)}'", hint=f"known keys: {', '.join(known)}"
        )
