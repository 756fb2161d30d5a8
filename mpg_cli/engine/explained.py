"""Explanations added to events: one in each `Finished`. Torch-free; only a tokenizer is needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from mpg_cli.engine.events import Event, Finished, Round, Started
from mpg_cli.errors import UsageError
from mpg_cli.explain.attribution import Explanation
from mpg_cli.explain.builder import explain_reply
from mpg_cli.sampling.params import Scheme


def check_explainable(scheme: Scheme) -> None:
    """Raise UsageError for a target without contributions."""
    if scheme.target == "merged":
        raise UsageError(
            "--target merged has no contributions to explain: all personas are one row",
            hint="use --target product, of which it is an approximation",
        )


def explained(events: Iterable[Event], tokenizer: Any) -> Iterator[Event]:
    """The same events, with an explanation in each `Finished`. Replies must not interleave."""
    rounds: list[Round] = []
    for event in events:
        match event:
            case Started():
                rounds = []
            case Round():
                rounds.append(event)
            case Finished():
                event = replace(event, explanation=explanation_of(rounds, event, tokenizer))
        yield event


def explanation_of(rounds: Sequence[Round], finished: Finished, tokenizer: Any) -> Explanation:
    """The explanation of a reply from its rounds; without the end token, as in `token_ids`."""
    spec = finished.spec
    return explain_reply(
        tokenizer,
        rounds,
        len(finished.token_ids),
        finished.text,
        [(expert.name, expert.weight) for expert in spec.experts],
        "share" if spec.scheme.target == "mixture" else "nats",
        spec.prefill,
    )
