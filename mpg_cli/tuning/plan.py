"""What is tried: the prompts, the drafters, and the loaded blend to try them on."""

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
TOKENS = 64  # of a reply that is run


def probed(request: Request) -> Request:
    """The request as it is measured: short replies with one seed; the drafter comes with each try."""
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


def drafters(asked: Sequence[str], names: Sequence[str], scheme: Scheme) -> list[str]:
    """The drafters to try for a blend of these names: those asked for, or all that need no further model.

    Raises UsageError for one that the scheme or the blend does not allow.
    """
    if not asked:
        free = [] if scheme.rule == "threshold" else ["lookup"]
        return ["merged", "folded", "reference", *(f"persona:{name}" for name in dict.fromkeys(names)), *free]
    if "auto" in asked:
        raise UsageError("--drafter auto is what tuning finds", hint="name those to try, or leave it out")
    found = list(dict.fromkeys(replace(scheme, drafter=text).on(names).drafter for text in asked))
    if sum(name.startswith("model:") for name in found) > 1:
        raise UsageError("--drafter names two models", hint="try them one at a time")
    return [name for name in found if name != "none"]  # token-by-token decoding is always tried


def foldable(drafters: list[str], experts: Sequence[Expert]) -> list[str]:
    """Without an adapter there is nothing to fold: the folded drafter would be the merged one again."""
    if "merged" not in drafters or any(expert.adapter is not None for expert in experts):
        return drafters
    return [name for name in drafters if name != "folded"]


def open_bench(
    request: Request, prompts: Sequence[Prompting], drafters: Sequence[str], report: Callable[[str], None]
) -> tuple[Bench, list[str]]:
    """Load the model, the experts and the model that drafts, if one does; what the user should know of it."""
    from mpg_cli.engine.session import Session, open_drafter
    from mpg_cli.tuning.measure import Bench

    session = Session.open(request, report)
    smaller = None
    if models := [name for name in drafters if name.startswith("model:")]:
        drawn = replace(request, scheme=replace(request.scheme, drafter=models[0]))
        smaller = open_drafter(drawn, session.loaded, report)
    session.close()
    notices = [notice.message for notice in session.notices]
    return Bench(request, session.loaded, session.experts, prompts, smaller), notices
