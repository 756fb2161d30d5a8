"""Events of replies, with an explanation in each `Finished`. Torch-free: it needs a tokenizer only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from mpg_cli.engine.events import Event, Finished, Round, Started
from mpg_cli.explain.attribution import Explanation, Rejected, Token, explain, origins
from mpg_cli.models.text.detokenizer import Detokenizer


def explained(events: Iterable[Event], tokenizer: Any) -> Iterator[Event]:
    """The same events, one by one; what finishes a reply also explains it. Replies come in turn."""
    started: Started | None = None
    rounds: list[Round] = []
    for event in events:
        match event:
            case Started():
                started, rounds = event, []
            case Round():
                rounds.append(event)
            case Finished() if started is not None:
                event = replace(event, explanation=explanation_of(started, rounds, event, tokenizer))
        yield event


def explanation_of(
    started: Started, rounds: Sequence[Round], finished: Finished, tokenizer: Any
) -> Explanation:
    """The explanation of a reply from its rounds; the end token is left out, as in `token_ids`."""
    count = len(finished.token_ids)
    ids = [token for r in rounds for token in r.tokens][:count]
    contributions = [row for r in rounds for row in r.contributions][:count]
    marks = origins(rounds)[:count]
    texts, rejects = _texts(tokenizer, ids, [rejected for _, rejected in marks], started.prefill)
    sampled = len(finished.text) - len(started.prefill)
    tokens = [
        Token(id_, text, origin, own, rejected)
        for id_, text, (origin, _), own, rejected in zip(
            ids, _cut(texts, sampled), marks, contributions, rejects, strict=True
        )
    ]
    names = [expert.name for expert in started.experts]
    weights = [expert.weight for expert in started.experts]
    return explain(
        names, weights, "share" if started.target == "mixture" else "nats", tokens, started.prefill
    )


def _texts(
    tokenizer: Any, ids: Sequence[int], rejected: Sequence[int | None], prefill: str
) -> tuple[list[str], list[Rejected | None]]:
    """The text that each token completes, and that of the draft rejected in its place."""
    detokenizer = Detokenizer(tokenizer, prefill)
    texts: list[str] = []
    rejects: list[Rejected | None] = []
    for id_, other in zip(ids, rejected, strict=True):
        rejects.append(None if other is None else Rejected(other, _instead(detokenizer, other)))
        texts.append(detokenizer.push(id_))
    if texts:
        texts[-1] += detokenizer.flush()
    return texts, rejects


def _instead(detokenizer: Detokenizer, token: int) -> str:
    """The text that another token would have had here."""
    twin = Detokenizer(detokenizer.tokenizer)
    twin.ids, twin.emitted = list(detokenizer.ids), detokenizer.emitted
    return twin.push(token) or twin.flush()


def _cut(texts: Iterable[str], length: int) -> Iterator[str]:
    """The texts up to so many characters together: a stop string is no part of the reply."""
    for text in texts:
        yield text[:length]
        length -= len(text[:length])
