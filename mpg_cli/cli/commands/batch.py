"""`mpg batch`: a file of prompts to a file of replies, resumable."""

from __future__ import annotations

from typing import Annotated

import typer

from mpg_cli.cli.groups import Pick, with_groups
from mpg_cli.cli.requests import RequestOptions, default_model_notice, leave, read_request
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
"metadata"?}, or a line of an OpenAI batch file. The same command goes on where an earlier run stopped;
a line's reply depends neither on the batch size nor on the order.
\b
Exit status: 0 every line answered, 1 some line failed or the run did, 2 wrong usage, 130 interrupted,
143 terminated."""

OF_THE_LINES = ("prompt", "prompt_file", "messages", "prefill", "samples", "sequence_id")


@with_groups
def batch(
    ctx: typer.Context,
    options: BatchOptions,
    asked: Annotated[RequestOptions, Pick(without=OF_THE_LINES)],
    notices: QuietOptions,
) -> None:
    """Reply to every prompt of a file.

    Prompts run together through one loaded model, and each reply is written as soon as it is there. Lines
    may name their own personas, system text, seed and sampling fields.
    """
    from mpg_cli.cli.batch_run import BatchRun

    streams = Streams.current()
    defaults = read_request(ctx, asked.with_prompt("-- that of the line --"), streams, of_lines=True)
    if not notices.quiet and (notice := default_model_notice(ctx, defaults.model.name)):
        streams.say(f"mpg: {notice}")
    leave(BatchRun(defaults, asked.blend, options, quiet=notices.quiet).perform())
