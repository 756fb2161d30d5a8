"""`mpg explain`: a reply, and what each persona contributed to each of its tokens."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

import typer

from mpg_cli.cli import options
from mpg_cli.cli.commands import prompting
from mpg_cli.engine.explained import explained
from mpg_cli.engine.request import Request
from mpg_cli.errors import ExitCode
from mpg_cli.io import signals
from mpg_cli.io.terminal import Streams
from mpg_cli.render.commentary import Commentary
from mpg_cli.render.output import OutputFile

EPILOG = """\b
Examples:
  mpg explain -p INTJ+pirate "How should I spend my weekend?"
  mpg explain -p INTJ+pirate --html why.html --seed 7 "Plan my week"
  mpg explain -p bard:0.5+noir "Describe the rain" | jq '.tokens[] | [.text, .strongest]'
  mpg generate -p pirate --explain "How do I make tea?"
\b
A token has the colour of the persona that contributed most to it. A contribution is w·δ: the weight times
the log of how much likelier the persona's expert makes the token than the plain model, in nats. With --target
mixture it is the persona's share of the token, and the colour is of the one that exceeds its share of the
blend most. Accepted tokens are plain, corrected ones underlined, undrafted ones italic (on the page dotted).
On a pipe each reply is one JSON object: the fields of generate --format json, unit, tokens and sentences.
Ctrl-C ends the reply and explains what is there.
\b
Exit status: 0 done, 2 wrong usage, 1 the model, an adapter or the run failed, 130 interrupted,
143 terminated."""


@prompting.asks
def explain(
    ctx: typer.Context,
    *,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write a page for a browser; it needs no network."),
    ] = None,
    format_: Annotated[
        Literal["auto", "terminal", "json"],
        typer.Option(
            "--format",
            metavar="auto|terminal|json",
            help="auto: colours on a terminal, JSON on a pipe; terminal: on a pipe signs instead of colours.",
        ),
    ] = "auto",
    stats: options.ShowStats = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    **asked: Any,
) -> None:
    """Reply, and show what each persona contributed to each token.

    Each token has the colour of the persona that contributed most, each sentence a bar for every persona.
    """
    from mpg_cli.cli.commands import blending

    streams = Streams.current()
    chosen: Literal["terminal", "json"] = "json" if format_ == "json" else "terminal"
    if format_ == "auto" and not streams.stdout_tty:
        chosen = "json"
    request = prompting.ask(ctx, **asked)
    machine = chosen == "json"
    commentary = Commentary(
        streams,
        stats=stats if stats is not None else verbose or (streams.stderr_tty and not machine),
        quiet=quiet and not verbose,
        verbose=verbose,
        samples=1 if machine else request.samples,
        seed=not machine,  # it is in the objects
        drawn=request.seed is None,
    )
    with OutputFile(html, "--html") if html is not None else nullcontext() as page:
        if notice := blending.default_model_notice(ctx, request.model.name):
            commentary.notice(notice)
        ended_by, closed = None, None
        try:
            ended_by = _perform(request, chosen, commentary, page)
        except BrokenPipeError as error:  # whoever read stdout is gone, by Ctrl-C perhaps: the page stays
            closed = error
    if html is not None:
        commentary.notice(f"the page is {html}")
    if closed is not None:
        raise closed
    if ended_by is not None:
        raise typer.Exit(ended_by)


def _perform(
    request: Request,
    chosen: Literal["terminal", "json"],
    commentary: Commentary,
    page: TextIO | None,
) -> ExitCode | None:
    """Load, reply and explain; the exit code of the signal that ended it early, if one did."""
    from mpg_cli.render.explain import ExplainRenderer

    streams = commentary.streams
    with streams.status(f"loading {request.model.name}", shown=not commentary.quiet) as status:
        from mpg_cli.engine.session import Session  # torch loads here

        session = Session.open(request, status.update)
        signals.check()
    turns = request.prompting.messages
    prompt = turns[-1]["content"] if turns else request.prompting.prompt or ""
    renderer = ExplainRenderer(commentary, chosen, prompt, page)
    with signals.Graceful(session.stop) as graceful:
        renderer.render(explained(session.replies(request), session.loaded.tokenizer))
    return graceful.exit_code
