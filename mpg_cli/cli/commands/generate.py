"""`mpg generate`: flags to a request, the request to a session, its events to a renderer."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TextIO

import typer

from mpg_cli.cli import options
from mpg_cli.cli.commands import prompting
from mpg_cli.errors import ExitCode
from mpg_cli.io import signals
from mpg_cli.io.terminal import Streams
from mpg_cli.render import ChosenFormat, choose_format, make_renderer

if TYPE_CHECKING:
    from mpg_cli.engine.request import Request
    from mpg_cli.render.commentary import Commentary

EPILOG = """\b
Examples:
  mpg generate -p pirate "How do I make tea?"
  mpg generate -p INTJ:0.7+pirate --model Qwen/Qwen3-0.6B "Plan my week"
  mpg generate -p pirate -p INTJ:-0.5 --seed 7 "Once more, with feeling"
  mpg generate --adapter adapters/poet:0.8 --prompt-file letter.txt --output reply.txt
  git log -5 | mpg generate -p pirate --system "Summarise." --format json
\b
stdout carries the reply and nothing else; notices and statistics go to stderr.
Every option with a long name can be set by MPG_NAME (MPG_MODEL, MPG_MAX_TOKENS) and in config.yaml:
option before environment before file before default.
\b
Exit status: 0 done, 2 wrong usage, 1 the model, an adapter or the run failed, 130 interrupted,
143 terminated."""


@prompting.asks
def generate(
    ctx: typer.Context,
    *,
    format_: options.FormatName = "auto",
    stats: options.ShowStats = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    output: options.Output = None,
    explain: options.Explain = False,
    dry_run: options.DryRun = False,
    **asked: Any,
) -> None:
    """Reply to a prompt as a blend of personas.

    The personas are combined at every token of the reply. Drafted chunks are checked by all of them in one
    pass; with the default rule the text is exactly that of checking token by token, in fewer passes.
    """
    from mpg_cli.cli.commands import blending  # TAB and --help need none of these
    from mpg_cli.render.commentary import Commentary
    from mpg_cli.render.output import OutputFile

    streams = Streams.current()
    quiet = quiet and not verbose
    chosen = choose_format(format_, streams, to_file=output is not None)

    request = prompting.ask(ctx, **asked)

    machine = chosen in ("json", "events")
    commentary = Commentary(
        streams,
        stats=stats if stats is not None else verbose or (streams.stderr_tty and not machine),
        quiet=quiet,
        verbose=verbose,
        samples=1 if machine else request.samples,
        seed=not machine,  # it is in the objects
        explain=not machine,
        drawn=request.seed is None,
    )
    with OutputFile(output) if output is not None else nullcontext() as stream:
        if notice := blending.default_model_notice(ctx, request.model.name):
            commentary.notice(notice)
        ended_by = _perform(request, chosen, commentary, stream, explain=explain, dry_run=dry_run)
    if ended_by is not None:
        raise typer.Exit(ended_by)


def _perform(
    request: Request,
    chosen: ChosenFormat,
    commentary: Commentary,
    file: TextIO | None,
    *,
    explain: bool,
    dry_run: bool,
) -> ExitCode | None:
    """Load, then reply or describe; the exit code of the signal that ended it early, if one did."""
    from mpg_cli.engine.explained import explained
    from mpg_cli.render.description import write_description

    streams = commentary.streams
    with streams.status(f"loading {request.model.name}", shown=not commentary.quiet) as status:
        from mpg_cli.engine.session import Session  # torch loads here

        session = Session.open(request, status.update)
        signals.check()
    if dry_run:
        for notice in session.notices:
            commentary.notice(notice.message)
        machine = chosen in ("json", "events")
        write_description(file or streams.stdout, session.describe(request), as_json=machine)
        return None
    renderer = make_renderer(chosen, streams, commentary, file=file)
    with signals.Graceful(session.stop) as graceful:
        events = session.replies(request)
        renderer.render(explained(events, session.loaded.tokenizer) if explain else events)
    return graceful.exit_code
