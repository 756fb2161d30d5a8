"""Conversations as data sets write them, as turns.

Read are messages of {role, content} or {from, value}, pairs of [user, assistant] or {input, output}, objects
with `messages`, and dialogues in one text ("Human: … Assistant: …").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mpg_cli.engine.messages import TEXT_PARTS, is_empty, joined, leading_system, role_of
from mpg_cli.io.text import visible
from mpg_cli.training.rows import Turn, Wrong

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
_PAIRS = (("input", "output"), ("human", "assistant"))  # an exchange, with a `system` text at times
_READ_KEYS = {*_ROLE_KEYS, *_TEXT_KEYS, *_LEARNT_KEYS, "system", *_PAIRS[0], *_PAIRS[1]}

_SPEAKER = r"(?:\A|{between})(Human|Assistant):"
_DIALOGUE = re.compile(r"\n\nHuman:|\s*Human:.*\nAssistant:", re.DOTALL)
# How chat templates mark turns and text: a text that begins or ends so went through one.
_MARKS = (
    r"<\|(?:im_start|im_end|im_sep|endoftext|startoftext|begin_of_text|end_of_text|start_header_id|"
    r"end_header_id|eot_id|eom_id|eot|eos|bos|system|user|assistant|prompter|start|end|return|"
    r"start_of_role|end_of_role|START_OF_TURN_TOKEN|END_OF_TURN_TOKEN)\|>"
    r"|<｜[^｜<>]{1,40}｜>|<(?:start|end)_of_turn>|<bos>|<eos>|\[/?INST\]|</?s>"
)
_RENDERED = re.compile(rf"\A\s*({_MARKS})|({_MARKS})\s*\Z")


class Said(NamedTuple):
    """A turn, and whether it is a reply that may be imitated."""

    turn: Turn
    learnt: bool = False


def read_dialogue(value: Any, name: str) -> tuple[Said, ...] | None:
    """The turns of the value in the column `name`; None for plain text. Leading system turns are one.

    Raises Wrong for what is no conversation, and for a system turn behind others.
    """
    if isinstance(value, str):
        return tuple(_speakers(value, name)) if _is_dialogue(value) else None
    if isinstance(value, dict):
        check_only_text(value, name)
        value = value.get("messages", [value])
    if not isinstance(value, list):
        raise Wrong(f"wrong {name}", f"{name} must be text or a list of messages")
    said: list[Said] = []
    for index, message in enumerate(value):
        at = f"{name}[{index}]"
        new = _message(message, at, name)
        if said and said[-1].turn.role != "system" and new[0].turn.role == "system":
            raise Wrong("wrong turns", f"{at} is a system turn behind other turns; join it with the first")
        said += new
    system = leading_system(each.turn.role for each in said)
    text = joined(each.turn.content for each in said[:system])
    heard = (*([_said("system", text)] if text else []), *said[system:])
    if not heard:
        raise Wrong(f"empty {name}", f"{name} is empty")
    return heard


def _is_dialogue(text: str) -> bool:
    """Whether it has the marks of its speakers."""
    return _DIALOGUE.match(_one_line_end(text)) is not None


def unread_keys(value: Any, name: str) -> Iterator[str]:
    """What the messages of a column hold beside role and text, as COLUMN.KEY."""
    if isinstance(value, dict) and "messages" in value:
        yield from (
            f"{name}.{key}" for key, beside in value.items() if key != "messages" and not is_empty(beside)
        )
        value = value["messages"]
    for message in value if isinstance(value, list) else [value]:
        if isinstance(message, dict):
            yield from (
                f"{name}.{key}"
                for key, beside in message.items()
                if key not in _READ_KEYS and not is_empty(beside)
            )


def check_text(value: str, name: str) -> str:
    """Text with words in it, as they are. Raises Wrong where they are not a speaker's alone."""
    if not value.strip():
        raise Wrong(f"empty {name}", f"{name} is empty")
    rendered = _RENDERED.search(value)
    mark = "" if rendered is None else rendered[1] or rendered[2]
    struck = mark in ("<s>", "</s>") and "<s>" in value and "</s>" in value  # out, in HTML
    if mark and not struck:
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
        if not is_empty(columns.get(key)) and columns[key] != "[]":
            where = f"{name}.{key}" if name else key
            raise Wrong(key, f"{where} cannot be trained, only the text of a conversation")


def _speakers(text: str, name: str) -> Iterator[Said]:
    """The turns of a dialogue in one text; an opened reply at its end is none."""
    text = _one_line_end(text).strip()
    between = "\n\n" if "\n\nAssistant:" in text else "\n"
    _, *parts = re.split(_SPEAKER.format(between=between), text)
    for speaker, words in zip(parts[::2], parts[1::2], strict=True):
        opened = speaker == "Assistant" and not words.strip()
        if not (opened and words is parts[-1]):
            yield _said(role_of(speaker) or "", check_text(words.strip(), name))


def _one_line_end(text: str) -> str:
    return text.replace("\r\n", "\n")


def _message(message: Any, at: str, name: str) -> Sequence[Said]:
    pair = _pair(message)
    if pair is not None:
        return [_said(role, check_text(text, name)) for role, text in pair if text or role != "system"]
    role_key = _key(message, _ROLE_KEYS)
    if role_key is None:
        raise Wrong(f"wrong {name}", f"{at} must be an object with role and content, or with from and value")
    role = role_of(message[role_key])
    if role is None:
        shown = visible(str(message[role_key]), 40)
        raise Wrong(f"wrong {name}", f"{at} has the role {shown}; system, user and assistant can be trained")
    check_only_text(message, at)
    key = _key(message, _TEXT_KEYS) or _TEXT_KEYS[_ROLE_KEYS.index(role_key)]
    content = _joined(message.get(key))
    if content is None and role == "system":
        content = ""
    if not isinstance(content, str):
        raise Wrong(f"wrong {name}", f"{at}.{key} must be text")
    check = check_characters if role == "system" else check_text
    learnt = all(message.get(key) is None or message[key] for key in _LEARNT_KEYS)
    return [_said(role, check(content, name), learnt)]


def _said(role: str, content: str, learnt: bool = True) -> Said:
    return Said(Turn(role, content), learnt and role == "assistant")


def _pair(message: Any) -> list[tuple[str, str]] | None:
    """Role and text of one exchange: [user, assistant], or an object with a key for each."""
    said: list[tuple[str, Any]] = []
    if isinstance(message, list) and len(message) == 2:
        said = list(zip(("user", "assistant"), message, strict=True))
    elif isinstance(message, dict):
        keys = next((keys for keys in _PAIRS if message.keys() >= set(keys)), ())
        said = [(role, message[key]) for role, key in zip(("user", "assistant"), keys, strict=False)]
        said = said and [("system", message.get("system") or ""), *said]
    return said if said and all(isinstance(text, str) for _, text in said) else None


def _key(message: Any, keys: Sequence[str]) -> str | None:
    """The first of the keys that the message has."""
    if not isinstance(message, dict):
        return None
    return next((key for key in keys if message.get(key) is not None), None)


def _joined(content: Any) -> Any:
    """Parts of text as one text; anything else as it is."""
    if not isinstance(content, list) or not content:
        return content
    texts = [part.get("text") if _is_text(part) else part for part in content]
    return "".join(texts) if all(isinstance(text, str) for text in texts) else content


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in TEXT_PARTS
