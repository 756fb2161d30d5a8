"""From the flags that name personas and the way to sample to a blend and a scheme."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mpg_cli.cli.commands import values
from mpg_cli.errors import UsageError
from mpg_cli.options.model import DEFAULT_MODEL
from mpg_cli.personas.adapter_place import AdapterPlace
from mpg_cli.sampling.params import RuleName, Scheme, TargetName, Threshold

if TYPE_CHECKING:
    from mpg_cli.personas.registry import Blend


PAPER_FLAGS = ("threshold", "threshold_window", "candidates", "ahead")  # of --rule threshold


def read_scheme(
    ctx: typer.Context,
    *,
    target: TargetName,
    rule: RuleName,
    drafter: str,
    chunk_size: str,
    threshold: str | None,
    threshold_window: int | None,
    candidates: int | None,
    ahead: int | None,
) -> Scheme:
    """The law and the way there; flags that do not go together are refused if they were given."""
    if rule != "threshold":
        for name in PAPER_FLAGS:
            flag = "--" + name.replace("_", "-")
            if on_command_line(ctx, name):
                raise UsageError(
                    f"{flag} belongs to --rule threshold", hint=f"add --rule threshold or leave out {flag}"
                )
    if drafter == "none" and chunk_size not in ("auto", "0") and on_command_line(ctx, "chunk_size"):
        raise UsageError(
            "--drafter none drafts nothing, --chunk-size does not go with it", hint="leave one out"
        )
    paper = values.threshold(threshold, threshold_window, candidates, ahead)
    return Scheme(
        target=target,
        rule=rule,
        drafter=drafter,
        chunk_size=values.chunk_size(chunk_size),
        threshold=paper if rule == "threshold" else Threshold(),
    )


def read_blend(
    expressions: list[str], directories: list[Path], strength: float, *, adapters_given: bool
) -> Blend | None:
    """The personas of all `--persona` together; None where only adapters are blended."""
    from mpg_cli.personas import expression, registry

    if not expressions:
        if adapters_given:
            return None
        raise UsageError(
            "a persona is missing",
            hint="add --persona NAME, for instance -p pirate, or --adapter PATH",
        )
    terms = [term for text in expressions for term in expression.parse(text)]
    return registry.resolve(terms, registry.load_default(directories), strength)


def check_weights(
    target: TargetName, blend: Blend | None, adapters: tuple[tuple[AdapterPlace, float], ...]
) -> None:
    """A blend of nothing is none, and a mixture cannot take anything away."""
    if blend is None and not adapters:
        raise UsageError("nothing is left in the blend: every weight is zero")
    if target == "mixture":
        negative = [
            *(blend.negative if blend else ()),
            *(str(place) for place, weight in adapters if weight < 0),
        ]
        if negative:
            raise UsageError(
                f"a mixture has no negative weights, {', '.join(negative)} has one",
                hint="use --target product, where a negative weight pushes a persona away",
            )


def default_model_notice(ctx: typer.Context, model: str) -> str | None:
    """What to tell who has not chosen a model."""
    if model != DEFAULT_MODEL or chosen(ctx, "model"):
        return None
    return (
        f"{DEFAULT_MODEL} speaks, a tiny demonstration model; "
        "choose a real one with --model, such as --model Qwen/Qwen3-0.6B"
    )


def on_command_line(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def chosen(ctx: typer.Context, name: str) -> bool:
    """Whether flag, environment or config file set the parameter."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"
