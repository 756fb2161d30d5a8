"""`mpg chat`: turns from a terminal or a pipe to a conversation, its events to a renderer."""

from __future__ import annotations

import secrets
from contextlib import closing
from dataclasses import replace
from typing import Annotated

import typer

from mpg_cli.cli.groups import Pick, given, with_groups
from mpg_cli.cli.requests import RequestOptions, default_model_notice, leave, of_saved_chat, read_request
from mpg_cli.config.paths import state_dir
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
/help in a chat lists its commands: /persona and /weight change the blend between two turns.
Ctrl-C stops a reply and keeps its text so far, Ctrl-D ends the chat. A backslash at its end continues a line;
lines between \"\"\" belong together. On a pipe each line is a turn, stdout carries the replies and nothing
else, and the exit status is 1 if a turn failed.
Turn 3 is drawn with the sequence id turn-3, after one /retry with turn-3-retry-1; mpg generate --messages
with that --sequence-id and the same --seed gives the same reply."""

NOT_OF_A_CHAT = ("prompt", "prompt_file", "messages", "raw", "samples", "sequence_id")


@with_groups
def chat(
    ctx: typer.Context,
    asked: Annotated[RequestOptions, Pick(without=NOT_OF_A_CHAT)],
    talk: ChatOptions,
    form: FormatOptions,
    notices: NoticeOptions,
) -> None:
    """Talk with a blend of personas, turn by turn.

    The model stays loaded and caches what it has read: a turn costs its new tokens, a change of weights
    nothing but the drafter's tokens, a new persona only its own.
    """
    from mpg_cli.chat.transcript import Transcript, load_chat  # TAB and --help need none of these
    from mpg_cli.cli.chat_loop import ChatLoop
    from mpg_cli.cli.line_reader import LineReader
    from mpg_cli.render.commentary import Commentary

    streams = Streams.current()
    chosen = choose_format(form.format, streams, to_file=False)
    saved = load_chat(talk.load) if talk.load is not None else None
    asked = asked if saved is None else of_saved_chat(ctx, asked, saved)
    request = read_request(ctx, asked.with_prompt("-- the first turn --"), streams)
    machine = chosen in ("json", "events")
    commentary = replace(Commentary.of(streams, notices, request, machine=machine), seed=False)
    request = replace(request, seed=secrets.randbelow(2**32) if request.seed is None else request.seed)
    transcript = saved.transcript if saved else Transcript()
    if saved is None or given(ctx, "system"):
        transcript = replace(transcript, system=asked.prompt.system or None)
    if saved is None and (notice := default_model_notice(ctx, request.model.name)):
        commentary.notice(notice)
    with streams.status(f"loading {request.model.name}", shown=not commentary.quiet) as status:
        from mpg_cli.chat.conversation import Conversation  # torch loads here

        conversation = Conversation.open(request, transcript, status.update)
        signals.check()
    loop = ChatLoop(conversation, commentary, chosen, asked.blend)
    history = state_dir() / "chat_history" if talk.history else None
    with closing(LineReader(streams, history, loop.commands.complete)) as reader:
        code = loop.run(reader)
    leave(code)
