"""`mpg chat`: a conversation with a blend, on a terminal or a pipe."""

from __future__ import annotations

import secrets
from contextlib import closing, nullcontext
from dataclasses import replace
from typing import Annotated

import typer

from mpg_cli.cli.groups import Pick, given, with_groups
from mpg_cli.cli.requests import RequestOptions, exit_unless_ok, read_request
from mpg_cli.config.paths import state_dir
from mpg_cli.errors import caused_by
from mpg_cli.io import signals
from mpg_cli.io.terminal import Streams
from mpg_cli.options.commands import ChatOptions
from mpg_cli.options.output import FormatOptions, NoticeOptions
from mpg_cli.render import choose_format

EPILOG = """\b
Examples:
  mpg chat -p INTJ+pirate
  mpg chat -p noir --model Qwen/Qwen3-0.6B --system "Answer in two sentences."
  mpg chat --load evening.json
  printf 'Hello\\n/persona bard\\nAgain, please\\n' | mpg chat -p pirate
\b
/help in a chat lists the commands; /persona and /weight change the blend between turns. Ctrl-C stops a
reply and keeps its text so far, Ctrl-D ends the chat. End a line with a backslash to continue it, or
enclose several lines in \"\"\". On a pipe each line is a turn, stdout has only the replies, and the exit
status is 1 if a turn failed. Turn 3 has the sequence id turn-3, after one /retry turn-3-retry-1; mpg
generate --messages with that --sequence-id and the same --seed reproduces the reply."""

SAVED = ("--model", "--persona", "--adapter")  # a saved chat has its own
NOT_IN_CHAT = ("prompt", "prompt_file", "messages", "raw", "samples", "sequence_id")


@with_groups
def chat(
    ctx: typer.Context,
    request_options: Annotated[RequestOptions, Pick(without=NOT_IN_CHAT)],
    talk: ChatOptions,
    form: FormatOptions,
    notices: NoticeOptions,
) -> None:
    """Chat with a blend of personas, turn by turn.

    The model stays loaded and keeps its caches: a turn computes only its new tokens, a change of weights only
    the drafter's tokens, a new persona only its own row.
    """
    from mpg_cli.chat.transcript import Transcript, load_chat  # not needed for completion and --help
    from mpg_cli.cli.chat_loop import ChatLoop
    from mpg_cli.cli.line_reader import LineReader
    from mpg_cli.cli.requests import with_saved_chat
    from mpg_cli.render.commentary import Commentary

    streams = Streams.current()
    chosen = choose_format(form.format, streams, to_file=False)
    saved = load_chat(talk.load) if talk.load is not None else None
    request_options = request_options if saved is None else with_saved_chat(ctx, request_options, saved)
    with caused_by("--load", instead_of=SAVED) if saved else nullcontext():
        request = read_request(ctx, request_options.with_prompt("-- the first turn --"), streams)
    machine = chosen in ("json", "events")
    commentary = replace(Commentary.of(streams, notices, request, machine=machine), seed=False)
    request = replace(request, seed=secrets.randbelow(2**32) if request.seed is None else request.seed)
    transcript = saved.transcript if saved else Transcript()
    if saved is None or given(ctx, "system"):
        transcript = replace(transcript, system=request_options.prompt.system or None)
    if notice := request.model.notice:
        commentary.notice(notice)
    with streams.status(f"loading {request.model.name}", shown=not commentary.quiet) as status:
        from mpg_cli.chat.conversation import Conversation  # torch loads here

        with caused_by("--load", instead_of=SAVED) if saved else nullcontext():
            conversation = Conversation.open(request, transcript, status.update)
        signals.check()
    loop = ChatLoop(conversation, commentary, chosen, request_options.blend)
    history = state_dir() / "chat_history" if talk.history else None
    with closing(LineReader(streams, history, loop.commands.complete)) as reader:
        code = loop.run(reader)
    exit_unless_ok(code)
