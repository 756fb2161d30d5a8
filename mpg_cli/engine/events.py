"""Events of sampling, as frozen values. Renderers show them; nothing here prints.

Order for one reply: `Started`, then `Round` and `Text` in turn, then `Finished`. `Notice` may come
anywhere. Where requests run together, `Failed` is the last event of one that fails, and `Sized` and
`Progress` are about all of them. Torch-free.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from mpg_cli.engine.run_spec import RunSpec
from mpg_cli.errors import MpgError
from mpg_cli.explain.attribution import Explanation
from mpg_cli.sampling.stats import FinishReason, Round, Stats

__all__ = [
    "EngineEvent",
    "Event",
    "Failed",
    "FinishReason",
    "Finished",
    "Notice",
    "Progress",
    "Round",
    "Sized",
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
    """A message for stderr: a default that was applied, a name mismatch, the seed drawn."""

    type: ClassVar[str] = "notice"
    message: str


@dataclass(frozen=True)
class Started:
    """A reply begins."""

    type: ClassVar[str] = "started"
    spec: RunSpec

    @property
    def sequence(self) -> int | str:
        return self.spec.sequence


@dataclass(frozen=True)
class Text:
    """The next piece of the reply; it never ends within a character."""

    type: ClassVar[str] = "text"
    sequence: int | str
    text: str


@dataclass(frozen=True)
class Finished:
    """A complete or interrupted reply: its text, how it was made, and its statistics."""

    type: ClassVar[str] = "finished"
    spec: RunSpec
    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    usage: Usage
    stats: Stats
    explanation: Explanation | None = None  # if requested

    @property
    def sequence(self) -> int | str:
        return self.spec.sequence

    @property
    def seed(self) -> int:
        return self.spec.seed

    def record(self) -> dict[str, Any]:
        """The JSON record of the reply, with everything needed to repeat it (`--format json`)."""
        record = {
            "text": self.text,
            "token_ids": self.token_ids,
            **self.spec.record(),
            "finish_reason": self.finish_reason,
            "usage": asdict(self.usage),
            "stats": self.stats.as_json(),
        }
        return record if self.explanation is None else record | {"explanation": self.explanation.as_json()}


@dataclass(frozen=True)
class Failed:
    """A request of several that failed; the others continue."""

    sequence: int | str
    code: str  # bad_persona, bad_value, too_long, numerics, no_memory or cut_short
    error: MpgError


@dataclass(frozen=True)
class Sized:
    """The number of slots from now on, and the reason for it."""

    batch_size: int
    reason: str


@dataclass(frozen=True)
class Progress:
    """A round of all running sequences: tokens committed, sequences still running."""

    tokens: int
    running: int


Event = Notice | Started | Round | Text | Finished
EngineEvent = Event | Failed | Sized | Progress


def as_json(event: Event) -> dict[str, Any]:
    """The event as one JSON object with its `type` and `schema` (the `events` format)."""
    match event:
        case Started():
            fields = event.spec.as_json()
        case Finished():
            fields = event.record() | event.spec.as_json()
        case Round():
            fields = asdict(event)
            del fields["stats"]  # running totals; `finished` has those of the reply
        case _:
            fields = asdict(event)
    return {"type": event.type, "schema": SCHEMA, **fields}
