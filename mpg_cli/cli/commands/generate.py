"""`mpg generate`: replies of a blend to a prompt."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import chain

import typer

from mpg_cli.cli.groups import with_groups
from mpg_cli.cli.requests import RequestOptions, exit_unless_ok, open_engine, read_request
from mpg_cli.io import signals
from mpg_cli.io.terminal import Streams
from mpg_cli.options.output import FormatOptions, NoticeOptions, OutputOptions
from mpg_cli.render import choose_format, make_renderer

EPILOG = """\b
Examples:
  mpg generate -p pirate "How do I make tea?"
  mpg generate -p INTJ:0.7+pirate --model Qwen/Qwen3-0.6B "Plan my week"
  mpg generate -p pirate -p INTJ:-0.5 --seed 7 "Once more, with feeling"
  mpg generate --adapter adapters/poet:0.8 --prompt-file letter.txt --output reply.txt
  git log -5 | mpg generate -p pirate --system "Summarise." --format json
\b
stdout has only the reply; notices and statistics go to stderr.
Every option with a long name can be set by MPG_NAME (MPG_MODEL, MPG_MAX_TOKENS), most also in config.yaml.
Precedence: option, environment, file, default.
\b
Exit status: 0 success, 2 usage error, 1 the model, an adapter or the run failed, 130 interrupted,
143 terminated."""


@with_groups
def generate(
    ctx: typer.Context,
    request_options: RequestOptions,
    form: FormatOptions,
    notices: NoticeOptions,
    output: OutputOptions,
) -> None:
    """Reply to a prompt as a blend of personas.

    The personas are combined at every token of the reply. All of them verify a drafted chunk in one pass;
    with the default rule the text is exactly that of token-by-token decoding, in fewer passes.
    """
    from mpg_cli.engine.explained import check_explainable, explained  # not needed for completion and --help
    from mpg_cli.render.commentary import Commentary
    from mpg_cli.render.description import write_run
    from mpg_cli.render.output import OutputFile

    streams = Streams.current()
    chosen = choose_format(form.format, streams, to_file=output.output is not None)
    machine = chosen in ("json", "events")
    request = read_request(ctx, request_options, streams)
    if output.explain:
        check_explainable(request.scheme)
    commentary = Commentary.of(streams, notices, request, machine=machine, explain=not machine)
    ended_by = None
    with OutputFile(output.output) if output.output is not None else nullcontext() as file:
        engine, loading = open_engine(request, commentary)
        if output.dry_run:
            for notice in loading:
                commentary.notice(notice.message)
            write_run(file or streams.stdout, engine.describe(request), as_json=machine)
        else:
            renderer = make_renderer(chosen, streams, commentary, file=file)
            with signals.Graceful(engine.interrupt) as graceful:
                events = chain(loading, engine.replies(request))
                renderer.render(explained(events, engine.loaded.tokenizer) if output.explain else events)
            ended_by = graceful.exit_code
    exit_unless_ok(ended_by)
