"""Hand-made events: replies as a session would yield them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mpg_cli.engine.events import Event, Finished, FinishReason, Round, Started, Text, Usage
from mpg_cli.io.terminal import Streams
from mpg_cli.personas.choice import ExpertInfo
from mpg_cli.sampling.stats import Seconds, Stats

STARTED = Started(
    sequence=0,
    seed=42,
    persona="INTJ:0.7+pirate",
    experts=(ExpertInfo("INTJ", "adapter", 0.7), ExpertInfo("pirate", "prompt", 1.0)),
    model="mpg-tiny",
    revision=None,
    device="cpu",
    dtype="float32",
    target="product",
    rule="exact",
    drafter="merged",
    chunk_size=4,
    prompt_tokens=9,
    max_tokens=256,
)


def round_(start: int, accepted: int = 2, *, threshold: bool = False) -> Round:
    """A round that drafted four tokens, accepted `accepted` of them and committed one more."""
    return Round(
        sequence=0,
        start=start,
        draft=(1, 2, 3, 4),
        evaluated=min(4, accepted + 1),
        accepted=accepted,
        tokens=tuple(range(accepted + 1)),
        contributions=tuple((0.5, -0.25) for _ in range(accepted + 1)),
        seconds=Seconds(draft=0.01, score=0.02, verify=0.001),
        thresholds=(0.1, 0.2, 0.3, 0.4) if threshold else None,
        log_ratios=((0.0, 0.1, 0.2, 0.9),) if threshold else None,
    )


def reply(
    pieces: Sequence[str],
    *,
    sequence: int | str = 0,
    finish_reason: FinishReason = "stop",
    threshold: bool = False,
    started: Started = STARTED,
) -> Iterator[Event]:
    """Started, then a round and its text for every piece, then Finished."""
    stats = Stats()
    rule = "threshold" if threshold else "exact"
    yield replace(started, sequence=sequence, rule=rule)
    for i, piece in enumerate(pieces):
        done = round_(3 * i, threshold=threshold)
        stats += Stats.of(done)
        yield replace(done, stats=stats)
        yield Text(sequence, piece)
    text = "".join(pieces)
    ids = tuple(range(stats.committed))
    yield Finished(sequence, text, ids, finish_reason, Usage(9, stats.committed), stats)


def streams(*, stdout_tty: bool = False, stderr_tty: bool = False, color: bool = False) -> Streams:
    """Streams into memory."""
    return Streams(
        stdin=io.TextIOWrapper(io.BytesIO(), encoding="utf-8"),
        stdout=io.StringIO(),
        stderr=io.StringIO(),
        stdin_tty=False,
        stdout_tty=stdout_tty,
        stderr_tty=stderr_tty,
        color=color,
        movable=True,
    )


def written(stream: object) -> str:
    """What was written to one of the streams in memory."""
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()
