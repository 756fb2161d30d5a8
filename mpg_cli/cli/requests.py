"""From the groups of options of a command that samples to the request that it makes."""

from __future__ import annotations

import typer

from mpg_cli.cli.groups import chosen, given
from mpg_cli.engine.request import Request
from mpg_cli.errors import UsageError
from mpg_cli.models.prompting import Prompting
from mpg_cli.options.blend import BlendOptions
from mpg_cli.options.model import DEFAULT_MODEL, ModelOptions
from mpg_cli.options.option import options_of
from mpg_cli.options.run import RunOptions
from mpg_cli.personas import blending
from mpg_cli.sampling.params import Sampling, Scheme, Threshold


def read_request(
    ctx: typer.Context,
    prompting: Prompting,
    blend: BlendOptions,
    model: ModelOptions,
    sampling: Sampling,
    scheme: Scheme,
    run: RunOptions,
) -> Request:
    """One prompt, one blend and the way to sample. Raises UsageError for what does not go together."""
    check_scheme(ctx, scheme)
    experts = blending.resolve(blend, scheme.target)
    return Request(
        model=model,
        prompting=prompting,
        sampling=sampling,
        scheme=scheme.on(experts.names),
        blend=experts.blend,
        adapters=experts.adapters,
        seed=run.seed,
        samples=run.samples,
        sequence_id=run.sequence_id,
    )


def check_scheme(ctx: typer.Context, scheme: Scheme) -> None:
    """Raise UsageError for options on the command line that have no effect beside the others."""
    if scheme.rule != "threshold":
        for one in options_of(Threshold):
            if given(ctx, one.key):
                hint = f"add --rule threshold or leave out {one.flag}"
                raise UsageError(f"{one.flag} belongs to --rule threshold", hint=hint)
    if scheme.drafter == "none" and scheme.chunk_size and given(ctx, "chunk_size"):
        raise UsageError(
            "--drafter none drafts nothing, --chunk-size does not go with it", hint="leave one out"
        )


def default_model_notice(ctx: typer.Context, model: str) -> str | None:
    """What to tell who has not chosen a model."""
    if model != DEFAULT_MODEL or chosen(ctx, "model"):
        return None
    return (
        f"using {DEFAULT_MODEL}, a tiny demonstration model; "
        "choose a real one with --model, such as --model Qwen/Qwen3-0.6B"
    )
