"""From the options of a command that samples to the request that it makes, and to a session for it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer

from mpg_cli.cli.groups import chosen, given
from mpg_cli.errors import ExitCode, UsageError
from mpg_cli.options.blend import BlendOptions
from mpg_cli.options.model import DEFAULT_MODEL, ModelOptions
from mpg_cli.options.option import group
from mpg_cli.options.prompt import PromptOptions
from mpg_cli.options.run import RunOptions
from mpg_cli.sampling.params import Sampling, Scheme

if TYPE_CHECKING:  # TAB and --help need none of these
    from mpg_cli.chat.transcript import SavedChat
    from mpg_cli.engine.request import Request
    from mpg_cli.engine.session import Session
    from mpg_cli.io.terminal import Streams
    from mpg_cli.options.commands import CompareOptions
    from mpg_cli.render.commentary import Commentary


@dataclass(frozen=True)
class RequestOptions:
    """All options that make a request: the prompt, the blend, the model and the way to sample."""

    prompt: PromptOptions = group(PromptOptions)
    blend: BlendOptions = group(BlendOptions)
    model: ModelOptions = group(ModelOptions)
    sampling: Sampling = group(Sampling)
    run: RunOptions = group(RunOptions)
    scheme: Scheme = group(Scheme)

    def with_prompt(self, text: str) -> RequestOptions:
        """The same with this prompt, whatever else there was to read."""
        return replace(self, prompt=replace(self.prompt, prompt=text, prompt_file=None, messages=None))


def read_request(
    ctx: typer.Context, asked: RequestOptions, streams: Streams, *, of_lines: bool = False
) -> Request:
    """One prompt, one blend and the way to sample. Raises UsageError for what is wrong or does not fit.

    `of_lines`: it has the defaults of lines that may name blends of their own, so it needs none.
    """
    from mpg_cli.cli.prompts import read_prompting
    from mpg_cli.engine.request import Request
    from mpg_cli.personas import blending

    asked.scheme.check_given(lambda key: given(ctx, key))
    blendless = of_lines and not (asked.blend.personas or asked.blend.adapters)
    experts = blending.Experts() if blendless else blending.resolve(asked.blend, asked.scheme.target)
    scheme = asked.scheme if of_lines else asked.scheme.on(experts.names)
    return Request(
        model=asked.model,
        prompting=read_prompting(asked.prompt, streams),
        sampling=asked.sampling,
        scheme=scheme,
        blend=experts.blend,
        adapters=experts.adapters,
        seed=asked.run.seed,
        samples=asked.run.samples,
        sequence_id=asked.run.sequence_id,
    )


def read_columns(
    ctx: typer.Context, columns: CompareOptions, asked: RequestOptions, streams: Streams
) -> list[Request]:
    """A request for each column of a comparison: one prompt, one seed, the blends apart."""
    from mpg_cli.cli.prompts import read_prompting

    blends = [replace(asked.blend, personas=(text,)) for text in columns.personas]
    blends += [replace(asked.blend, adapters=(text,)) for text in columns.adapters]
    if len(blends) < 2:
        raise UsageError("compare takes at least two personas", hint="as in -p INTJ -p pirate")
    unread = asked.with_prompt("-- until every blend has been checked --")
    requests = [read_request(ctx, replace(unread, blend=blend), streams) for blend in blends]
    seed = secrets.randbelow(2**32) if asked.run.seed is None else asked.run.seed
    prompting = read_prompting(asked.prompt, streams)
    return [replace(request, prompting=prompting, seed=seed) for request in requests]


def of_saved_chat(ctx: typer.Context, asked: RequestOptions, saved: SavedChat) -> RequestOptions:
    """The options of a chat that goes on: what it holds, where the command line does not say otherwise."""
    from mpg_cli.personas.expression import format_weight

    blend, model, run = asked.blend, asked.model, asked.run
    if not (given(ctx, "persona") or given(ctx, "adapter")):
        blend = replace(
            blend,
            personas=(saved.persona,) if saved.persona else (),
            adapters=tuple(f"{path}:{format_weight(weight)}" for path, weight in saved.adapters),
            scale=blend.scale if given(ctx, "scale") else 1.0,  # the saved weights have it in them
        )
    if not given(ctx, "model"):
        revision = model.revision if given(ctx, "revision") else saved.revision
        model = replace(model, name=saved.model, revision=revision)
    if not given(ctx, "seed"):
        run = replace(run, seed=saved.seed)
    return replace(asked, blend=blend, model=model, run=run)


def default_model_notice(ctx: typer.Context, model: str) -> str | None:
    """What to tell a user who has not chosen a model."""
    if model != DEFAULT_MODEL or chosen(ctx, "model"):
        return None
    return (
        f"using {DEFAULT_MODEL}, a tiny demonstration model; "
        "choose a real one with --model, such as --model Qwen/Qwen3-0.6B"
    )


def open_session(ctx: typer.Context, request: Request, commentary: Commentary) -> Session:
    """Load the model and the experts, with a status line; say so where the model is the default."""
    from mpg_cli.io import signals

    if notice := default_model_notice(ctx, request.model.name):
        commentary.notice(notice)
    streams = commentary.streams
    with streams.status(f"loading {request.model.name}", shown=not commentary.quiet) as status:
        from mpg_cli.engine.session import Session  # torch loads here

        session = Session.open(request, status.update)
        signals.check()
    return session


def leave(code: ExitCode | None) -> None:
    """End the command with an exit code; None and OK: it goes on."""
    if code:
        raise typer.Exit(code)
