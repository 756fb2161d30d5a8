"""The commands of a chat, `/persona` to `/exit`: they change the conversation or print to stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mpg_cli.chat.transcript import save_chat
from mpg_cli.engine.request import Request
from mpg_cli.errors import UsageError
from mpg_cli.io.terminal import Streams
from mpg_cli.io.text import check_text, did_you_mean, nearest, visible
from mpg_cli.options.blend import BlendOptions
from mpg_cli.options.run import MAX_SEED
from mpg_cli.personas import blending, expression, registry
from mpg_cli.personas.blending import Experts
from mpg_cli.personas.registry import MAX_WEIGHT
from mpg_cli.render import conversation as words

if TYPE_CHECKING:
    from mpg_cli.chat.conversation import Conversation
    from mpg_cli.engine.events import Event


class EndChat(Exception):
    """The user ended the chat with a command."""


@dataclass(frozen=True)
class Command:
    """A command's usage and its help line."""

    usage: str
    help: str

    @property
    def name(self) -> str:
        return self.usage.split()[0]


COMMANDS = (
    Command("/persona [EXPR]", "show the blend, or switch to another one"),
    Command("/weight NAME W", "change the weight of one persona of the blend; 0 removes it"),
    Command("/explain", "the log-ratio contribution of each persona to each token of the last reply"),
    Command("/retry", "sample another reply to the last turn"),
    Command("/undo", "remove the last turn and its reply"),
    Command("/drop [N]", "remove the oldest turn, or the N oldest, with their replies"),
    Command("/clear", "remove all turns"),
    Command("/system [TEXT|-]", "show, set or (-) remove the system text"),
    Command("/seed [N]", "show or set the seed"),
    Command("/save FILE", "save the chat; resume it with mpg chat --load FILE"),
    Command("/stats", "statistics of this chat: acceptance, tokens, prompt tokens computed"),
    Command("/help", "list the commands"),
    Command("/exit", "end the chat, like Ctrl-D"),
)
NAMES = tuple(command.name for command in COMMANDS)
INPUT_HELP = (
    'End a line with a backslash to continue it; enclose several lines in """; start with // for a literal /.'
)


class SlashCommands:
    """Runs commands on a conversation; `blend` has the scale and the folders of the command line."""

    def __init__(self, conversation: Conversation, streams: Streams, blend: BlendOptions) -> None:
        self._chat, self._streams = conversation, streams
        self._scale, self._directories = blend.scale, blend.persona_dirs
        self._tokens = self._read = 0

    def perform(self, line: str) -> Iterable[Event] | None:
        """Run the command in `line`; returns the events of a reply, if any. Raises MpgError, EndChat."""
        name, _, rest = line.strip().partition(" ")
        name = name.lower()
        if name == "/quit":
            name = "/exit"
        if name not in NAMES:
            close = did_you_mean(name, NAMES, 1) or "; see /help"
            raise UsageError(f"unknown command {visible(name, 40)}{close}")
        method: Callable[[str], Iterable[Event] | None] = getattr(self, "_" + name[1:])
        return method(check_text("the line", rest.strip()))

    def count(self) -> None:
        """Add the prompt tokens of the last reply to the totals."""
        self._tokens += self._chat.reading.tokens
        self._read += self._chat.reading.read

    def complete(self, before: str) -> Sequence[str]:
        """The completions after the start of a line."""
        if not before.strip():
            return [c.name + " " * (c.name != c.usage) for c in COMMANDS]
        command = before.split()[0].lower()
        if command in ("/persona", "/weight"):
            return [persona.name for persona in registry.load_default(self._directories).personas]
        return ()

    # -- the blend -------------------------------------------------------------------------------

    def _persona(self, text: str) -> None:
        request = self._chat.request
        if text:
            terms = expression.parse(text)
            blend = registry.resolve(terms, registry.load_default(self._directories), self._scale)
            self._change(replace(request, blend=blend))
        self._print(self._blend())

    def _weight(self, text: str) -> None:
        name, _, number = text.rpartition(" ")
        if not name.strip():
            raise UsageError("/weight needs a name and a weight", hint="as in /weight pirate 0.5")
        wanted, *others = expression.parse(f"{name.strip()}:{number}")
        if others:
            raise UsageError("/weight takes one persona at a time", hint="as in /weight pirate 0.5")
        request = self._chat.request
        terms = expression.parse(request.blend.expression) if request.blend else ()
        of_terms = {term.name.lower() for term in terms}
        of_adapters = {place.name.lower() for place, _ in request.adapters}
        if wanted.name.lower() not in of_terms | of_adapters:
            raise self._not_in_blend(wanted.name)
        terms = tuple(wanted if term.name.lower() == wanted.name.lower() else term for term in terms)
        if wanted.name.lower() in of_adapters:
            self._change(self._with_adapter(request, wanted))
        else:
            kept = [term for term in terms if term.weight]
            known = registry.load_default(self._directories)
            self._change(replace(request, blend=registry.resolve(kept, known) if kept else None))
        self._print(self._blend())

    def _with_adapter(self, request: Request, wanted: expression.Term) -> Request:
        """The request with another weight for an adapter of the command line."""
        if abs(wanted.weight) > MAX_WEIGHT:
            raise UsageError(f"the weight of {wanted.name} is beyond ±{MAX_WEIGHT}")
        weighed = [
            (place, wanted.weight if place.name.lower() == wanted.name.lower() else weight)
            for place, weight in request.adapters
        ]
        return replace(request, adapters=tuple((place, weight) for place, weight in weighed if weight))

    def _not_in_blend(self, name: str) -> UsageError:
        """The error for a persona outside the blend, with a hint how to add it."""
        request = self._chat.request
        terms = [*expression.parse(request.blend.expression)] if request.blend else []
        names = [*(t.name for t in terms), *(place.name for place, _ in request.adapters)]
        personas = registry.load_default(self._directories).personas
        close = nearest(name, names, 1)
        if close:
            hint = f"did you mean {close[0]}?"
        elif name.lower() in {persona.name.lower() for persona in personas} and terms:
            hint = f"add it with /persona {expression.format_expression([*terms, expression.Term(name)])}"
        else:
            hint = f"the blend has {', '.join(names)}"
        return UsageError(f"{name} is not in the blend", hint=hint)

    def _change(self, request: Request) -> None:
        """Switch to another blend. Raises UsageError if it is empty or lacks the persona that drafts."""
        experts = Experts(request.blend, request.adapters)
        blending.check_weights(experts, request.scheme.target)
        request.scheme.on(experts.names)
        with self._streams.status("loading the personas") as status:
            notices = self._chat.change(request, status.update)
        for notice in notices:
            self._print(f"mpg: {notice}")

    def _blend(self) -> str:
        experts = ", ".join(f"{e.name} {e.weight:g} ({e.kind})" for e in self._chat.experts)
        return f"{self._chat.persona}: {experts}"

    # -- turns -----------------------------------------------------------------------------------

    def _retry(self, text: str) -> Iterable[Event]:
        self._nothing_after("/retry", text)
        return self._chat.retry()

    def _undo(self, text: str) -> None:
        self._nothing_after("/undo", text)
        removed = self._chat.undo()
        self._print(f"removed: {visible(removed.user, 60)}")

    def _drop(self, text: str) -> None:
        count = _number(text, "/drop", "/drop 2") if text else 1
        dropped = self._chat.drop(count)
        which = "the oldest exchange" if dropped == 1 else f"the {dropped} oldest exchanges"
        self._print(f"removed {which}" if dropped else "there is no exchange to remove")

    def _clear(self, text: str) -> None:
        self._nothing_after("/clear", text)
        self._chat.clear()
        self._print("removed all exchanges")

    def _system(self, text: str) -> None:
        if text:
            self._chat.set_system(None if text == "-" else text)
        system = self._chat.transcript.system
        self._print(f"system text: {system}" if system else "there is no system text")

    def _seed(self, text: str) -> None:
        if text:
            seed = _number(text, "/seed", "/seed 7")
            if seed > MAX_SEED:
                raise UsageError("a seed is between 0 and 2^64 - 1")
            self._chat.set_seed(seed)
        self._print(f"seed {self._chat.request.seed}")

    def _save(self, text: str) -> None:
        if not text:
            raise UsageError("/save needs a file", hint="as in /save chat.json")
        save_chat(Path(text), self._chat.saved())
        self._print(f"saved to {visible(text)}")

    # -- reports ---------------------------------------------------------------------------------

    def _explain(self, text: str) -> None:
        self._nothing_after("/explain", text)
        from mpg_cli.render.explain_terminal import write_explanation

        explanation, experts = self._chat.explanation()
        err = self._streams
        write_explanation(err.stderr, explanation, experts, tty=err.stderr_tty, color=err.color)

    def _stats(self, text: str) -> None:
        self._nothing_after("/stats", text)
        reading, seed = self._chat.reading, self._chat.request.seed
        rows = words.stats_rows(
            self._chat.stats,
            exchanges=len(self._chat.transcript.exchanges),
            tokens=reading.tokens,
            read=reading.read,
            whole=(self._tokens, self._read),
            seed=seed or 0,
        )
        self._print(words.aligned([*rows, ("blend", self._chat.persona)]))

    def _help(self, text: str) -> None:
        self._print(words.aligned([(command.usage, command.help) for command in COMMANDS]))
        self._print(INPUT_HELP)

    def _exit(self, text: str) -> None:
        self._nothing_after("/exit", text)
        raise EndChat

    def _nothing_after(self, name: str, text: str) -> None:
        if text:
            raise UsageError(f"{name} takes no argument", hint="see /help")

    def _print(self, text: str) -> None:
        self._streams.message(text)


def _number(text: str, name: str, example: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{name} takes a whole number, not '{visible(text, 40)}'", hint=f"as in {example}")
    return int(text[:25])  # far beyond any limit here, but below Python's limit on digits
