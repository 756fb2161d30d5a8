"""`mpg compare`: one prompt to several blends on one loaded model, their replies side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from mpg_cli.cli.groups import Pick, with_groups
from mpg_cli.cli.requests import RequestOptions, default_model_notice, leave, read_columns
from mpg_cli.io import signals
from mpg_cli.io.terminal import Streams
from mpg_cli.options.commands import CompareOptions
from mpg_cli.options.report import QuietOptions

EPILOG = """\b
Examples:
  mpg compare "How do I make tea?" -p INTJ -p pirate -p INTJ+pirate
  mpg compare "Plan my week" -p INTJ:0.5 -p INTJ -p INTJ:2 --seed 7
  mpg compare "Plan my week" -p noir -p bard -n 3 --format json
\b
Every -p is a column of its own here, where generate adds them up; so is every --adapter.
All columns use the same seed. The model is loaded once, and so is a persona that several columns have."""


@with_groups
def compare(
    ctx: typer.Context,
    columns: CompareOptions,
    asked: Annotated[RequestOptions, Pick(without=("persona", "adapter", "sequence_id"))],
    notices: QuietOptions,
) -> None:
    """Reply to a prompt as several blends, side by side.

    Each -p is a column: its reply, how much of its drafts was accepted, tokens and tokens a second.
    """
    from mpg_cli.render.columns import ColumnsRenderer, choose_layout  # TAB and --help need none of these
    from mpg_cli.render.commentary import Commentary

    streams = Streams.current()
    requests = read_columns(ctx, columns, asked, streams)
    model = requests[0].model.name
    commentary = Commentary(streams, stats=False, quiet=notices.quiet)
    renderer = ColumnsRenderer(commentary, choose_layout(columns.format, streams), requests[0].samples)
    if notice := default_model_notice(ctx, model):
        commentary.notice(notice)
    with renderer, streams.status(f"loading {model}", shown=not notices.quiet) as status:
        from mpg_cli.engine.session import Session  # torch loads here

        session = Session.open(requests[0], status.update)
        signals.check()
        with signals.Graceful(session.stop) as graceful:
            for number, request in enumerate(requests, 1):
                if number > 1:
                    session.change(request, status.update)
                status.update(f"{session.persona} ({number} of {len(requests)})")
                renderer.render(session.replies(request))
                if graceful.exit_code is not None:
                    break
    leave(graceful.exit_code)
