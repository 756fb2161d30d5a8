"""A conversation as JSON: a list of {role, content} that ends with a user turn, or with the beginning of its
reply. Torch-free.
"""

from __future__ import annotations

import json
from typing import Any

from mpg_cli.errors import UsageError
from mpg_cli.personas.text import visible

ROLES = ("system", "user", "assistant")
Turns = tuple[dict[str, str], ...]


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
