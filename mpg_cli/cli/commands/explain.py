"""`mpg explain`: a reply with the log-ratio contribution of each persona to each of its tokens."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import chain

import typer

from mpg_cli.cli.groups import with_groups
from mpg_cli.cli.requests import RequestOptions, exit_unless_ok, open_engine, read_request
from mpg_cli.io import signals
from mpg_cli.io.terminal import Streams
from mpg_cli.options.commands import ExplainOptions
from mpg_cli.options.output import NoticeOptions

EPILOG = """\b
Examples:
  mpg explain -p INTJ+pirate "How should I spend my weekend?"
  mpg explain -p INTJ+pirate --html why.html --seed 7 "Plan my week"
  mpg explain -p bard:0.5+noir "Describe the rain" | jq '.tokens[] | [.text, .strongest]'
  mpg generate -p pirate --explain "How do I make tea?"
\b
A token has the colour of the persona with the largest log-ratio contribution w·δ: the persona's weight times
the log-ratio of the token's probability under its expert and under the plain model, in nats. With --target
mixture the contribution is the persona's share of the token, and the colour is that of the persona whose
share exceeds its share of the blend most. Accepted tokens are plain, corrected ones underlined, tokens
without a draft italic (dotted on the page). On a pipe each reply is one JSON object: the fields of generate
--format json, unit, tokens and sentences. Ctrl-C ends the reply and explains the text so far.
\b
Exit status: 0 success, 2 usage error, 1 the model, an adapter or the run failed, 130 interrupted,
143 terminated."""


@with_groups
def explain(
    ctx: typer.Context, request_options: RequestOptions, output: ExplainOptions, notices: NoticeOptions
) -> None:
    """Reply, and show which persona shaped which token.

    Each token has the colour of the persona with the largest log-ratio contribution to it, each sentence a
    bar for every persona.
    """
    from mpg_cli.engine.explained import check_explainable, explained  # not needed for completion and --help
    from mpg_cli.render.commentary import Commentary
    from mpg_cli.render.explain import ExplainRenderer, choose_format
    from mpg_cli.render.output import OutputFile

    streams = Streams.current()
    chosen = choose_format(output.format, streams)
    request = read_request(ctx, request_options, streams)
    check_explainable(request.scheme)
    commentary = Commentary.of(streams, notices, request, machine=chosen == "json")
    ended_by, closed = None, None
    with OutputFile(output.html, "--html") if output.html is not None else nullcontext() as page:
        engine, loading = open_engine(request, commentary)
        renderer = ExplainRenderer(commentary, chosen, request.prompting.question, page)
        try:
            with signals.Graceful(engine.interrupt) as graceful:
                events = chain(loading, engine.replies(request))
                renderer.render(explained(events, engine.loaded.tokenizer))
            ended_by = graceful.exit_code
        except BrokenPipeError as error:  # stdout was closed, perhaps by Ctrl-C; keep the page
            closed = error
    if output.html is not None:
        commentary.notice(f"wrote {output.html}")
    if closed is not None:
        raise closed
    exit_unless_ok(ended_by)
