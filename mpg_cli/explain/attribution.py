"""Attribution: the contribution of each persona to each token of a reply, and the origin of each token.

A contribution is w_i * delta_i in nats under the product, the responsibility of the expert under the mixture
(its sum over tokens is the expected number of tokens from that persona). Torch-free values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mpg_cli.sampling.stats import Round

# accepted: drafted and accepted; corrected: the token of the target in place of a rejected draft;
# bonus: the token of the target after a wholly accepted (or empty) chunk.
Origin = Literal["accepted", "corrected", "bonus"]
Unit = Literal["nats", "share"]

MIN_INTENSITY = 0.05  # a weaker contribution is not attributed to an expert

# Full stops that end a sentence: not within 3.14, not before a small letter as in "e.g. this".
_ENDS = re.compile(
    r"""[.!?…]+["'”’»)\]]*(?=\s+[^\sa-z]|\s*$)|[。！？]+["'”’」』)）]*|\n\s*\n|\n(?=\s*[-*•\d])"""
)
_NUMBER = re.compile(r"\s*\d{1,3}\.")  # "3." begins a list item and ends no sentence


@dataclass(frozen=True)
class Rejected:
    """The drafted token that a corrected one replaces; without text if it was an end token."""

    id: int
    text: str


@dataclass(frozen=True)
class Token:
    """A token of the reply. The text of a character of several tokens belongs to the last one."""

    id: int
    text: str
    origin: Origin
    contributions: tuple[float, ...]  # K, in the order of the experts
    rejected: Rejected | None = None


@dataclass(frozen=True)
class Sentence:
    """Tokens `first` to `end` - 1, and the sums of their contributions."""

    first: int
    end: int
    text: str
    contributions: tuple[float, ...]  # K


@dataclass(frozen=True)
class Explanation:
    """A reply by tokens and sentences. `names` are K distinct names of the experts, `shares` their normalised
    weights, which are the prior responsibilities under a mixture.
    """

    names: tuple[str, ...]
    shares: tuple[float, ...]
    unit: Unit
    tokens: tuple[Token, ...]
    sentences: tuple[Sentence, ...]
    prefill: str = ""  # given beginning of the reply, before the first token

    def strongest(self, token: Token) -> int | None:
        """The expert that contributed most to the token; None below MIN_INTENSITY."""
        if not token.contributions:
            return None
        best = max(range(len(token.contributions)), key=lambda i: self.intensity(i, token.contributions[i]))
        return best if self.intensity(best, token.contributions[best]) >= MIN_INTENSITY else None

    def intensity(self, expert: int, value: float) -> float:
        """A contribution on a scale from 0 to 1: 1 - e^-x for x nats (1 nat: 0.63), 0 for negative ones.

        Under a mixture: 0 for a responsibility up to the prior share of the expert, 1 for all of the token.
        """
        if self.unit == "nats":
            return 1 - math.exp(-max(0.0, value))
        share = self.shares[expert]
        return 1.0 if share == 1 else max(0.0, (value - share) / (1 - share))

    def leading(self, most: int) -> tuple[int, ...]:
        """The `most` experts with the largest absolute contributions, in the order of the experts."""
        weight = [sum(abs(token.contributions[i]) for token in self.tokens) for i in range(len(self.names))]
        return tuple(sorted(sorted(range(len(weight)), key=lambda i: -weight[i])[:most]))

    def as_json(self) -> dict[str, Any]:
        """`unit`, `tokens` and `sentences`, with the contributions by name."""
        return {
            "unit": self.unit,
            "tokens": [self._token_json(token) for token in self.tokens],
            "sentences": [
                {
                    "text": s.text,
                    "first": s.first,
                    "end": s.end,
                    "contributions": self._by_name(s.contributions),
                }
                for s in self.sentences
            ],
        }

    def _token_json(self, token: Token) -> dict[str, Any]:
        strongest = self.strongest(token)
        shown = {
            "id": token.id,
            "text": token.text,
            "origin": token.origin,
            "contributions": self._by_name(token.contributions),
            "strongest": None if strongest is None else self.names[strongest],
        }
        if token.rejected is not None:
            shown["rejected"] = {"id": token.rejected.id, "text": token.rejected.text}
        return shown

    def _by_name(self, contributions: Sequence[float]) -> dict[str, float]:
        return dict(zip(self.names, contributions, strict=True))


def explain(
    names: Sequence[str], weights: Sequence[float], unit: Unit, tokens: Sequence[Token], prefill: str = ""
) -> Explanation:
    """Build an explanation: tokens, and the sentences that they form."""
    total = math.fsum(map(abs, weights))
    shares = tuple(abs(weight) / total for weight in weights)
    sentences = tuple(_sentences(tokens, len(names)))
    return Explanation(distinct(names), shares, unit, tuple(tokens), sentences, prefill)


def origins(rounds: Iterable[Round]) -> list[tuple[Origin, int | None]]:
    """The origin of each committed token, and the drafted token that it replaces, if any."""
    found: list[tuple[Origin, int | None]] = []
    for r in rounds:
        found += [("accepted", None)] * min(r.accepted, len(r.tokens))
        if len(r.tokens) > r.accepted:
            rejected = r.draft[r.accepted] if r.accepted < len(r.draft) else None
            found.append(("bonus" if rejected is None else "corrected", rejected))
    return found


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The names, with repeated ones numbered: pirate, pirate (2)."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(found)


def _sentences(tokens: Sequence[Token], experts: int) -> Iterable[Sentence]:
    """Sentences of whole tokens; a token belongs to the sentence of its first non-space character."""
    text = "".join(token.text for token in tokens)
    ends = [m.end() for m in _ENDS.finditer(text)]
    begun = 0  # where the sentence begins, in characters
    found = []
    for end in ends:
        if text[begun:end].strip() and not _NUMBER.fullmatch(text[begun:end]):
            found.append(end)
            begun = end
    first = offset = 0
    for at, token in enumerate(tokens):
        start = offset + len(token.text) - len(token.text.lstrip())
        if found and token.text.strip() and start >= found[0]:
            while not tokens[at - 1].text:  # the first tokens of a character
                at -= 1
            yield _sentence(tokens, first, at, experts)
            first = at
            found = [end for end in found if end > start]
        offset += len(token.text)
    if first < len(tokens):
        yield _sentence(tokens, first, len(tokens), experts)


def _sentence(tokens: Sequence[Token], first: int, end: int, experts: int) -> Sentence:
    own = tokens[first:end]
    contributions = tuple(math.fsum(token.contributions[i] for token in own) for i in range(experts))
    return Sentence(first, end, "".join(token.text for token in own).strip(), contributions)
