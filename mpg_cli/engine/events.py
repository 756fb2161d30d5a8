"""What happens while a reply is sampled, as frozen values. Renderers draw them; nothing here prints.

Order for one reply: `Started`, then `Round` and `Text` in turn, then `Finished`. `Notice` may come
anywhere. Torch-free.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from mpg_cli.explain.attribution import Explanation
from mpg_cli.personas.choice import ExpertInfo
from mpg_cli.sampling.stats import FinishReason, Round, Stats

__all__ = [
    "Event",
    "FinishReason",
    "Finished",
    "Notice",
    "Round",
    "Started",
    "Text",
    "Usage",
    "as_json",
]

SCHEMA = 1


@dataclass(frozen=True)
class Usage:
    """Tokens of the plain (reference) prompt and of the reply, end token excluded."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Notice:
    """Something the user should know, for stderr: a default taken, a name mismatch, a seed drawn."""

    type: ClassVar[str] = "notice"
    message: str


@dataclass(frozen=True)
class Started:
    """A reply begins: every choice that determines it."""

    type: ClassVar[str] = "started"
    sequence: int | str
    seed: int
    persona: str
    experts: tuple[ExpertInfo, ...]
    model: str
    revision: str | None
    device: str
    dtype: str
    target: str
    rule: str
    drafter: str
    chunk_size: int | Literal["auto"]  # auto: it follows the acceptance
    prompt_tokens: int
    max_tokens: int
    prefill: str = ""  # what the text begins with; it is not sampled
    device_reason: str = ""
    dtype_reason: str = ""


@dataclass(frozen=True)
class Text:
    """A piece of the reply, safe to append to what came before (never half a character)."""

    type: ClassVar[str] = "text"
    sequence: int | str
    text: str


@dataclass(frozen=True)
class Finished:
    """A reply is complete (or was interrupted): the whole of it and its statistics."""

    type: ClassVar[str] = "finished"
    sequence: int | str
    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    usage: Usage
    stats: Stats
    explanation: Explanation | None = None  # where it was asked for


Event = Notice | Started | Round | Text | Finished


def as_json(event: Event) -> dict[str, Any]:
    """The event as one JSON object with its `type` and `schema` (the `events` format)."""
    fields = asdict(event)
    if isinstance(event, Round):
        del fields["stats"]  # of all rounds so far; `finished` has those of the reply
    if isinstance(event, Finished):
        fields["stats"] = event.stats.as_json()
        del fields["explanation"]
        if event.explanation is not None:
            fields["explanation"] = event.explanation.as_json()
    return {"type": event.type, "schema": SCHEMA, **fields}
