"""The output of `mpg eval style`: bars and numbers, or JSON."""

from __future__ import annotations

import json
from typing import TextIO

from mpg_cli.evaluation.bootstrap import Estimate
from mpg_cli.evaluation.metrics import Metrics
from mpg_cli.evaluation.study import Findings
from mpg_cli.io.terminal import Streams, clean
from mpg_cli.io.text import width

BAR = 20  # columns


def write_findings(streams: Streams, found: Findings, *, as_json: bool) -> None:
    """Write one JSON object, or bars and numbers."""
    if as_json:
        streams.stdout.write(json.dumps(found.as_json(), ensure_ascii=False) + "\n")
    else:
        write_style(streams.stdout, found, color=streams.color and streams.stdout_tty)


def write_style(stream: TextIO, found: Findings, *, color: bool) -> None:
    """Write the presence of each persona, then the metrics of all replies."""
    own = found.metrics
    head = f"{found.persona} on {found.model}, {prompts(own)}, seed {found.seed}"
    lines = [_bold(clean(head), color), ""]
    if own.judged:
        lines += [*presence_lines(own), ""]
    for name, value in facts(own):
        lines.append(f"{name:<18}{value}")
    lines += ["", *legend(found)]
    stream.write("\n".join(lines) + "\n")


def presence_lines(own: Metrics) -> list[str]:
    """A bar per persona; below them the minimum, the mean and the share of replies that show all."""
    rows = [(clean(name), shown) for name, shown in zip(own.personas, own.presence, strict=True)]
    wide = max(18, *(width(name) + 2 for name, _ in rows))
    lines = [
        f"{name}{' ' * (wide - width(name))}{bar(shown.value)} {interval(shown, percent=True)}"
        for name, shown in rows
    ]
    for name, whole in (("minimum", own.least), ("mean", own.mean), ("all in one reply", own.together)):
        if whole is not None and len(rows) > 1:
            lines.append(f"{name:<{wide}}{' ' * BAR} {interval(whole, percent=True)}")
    return lines


def facts(own: Metrics) -> list[tuple[str, str]]:
    """Fluency, diversity, length, speed."""
    found = []
    if own.fluency is not None:
        found.append(("fluency", f"{interval(own.fluency)} nats per token under the base"))
    distinct = ", ".join(f"{value:.2f}" for value in own.distinct.values() if value is not None)
    found.append(("distinct-1, 2, 3", distinct or "no words"))
    if own.self_bleu is not None:
        found.append(("self-BLEU-4", f"{own.self_bleu:.3f}"))
    if own.reference_bleu is not None:
        found.append(("BLEU-4", f"{own.reference_bleu:.3f} against the reference answers"))
    found += [(f"like {name}", interval(alike)) for name, alike in own.similarity.items()]
    found.append(("length", f"{own.length:.1f} tokens"))
    if own.tokens_per_second is not None:
        found.append(("speed", f"{own.tokens_per_second:.0f} tokens/s, all prompts together"))
    return found


def legend(found: Findings) -> list[str]:
    """The judge, and the meaning of the intervals."""
    judged = f"Judged by {found.judged_by}." if found.metrics.judged else "No judge was given."
    if found.metrics.similarity:
        judged = f"like: {found.judged_by}; what texts are about, no share of a persona."
    return [clean(judged), "In brackets: 95 % bootstrap intervals over the prompts."]


def prompts(own: Metrics) -> str:
    """The number of prompts in words."""
    return "1 prompt" if len(own.prompts) == 1 else f"{len(own.prompts)} prompts"


def bar(share: float) -> str:
    """A bar for a share between 0 and 1."""
    size = round(share * BAR)
    return "█" * size + "·" * (BAR - size)


def interval(own: Estimate, *, percent: bool = False) -> str:
    """The value and its interval."""
    if percent:
        return f"{own.value:4.0%} [{own.low:.0%}, {own.high:.0%}]"
    return f"{own.value:.3f} [{own.low:.3f}, {own.high:.3f}]"


def _bold(text: str, color: bool) -> str:
    return f"\x1b[1m{text}\x1b[22m" if color else text
