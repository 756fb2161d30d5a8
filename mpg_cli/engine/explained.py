"""Events of replies with an explanation in each `Finished`. Torch-free: it needs a tokenizer only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from mpg_cli.engine.events import Event, Finished, Round, Started
from mpg_cli.explain.attribution import Explanation
from mpg_cli.explain.builder import explain_reply


def explained(events: Iterable[Event], tokenizer: Any) -> Iterator[Event]:
    """The same events, one by one; what finishes a reply also explains it. Replies come in turn."""
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
    """The explanation of a reply from its rounds; the end token is left out, as in `token_ids`."""
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
