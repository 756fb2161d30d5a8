"""Rows in the form that TRL trains on: messages for a tokenizer with a chat template, text for one without.

The prompt comes out as `mpg generate` gives it to the model, so that the adapter meets in use what it met in
training.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from mpg_cli.models.template import Arranged, Refused, arrange
from mpg_cli.training.data import Problem
from mpg_cli.training.rows import Row, Turn

Example = dict[str, Any]
COLUMNS = {1: ("completion",), 2: ("chosen", "rejected")}


def examples(
    rows: Sequence[Row], tokenizer: Any, template_args: Mapping[str, Any] | None = None
) -> tuple[list[Example], list[Row], list[Problem]]:
    """TRL's examples, a row for each with the one reply or pair it has, and what the template refuses."""
    chat = bool(getattr(tokenizer, "chat_template", None))
    made: list[Example] = []
    used: list[Row] = []
    problems: list[Problem] = []
    for row in itertools.chain.from_iterable(each.apart() for each in rows):
        prompt: Sequence[Turn] = row.prompt
        if chat:
            prompt, reason = _arranged(tokenizer, row, template_args or {})
        else:
            reason = "messages need a chat template, and this model has none" if _dialogue(row) else None
        if reason is not None:
            problems.append(Problem(row.where, "refused by the chat template", reason))
            continue
        used.append(row)
        made.append(_example(prompt, row.replies, chat, template_args))
    return made, used, problems


def reply_tokens(rows: Sequence[Row], tokenizer: Any) -> float:
    """Mean length of a reply, its end token included."""
    replies = [reply for row in rows for reply in row.replies]
    ids = tokenizer(replies, add_special_tokens=False)["input_ids"]
    return sum(len(reply) + 1 for reply in ids) / len(replies)


def _example(
    prompt: Sequence[Turn], replies: tuple[str, ...], chat: bool, template_args: Mapping[str, Any] | None
) -> Example:
    columns = COLUMNS[len(replies)]
    if not chat:
        text = "\n\n".join(turn.content for turn in prompt)
        return {"prompt": text} | dict(zip(columns, replies, strict=True))
    example: Example = {"prompt": _messages(prompt)}
    for column, reply in zip(columns, replies, strict=True):
        example[column] = _messages([Turn("assistant", reply)])
    if template_args:
        example["chat_template_kwargs"] = dict(template_args)
    return example


def _messages(turns: Sequence[Turn]) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def _dialogue(row: Row) -> bool:
    """More than a system text and one user turn."""
    return [turn.role for turn in row.prompt] not in (["user"], ["system", "user"])


def _arranged(
    tokenizer: Any, row: Row, template_args: Mapping[str, Any]
) -> tuple[Sequence[Turn], str | None]:
    """The prompt as generation gives it to the template, and why the row cannot be trained, if it cannot."""
    system = "".join(turn.content for turn in row.prompt if turn.role == "system")
    turns = [turn for turn in row.prompt if turn.role != "system"]
    try:
        arranged = arrange(tokenizer, system, _messages(turns), template_args)
        if arranged is None:
            return row.prompt, "this model's chat template leaves out what the user says"
        if arranged.roles:
            return row.prompt, "this model's chat template reads text in parts, which is not trained"
        for reply in row.replies:
            said = Arranged((*arranged.messages, {"role": "assistant", "content": reply}))
            said.closed(tokenizer, template_args)
    except Refused as error:
        return row.prompt, f"this model's chat template refuses it: {error}"
    return [Turn(message["role"], message["content"]) for message in arranged.messages], None
