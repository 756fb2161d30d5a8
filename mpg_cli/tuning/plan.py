"""The plan of a tuning run: prompts, draft sources and the loaded blend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mpg_cli.engine.request import Request
from mpg_cli.errors import UsageError
from mpg_cli.io.lines import read_prompts
from mpg_cli.io.text import visible
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.sampling.params import Scheme

if TYPE_CHECKING:  # torch loads with the model
    from mpg_cli.models.experts import Expert
    from mpg_cli.tuning.measure import Bench

PROMPTS = (
    "How should I spend my weekend?",
    "What makes a good friend?",
    "Help me write a short letter to my landlord about a broken heater.",
    "I have an exam tomorrow and cannot sleep. What should I do?",
    "Explain how a bicycle stays upright.",
    "Tell me about a place that you would like to visit.",
    "How do I cook rice?",
    "Is it better to plan a trip or to just go?",
)
TOKENS = 64  # per measured reply


def measured_request(request: Request) -> Request:
    """The request to measure with: short replies and a fixed seed; each variant sets its own drafter."""
    return replace(
        request,
        scheme=replace(request.scheme, drafter="none"),
        sampling=replace(request.sampling, max_tokens=TOKENS),
        seed=request.seed or 0,
    )


def prompts(file: Path | None, system: str | None) -> list[Prompting]:
    """The prompts of a file, one a line, or the built-in ones. Raises UsageError."""
    lines = PROMPTS if file is None else read_prompts(file, f"--prompts {visible(str(file))}")
    return [Prompting(line, system=system) for line in lines]


def drafters(wanted: Sequence[str], names: Sequence[str], scheme: Scheme) -> list[str]:
    """The drafters to measure for a blend of these names: the wanted ones, or all that need no further model.

    Raises UsageError for one that the scheme or the blend does not allow.
    """
    if not wanted:
        free = [] if scheme.rule == "threshold" else ["lookup"]
        return ["merged", "folded", "reference", *(f"persona:{name}" for name in dict.fromkeys(names)), *free]
    if "auto" in wanted:
        raise UsageError(
            "--drafter auto cannot be tuned: it uses the result of tuning",
            hint="name the drafters to try, or leave the option out",
        )
    found = list(dict.fromkeys(replace(scheme, drafter=text).on(names).drafter for text in wanted))
    if sum(name.startswith("model:") for name in found) > 1:
        raise UsageError("--drafter names more than one model", hint="try the models one at a time")
    return [name for name in found if name != "none"]  # token-by-token decoding is always measured


def distinct_drafters(drafters: list[str], experts: Sequence[Expert]) -> list[str]:
    """Without `folded` where no expert has an adapter to fold: it would be the same as `merged`."""
    if "merged" not in drafters or any(expert.adapter is not None for expert in experts):
        return drafters
    return [name for name in drafters if name != "folded"]


def open_bench(
    request: Request, prompts: Sequence[Prompting], drafters: Sequence[str], report: Callable[[str], None]
) -> tuple[Bench, list[str]]:
    """Load the model, the experts and the drafting model, if any; returns the bench and the notices."""
    from mpg_cli.models.experts import find_drafter
    from mpg_cli.models.prepare import load_prepared
    from mpg_cli.tuning.measure import Bench

    loaded = load_prepared(request.model, report)
    notices = list(loaded.notices)
    bench = Bench(request, loaded, prompts, report=report, notice=notices.append)
    for name in drafters:
        smaller = find_drafter(replace(request.scheme, drafter=name), loaded, report, bench.cache)
        notices += smaller.notices if smaller else ()
    return bench, notices
