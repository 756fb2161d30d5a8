"""A conversation as JSON: a list of {role, content} that ends with a user turn, or with the beginning of its
reply. Torch-free.

The tables of what people call roles and parts are those of training data as well.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from mpg_cli.errors import UsageError
from mpg_cli.io.text import check_text, visible

# Names of roles, and the role that each is.
ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "ai", "gpt", "chatgpt", "model", "bot"), "assistant"),
}
TEXT_PARTS = ("text", "input_text", "output_text")
Turns = tuple[dict[str, str], ...]

# Keys of messages and parts on which no reply depends: what was noted of them, and `partial` and `prefix`,
# which say that a last turn of the assistant is to be continued, as it is anyway.
UNHEEDED = (
    *("id", "type", "status", "weight", "timestamp", "created_at", "createdAt"),
    *("annotations", "cache_control", "logprobs", "response_metadata", "usage_metadata"),
    *("partial", "prefix"),
)
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


def role_of(name: Any) -> str | None:
    """The role in ROLES, without regard to case; None for any other."""
    return ROLES.get(name.lower()) if isinstance(name, str) else None


def says_nothing(value: Any) -> bool:
    """Whether a value only fills its place: null, false, "", and lists and objects of no more than these."""
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
    """How many system turns a conversation begins with: their texts are one, see `joined`."""
    return sum(1 for _ in takewhile(lambda role: role == "system", roles))


def joined(texts: Iterable[str]) -> str:
    """System texts as one; empty ones say nothing."""
    return "\n\n".join(text for text in texts if text.strip())


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
        raise UsageError(f"the last user turn of {name} is empty", hint="say something, the model answers it")
    return turns


def check_messages(data: Any, name: str) -> Turns:
    """Messages of decoded JSON, of any last role. System turns can only come first; they become one."""
    if not isinstance(data, list) or not data:
        hint = 'as in [{"role": "user", "content": "Hello"}]'
        raise UsageError(f"{name} must be a list of messages", hint=hint)
    turns = tuple(_turn(f"{name}[{i}]", item) for i, item in enumerate(data))
    first = leading_system(turn["role"] for turn in turns)
    for i, turn in enumerate(turns):
        if i > first and turn["role"] == "system":
            hint = "join it with the first turn, which is joined with the personas' own text"
            raise UsageError(f"{name}[{i}] is a system turn behind other turns", hint=hint)
        if first > 1 and i < first and "name" in turn:  # as people write examples, which are no instructions
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
        told = visible(json.dumps(item.get(key)), 60)
        raise UsageError(f"{where}.{key} must be system, user, assistant, not {told}")
    silent = role == "system" and item.get("content", "?") is None
    turn = {"role": role, "content": "" if silent else _content(f"{where}.content", item.get("content"))}
    if item.get("name"):  # a few templates show the names of several users, the others ignore them
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
    said = {key for key, value in item.items() if not says_nothing(value)}
    rest = min(said.difference(known, UNHEEDED), default=None)
    if rest in UNREAD:
        raise UsageError(f"{where}.{rest} is not supported: {UNREAD[rest]}")
    if rest is not None:
        raise UsageError(
            f"{where} has an unknown key '{visible(rest, 60)}'", hint=f"{', '.join(known)} are known"
        )
