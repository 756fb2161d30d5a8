"""Parse the conversation formats of data sets into turns.

Supported are messages of {role, content} or {from, value}, pairs of [user, assistant] or {input, output},
objects with `messages`, and dialogues in one text ("Human: … Assistant: …").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mpg_cli.engine.messages import TEXT_PARTS, is_empty, joined, leading_system, role_of
from mpg_cli.io.json_rows import RowError
from mpg_cli.io.text import visible
from mpg_cli.training.rows import Turn

# Parts of a conversation that are not text.
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
_LOSS_KEYS = ("weight", "loss", "train")  # 0 or false: the reply is not imitated
_PAIRS = (("input", "output"), ("human", "assistant"))  # an exchange, optionally with a `system` text
_READ_KEYS = {*_ROLE_KEYS, *_TEXT_KEYS, *_LOSS_KEYS, "system", *_PAIRS[0], *_PAIRS[1]}

_SPEAKER = r"(?:\A|{between})(Human|Assistant):"
_DIALOGUE = re.compile(r"\n\nHuman:|\s*Human:.*\nAssistant:", re.DOTALL)
# Markup of chat templates: a text that begins or ends with it has already been rendered.
_MARKS = (
    r"<\|(?:im_start|im_end|im_sep|endoftext|startoftext|begin_of_text|end_of_text|start_header_id|"
    r"end_header_id|eot_id|eom_id|eot|eos|bos|system|user|assistant|prompter|start|end|return|"
    r"start_of_role|end_of_role|START_OF_TURN_TOKEN|END_OF_TURN_TOKEN)\|>"
    r"|<｜[^｜<>]{1,40}｜>|<(?:start|end)_of_turn>|<bos>|<eos>|\[/?INST\]|</?s>"
)
_RENDERED = re.compile(rf"\A\s*({_MARKS})|({_MARKS})\s*\Z")


class SourceTurn(NamedTuple):
    """A turn of the data, and whether it is a reply that may be imitated."""

    turn: Turn
    imitated: bool = False


def read_dialogue(value: Any, name: str) -> tuple[SourceTurn, ...] | None:
    """The turns of a value of the column `name`; None for plain text. Leading system turns are joined.

    Raises RowError for a value that is not a conversation, and for a system turn after other turns.
    """
    if isinstance(value, str):
        return tuple(_speakers(value, name)) if _is_dialogue(value) else None
    if isinstance(value, dict):
        check_only_text(value, name)
        value = value.get("messages", [value])
    if not isinstance(value, list):
        raise RowError(f"wrong {name}", f"{name} must be text or a list of messages")
    said: list[SourceTurn] = []
    for index, message in enumerate(value):
        at = f"{name}[{index}]"
        new = _message(message, at, name)
        if said and said[-1].turn.role != "system" and new[0].turn.role == "system":
            raise RowError("wrong turns", f"{at} is a system turn after other turns; merge it into the first")
        said += new
    system = leading_system(each.turn.role for each in said)
    text = joined(each.turn.content for each in said[:system])
    turns = (*([_turn("system", text)] if text else []), *said[system:])
    if not turns:
        raise RowError(f"empty {name}", f"{name} is empty")
    return turns


def _is_dialogue(text: str) -> bool:
    """Whether the text has speaker labels."""
    return _DIALOGUE.match(_one_line_end(text)) is not None


def unread_keys(value: Any, name: str) -> Iterator[str]:
    """Non-empty keys of the messages of a column other than role and text, as COLUMN.KEY."""
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
    """The text unchanged. Raises RowError for an empty text or one with markup of a chat template."""
    if not value.strip():
        raise RowError(f"empty {name}", f"{name} is empty")
    rendered = _RENDERED.search(value)
    mark = "" if rendered is None else rendered[1] or rendered[2]
    html = mark in ("<s>", "</s>") and "<s>" in value and "</s>" in value  # strikethrough
    if mark and not html:
        raise RowError("template marks", f"{name} contains chat template markup ({mark}); give plain text")
    return check_characters(value, name)


def check_characters(value: str, name: str) -> str:
    """The text unchanged. Raises RowError for NUL characters and lone surrogates."""
    if "\x00" in value:
        raise RowError("NUL", f"{name} contains a NUL character")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise RowError("not UTF-8", f"{name} contains half of a surrogate pair") from None
    return value


def check_only_text(columns: Mapping[str, Any], name: str = "") -> None:
    """Raise RowError for tools, images and the like in a row, or in the message `name`."""
    for key in NO_TEXT:
        if not is_empty(columns.get(key)) and columns[key] != "[]":
            where = f"{name}.{key}" if name else key
            raise RowError(key, f"{where} is not supported: only text can be trained")


def _speakers(text: str, name: str) -> Iterator[SourceTurn]:
    """The turns of a dialogue in one text; an empty reply at its end is dropped."""
    text = _one_line_end(text).strip()
    between = "\n\n" if "\n\nAssistant:" in text else "\n"
    _, *parts = re.split(_SPEAKER.format(between=between), text)
    for speaker, words in zip(parts[::2], parts[1::2], strict=True):
        opened = speaker == "Assistant" and not words.strip()
        if not (opened and words is parts[-1]):
            yield _turn(role_of(speaker) or "", check_text(words.strip(), name))


def _one_line_end(text: str) -> str:
    return text.replace("\r\n", "\n")


def _message(message: Any, at: str, name: str) -> Sequence[SourceTurn]:
    pair = _pair(message)
    if pair is not None:
        return [_turn(role, check_text(text, name)) for role, text in pair if text or role != "system"]
    role_key = _key(message, _ROLE_KEYS)
    if role_key is None:
        raise RowError(
            f"wrong {name}", f"{at} must be an object with role and content, or with from and value"
        )
    role = role_of(message[role_key])
    if role is None:
        shown = visible(str(message[role_key]), 40)
        raise RowError(
            f"wrong {name}", f"{at} has the role {shown}; system, user and assistant can be trained"
        )
    check_only_text(message, at)
    key = _key(message, _TEXT_KEYS) or _TEXT_KEYS[_ROLE_KEYS.index(role_key)]
    content = _joined(message.get(key))
    if content is None and role == "system":
        content = ""
    if not isinstance(content, str):
        raise RowError(f"wrong {name}", f"{at}.{key} must be text")
    check = check_characters if role == "system" else check_text
    imitated = all(message.get(key) is None or message[key] for key in _LOSS_KEYS)
    return [_turn(role, check(content, name), imitated)]


def _turn(role: str, content: str, imitated: bool = True) -> SourceTurn:
    return SourceTurn(Turn(role, content), imitated and role == "assistant")


def _pair(message: Any) -> list[tuple[str, str]] | None:
    """Roles and texts of one exchange: [user, assistant], or an object with a key for each."""
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
    """Text parts joined into one text; other values unchanged."""
    if not isinstance(content, list) or not content:
        return content
    texts = [part.get("text") if _is_text(part) else part for part in content]
    return "".join(texts) if all(isinstance(text, str) for text in texts) else content


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in TEXT_PARTS
