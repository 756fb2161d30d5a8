"""`mpg chat`: turns from a terminal or a pipe to a conversation, its events to a renderer."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpg_cli.chat.transcript import SavedChat, Transcript, load_chat
from mpg_cli.cli import options
from mpg_cli.cli.commands import prompting
from mpg_cli.config import paths as folders
from mpg_cli.engine.request import Request
from mpg_cli.errors import ExitCode, ModelError, MpgError
from mpg_cli.io import signals
from mpg_cli.io.terminal import Streams
from mpg_cli.io.text import check_text
from mpg_cli.personas.expression import format_weight
from mpg_cli.render import ChosenFormat, choose_format, make_renderer
from mpg_cli.render.commentary import Commentary

if TYPE_CHECKING:
    from mpg_cli.chat.conversation import Conversation
    from mpg_cli.cli.commands.line_reader import LineReader
    from mpg_cli.cli.commands.slash import SlashCommands
    from mpg_cli.engine.events import Event

TURN = "-- the next turn --"  # stands for the prompt until there is one

EPILOG = """\b
Examples:
  mpg chat -p INTJ+pirate
  mpg chat -p noir --model Qwen/Qwen3-0.6B --system "Answer in two sentences."
  mpg chat --load evening.json
  printf 'Hello\\n/persona bard\\nAgain, please\\n' | mpg chat -p pirate
\b
/help in a chat lists its commands: /persona and /weight change the blend between two turns.
Ctrl-C stops a reply and keeps its text so far, Ctrl-D leaves. A line that ends with a backslash goes on;
lines between \"\"\" belong together. On a pipe each line is a turn, stdout carries the replies and nothing
else, and the exit status is 1 if a turn failed.
Turn 3 is drawn with the sequence id turn-3, after one /retry with turn-3-retry-1; mpg generate --messages
with that --sequence-id and the same --seed says the same."""


@prompting.asks_but("prompt", "prompt_file", "messages", "raw", "samples", "sequence_id")
def chat(
    ctx: typer.Context,
    *,
    system: options.System = None,
    strength: options.Strength = 1.0,
    load: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Go on with a chat that /save kept; options given here replace what it holds.",
        ),
    ] = None,
    format_: options.FormatName = "auto",
    stats: options.ShowStats = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    history: Annotated[
        bool, typer.Option("--history/--no-history", help="Keep typed lines for the next chat.")
    ] = True,
    **asked: Any,
) -> None:
    """Talk with a blend of personas, turn by turn.

    The model stays loaded and remembers what it has read: a turn costs its new tokens, a change of weights
    nothing but the drafter's reading, a new persona only its own.
    """
    from mpg_cli.cli.commands import blending
    from mpg_cli.cli.commands.line_reader import LineReader

    streams = Streams.current()
    chosen = choose_format(format_, streams, to_file=False)
    saved = load_chat(load) if load is not None else None
    if saved is not None:
        _take_over(ctx, saved, asked)
    drawn = asked["seed"] is None
    # A saved blend has the strength in its weights already.
    saved_blend = saved is not None and not (
        blending.on_command_line(ctx, "persona") or blending.on_command_line(ctx, "adapter")
    )
    scaled = strength if not saved_blend or blending.on_command_line(ctx, "strength") else 1.0
    request = prompting.ask(ctx, TURN, strength=scaled, **asked)
    request = replace(request, seed=secrets.randbelow(2**32) if drawn else request.seed)
    transcript = saved.transcript if saved else Transcript()
    if system is not None and (saved is None or blending.on_command_line(ctx, "system")):
        transcript = replace(transcript, system=check_text("--system", system) or None)

    machine = chosen in ("json", "events")
    shown = stats if stats is not None else verbose or (streams.stderr_tty and not machine)
    commentary = Commentary(
        streams, stats=shown, quiet=quiet and not verbose, verbose=verbose, seed=False, drawn=drawn
    )
    if saved is None and (notice := blending.default_model_notice(ctx, request.model.name)):
        commentary.notice(notice)
    conversation = _open(request, transcript, commentary)
    talk = _Talk(conversation, commentary, chosen, strength, list(asked["persona_dir"] or []))
    file = folders.state_dir() / "chat_history" if history else None
    reader = LineReader(streams, file, talk.commands.complete)
    try:
        code = talk.run(reader)
    finally:
        reader.close()
    if code:
        raise typer.Exit(code)


def _take_over(ctx: typer.Context, saved: SavedChat, asked: dict[str, Any]) -> None:
    """What a saved chat holds, where the command line does not say otherwise."""
    from mpg_cli.cli.commands.blending import on_command_line

    if not (on_command_line(ctx, "persona") or on_command_line(ctx, "adapter")):
        asked["persona"] = [saved.persona] if saved.persona else []
        asked["adapter"] = [f"{path}:{format_weight(weight)}" for path, weight in saved.adapters]
    if not on_command_line(ctx, "model"):
        asked["model"] = saved.model
        if not on_command_line(ctx, "revision"):
            asked["revision"] = saved.revision
    if not on_command_line(ctx, "seed"):
        asked["seed"] = saved.seed


def _open(request: Request, transcript: Transcript, commentary: Commentary) -> Conversation:
    """Load the model and the personas."""
    with commentary.streams.status(f"loading {request.model.name}", shown=not commentary.quiet) as status:
        from mpg_cli.chat.conversation import Conversation  # torch loads here

        conversation = Conversation.open(request, transcript, status.update)
        signals.check()
    return conversation


class _Talk:
    """Turn by turn until the input ends; a turn that fails is told and the chat goes on."""

    def __init__(
        self,
        conversation: Conversation,
        commentary: Commentary,
        chosen: ChosenFormat,
        strength: float,
        directories: list[Path],
    ) -> None:
        from mpg_cli.cli.commands.slash import SlashCommands

        self._chat, self._commentary, self._format = conversation, commentary, chosen
        self._streams = commentary.streams
        self.commands: SlashCommands = SlashCommands(conversation, self._streams, strength, directories)
        self._failed = False

    def run(self, reader: LineReader) -> ExitCode:
        """Read and answer; the exit code."""
        self._welcome()
        typed, refused = self._streams.stdin_tty, 0
        while True:
            try:
                text = reader.read()
            except KeyboardInterrupt:
                if not typed:
                    raise
                refused += 1
                signals.forget()
                self._streams.say("\nCtrl-D or /exit leaves" if refused > 1 else "")
                continue
            except MpgError as error:
                self._tell(error)
                continue
            refused = 0
            if text is None:
                if typed:
                    self._streams.say("")  # the shell's prompt on a line of its own
                return ExitCode.FAILURE if self._failed and not typed else ExitCode.OK
            if text.strip():
                ended_by = self._answer(text)
                if ended_by is not None:
                    return ended_by

    def _answer(self, text: str) -> ExitCode | None:
        """One turn or command; the exit code if the chat ends with it."""
        from mpg_cli.cli.commands.slash import Leave

        try:
            if text.startswith("/") and not text.startswith("//"):
                events = self.commands.perform(text)
            else:
                events = self._chat.say(text.removeprefix("/") if text.startswith("//") else text)
            return None if events is None else self._reply(events)
        except Leave:
            return ExitCode.FAILURE if self._failed and not self._streams.stdin_tty else ExitCode.OK
        except MpgError as error:
            self._tell(error)
        except (MemoryError, RuntimeError) as error:  # of torch: what was said is worth more than this turn
            if os.environ.get("MPG_DEBUG") == "1":
                raise
            hint = "the chat goes on, /save keeps it; MPG_DEBUG=1 shows the traceback and ends it"
            self._tell(ModelError(f"the turn failed: {error}", hint=hint))
        except KeyboardInterrupt:  # a second Ctrl-C, or one while personas load
            if not self._streams.stdin_tty:
                raise
            signals.forget()
            self._streams.say("interrupted")
        return None

    def _reply(self, events: Iterable[Event]) -> ExitCode | None:
        """Draw a reply; Ctrl-C ends it and, on a pipe, the chat."""
        renderer = make_renderer(self._format, self._streams, self._commentary)
        try:
            with signals.Graceful(self._chat.stop) as graceful:
                renderer.render(events)
        finally:
            self.commands.count()
        if graceful.exit_code is ExitCode.INTERRUPTED and self._streams.stdin_tty:
            return None
        return graceful.exit_code

    def _welcome(self) -> None:
        from mpg_cli.render.conversation import welcome_words

        chat, request = self._chat, self._chat.request
        if self._streams.stdin_tty and not self._commentary.quiet:
            exchanges = len(chat.transcript.exchanges)
            words = welcome_words(chat.session.persona, chat.session.loaded.id, request.seed or 0, exchanges)
            self._streams.say(words, dim=True)
        elif self._format not in ("json", "events") and (
            self._commentary.drawn or not self._commentary.quiet
        ):
            self._streams.say(f"seed {request.seed}")

    def _tell(self, error: MpgError) -> None:
        self._failed = True
        self._streams.say(f"mpg: error: {error.message}")
        if error.hint:
            self._streams.say(f"hint: {error.hint}")
