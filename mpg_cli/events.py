"""What happens while a reply is sampled, as frozen values. Renderers draw them; nothing here prints.

Order for one reply: `Started`, then `Round` and `Text` in turn, then `Finished`. `Notice` may come
anywhere. Torch-free.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from mpg_cli.sampling.stats import Seconds, Stats

SCHEMA = 1
FinishReason = Literal["stop", "length", "interrupted"]
ExpertKind = Literal["adapter", "prompt", "both", "checkpoint"]


@dataclass(frozen=True)
class ExpertInfo:
    """One expert of the blend: what it is and how strongly it counts."""

    name: str
    kind: ExpertKind
    weight: float


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
    chunk_size: int
    prompt_tokens: int
    max_tokens: int


@dataclass(frozen=True)
class Round:
    """One SCR round of one sequence: draft, score, judge, commit (algorithm page, section 4).

    `tokens` are the committed ones: the kept prefix and the target's token, cut at an end token or
    at the token limit. `pull[j][i]` is what persona i added to committed token j: w_i * delta_i under
    the product, the responsibility of expert i under the mixture. Thresholds, clipped and excess
    belong to the threshold rule and are None elsewhere.
    """

    type: ClassVar[str] = "round"
    sequence: int | str
    start: int  # position in the reply where the round begins, from 0
    draft: tuple[int, ...]
    tested: int  # drafted tokens up to and including the first that was rejected
    kept: int
    tokens: tuple[int, ...]
    pull: tuple[tuple[float, ...], ...]
    seconds: Seconds
    thresholds: tuple[float, ...] | None = None  # m_1 .. m_gamma, fixed before the pass
    log_ratios: tuple[float, ...] | None = None  # a_1 .. a_gamma
    finish_reason: FinishReason | None = None


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


Event = Notice | Started | Round | Text | Finished


def as_json(event: Event) -> dict[str, Any]:
    """The event as one JSON object with its `type` and `schema` (the `events` format)."""
    return {"type": event.type, "schema": SCHEMA, **asdict(event)}
