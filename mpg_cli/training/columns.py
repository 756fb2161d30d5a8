"""Which column of a data set says what: a row of any known shape to a `Row`.

A row is a prompt and its replies, each in a column of one of the names below. A reply may be the end of a
whole conversation; then the turns before it are the prompt, or repeat it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mpg_cli.training.dialogue import (
    EMPTY,
    Said,
    check_characters,
    check_only_text,
    check_text,
    is_dialogue,
    read_dialogue,
    unread_keys,
)
from mpg_cli.training.rows import FIELDS, Method, Row, Turn, Wrong

CONVERSATION = ("messages", "conversations", "conversation")
# For each part of a row the columns that may hold it; the first that is there does.
SYSTEM = ("system", "system_prompt", "system_message")
PROMPT = ("prompt", "instruction", "question", "query", "input", *CONVERSATION)
REPLIES = {
    "chosen": ("chosen", "chosen_response", "preferred_output", "response", *CONVERSATION),
    "rejected": ("rejected", "rejected_response", "non_preferred_output"),
    "response": ("response", "completion", "output", *CONVERSATION, "answer", "generation"),
}
# Text that goes with a prompt of that name, on a line of its own.
BESIDE = {"instruction": ("input", "context"), "question": ("context",)}
# What other kinds of data have, and what to do with them.
_UNPAIRED = ("label", "kto_tag")
_OTHER_KINDS: dict[Method, tuple[tuple[tuple[str, ...], str], ...]] = {
    "dpo": (
        (
            ("generations", "completions", "responses"),
            "of the rated replies two make a pair, chosen and rejected",
        ),
        (("text",), "text has prompt and reply in one, give them apart"),
        (REPLIES["response"], "replies without a rejected one are imitated with --sft"),
    ),
    "sft": (
        (("chosen",), "pairs of chosen and rejected train without --sft"),
        (("text",), "text has prompt and reply in one, give them apart"),
    ),
}


@dataclass(frozen=True)
class _Reply:
    """A reply, and the conversation before it where its column has one."""

    name: str
    before: tuple[Said, ...]
    text: str


class _Columns:
    """The columns of a row, by name without regard to case, and which of them were read."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.values = {name.lower(): value for name, value in row.items() if value is not None}
        self._spelt = {name.lower(): name for name in row}
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
        unread = [self._spelt[name] for name, value in self._unread.items() if value not in EMPTY]
        return (*unread, *beside)


def read_row(item: Any, method: Method, where: str) -> tuple[Row, tuple[str, ...]]:
    """The row, and the names of its columns that were not read. Raises Wrong if it cannot be used."""
    if isinstance(item, Wrong):
        raise item
    if not isinstance(item, dict):
        raise Wrong("no object", f"a row must be an object with prompt, {', '.join(FIELDS[method])}")
    columns = _Columns(item)
    check_only_text(columns.values)
    _check_paired(columns.values)
    found = [_reply(columns, name, method) for name in FIELDS[method]]
    replies = [reply for reply in found if reply is not None]
    asked = _asked(columns)
    if asked is None and not any(reply.before for reply in replies):
        raise _missing("prompt", columns, method)
    for name, reply in zip(FIELDS[method], found, strict=True):
        if reply is None:
            raise _missing(name, columns, method)
    said = _with_system(_conversation(asked, replies), columns)
    prompt, texts = tuple(each.turn for each in said), tuple(reply.text for reply in replies)
    if any(map(is_dialogue, columns.values.values())):  # the space behind a speaker's mark is not the reply's
        texts = tuple(text.strip() for text in texts)
    if prompt[-1].role != "user":
        raise Wrong("wrong turns", f"prompt ends with a turn of {prompt[-1].role}, not of the user")
    if method == "dpo" and texts[0].strip() == texts[1].strip():
        raise Wrong("chosen = rejected", "chosen and rejected are the same")
    answers = [at for at, turn in enumerate(prompt) if at and prompt[at - 1].role == "user"]
    learnt = tuple(at for at in answers if said[at].learnt) if method == "sft" else ()
    return Row(prompt, texts, where, learnt), columns.unread()


def _reply(columns: _Columns, name: str, method: Method) -> _Reply | None:
    found = columns.take(REPLIES[name])
    if found is None:
        return None
    column, value = found
    said = read_dialogue(value, column)
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
            texts += [_text(*beside)] if beside[1] not in EMPTY else []
        said = (Said(Turn("user", "\n".join(texts))),)
    history = columns.take(("history",))
    earlier = read_dialogue(history[1], "history") if history and history[1] not in EMPTY else ()
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
    if found is None or found[1] in EMPTY or not _text(*found).strip():
        return said
    system = Said(Turn("system", found[1]))
    if said[0].turn.role != "system":
        return (system, *said)
    if _words(said[:1]) != _words([system]):
        raise Wrong("two system texts", f"{found[0]} and the system turn say different things")
    return said


def _check_paired(columns: Mapping[str, Any]) -> None:
    for name in _UNPAIRED:
        if isinstance(columns.get(name), bool) and not columns.keys() >= {"chosen", "rejected"}:
            raise Wrong(
                "no pair",
                f"{name} marks a single reply as good or bad (KTO); a pair is needed, chosen and rejected",
            )


def _missing(name: str, columns: _Columns, method: Method) -> Wrong:
    advice = (
        f"; {advice}" for names, advice in _OTHER_KINDS[method] if not columns.values.keys().isdisjoint(names)
    )
    return Wrong(f"no {name}", f"{name} is missing{next(advice, '')}")


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
