"""A conversation on a loaded model: turn by turn, with a blend that may change between two of them.

Each turn is a reply of the session to all messages so far, and the session reads only what is new in them.
So a turn says what a fresh session says for its messages, seed and sequence id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from mpg_cli.chat.transcript import Exchange, SavedChat, Transcript
from mpg_cli.engine.events import Event, Finished, FinishReason, Notice, Round, Started, Text
from mpg_cli.engine.explained import explanation_of
from mpg_cli.engine.request import Request
from mpg_cli.engine.sequence import MAX_TOKENS
from mpg_cli.engine.session import Session
from mpg_cli.errors import ContextError, ModelError, UsageError
from mpg_cli.explain.attribution import Explanation
from mpg_cli.personas.choice import ExpertInfo
from mpg_cli.sampling.stats import Stats

ROOM = "/drop forgets the oldest exchange, /clear all of them; then /retry"


@dataclass
class LastReply:
    """The last reply in all detail; `finished` if it came to its end."""

    prefill: str
    max_tokens: int
    rounds: list[Round] = field(default_factory=list)
    text: str = ""
    finished: Finished | None = None

    @property
    def begun(self) -> bool:
        """Whether it has a word of the model's own."""
        return len(self.text) > len(self.prefill)


@dataclass(frozen=True)
class Reading:
    """Prompt tokens over all rows: those of the messages, and how many of them were not cached."""

    tokens: int = 0
    read: int = 0


class Conversation:
    """Messages and the blend that answers them. `request` has the seed; its prompt is not used."""

    def __init__(self, session: Session, request: Request, transcript: Transcript) -> None:
        self.session, self.request, self.transcript = session, request, transcript
        self.stats = Stats()  # of all replies, those that were drawn again included
        self.last: LastReply | None = None
        self.reading = Reading()  # of the last reply
        self._unanswered: str | None = None  # a turn that failed: there was no room, or no time for a word

    @classmethod
    def open(
        cls,
        request: Request,
        transcript: Transcript,
        report: Callable[[str], None] = lambda message: None,
    ) -> Conversation:
        """Load the model and the experts. Raises ModelError where the model knows no turns."""
        session = Session.open(request, report)
        if not getattr(session.loaded.tokenizer, "chat_template", None):
            raise ModelError(
                f"{session.loaded.id} has no chat template, so it knows no turns",
                hint="choose an instruction-tuned model; mpg generate takes prompts for any",
            )
        return cls(session, request, transcript)

    def stop(self, reason: FinishReason = "interrupted") -> None:
        """End the reply under way at the next round."""
        self.session.stop(reason)

    # -- turns -----------------------------------------------------------------------------------

    def say(self, text: str) -> Iterator[Event]:
        """The events of the reply to one more user turn. Raises ContextError if there is no room for it."""
        self._unanswered = text
        return self._reply(self.transcript, Exchange(text, "", self.transcript.count + 1))

    def retry(self) -> Iterator[Event]:
        """The events of another reply to the last user turn, drawn with other random numbers.

        A turn that has got no reply yet gets its first.
        """
        if self._unanswered is not None:
            return self.say(self._unanswered)
        last = self._last_exchange()
        return self._reply(self.transcript.without_last(), replace(last, attempt=last.attempt + 1))

    def undo(self) -> Exchange:
        """Take the last exchange back."""
        last = self._last_exchange()
        self.transcript = self.transcript.without_last()
        self.last = self._unanswered = None
        return last

    def drop(self, count: int) -> int:
        """Forget the oldest exchanges; how many there were to forget."""
        count = min(count, len(self.transcript.exchanges))
        self.transcript = self.transcript.without_first(count)
        return count

    def clear(self) -> None:
        """Drop all exchanges; the system text and the blend stay."""
        self.transcript = Transcript(self.transcript.system, count=self.transcript.count)
        self.last = None

    def set_system(self, text: str | None) -> None:
        """Another system text above the personas' own."""
        self.transcript = replace(self.transcript, system=text)

    def set_seed(self, seed: int) -> None:
        """Another seed for the replies from now on."""
        self.request = replace(self.request, seed=seed)

    def change(self, request: Request, report: Callable[[str], None]) -> list[str]:
        """Go on with the blend of another request; what the user should know of it.

        Raises PersonaError, AdapterError, ModelError; the blend is then what it was.
        """
        self.session.change(request, report)
        self.request = request
        notices = [notice.message for notice in self.session.notices]
        self.session.notices = []
        return notices

    def explanation(self) -> tuple[Explanation, Sequence[ExpertInfo]]:
        """What each of the experts contributed to each token of the last reply."""
        last, tokenizer = self.last, self.session.loaded.tokenizer
        if last is None or last.finished is None:
            raise UsageError("there is no whole reply to explain", hint="say something, or /retry")
        return explanation_of(last.rounds, last.finished, tokenizer), last.finished.spec.experts

    def saved(self) -> SavedChat:
        """What a file of this chat holds."""
        request = self.request
        assert request.seed is not None
        return SavedChat(
            model=request.model.name,
            revision=request.model.revision,
            persona=request.blend.expression if request.blend else None,
            adapters=tuple((place.saved, weight) for place, weight in request.adapters),
            seed=request.seed,
            transcript=self.transcript,
        )

    # -- below -----------------------------------------------------------------------------------

    def _last_exchange(self) -> Exchange:
        if not self.transcript.exchanges:
            raise UsageError("nothing has been said yet")
        return self.transcript.exchanges[-1]

    def _reply(self, before: Transcript, exchange: Exchange) -> Iterator[Event]:
        """A reply to `exchange` after `before`; a stop that came too late for the one before is void."""
        self.session.resume()
        return self._events(before, exchange)

    def _events(self, before: Transcript, exchange: Exchange) -> Iterator[Event]:
        """The events of a reply; however it ends, its text is kept."""
        turns = (*before.messages, {"role": "user", "content": exchange.user})
        prompting = replace(self.request.prompting, prompt=None, messages=turns, system=None)
        request = replace(self.request, prompting=prompting, sequence_id=exchange.sequence)
        tokens, read = self.session.prompt_tokens, self.session.read_tokens
        last: LastReply | None = None
        earlier = self.stats
        try:
            for event in self.session.replies(request):
                if isinstance(event, Started):
                    last = LastReply(event.spec.prefill, event.spec.max_tokens)
                elif last and isinstance(event, Round):
                    last.rounds.append(event)
                    self.stats = earlier + event.stats
                elif last and isinstance(event, Text):
                    last.text += event.text
                elif last and isinstance(event, Finished):
                    last.text, last.finished = event.text, event
                    self._keep(before, exchange, last)
                yield event
        except ContextError as error:
            raise ContextError(f"the chat is full: {error.message}", hint=ROOM) from None
        except (KeyboardInterrupt, GeneratorExit):  # in the middle of a round, or of drawing it
            if last is not None and last.finished is None:
                self._keep(before, exchange, last)
            raise
        finally:
            self.reading = Reading(self.session.prompt_tokens - tokens, self.session.read_tokens - read)
        if last is not None and not last.begun and last is not self.last:
            yield Notice("stopped before the first word: the turn is not kept, /retry asks again")
        if last is not None and self._ran_full(last):
            yield Notice(f"the context is full, the reply ends there: {ROOM}")

    def _keep(self, before: Transcript, exchange: Exchange, last: LastReply) -> None:
        """Put a reply into the transcript; stopped before its first word it is as if never asked."""
        interrupted = last.finished is None or last.finished.finish_reason == "interrupted"
        if last.begun or not interrupted:
            self.transcript = before.plus(replace(exchange, reply=last.text))
            self.last, self._unanswered = last, None

    def _ran_full(self, last: LastReply) -> bool:
        """Whether the model's context ended the reply, not its own end or the limit that was asked for."""
        wanted = self.request.sampling.max_tokens or MAX_TOKENS
        ended = last.finished is not None and last.finished.finish_reason == "length"
        return ended and last.max_tokens < wanted
