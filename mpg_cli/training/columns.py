"""Which column of a data set says what: a row of any known shape to a `Row`.

A row is a prompt and its replies, each in a column of one of the names below. A reply may be the end of a
whole conversation; then the turns before it are the prompt, or repeat it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from mpg_cli.engine.messages import is_empty
from mpg_cli.io.text import visible
from mpg_cli.training.dialogue import (
    Said,
    check_characters,
    check_only_text,
    check_text,
    read_dialogue,
    unread_keys,
)
from mpg_cli.training.rows import FIELDS, Method, Row, Turn, Wrong

CONVERSATION = ("messages", "conversations", "conversation", "data")
# For each part of a row the columns that may hold it; the first that says something does.
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
# Text that goes with a prompt of that name, on a line of its own.
BESIDE = {"instruction": ("input", "context"), "question": ("context",)}
MARKED = ("label", "kto_tag")  # whether a single reply is a good one (KTO)
SHOWN = 12  # columns that a message names
# What other kinds of data have, and what to do with them.
_RATED = "of the rated replies two make a pair, chosen and rejected"
_BETTER = "name the better reply chosen and the other rejected"
_ONE_TEXT = "text has prompt and reply in one, give them apart"
_GEMINI = "write contents as messages of role and content"
_OTHER_KINDS: dict[Method, tuple[tuple[tuple[str, ...], str], ...]] = {
    "dpo": (
        (("generations", "completions", "responses", "answers"), _RATED),
        (("response_0", "response_1", "response1", "response_a", "answer_0", "conversation_a"), _BETTER),
        (("text",), _ONE_TEXT),
        (("contents",), _GEMINI),
        (REPLIES["response"], "replies without a rejected one are imitated with --sft"),
    ),
    "sft": (
        (("chosen",), "pairs of chosen and rejected train without --sft"),
        (("text",), _ONE_TEXT),
        (("contents",), _GEMINI),
    ),
}


@dataclass(frozen=True)
class _Reply:
    """A reply, and the conversation before it where its column has one."""

    name: str
    before: tuple[Said, ...]
    text: str


class _Columns:
    """The columns of a row that say something, by name in lower case, and which of them were read."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.spelt: dict[str, str] = {}
        self.values: dict[str, Any] = {}
        self.empty: dict[str, str] = {}  # spelt too
        for name, value in row.items():
            known = name.lower()
            if (is_empty(value) and value is not False) or (isinstance(value, str) and not value.strip()):
                self.empty[known] = name
            elif known in self.values:
                raise Wrong("a column twice", f"{self.spelt[known]} and {name} are the same column")
            else:
                self.spelt[known] = name
                self.values[known] = _messages(value) if known in CONVERSATION else value
        self._unread = dict(self.values)
        self._read: dict[str, Any] = {}

    def take(self, names: Sequence[str]) -> tuple[str, Any] | None:
        """Name and value of the first that is there and not read yet."""
        name = next((name for name in names if name in self._unread), None)
        if name is None:
            return None
        self._read[name] = self._unread.pop(name)
        return name, self._read[name]

    def unread(self) -> tuple[str, ...]:
        """Names of what holds something and was not read."""
        beside = [key for name, value in self._read.items() for key in unread_keys(value, name)]
        return (*(self.spelt[name] for name in self._unread if self._unread[name] != "[]"), *beside)


def _messages(value: Any) -> Any:
    """A conversation as messages, where it is a list in a text, as tables have it, or texts in turn."""
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
    """The row, and the names of its columns that were not read. Raises Wrong if it cannot be used."""
    if isinstance(item, Wrong):
        raise item
    if not isinstance(item, dict):
        raise Wrong("no object", f"a row must be an object with prompt, {', '.join(FIELDS[method])}")
    columns = _Columns(item)
    check_only_text(columns.values)
    _check_marked(columns, method)
    replies = [_reply(columns, name, method) for name in FIELDS[method]]
    asked = _asked(columns)
    if asked is None and not any(reply.before for reply in replies):
        raise _missing("prompt", PROMPT, columns, method)
    said = _with_system(_conversation(asked, replies), columns)
    prompt, texts = tuple(each.turn for each in said), tuple(reply.text for reply in replies)
    if prompt[-1].role != "user":
        raise Wrong("wrong turns", f"prompt ends with a turn of {prompt[-1].role}, not of the user")
    if method == "dpo" and texts[0].strip() == texts[1].strip():
        raise Wrong("chosen = rejected", "chosen and rejected are the same")
    return Row(prompt, texts, where, _learnt(said) if method == "sft" else ()), columns.unread()


def _learnt(said: Sequence[Said]) -> tuple[int, ...]:
    """Places of the replies to a user that may be imitated."""
    places = range(1, len(said))
    return tuple(at for at in places if said[at - 1].turn.role == "user" and said[at].learnt)


def _reply(columns: _Columns, name: str, method: Method) -> _Reply:
    found = columns.take(REPLIES[name])
    if found is None:
        raise _missing(name, REPLIES[name], columns, method)
    column, value = found
    said = read_dialogue(value, column)
    if said is None and column in CONVERSATION:
        raise Wrong(f"wrong {column}", f"{column} must be a list of messages, not text")
    if said is None:
        return _Reply(column, (), check_text(value, column))
    if method == "sft":
        said = said[: max((at for at, each in enumerate(said, 1) if each.learnt), default=0)]
        if not said:
            raise Wrong("wrong turns", f"{column} has no turn of the assistant to learn from")
    *before, last = said
    if last.turn.role != "assistant":
        raise Wrong("wrong turns", f"{column} ends with a turn of {last.turn.role}, not of the assistant")
    return _Reply(column, tuple(before), last.turn.content)


def _asked(columns: _Columns) -> tuple[Said, ...] | None:
    """The prompt of its own columns. Of these only the replies of `history` are imitated."""
    found = columns.take(PROMPT)
    if found is None:
        return None
    name, value = found
    said = read_dialogue(value, name)
    if said is None:
        texts = [check_text(value, name)]
        while (beside := columns.take(BESIDE.get(name, ()))) is not None:
            texts.append(_text(*beside))
        said = (Said(Turn("user", "\n".join(texts))),)
    history = columns.take(("history",))
    earlier = read_dialogue(history[1], "history") if history else ()
    if earlier is None:
        raise Wrong("wrong history", "history must be a list of [user, assistant]")
    return (*earlier, *(Said(each.turn) for each in said))


def _conversation(asked: tuple[Said, ...] | None, replies: Sequence[_Reply]) -> tuple[Said, ...]:
    """The prompt from its own columns and from what stands before the replies; these must not disagree.

    White space does not count. Where all replies have the prompt in a longer conversation, that is it.
    """
    carried = [reply for reply in replies if reply.before]
    whole = carried[0].before if carried else ()
    alike = all(_words(reply.before) == _words(whole) for reply in carried)
    if asked is None:
        if not alike:
            raise Wrong("wrong turns", "chosen and rejected differ before their last turns")
        return whole
    if alike and len(carried) == len(replies):
        if _holds(whole, asked):
            return whole
        if whole[0].turn.role == "assistant":  # the replies go on from the prompt
            return (*asked, *whole)
    for reply in carried:
        if _words(asked)[-len(reply.before) :] != _words(reply.before):
            raise Wrong("wrong turns", f"{reply.name} follows another conversation than the prompt")
    return asked


def _with_system(said: tuple[Said, ...], columns: _Columns) -> tuple[Said, ...]:
    found = columns.take(SYSTEM)
    if found is None:
        return said
    system = Said(Turn("system", _text(*found)))
    if said[0].turn.role != "system":
        return (system, *said)
    if _words(said[:1]) != _words([system]):
        raise Wrong("two system texts", f"{found[0]} and the system turn say different things")
    return said


def _check_marked(columns: _Columns, method: Method) -> None:
    """A single reply with a mark is none of a pair; a good one can be imitated.

    Tables write the mark as 1 or 0; beside other columns than TRL's these may be classes of anything.
    """
    if columns.values.keys() >= {"chosen", "rejected"}:
        return
    for name in MARKED:
        mark = columns.values.get(name)
        if not isinstance(mark, bool) and not (mark in (0, 1) and "completion" in columns.values):
            continue
        if method == "dpo":
            raise Wrong(
                "no pair",
                f"{name} marks a single reply as good or bad (KTO); a pair is needed, chosen and rejected, "
                "or --sft, which imitates the good ones",
            )
        columns.take([name])
        if not mark:
            raise Wrong("marked as bad", f"{name} marks the reply as bad, and only good ones are imitated")


def _missing(name: str, names: Sequence[str], columns: _Columns, method: Method) -> Wrong:
    """What is said where none of the columns `names` says anything."""
    empty = next((column for column in names if column in columns.empty), None)
    if empty is not None:
        return Wrong(f"empty {name}", f"{columns.empty[empty]} is empty")
    there = list(columns.spelt.values())
    rest = [f"{len(there) - SHOWN} more"] if there[SHOWN:] else []
    shown = ", ".join([*(visible(column, 40) for column in there[:SHOWN]), *rest]) or "nothing"
    advice = (
        f"; {advice}" for names, advice in _OTHER_KINDS[method] if not columns.values.keys().isdisjoint(names)
    )
    return Wrong(f"no {name}", f"{name} is missing (found: {shown}){next(advice, '')}")


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise Wrong(f"wrong {name}", f"{name} must be text")
    return check_characters(value, name)


def _words(said: Sequence[Said]) -> list[tuple[str, list[str]]]:
    return [(each.turn.role, each.turn.content.split()) for each in said]


def _holds(whole: Sequence[Said], part: Sequence[Said]) -> bool:
    """Whether the turns of `part` follow each other somewhere in `whole`."""
    longer, shorter = _words(whole), _words(part)
    return any(longer[at : at + len(shorter)] == shorter for at in range(len(longer) - len(shorter) + 1))
