"""Convert a row of any known column layout to a `Row`.

A row has a prompt and its replies, each in a column with one of the names below. A reply may be the end of a
whole conversation; the turns before it are then the prompt, or repeat it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from mpg_cli.engine.messages import is_empty
from mpg_cli.io.json_rows import RowError
from mpg_cli.io.text import visible
from mpg_cli.training.dialogue import (
    SourceTurn,
    check_characters,
    check_only_text,
    check_text,
    read_dialogue,
    unread_keys,
)
from mpg_cli.training.rows import FIELDS, Method, Row, Turn

CONVERSATION = ("messages", "conversations", "conversation", "data")
# The columns that may hold each part of a row; the first that is not empty is used.
SYSTEM = ("system", "system_prompt", "system_message")
PROMPT = ("prompt", "instruction", "question", "query", "input", *CONVERSATION)
REPLIES = {
    "chosen": (
        "chosen",
        "chosen_response",
        "chosen_conversations",
        "preferred_output",
        "response_j",
        "response",
        *CONVERSATION,
    ),
    "rejected": (
        "rejected",
        "rejected_response",
        "rejected_messages",
        "rejected_conversations",
        "non_preferred_output",
        "response_k",
    ),
    "response": ("response", "completion", "output", *CONVERSATION, "answer", "generation"),
}
# Columns whose text is appended to a prompt column, on a new line.
BESIDE = {"instruction": ("input", "context"), "question": ("context",)}
LABELS = ("label", "kto_tag")  # whether a single reply is desirable (KTO)
SHOWN = 12  # columns listed in a message
# Columns of other kinds of data, and what to do with them.
_RATED = "make pairs of chosen and rejected from two rated replies"
_BETTER = "name the better reply chosen and the other rejected"
_ONE_TEXT = "split text into prompt and reply"
_GEMINI = "convert contents to messages of role and content"
_OTHER_KINDS: dict[Method, tuple[tuple[tuple[str, ...], str], ...]] = {
    "dpo": (
        (("generations", "completions", "responses", "answers"), _RATED),
        (("response_0", "response_1", "response1", "response_a", "answer_0", "conversation_a"), _BETTER),
        (("text",), _ONE_TEXT),
        (("contents",), _GEMINI),
        (REPLIES["response"], "use --sft to imitate replies without a rejected one"),
    ),
    "sft": (
        (("chosen",), "leave out --sft to train on pairs of chosen and rejected"),
        (("text",), _ONE_TEXT),
        (("contents",), _GEMINI),
    ),
}


@dataclass(frozen=True)
class _Reply:
    """A reply, and the conversation before it in the same column, if any."""

    name: str
    before: tuple[SourceTurn, ...]
    text: str


class _Columns:
    """The non-empty columns of a row by name in lower case; tracks which of them were read."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.spelling: dict[str, str] = {}
        self.values: dict[str, Any] = {}
        self.empty: dict[str, str] = {}  # name in lower case -> spelling
        for name, value in row.items():
            known = name.lower()
            if (is_empty(value) and value is not False) or (isinstance(value, str) and not value.strip()):
                self.empty[known] = name
            elif known in self.values:
                raise RowError("a column twice", f"{self.spelling[known]} and {name} are the same column")
            else:
                self.spelling[known] = name
                self.values[known] = _messages(value) if known in CONVERSATION else value
        self._unread = dict(self.values)
        self._read: dict[str, Any] = {}

    def take(self, names: Sequence[str]) -> tuple[str, Any] | None:
        """Name and value of the first of these columns that exists and is not read yet."""
        name = next((name for name in names if name in self._unread), None)
        if name is None:
            return None
        self._read[name] = self._unread.pop(name)
        return name, self._read[name]

    def unread(self) -> tuple[str, ...]:
        """Names of non-empty columns and message keys that were not read."""
        beside = [key for name, value in self._read.items() for key in unread_keys(value, name)]
        return (*(self.spelling[name] for name in self._unread if self._unread[name] != "[]"), *beside)


def _messages(value: Any) -> Any:
    """Convert a conversation to messages: a list as JSON text (from tables), or alternating texts."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    if not isinstance(value, list) or not all(isinstance(said, str) for said in value):
        return value
    return [
        {"role": role, "content": text}
        for role, text in zip(cycle(("user", "assistant")), value, strict=False)
    ]


def read_row(item: Any, method: Method, where: str) -> tuple[Row, tuple[str, ...]]:
    """The row, and the names of its columns that were not read. Raises RowError if it cannot be used."""
    if isinstance(item, RowError):
        raise item
    if not isinstance(item, dict):
        raise RowError("no object", f"a row must be an object with prompt, {', '.join(FIELDS[method])}")
    columns = _Columns(item)
    check_only_text(columns.values)
    _check_label(columns, method)
    replies = [_reply(columns, name, method) for name in FIELDS[method]]
    own = _own_prompt(columns)
    if own is None and not any(reply.before for reply in replies):
        raise _missing("prompt", PROMPT, columns, method)
    said = _with_system(_conversation(own, replies), columns)
    prompt, texts = tuple(each.turn for each in said), tuple(reply.text for reply in replies)
    if prompt[-1].role != "user":
        raise RowError("wrong turns", f"prompt ends with a turn of {prompt[-1].role}, not of the user")
    if method == "dpo" and texts[0].strip() == texts[1].strip():
        raise RowError("chosen = rejected", "chosen and rejected are the same")
    return Row(prompt, texts, where, _imitated(said) if method == "sft" else ()), columns.unread()


def _imitated(said: Sequence[SourceTurn]) -> tuple[int, ...]:
    """Indices of the replies to a user that may be imitated."""
    places = range(1, len(said))
    return tuple(at for at in places if said[at - 1].turn.role == "user" and said[at].imitated)


def _reply(columns: _Columns, name: str, method: Method) -> _Reply:
    found = columns.take(REPLIES[name])
    if found is None:
        raise _missing(name, REPLIES[name], columns, method)
    column, value = found
    said = read_dialogue(value, column)
    if said is None and column in CONVERSATION:
        raise RowError(f"wrong {column}", f"{column} must be a list of messages, not text")
    if said is None:
        return _Reply(column, (), check_text(value, column))
    if method == "sft":
        said = said[: max((at for at, each in enumerate(said, 1) if each.imitated), default=0)]
        if not said:
            raise RowError("wrong turns", f"{column} has no assistant turn to imitate")
    *before, last = said
    if last.turn.role != "assistant":
        raise RowError("wrong turns", f"{column} ends with a turn of {last.turn.role}, not of the assistant")
    return _Reply(column, tuple(before), last.turn.content)


def _own_prompt(columns: _Columns) -> tuple[SourceTurn, ...] | None:
    """The prompt from its own columns; of these only the replies in `history` are imitated."""
    found = columns.take(PROMPT)
    if found is None:
        return None
    name, value = found
    said = read_dialogue(value, name)
    if said is None:
        texts = [check_text(value, name)]
        while (beside := columns.take(BESIDE.get(name, ()))) is not None:
            texts.append(_text(*beside))
        said = (SourceTurn(Turn("user", "\n".join(texts))),)
    history = columns.take(("history",))
    earlier = read_dialogue(history[1], "history") if history else ()
    if earlier is None:
        raise RowError("wrong history", "history must be a list of [user, assistant]")
    return (*earlier, *(SourceTurn(each.turn) for each in said))


def _conversation(own: tuple[SourceTurn, ...] | None, replies: Sequence[_Reply]) -> tuple[SourceTurn, ...]:
    """Merge the prompt of its own columns with the turns before the replies; they must agree.

    White space is ignored. If all replies contain the prompt within a longer conversation, that is used.
    """
    carried = [reply for reply in replies if reply.before]
    whole = carried[0].before if carried else ()
    alike = all(_words(reply.before) == _words(whole) for reply in carried)
    if own is None:
        if not alike:
            raise RowError("wrong turns", "chosen and rejected differ before their last turns")
        return whole
    if alike and len(carried) == len(replies):
        if _contains(whole, own):
            return whole
        if whole[0].turn.role == "assistant":  # the replies continue the prompt
            return (*own, *whole)
    for reply in carried:
        if _words(own)[-len(reply.before) :] != _words(reply.before):
            raise RowError(
                "wrong turns", f"the turns before the reply in {reply.name} differ from the prompt"
            )
    return own


def _with_system(said: tuple[SourceTurn, ...], columns: _Columns) -> tuple[SourceTurn, ...]:
    found = columns.take(SYSTEM)
    if found is None:
        return said
    system = SourceTurn(Turn("system", _text(*found)))
    if said[0].turn.role != "system":
        return (system, *said)
    if _words(said[:1]) != _words([system]):
        raise RowError("two system texts", f"{found[0]} and the system turn differ")
    return said


def _check_label(columns: _Columns, method: Method) -> None:
    """Raise RowError for labelled single replies where pairs are needed, and for undesirable ones with --sft.

    Tables write labels as 1 or 0. Without TRL's column `completion` such a number may be any class.
    """
    if columns.values.keys() >= {"chosen", "rejected"}:
        return
    for name in LABELS:
        label = columns.values.get(name)
        if not isinstance(label, bool) and not (label in (0, 1) and "completion" in columns.values):
            continue
        if method == "dpo":
            raise RowError(
                "no pair",
                f"{name} labels single replies (KTO); give pairs of chosen and rejected, "
                "or use --sft to imitate the desirable replies",
            )
        columns.take([name])
        if not label:
            raise RowError(
                "labelled as bad", f"{name} labels the reply as undesirable; only desirable ones are imitated"
            )


def _missing(name: str, names: Sequence[str], columns: _Columns, method: Method) -> RowError:
    """The error for a row in which all of the columns `names` are missing or empty."""
    empty = next((column for column in names if column in columns.empty), None)
    if empty is not None:
        return RowError(f"empty {name}", f"{columns.empty[empty]} is empty")
    there = list(columns.spelling.values())
    rest = [f"{len(there) - SHOWN} more"] if there[SHOWN:] else []
    shown = ", ".join([*(visible(column, 40) for column in there[:SHOWN]), *rest]) or "nothing"
    advice = (
        f"; {advice}" for names, advice in _OTHER_KINDS[method] if not columns.values.keys().isdisjoint(names)
    )
    return RowError(f"no {name}", f"{name} is missing (found: {shown}){next(advice, '')}")


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise RowError(f"wrong {name}", f"{name} must be text")
    return check_characters(value, name)


def _words(said: Sequence[SourceTurn]) -> list[tuple[str, list[str]]]:
    return [(each.turn.role, each.turn.content.split()) for each in said]


def _contains(whole: Sequence[SourceTurn], part: Sequence[SourceTurn]) -> bool:
    """Whether `part` is a contiguous run of turns in `whole`."""
    longer, shorter = _words(whole), _words(part)
    return any(longer[at : at + len(shorter)] == shorter for at in range(len(longer) - len(shorter) + 1))
