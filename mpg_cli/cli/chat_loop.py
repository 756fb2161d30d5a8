"""The chat loop: turns and commands from a reader to a conversation, its events to a renderer."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mpg_cli.cli.line_reader import LineReader
from mpg_cli.cli.slash import EndChat, SlashCommands
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
    """Runs turns until the input ends; a failed turn is reported and the chat continues."""

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
        """Run until the input ends and return the exit code."""
        self._welcome()
        typed, interrupts = self._streams.stdin_tty, 0
        while True:
            try:
                text = reader.read()
            except KeyboardInterrupt:
                if not typed:
                    raise
                interrupts += 1
                signals.forget()
                self._streams.message("\nCtrl-D or /exit ends the chat" if interrupts > 1 else "")
                continue
            except MpgError as error:
                self._report(error)
                continue
            interrupts = 0
            if text is None:
                if typed:
                    self._streams.message("")  # the shell's prompt on a line of its own
                return ExitCode.FAILURE if self._failed and not typed else ExitCode.OK
            if text.strip():
                ended_by = self._answer(text)
                if ended_by is not None:
                    return ended_by

    def _answer(self, text: str) -> ExitCode | None:
        """Run one turn or command; the exit code if it ends the chat."""
        try:
            if text.startswith("/") and not text.startswith("//"):
                events = self.commands.perform(text)
            else:
                events = self._chat.say(text.removeprefix("/") if text.startswith("//") else text)
            return None if events is None else self._reply(events)
        except EndChat:
            return ExitCode.FAILURE if self._failed and not self._streams.stdin_tty else ExitCode.OK
        except MpgError as error:
            self._report(error)
        except (MemoryError, RuntimeError) as error:  # from torch: keep the chat
            if os.environ.get("MPG_DEBUG") == "1":
                raise
            hint = "the chat continues, /save saves it; set MPG_DEBUG=1 for the traceback"
            self._report(ModelError(f"the turn failed: {error}", hint=hint))
        except KeyboardInterrupt:  # a second Ctrl-C, or one while personas load
            if not self._streams.stdin_tty:
                raise
            signals.forget()
            self._streams.message("interrupted")
        return None

    def _reply(self, events: Iterable[Event]) -> ExitCode | None:
        """Render a reply; Ctrl-C ends the reply and, on a pipe, the chat."""
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
            words = welcome_words(chat.persona, chat.engine.loaded.id, request.seed or 0, exchanges)
            self._streams.message(words, dim=True)
        elif self._format not in ("json", "events") and (
            self._commentary.drawn or not self._commentary.quiet
        ):
            self._streams.message(f"seed {request.seed}")

    def _report(self, error: MpgError) -> None:
        self._failed = True
        self._streams.message(f"mpg: error: {error.message}")
        if error.hint:
            self._streams.message(f"hint: {error.hint}")
