"""A row of training data, as everything behind the reader knows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

Method = Literal["dpo", "sft"]

FIELDS: dict[Method, tuple[str, ...]] = {"dpo": ("chosen", "rejected"), "sft": ("response",)}


class Turn(NamedTuple):
    """One message of a conversation."""

    role: str  # system, user or assistant
    content: str


@dataclass(frozen=True)
class Row:
    """A conversation up to the user's turn, and its replies: (chosen, rejected) or (response,).

    `learnt` are the places of earlier replies in the prompt that are imitated as well.
    """

    prompt: tuple[Turn, ...]
    replies: tuple[str, ...]
    where: str  # FILE:LINE
    learnt: tuple[int, ...] = ()

    @property
    def opening(self) -> tuple[Turn, ...]:
        """The prompt up to the first turn of the user."""
        first = next(at for at, turn in enumerate(self.prompt) if turn.role == "user")
        return self.prompt[: first + 1]

    def apart(self) -> Iterator[Row]:
        """A row for each reply that is imitated, each behind the turns before it; itself comes last."""
        for at in self.learnt:
            yield Row(self.prompt[:at], (self.prompt[at].content,), self.where)
        yield replace(self, learnt=())


class Wrong(Exception):
    """A row cannot be used: what kind of mistake it is, and the mistake in words."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
