"""The explanation of a reply from its rounds. Torch-free; only a tokenizer is needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mpg_cli.explain.attribution import Explanation, Rejected, Token, Unit, explain, origins
from mpg_cli.models.text.detokenizer import Detokenizer
from mpg_cli.sampling.stats import Round


def explain_reply(
    tokenizer: Any,
    rounds: Sequence[Round],
    count: int,
    text: str,
    experts: Sequence[tuple[str, float]],
    unit: Unit,
    prefill: str = "",
) -> Explanation:
    """Explain the first `count` tokens of the rounds; `text` is the prefill and their text.

    `experts` are K names and weights, in the order of the contributions.
    """
    ids = [token for r in rounds for token in r.tokens][:count]
    contributions = [own for r in rounds for own in r.contributions][:count]
    marks = origins(rounds)[:count]
    texts, rejects = _texts(tokenizer, ids, [rejected for _, rejected in marks], prefill)
    tokens = [
        Token(id_, text, origin, own, rejected)
        for id_, text, (origin, _), own, rejected in zip(
            ids, _cut(texts, len(text) - len(prefill)), marks, contributions, rejects, strict=True
        )
    ]
    names, weights = [name for name, _ in experts], [weight for _, weight in experts]
    return explain(names, weights, unit, tokens, prefill)


def _texts(
    tokenizer: Any, ids: Sequence[int], rejected: Sequence[int | None], prefill: str
) -> tuple[list[str], list[Rejected | None]]:
    """The text that each token completes, and the rejected drafts with theirs."""
    detokenizer = Detokenizer(tokenizer, prefill)
    texts: list[str] = []
    rejects: list[Rejected | None] = []
    for id_, other in zip(ids, rejected, strict=True):
        rejects.append(None if other is None else Rejected(other, _text_of(detokenizer, other)))
        texts.append(detokenizer.push(id_))
    if texts:
        texts[-1] += detokenizer.flush()
    return texts, rejects


def _text_of(detokenizer: Detokenizer, token: int) -> str:
    """The text of another token at this position."""
    clone = Detokenizer(detokenizer.tokenizer)
    clone.ids, clone.emitted = list(detokenizer.ids), detokenizer.emitted
    return clone.push(token) or clone.flush()


def _cut(texts: Iterable[str], length: int) -> Iterator[str]:
    """The texts, cut to `length` characters in all: a stop string is not part of the reply."""
    for text in texts:
        yield text[:length]
        length -= len(text[:length])
