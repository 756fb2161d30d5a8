"""`mpg explain`: a reply, and the log-ratio contribution of each persona to each of its tokens."""

from __future__ import annotations

from contextlib import nullcontext

import typer

from mpg_cli.cli.groups import with_groups
from mpg_cli.cli.requests import RequestOptions, leave, open_session, read_request
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
A token has the colour of the persona with the largest log-ratio contribution w·δ: its weight times the log of
how much likelier the persona's expert makes the token than the plain model, in nats. With --target mixture
it is the persona's share of the token, and the colour is of the one that exceeds its share of the blend most.
Accepted tokens are plain, corrected ones underlined, those that were not drafted italic (dotted on the page).
On a pipe each reply is one JSON object: the fields of generate --format json, unit, tokens and sentences.
Ctrl-C ends the reply and explains what is there.
\b
Exit status: 0 done, 2 wrong usage, 1 the model, an adapter or the run failed, 130 interrupted,
143 terminated."""


@with_groups
def explain(ctx: typer.Context, asked: RequestOptions, to: ExplainOptions, notices: NoticeOptions) -> None:
    """Reply, and show which persona shaped which token.

    Each token has the colour of the persona with the largest log-ratio contribution to it, each sentence a
    bar for every persona.
    """
    from mpg_cli.engine.explained import explained  # TAB and --help need none of these
    from mpg_cli.render.commentary import Commentary
    from mpg_cli.render.explain import ExplainRenderer, choose_format
    from mpg_cli.render.output import OutputFile

    streams = Streams.current()
    chosen = choose_format(to.format, streams)
    request = read_request(ctx, asked, streams)
    commentary = Commentary.of(streams, notices, request, machine=chosen == "json")
    ended_by, closed = None, None
    with OutputFile(to.html, "--html") if to.html is not None else nullcontext() as page:
        session = open_session(ctx, request, commentary)
        renderer = ExplainRenderer(commentary, chosen, request.prompting.question, page)
        try:
            with signals.Graceful(session.stop) as graceful:
                renderer.render(explained(session.replies(request), session.loaded.tokenizer))
            ended_by = graceful.exit_code
        except BrokenPipeError as error:  # the reader of stdout is gone, by Ctrl-C perhaps: the page stays
            closed = error
    if to.html is not None:
        commentary.notice(f"the page is {to.html}")
    if closed is not None:
        raise closed
    leave(ended_by)
