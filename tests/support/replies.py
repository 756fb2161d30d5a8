"""Hand-made events: replies as an engine would yield them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mpg_cli.engine.events import Event, Finished, FinishReason, Round, Started, Text, Usage
from mpg_cli.engine.run_spec import ModelSpec, RunSpec
from mpg_cli.io.terminal import Streams
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.personas.choice import ExpertInfo
from mpg_cli.sampling.params import RuleName, SamplingLaw, Scheme
from mpg_cli.sampling.stats import Seconds, Stats

SPEC = RunSpec(
    model=ModelSpec("mpg-tiny", None, "cpu", "float32"),
    persona="INTJ:0.7+pirate",
    experts=(ExpertInfo("INTJ", "adapter", 0.7), ExpertInfo("pirate", "prompt", 1.0)),
    prompting=Prompting("How do I make tea?"),
    scheme=Scheme(drafter="merged", chunk_size=4),
    sampling=SamplingLaw(),
    seed=42,
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
    spec: RunSpec = SPEC,
) -> Iterator[Event]:
    """Started, then a round and its text for every piece, then Finished."""
    stats = Stats()
    rule: RuleName = "threshold" if threshold else "exact"
    spec = replace(spec, sequence=sequence, scheme=replace(spec.scheme, rule=rule))
    yield Started(spec)
    for i, piece in enumerate(pieces):
        done = round_(3 * i, threshold=threshold)
        stats += Stats.of(done)
        yield replace(done, sequence=sequence, stats=stats)
        yield Text(sequence, piece)
    text = "".join(pieces)
    ids = tuple(range(stats.committed))
    yield Finished(spec, text, ids, finish_reason, Usage(9, stats.committed), stats)


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
