"""Rows as the token ids that are trained.

The prompt has the ids that `mpg generate` gives to the model, and a reply those that the model would have to
say behind it, so that the adapter meets in use what it met in training: tokens never reach over from one to
the other, and the end token is the last that is learnt.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mpg_cli.errors import ModelError, UsageError
from mpg_cli.models.text.template import Refused, arrange
from mpg_cli.models.text.vocabulary import check_ids
from mpg_cli.training.data import Problem
from mpg_cli.training.rows import Row

_BEFORE = "\n"  # no token reaches from a line end into words


@dataclass(frozen=True)
class Example:
    """Token ids of a prompt and of its replies, (chosen, rejected) or (response,), each with an end token."""

    prompt: list[int]
    replies: tuple[list[int], ...]


def examples(
    rows: Sequence[Row],
    tokenizer: Any,
    ends: Collection[int],
    template_args: Mapping[str, Any] | None = None,
    size: int | None = None,
) -> tuple[list[Example], list[Row], list[Problem]]:
    """Examples, a row for each with the one reply or pair it has, and the rows that this model cannot learn.

    `ends` are the tokens that end a reply in generation, `size` is how many tokens the model has embeddings
    for (None: all). Raises ModelError if the tokenizer has none.
    """
    if tokenizer.eos_token_id is None:
        raise ModelError("the model's tokenizer has no end token, so a reply could not end")
    coder = _Coder(tokenizer, frozenset(ends) | {tokenizer.eos_token_id}, template_args or {}, size)
    made: list[Example] = []
    used: list[Row] = []
    problems: list[Problem] = []
    for row in itertools.chain.from_iterable(each.apart() for each in rows):
        try:
            made.append(coder.example(row))
        except Refused as error:
            problems.append(Problem(row.where, "refused by the chat template", str(error)))
        else:
            used.append(row)
    return made, used, problems


def reply_tokens(made: Sequence[Example]) -> float:
    """Mean length of a reply, its end token included."""
    lengths = [len(reply) for example in made for reply in example.replies]
    return sum(lengths) / len(lengths)


@dataclass(frozen=True)
class _Coder:
    """Makes examples for one model."""

    tokenizer: Any
    ends: frozenset[int]
    template_args: Mapping[str, Any]
    size: int | None

    def example(self, row: Row) -> Example:
        """Raises Refused."""
        chat = bool(getattr(self.tokenizer, "chat_template", None))
        opened, answers = self._templated(row) if chat else _plain(row)
        prompt = self.tokenizer(opened, add_special_tokens=not chat)["input_ids"]
        for reply in row.replies:
            if within := self.ends.intersection(self._ids(reply)):
                raise Refused(
                    f"a reply holds {self.tokenizer.convert_ids_to_tokens(min(within))}, an end token"
                )
        example = Example(list(prompt), tuple(self._ended(self._ids(answer)) for answer in answers))
        if self.size is not None:
            try:
                check_ids(self.tokenizer, [*prompt, *itertools.chain(*example.replies)], self.size)
            except UsageError as error:
                raise Refused(error.message.replace("the prompt has", "it has")) from None
        return example

    def _templated(self, row: Row) -> tuple[str, list[str]]:
        """The text of the prompt, and of each reply with what the template writes around it."""
        system = "".join(turn.content for turn in row.prompt if turn.role == "system")
        turns = [{"role": turn.role, "content": turn.content} for turn in row.prompt if turn.role != "system"]
        try:
            arranged = arrange(self.tokenizer, system, turns, self.template_args)
            if arranged is None:
                raise Refused("it leaves out what the user says")
            # White space around a reply comes from files that join it to its prompt.
            said = [
                arranged.answered(self.tokenizer, reply.strip(), self.template_args) for reply in row.replies
            ]
        except Refused as error:
            raise Refused(f"this model's chat template refuses it: {error}") from error
        return said[0][0], [answer for _, answer in said]

    def _ids(self, text: str) -> list[int]:
        """Tokens of text that goes on from other text: some tokenizers begin every text with a space."""
        before, ids = (
            self.tokenizer(each, add_special_tokens=False)["input_ids"] for each in (_BEFORE, _BEFORE + text)
        )
        if ids[: len(before)] == before:
            return list(ids[len(before) :])
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _ended(self, ids: list[int]) -> list[int]:
        """Up to the first end token, where generation stops; some templates write none after a last reply."""
        first = next((at for at, token in enumerate(ids) if token in self.ends), len(ids))
        return [*ids[:first], ids[first] if first < len(ids) else self.tokenizer.eos_token_id]


def _plain(row: Row) -> tuple[str, Sequence[str]]:
    """Prompt and replies for a model without a chat template."""
    if [turn.role for turn in row.prompt] not in (["user"], ["system", "user"]):
        raise Refused("messages need a chat template, and this model has none")
    return "\n\n".join(turn.content for turn in row.prompt), row.replies
