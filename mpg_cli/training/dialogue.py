"""Conversations as data sets write them, as turns.

Read are messages of {role, content} or {from, value}, pairs of [user, assistant] or {input, output}, objects
with `messages`, and dialogues in one text ("Human: … Assistant: …").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mpg_cli.personas.text import visible
from mpg_cli.training.rows import Turn, Wrong

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
}
EMPTY: tuple[Any, ...] = (None, "", "[]", [], {})  # values that say nothing
# What belongs to a conversation but is no text.
NO_TEXT = (
    "tools",
    "functions",
    "tool_calls",
    "function_call",
    "image",
    "images",
    "video",
    "videos",
    "audio",
    "audios",
)
_ROLE_KEYS = ("role", "from")
_TEXT_KEYS = ("content", "value")
_LEARNT_KEYS = ("weight", "loss", "train")  # 0 or false: a reply that is not imitated
_PAIR_KEYS = ("input", "output")
_READ_KEYS = {*_ROLE_KEYS, *_TEXT_KEYS, *_LEARNT_KEYS, *_PAIR_KEYS}

_SPEAKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
_DIALOGUE = re.compile(r"\n\nHuman:|\s*Human:.*\n\nAssistant:", re.DOTALL)
_MARK = r"(<\|[a-z_]+\|>|</?s>|<(?:start|end)_of_turn>|<bos>|<eos>|\[/?INST\])"
_RENDERED = re.compile(rf"\A\s*{_MARK}|{_MARK}\s*\Z")


class Said(NamedTuple):
    """A turn, and whether it is a reply that may be imitated."""

    turn: Turn
    learnt: bool = False


def read_dialogue(value: Any, name: str) -> tuple[Said, ...] | None:
    """The turns of the value in the column `name`; None for plain text. An empty system turn is left out.

    Raises Wrong for what is no conversation, and for a system turn that is not the first.
    """
    if isinstance(value, str):
        return tuple(_speakers(value, name)) if is_dialogue(value) else None
    if isinstance(value, dict):
        check_only_text(value, name)
        value = value.get("messages", [value])
    if not isinstance(value, list):
        raise Wrong(f"wrong {name}", f"{name} must be text or a list of messages")
    said: list[Said] = []
    for index, message in enumerate(value):
        at = f"{name}[{index}]"
        said += _message(message, at, name)
        if index and said[-1].turn.role == "system":
            raise Wrong("wrong turns", f"{at} is a system turn, and only the first turn may be one")
    # A system text may be empty: it says nothing, and that is no mistake.
    heard = tuple(each for each in said if each.turn.content.strip())
    if not heard:
        raise Wrong(f"empty {name}", f"{name} is empty")
    return heard


def is_dialogue(value: Any) -> bool:
    """Whether it is a text with the marks of its speakers."""
    return isinstance(value, str) and _DIALOGUE.match(value) is not None


def unread_keys(value: Any, name: str) -> Iterator[str]:
    """What the messages of a column hold beside role and text, as COLUMN.KEY."""
    if isinstance(value, dict) and "messages" in value:
        yield from (
            f"{name}.{key}" for key, beside in value.items() if key != "messages" and beside not in EMPTY
        )
        value = value["messages"]
    for message in value if isinstance(value, list) else [value]:
        if isinstance(message, dict):
            yield from (
                f"{name}.{key}"
                for key, beside in message.items()
                if key not in _READ_KEYS and beside not in EMPTY
            )


def check_text(value: str, name: str) -> str:
    """Text with words in it, as they are. Raises Wrong where they are not a speaker's alone."""
    if not value.strip():
        raise Wrong(f"empty {name}", f"{name} is empty")
    rendered = _RENDERED.search(value)
    if rendered is not None:
        mark = rendered[1] or rendered[2]
        raise Wrong("template marks", f"{name} has marks of a chat template ({mark}); give the words alone")
    return check_characters(value, name)


def check_characters(value: str, name: str) -> str:
    """Any text that can be written as UTF-8."""
    if "\x00" in value:
        raise Wrong("NUL", f"{name} holds a NUL character, which is no text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise Wrong("not UTF-8", f"{name} holds half of a surrogate pair, which is no text") from None
    return value


def check_only_text(columns: Mapping[str, Any], name: str = "") -> None:
    """Raises Wrong for tools, images and the like in a row, or in the message called `name`."""
    for key in NO_TEXT:
        if columns.get(key) not in EMPTY:
            where = f"{name}.{key}" if name else key
            raise Wrong(key, f"{where} cannot be trained, only the text of a conversation")


def _speakers(text: str, name: str) -> Iterator[Said]:
    """The turns of a dialogue in one text; an opened reply at its end is none."""
    _, *parts = _SPEAKER.split(text.strip())
    for speaker, words in zip(parts[::2], parts[1::2], strict=True):
        opened = speaker == "Assistant" and not words.strip()
        if not (opened and words is parts[-1]):
            yield _said(ROLES[speaker.lower()], check_text(words.strip(), name))


def _message(message: Any, at: str, name: str) -> Sequence[Said]:
    pair = _pair(message)
    if pair is not None:
        return [
            _said(role, check_text(text, name))
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
    role_key = _key(message, _ROLE_KEYS)
    if role_key is None:
        raise Wrong(f"wrong {name}", f"{at} must be an object with role and content, or with from and value")
    role = ROLES.get(str(message[role_key]).lower())
    if role is None:
        shown = visible(str(message[role_key]), 40)
        raise Wrong(f"wrong {name}", f"{at} has the role {shown}; system, user and assistant can be trained")
    check_only_text(message, at)
    key = _key(message, _TEXT_KEYS) or _TEXT_KEYS[_ROLE_KEYS.index(role_key)]
    content = _joined(message.get(key))
    if not isinstance(content, str):
        raise Wrong(f"wrong {name}", f"{at}.{key} must be text")
    check = check_characters if role == "system" else check_text
    learnt = all(message.get(key) is None or message[key] for key in _LEARNT_KEYS)
    return [_said(role, check(content, name), learnt)]


def _said(role: str, content: str, learnt: bool = True) -> Said:
    return Said(Turn(role, content), learnt and role == "assistant")


def _pair(message: Any) -> tuple[str, str] | None:
    """What the user and the assistant say, of one exchange."""
    if isinstance(message, dict) and message.keys() >= set(_PAIR_KEYS):
        message = [message[key] for key in _PAIR_KEYS]
    if (
        not isinstance(message, list)
        or len(message) != 2
        or not all(isinstance(text, str) for text in message)
    ):
        return None
    return message[0], message[1]


def _key(message: Any, keys: Sequence[str]) -> str | None:
    """The first of the keys that the message has."""
    if not isinstance(message, dict):
        return None
    return next((key for key in keys if message.get(key) is not None), None)


def _joined(content: Any) -> Any:
    """Parts of text as one text; anything else as it is."""
    if not isinstance(content, list) or not content or not all(map(_is_text, content)):
        return content
    return "".join(part["text"] for part in content)


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
