"""Encode rows as token ids for training.

A prompt gets the ids that `mpg generate` would give the model, and a reply the ids that the model would have
to generate after it, so that training matches use: no token spans prompt and reply, and the end token is
trained last.
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

_BEFORE = "\n"  # no token spans a line end and the word after it


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
    """Examples, the row of each (with one reply or pair), and the rows that cannot be used with this model.

    `ends` are the tokens that end a reply in generation, `size` is the number of embeddings of the model
    (None: no limit). Raises ModelError if the tokenizer has no end token.
    """
    if tokenizer.eos_token_id is None:
        raise ModelError("the model's tokenizer has no end token, so replies would never end")
    encoder = _Encoder(tokenizer, frozenset(ends) | {tokenizer.eos_token_id}, template_args or {}, size)
    made: list[Example] = []
    used: list[Row] = []
    problems: list[Problem] = []
    for row in itertools.chain.from_iterable(each.per_reply() for each in rows):
        try:
            made.append(encoder.example(row))
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
class _Encoder:
    """Encodes examples for one model."""

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
                    f"a reply contains {self.tokenizer.convert_ids_to_tokens(min(within))}, an end token"
                )
        example = Example(list(prompt), tuple(self._ended(self._ids(answer)) for answer in answers))
        if self.size is not None:
            try:
                check_ids(self.tokenizer, [*prompt, *itertools.chain(*example.replies)], self.size)
            except UsageError as error:
                raise Refused(error.message.replace("the prompt has", "it has")) from None
        return example

    def _templated(self, row: Row) -> tuple[str, list[str]]:
        """The text of the prompt, and of each reply with the markup of the template."""
        system = "".join(turn.content for turn in row.prompt if turn.role == "system")
        turns = [{"role": turn.role, "content": turn.content} for turn in row.prompt if turn.role != "system"]
        try:
            arranged = arrange(self.tokenizer, system, turns, self.template_args)
            if arranged is None:
                raise Refused("it leaves out what the user says")
            # Replies are stripped: some files keep the white space that joined them to their prompts.
            rendered = [
                arranged.answered(self.tokenizer, reply.strip(), self.template_args) for reply in row.replies
            ]
        except Refused as error:
            raise Refused(f"the chat template of the model refuses it: {error}") from error
        return rendered[0][0], [answer for _, answer in rendered]

    def _ids(self, text: str) -> list[int]:
        """Token ids of text that continues other text; some tokenizers prefix every text with a space."""
        before, ids = (
            self.tokenizer(each, add_special_tokens=False)["input_ids"] for each in (_BEFORE, _BEFORE + text)
        )
        if ids[: len(before)] == before:
            return list(ids[len(before) :])
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _ended(self, ids: list[int]) -> list[int]:
        """The ids up to the first end token; one is added where the template writes none."""
        first = next((at for at, token in enumerate(ids) if token in self.ends), len(ids))
        return [*ids[:first], ids[first] if first < len(ids) else self.tokenizer.eos_token_id]


def _plain(row: Row) -> tuple[str, Sequence[str]]:
    """Prompt and replies for a model without a chat template."""
    if [turn.role for turn in row.prompt] not in (["user"], ["system", "user"]):
        raise Refused("messages need a chat template, and this model has none")
    return "\n\n".join(turn.content for turn in row.prompt), row.replies
