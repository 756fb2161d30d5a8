"""A row of training data in its normalised form."""

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

    `imitated` are the indices of earlier replies in the prompt that are imitated too.
    """

    prompt: tuple[Turn, ...]
    replies: tuple[str, ...]
    where: str  # FILE:LINE
    imitated: tuple[int, ...] = ()

    @property
    def opening(self) -> tuple[Turn, ...]:
        """The prompt up to the first turn of the user."""
        first = next(at for at, turn in enumerate(self.prompt) if turn.role == "user")
        return self.prompt[: first + 1]

    def per_reply(self) -> Iterator[Row]:
        """One row per imitated reply, each with the turns before it as prompt; the row itself comes last."""
        for at in self.imitated:
            yield Row(self.prompt[:at], (self.prompt[at].content,), self.where)
        yield replace(self, imitated=())
