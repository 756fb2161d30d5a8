"""Builds the request of a sampling command from its options, and the engine for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer

from mpg_cli.cli.groups import chosen, given, origin
from mpg_cli.errors import ExitCode, UsageError
from mpg_cli.io.text import visible
from mpg_cli.options.blend import BlendOptions
from mpg_cli.options.model import ModelOptions
from mpg_cli.options.option import group
from mpg_cli.options.prompt import PromptOptions
from mpg_cli.options.run import RunOptions
from mpg_cli.sampling.params import OWN, Sampling, Scheme

if TYPE_CHECKING:  # TAB and --help need none of these
    from pathlib import Path

    from mpg_cli.chat.transcript import SavedChat
    from mpg_cli.engine.engine import Engine
    from mpg_cli.engine.events import Notice
    from mpg_cli.engine.request import Request
    from mpg_cli.io.terminal import Streams
    from mpg_cli.options.commands import CompareOptions
    from mpg_cli.render.commentary import Commentary


@dataclass(frozen=True)
class RequestOptions:
    """All options of a request: prompt, blend, model, sampling, seed and scheme."""

    prompt: PromptOptions = group(PromptOptions)
    blend: BlendOptions = group(BlendOptions)
    model: ModelOptions = group(ModelOptions)
    sampling: Sampling = group(Sampling)
    run: RunOptions = group(RunOptions)
    scheme: Scheme = group(Scheme)

    def with_prompt(self, text: str) -> RequestOptions:
        """The same options with `text` as the only prompt."""
        return replace(self, prompt=replace(self.prompt, prompt=text, prompt_file=None, messages=None))


def read_request(
    ctx: typer.Context, request_options: RequestOptions, streams: Streams, *, per_line: bool = False
) -> Request:
    """The request of one prompt and one blend. Raises UsageError for invalid or conflicting options.

    With `per_line` the request holds defaults for input lines that may name their own blend, so it may have
    none.
    """
    from mpg_cli.cli.prompts import read_prompting
    from mpg_cli.engine.request import Request
    from mpg_cli.personas import blending

    request_options.scheme.check_given(lambda key: given(ctx, key))
    blendless = per_line and not (request_options.blend.personas or request_options.blend.adapters)
    experts = (
        blending.Experts()
        if blendless
        else blending.resolve(request_options.blend, request_options.scheme.target)
    )
    scheme = request_options.scheme.effective
    scheme = scheme if per_line else scheme.on(experts.names)
    return Request(
        model=request_options.model.resolved(),
        prompting=read_prompting(request_options.prompt, streams),
        sampling=request_options.sampling,
        scheme=scheme,
        blend=experts.blend,
        adapters=experts.adapters,
        seed=request_options.run.seed,
        samples=request_options.run.samples,
        sequence_id=request_options.run.sequence_id,
        given_by={key: origin(ctx, key) for key in OWN if chosen(ctx, key)},
    )


def read_columns(
    ctx: typer.Context, columns: CompareOptions, request_options: RequestOptions, streams: Streams
) -> list[Request]:
    """A request per column of a comparison: the same prompt and seed, one blend each."""
    import secrets  # not needed for completion and --help

    from mpg_cli.cli.prompts import read_prompting

    blends = [replace(request_options.blend, personas=(text,)) for text in columns.personas]
    blends += [replace(request_options.blend, adapters=(text,)) for text in columns.adapters]
    if len(blends) < 2:
        raise UsageError("compare takes at least two personas", hint="as in -p INTJ -p pirate")
    unread = request_options.with_prompt("-- a placeholder: check all blends before reading stdin --")
    requests = [read_request(ctx, replace(unread, blend=blend), streams) for blend in blends]
    seed = secrets.randbelow(2**32) if request_options.run.seed is None else request_options.run.seed
    prompting = read_prompting(request_options.prompt, streams)
    return [replace(request, prompting=prompting, seed=seed) for request in requests]


def with_saved_chat(ctx: typer.Context, request_options: RequestOptions, saved: SavedChat) -> RequestOptions:
    """The options of a resumed chat: its saved values, except for options of the command line."""
    from mpg_cli.personas.expression import format_weight

    blend, model, run = request_options.blend, request_options.model, request_options.run
    if not (given(ctx, "persona") or given(ctx, "adapter")):
        blend = replace(
            blend,
            personas=(saved.persona,) if saved.persona else (),
            adapters=tuple(f"{path}:{format_weight(weight)}" for path, weight in saved.adapters),
            scale=blend.scale if given(ctx, "scale") else 1.0,  # the saved weights include the scale
        )
    if not given(ctx, "model"):
        revision = model.revision if given(ctx, "revision") else saved.revision
        model = replace(model, name=saved.model, revision=revision)
    if not given(ctx, "seed"):
        run = replace(run, seed=saved.seed)
    return replace(request_options, blend=blend, model=model, run=run)


def as_begun(request: Request, output: Path | None, *, sidecar: bool = False) -> tuple[Request, str | None]:
    """The request with the model that an existing output was begun with, and a notice for the user.

    Only where `auto` chose the model; a model that was given is compared with the recorded one later.
    """
    from mpg_cli.io.log import recorded

    model = request.model
    before = recorded(output, sidecar=sidecar) if model.automatic and output is not None else {}
    name, revision = before.get("model"), before.get("revision")
    if not isinstance(name, str) or (name, revision) == (model.name, model.revision):
        return request, model.notice
    begun = replace(model, name=name, revision=revision, automatic=False)
    return replace(request, model=begun), f"using {visible(name, 80)}, the model of {visible(str(output))}"


def open_engine(request: Request, commentary: Commentary) -> tuple[Engine, list[Notice]]:
    """Load the model and the experts with a status line; a notice if `auto` chose the model.

    Returns the engine with notices for the user.
    """
    from mpg_cli.engine.events import Notice
    from mpg_cli.io import signals

    if notice := request.model.notice:
        commentary.notice(notice)
    streams = commentary.streams
    with streams.status(f"loading {request.model.name}", shown=not commentary.quiet) as status:
        from mpg_cli.engine.engine import Engine  # torch loads here

        engine = Engine.load(request.model, status.update)
        notices = [Notice(text) for text in engine.prepare(request)]
        signals.check()
    return engine, notices


def exit_unless_ok(code: ExitCode | None) -> None:
    """End the command with this exit code unless it is None or OK."""
    if code:
        raise typer.Exit(code)
