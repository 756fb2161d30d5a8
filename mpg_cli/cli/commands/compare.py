"""`mpg compare`: replies of several blends to one prompt, side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from mpg_cli.cli.groups import Pick, with_groups
from mpg_cli.cli.requests import RequestOptions, exit_unless_ok, read_columns
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
Every -p and every --adapter is a column of its own (generate adds them up). All columns use the same seed.
All replies run together; a persona in several columns is loaded once."""


@with_groups
def compare(
    ctx: typer.Context,
    columns: CompareOptions,
    request_options: Annotated[RequestOptions, Pick(without=("persona", "adapter", "sequence_id"))],
    notices: QuietOptions,
) -> None:
    """Reply to a prompt as several blends, side by side.

    Each -p is a column with its reply, acceptance rate, number of tokens and tokens per second.
    """
    from mpg_cli.render.columns import ColumnsRenderer, choose_layout  # not needed for completion and --help
    from mpg_cli.render.commentary import Commentary

    streams = Streams.current()
    requests = read_columns(ctx, columns, request_options, streams)
    model = requests[0].model
    commentary = Commentary(streams, stats=False, quiet=notices.quiet)
    renderer = ColumnsRenderer(commentary, choose_layout(columns.format, streams), requests[0].samples)
    if notice := model.notice:
        commentary.notice(notice)
    with renderer, streams.status(f"loading {model.name}", shown=not notices.quiet) as status:
        from mpg_cli.engine.engine import Engine  # torch loads here

        engine = Engine.load(model, status.update)
        signals.check()
        count = sum(request.samples for request in requests)
        with signals.Graceful(engine.interrupt) as graceful:
            for event in engine.replies(*requests):
                status.update(f"{count - engine.left} of {count} replies")
                renderer.show(event)
    exit_unless_ok(graceful.exit_code)
