"""Messages of a chat: welcome line, command list, statistics."""

from __future__ import annotations

from collections.abc import Sequence

from mpg_cli.render.tally import SEPARATOR, acceptance_words
from mpg_cli.sampling.stats import Stats


def aligned(rows: Sequence[tuple[str, str]]) -> str:
    """Two aligned columns."""
    width = max((len(first) for first, _ in rows), default=0)
    return "\n".join(f"  {first:<{width}}  {second}".rstrip() for first, second in rows)


def welcome_words(persona: str, model: str, seed: int, exchanges: int) -> str:
    """The line before the first turn."""
    so_far = f"{exchanges} exchange{'s' * (exchanges != 1)} so far" if exchanges else ""
    parts = [f"{persona} on {model}", so_far, f"seed {seed}", "/help for commands, Ctrl-D to end"]
    return SEPARATOR.join(part for part in parts if part)


def stats_rows(
    stats: Stats, *, exchanges: int, tokens: int, read: int, whole: tuple[int, int], seed: int
) -> list[tuple[str, str]]:
    """The rows of /stats. `tokens` and `read` are the prompt tokens of the last reply and those computed;
    `whole` is the same for all replies.
    """
    per_pass, speed = stats.committed_per_pass, stats.tokens_per_second
    rows = [
        ("exchanges", str(exchanges)),
        ("tokens", f"{stats.committed} in all replies"),
        ("accepted", acceptance_words(stats) or ("no drafts" if stats.passes else "")),
        ("a pass", f"{per_pass:.2f} tokens" if per_pass is not None else ""),
        ("speed", f"{speed:.3g} tokens/s" if speed is not None else ""),
        ("last prompt", _reading(tokens, read)),
        ("all prompts", _reading(whole[0], whole[1])),
        ("seed", str(seed)),
    ]
    return [(name, value) for name, value in rows if value]


def _reading(tokens: int, read: int) -> str:
    if not tokens:
        return ""
    return f"{tokens} tokens over all rows, {read} computed, {tokens - read} cached"
