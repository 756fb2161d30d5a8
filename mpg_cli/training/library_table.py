"""The results of `mpg train --library`, as plain data and as a table for the terminal."""

from __future__ import annotations

import shlex
from typing import Any

from mpg_cli.personas import persona_file
from mpg_cli.training.library import Library


def table(library: Library) -> list[dict[str, Any]]:
    """The results of each persona from the manifest, as plain data, without its plan."""
    found = []
    for run in library.runs:
        entry = library.manifest.entry(run.name) or {}
        facts = ("rows", "steps", "seconds", "train", "held_out", "heard")
        found.append(
            {"persona": run.name, "file": str(run.where.file), "adapter": str(run.where.adapter)}
            | {fact: entry.get(fact) for fact in facts}
        )
    return found


def as_text(library: Library) -> str:
    """The table for the terminal, and what comes next."""
    lines = [f"{'persona':<12} {'rows':>5} {'steps':>6} {'accuracy':>9} {'margin':>7}  heard"]
    for one in table(library):
        held, heard = one["held_out"] or {}, one["heard"] or {}
        rows = (one["rows"] or {}).get("trained", 0)
        margin = held.get("margin_nats")
        lines.append(
            f"{one['persona']:<12} {rows:>5} {one['steps']:>6} {_percent(held.get('accuracy')):>9} "
            f"{'–' if margin is None else f'{margin:.1f}':>7}  {_heard(heard)}".rstrip()
        )
    first = library.runs[0].where
    lines.append("accuracy and margin (nats): on held-out prompts, against the base")
    if any(one["heard"] for one in table(library)):
        lines.append("heard: share of sampled replies that show the persona, without and with the adapter")
        lines += _replies(library)
    lines.append(f"{library.manifest.file}: how they were made and judged")
    options = persona_file.options_to_find(first.folder, library.runs[0].request.model.name)
    blend = "+".join(run.name for run in library.runs[:: max(1, len(library.runs) - 1)][:2])
    use = shlex.join(("mpg", "generate", "--persona", blend, *options, "…"))
    return "\n".join([*lines, f"try it: {use}"])


def _replies(library: Library) -> list[str]:
    """Replies of each persona that were sampled, and why they were not judged."""
    from mpg_cli.training.heard import example

    lines = []
    for one in table(library):
        heard = one["heard"] or {}
        why = f" (not judged: {heard['judge']})" if heard and heard["after"] is None else ""
        if replies := heard.get("examples"):
            lines.append(f"{one['persona']}{why}")
            lines += [example(own["prompt"], own["reply"]) for own in replies]
    return lines


def _heard(heard: dict[str, Any]) -> str:
    if heard.get("after") is None:
        return "–"
    mark = "" if heard["audible"] else "  not heard"
    return f"{_percent(heard['before'])} → {_percent(heard['after'])}{mark}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"
