"""`mpg batch`: replies to a file of prompts, resumable."""

from __future__ import annotations

from typing import Annotated

import typer

from mpg_cli.cli.groups import Pick, with_groups
from mpg_cli.cli.requests import RequestOptions, as_begun, exit_unless_ok, read_request
from mpg_cli.io.terminal import Streams
from mpg_cli.options.commands import BatchOptions
from mpg_cli.options.report import QuietOptions

EPILOG = """\b
Examples:
  mpg batch prompts.jsonl -o replies.jsonl -p INTJ+pirate
  mpg batch questions.txt --input-format text -p noir --seed 7 -o replies.jsonl
  cat prompts.jsonl | mpg batch - -p bard > replies.jsonl
\b
A line: {"id"?, "prompt" | "messages", "persona"?, "system"?, "seed"?, "max_tokens"?, "temperature"?, ...,
"metadata"?}, or a line of an OpenAI batch file. Run the same command again to resume an interrupted run. The
reply to a line does not depend on the batch size or the order of the lines.
\b
Exit status: 0 all lines succeeded, 1 a line or the run failed, 2 usage error, 130 interrupted,
143 terminated."""

SET_BY_LINES = ("prompt", "prompt_file", "messages", "prefill", "samples", "sequence_id")


@with_groups
def batch(
    ctx: typer.Context,
    options: BatchOptions,
    request_options: Annotated[RequestOptions, Pick(without=SET_BY_LINES)],
    notices: QuietOptions,
) -> None:
    """Reply to every prompt of a file.

    Prompts share the passes of one loaded model, and each reply is written as soon as it is complete. Lines
    may set their own personas, system text, seed and sampling fields.
    """
    from mpg_cli.cli.batch_run import BatchRun

    streams = Streams.current()
    defaults = read_request(ctx, request_options.with_prompt("-- set by the line --"), streams, per_line=True)
    begun = None if options.force_restart else options.output_file
    defaults, notice = as_begun(defaults, begun, sidecar=True)
    if notice and not notices.quiet:
        streams.message(f"mpg: {notice}")
    exit_unless_ok(BatchRun(defaults, request_options.blend, options, quiet=notices.quiet).perform())
