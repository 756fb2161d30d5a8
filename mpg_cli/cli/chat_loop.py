"""The loop of a chat: turns and commands from a reader to a conversation, its events to a renderer."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mpg_cli.cli.line_reader import LineReader
from mpg_cli.cli.slash import Leave, SlashCommands
from mpg_cli.errors import ExitCode, ModelError, MpgError
from mpg_cli.io import signals
from mpg_cli.options.blend import BlendOptions
from mpg_cli.render import ChosenFormat, make_renderer
from mpg_cli.render.commentary import Commentary
from mpg_cli.render.conversation import welcome_words

if TYPE_CHECKING:
    from mpg_cli.chat.conversation import Conversation
    from mpg_cli.engine.events import Event


class ChatLoop:
    """Turn by turn until the input ends; a turn that fails is told and the chat goes on."""

    def __init__(
        self,
        conversation: Conversation,
        commentary: Commentary,
        chosen: ChosenFormat,
        blend: BlendOptions,
    ) -> None:
        self._chat, self._commentary, self._format = conversation, commentary, chosen
        self._streams = commentary.streams
        self.commands = SlashCommands(conversation, self._streams, blend)
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
        except (MemoryError, RuntimeError) as error:  # of torch: the chat is worth more than this turn
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
