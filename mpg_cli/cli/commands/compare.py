"""`mpg compare`: one prompt to several blends on one loaded model, their replies side by side."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal, TextIO

import typer

from mpg_cli.cli import completers, options
from mpg_cli.cli.commands import prompting
from mpg_cli.engine.events import Event, Finished, Notice
from mpg_cli.engine.request import Request
from mpg_cli.errors import ExitCode, UsageError
from mpg_cli.io import signals
from mpg_cli.io.terminal import Status, Streams
from mpg_cli.render.commentary import Commentary

Layout = Literal["columns", "plain", "json"]

EPILOG = """\b
Examples:
  mpg compare "How do I make tea?" -p INTJ -p pirate -p INTJ+pirate
  mpg compare "Plan my week" -p INTJ:0.5 -p INTJ -p INTJ:2 --seed 7
  mpg compare "Plan my week" -p noir -p bard -n 3 --format json
\b
Every -p is a column of its own here, where generate adds them up; so is every --adapter.
All columns use the same seed. The model is loaded once, and personas that several columns have as well."""

OTHER = "-- the prompt --"  # stands for what the first column has read already


@prompting.asks_but("sequence_id")
def compare(
    ctx: typer.Context,
    *,
    persona: Annotated[
        list[str] | None,
        typer.Option(
            "--persona",
            "-p",
            metavar="EXPR",
            help="The blend of one column: NAME[:WEIGHT] + …; repeat for more columns.",
            autocompletion=completers.expression,
        ),
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH|REPO[:WEIGHT]", help="A LoRA adapter as a column of its own; repeatable."),
    ] = None,
    format_: Annotated[
        Literal["auto", "columns", "plain", "json"],
        typer.Option(
            "--format",
            metavar="auto|columns|plain|json",
            help="auto: columns on a terminal, plain on a pipe; json: one object a reply.",
        ),
    ] = "auto",
    quiet: options.Quiet = False,
    **asked: Any,
) -> None:
    """Reply to a prompt as several blends, side by side.

    Each -p is a column: its reply, how much of its drafts was accepted, tokens and tokens a second.
    """
    from mpg_cli.cli.commands import blending

    streams = Streams.current()
    requests = _requests(ctx, persona or [], adapter or [], asked)
    layout: Layout = ("columns" if streams.stdout_tty else "plain") if format_ == "auto" else format_
    commentary = Commentary(streams, stats=False, quiet=quiet)
    if notice := blending.default_model_notice(ctx, requests[0].model.name):
        commentary.notice(notice)
    page = _Page(streams, layout, requests)
    ended_by = _perform(requests, commentary, page)
    if ended_by is not None:
        raise typer.Exit(ended_by)


def _requests(
    ctx: typer.Context, expressions: list[str], adapters: list[str], asked: dict[str, Any]
) -> list[Request]:
    """A request for each column, all with one seed."""
    columns: list[dict[str, Any]] = [{"persona": [e], "adapter": None} for e in expressions]
    columns += [{"persona": None, "adapter": [path]} for path in adapters]
    if len(columns) < 2:
        raise UsageError("compare takes at least two personas", hint="as in -p INTJ -p pirate")
    again = {**asked, "prompt": OTHER, "prompt_file": None, "messages": None, "raw": False}
    again["template_arg"] = None
    others = [prompting.ask(ctx, **{**again, **column}) for column in columns[1:]]
    first = prompting.ask(ctx, **{**asked, **columns[0]})
    seed = secrets.randbelow(2**32) if first.seed is None else first.seed
    return [replace(request, prompting=first.prompting, seed=seed) for request in (first, *others)]


def _perform(requests: list[Request], commentary: Commentary, page: _Page) -> ExitCode | None:
    """Load once, reply as each blend; the exit code of the signal that ended it early, if one did."""
    model = requests[0].model.name
    try:
        with commentary.streams.status(f"loading {model}", shown=not commentary.quiet) as status:
            from mpg_cli.engine.session import Session  # torch loads here

            session = Session.open(requests[0], status.update)
            signals.check()
            with signals.Graceful(session.stop) as graceful:
                for number, request in enumerate(requests, 1):
                    if number > 1:
                        session.change(request, status.update)
                    status.update(f"{session.persona} ({number} of {len(requests)})")
                    page.take(session.replies(request), commentary, status)
                    if graceful.exit_code is not None:
                        break
    finally:
        page.end()  # what is there is shown, whatever came after it
    return graceful.exit_code


class _Page:
    """Collects the replies; writes them as they come, or in columns when all are there."""

    def __init__(self, streams: Streams, layout: Layout, requests: list[Request]) -> None:
        self._streams, self._layout = streams, layout
        self._samples = requests[0].samples
        self._replies: list[Finished] = []

    def take(self, events: Iterator[Event], commentary: Commentary, status: Status) -> None:
        """The replies of one blend."""
        from mpg_cli.render.columns import write_block
        from mpg_cli.render.jsonl import write_line

        out: TextIO = self._streams.stdout
        for event in events:
            match event:
                case Notice():
                    commentary.notice(event.message)
                case Finished():
                    if self._layout == "json":
                        write_line(out, event.record())
                    elif self._layout == "plain":
                        write_block(out, event, sample=self._samples > 1)
                    else:
                        self._replies.append(event)

    def end(self) -> None:
        """Write the columns: a band of them for each sample."""
        from mpg_cli.render.columns import write_columns

        streams = self._streams
        encoding = (getattr(streams.stdout, "encoding", None) or "").lower().replace("-", "")
        for sequence in dict.fromkeys(reply.sequence for reply in self._replies):
            band = [reply for reply in self._replies if reply.sequence == sequence]
            write_columns(
                streams.stdout,
                band,
                shutil.get_terminal_size((100, 24)).columns,
                color=streams.stdout_tty and streams.color,
                ascii_=encoding != "utf8",
            )
