"""Rows in the form that TRL trains on: messages for a tokenizer with a chat template, text for one without.

The prompt comes out as `mpg generate` gives it to the model, so that the adapter meets in use what it met in
training.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from mpg_cli.training.data import Problem
from mpg_cli.training.rows import Row, Turn

Example = dict[str, Any]
COLUMNS = {1: ("completion",), 2: ("chosen", "rejected")}


def examples(
    rows: Sequence[Row], tokenizer: Any, template_args: Mapping[str, Any] | None = None
) -> tuple[list[Example], list[Row], list[Problem]]:
    """TRL's examples, a row for each with the one reply or pair it has, and what the template refuses."""
    chat = bool(getattr(tokenizer, "chat_template", None))
    fold = chat and not _takes_system(tokenizer, template_args or {})
    made: list[Example] = []
    used: list[Row] = []
    problems: list[Problem] = []
    for row in itertools.chain.from_iterable(each.apart() for each in rows):
        if chat:
            prompt = _folded(row.prompt) if fold else row.prompt
            reason = _refusal(tokenizer, prompt, row.replies, template_args or {})
        else:
            prompt = row.prompt
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


def _takes_system(tokenizer: Any, template_args: Mapping[str, Any]) -> bool:
    """Whether the template shows a system turn instead of refusing or swallowing it."""
    from jinja2.exceptions import TemplateError

    probe = "a probe of the system turn"
    turns = [Turn("system", probe), Turn("user", "x")]
    try:
        text: str = tokenizer.apply_chat_template(_messages(turns), tokenize=False, **template_args)
    except TemplateError:
        return False
    return probe in text


def _folded(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The system text in front of the first user turn, as generation puts it."""
    if turns[0].role != "system":
        return tuple(turns)
    system, *rest = turns
    at = next(at for at, turn in enumerate(rest) if turn.role == "user")
    rest[at] = Turn("user", f"{system.content}\n\n{rest[at].content}")
    return tuple(rest)


def _refusal(
    tokenizer: Any, prompt: Sequence[Turn], replies: Sequence[str], template_args: Mapping[str, Any]
) -> str | None:
    """Why the template refuses the conversation, or that it swallows what the user says, if it does."""
    from jinja2.exceptions import TemplateError

    text = ""
    try:
        for reply in replies:
            turns = [*prompt, Turn("assistant", reply)]
            text = tokenizer.apply_chat_template(_messages(turns), tokenize=False, **template_args)
    except (TemplateError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return f"this model's chat template refuses it: {reason}"
    if any(turn.role == "user" and turn.content.strip() not in text for turn in prompt):
        return "this model's chat template leaves out what the user says"
    return None
