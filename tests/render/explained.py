"""Hand-made explained replies, and how light a colour is."""

from __future__ import annotations

from dataclasses import replace

from mpg_cli.engine.events import Finished, Usage
from mpg_cli.explain.attribution import Explanation, Rejected, Token, Unit, explain
from mpg_cli.personas.choice import ExpertInfo
from mpg_cli.sampling.stats import Stats
from tests.support.replies import SPEC

HOSTILE = '</script><img src=x onerror=alert(1)> & "q" \x1b[31m\u202e[b]bold[/b] :smile: $body'

TOKENS = (
    Token(1, "Aye", "accepted", (0.0, 2.5)),
    Token(2, ",", "bonus", (0.01, -0.02)),
    Token(3, " mate", "corrected", (0.3, 0.8), Rejected(9, " friend")),
    Token(4, ".", "accepted", (0.0, 0.0)),
    Token(5, " ", "accepted", (0.0, 0.0)),
    Token(6, "", "accepted", (0.1, 0.0)),
    Token(7, "🙂", "bonus", (1.0, 0.2)),
    Token(8, " Plan", "corrected", (1.2, -1.5), Rejected(0, "")),
    Token(9, " it.", "accepted", (0.2, 0.1)),
)


def explained_reply(
    tokens: tuple[Token, ...] = TOKENS,
    *,
    names: tuple[str, ...] = ("INTJ", "pirate"),
    unit: Unit = "nats",
    prefill: str = "",
) -> Finished:
    """A reply of these tokens."""
    text = "".join(token.text for token in tokens)
    experts = tuple(ExpertInfo(name, "adapter", 1.0) for name in names)
    scheme = replace(SPEC.scheme, target="mixture" if unit == "share" else "product")
    spec = replace(SPEC, experts=experts, scheme=scheme)
    ids = tuple(token.id for token in tokens)
    found: Explanation = explain(names, [1.0] * len(names), unit, tokens, prefill)
    return Finished(spec, text, ids, "stop", Usage(9, len(ids)), Stats(accepted=3, evaluated=4), found)


def luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
