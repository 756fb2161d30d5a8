"""A conversation on a loaded model; the blend may change between turns.

Each turn requests a reply to all messages so far; the engine computes only the tokens that are not cached.
The reply equals that of a fresh engine for the same messages, seed and sequence id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from mpg_cli.chat.transcript import Exchange, SavedChat, Transcript
from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import Event, Finished, FinishReason, Notice, Round, Started, Text
from mpg_cli.engine.explained import check_explainable, explanation_of
from mpg_cli.engine.request import Request
from mpg_cli.engine.run_spec import expression_of
from mpg_cli.engine.sequence import MAX_TOKENS
from mpg_cli.errors import ContextError, ModelError, UsageError
from mpg_cli.explain.attribution import Explanation
from mpg_cli.personas.choice import ExpertInfo
from mpg_cli.sampling.stats import Stats

ROOM_HINT = "/drop removes the oldest exchange, /clear all of them; then /retry"


@dataclass
class LastReply:
    """The last reply with its rounds; `finished` is None if it was interrupted in the middle of a round."""

    prefill: str
    max_tokens: int
    rounds: list[Round] = field(default_factory=list)
    text: str = ""
    finished: Finished | None = None

    @property
    def has_text(self) -> bool:
        """Whether the model has generated text beyond the prefill."""
        return len(self.text) > len(self.prefill)


@dataclass(frozen=True)
class Reading:
    """Prompt tokens over all rows: `tokens` in all, of which `read` were not cached."""

    tokens: int = 0
    read: int = 0


class Conversation:
    """Messages and the blend that replies. `request` has the seed; its prompt is not used."""

    def __init__(self, engine: Engine, request: Request, transcript: Transcript) -> None:
        self.engine, self.request, self.transcript = engine, request, transcript
        self.stats = Stats()  # of all replies, retried ones included
        self.last: LastReply | None = None
        self.reading = Reading()  # of the last reply
        self._unanswered: str | None = None  # a turn that did not fit, or was stopped before any text
        self._notices = engine.prepare(request)  # for the next reply

    @classmethod
    def open(
        cls,
        request: Request,
        transcript: Transcript,
        report: Callable[[str], None] = lambda message: None,
    ) -> Conversation:
        """Load the model and the experts. Raises ModelError for a model without a chat template."""
        engine = Engine.load(request.model, report, batch_size=1)
        if not getattr(engine.loaded.tokenizer, "chat_template", None):
            raise ModelError(
                f"{engine.loaded.id} has no chat template, so it cannot chat",
                hint="choose an instruction-tuned model; mpg generate works with any model",
            )
        return cls(engine, request, transcript)

    def stop(self, reason: FinishReason = "interrupted") -> None:
        """End the current reply after this round."""
        self.engine.interrupt(reason)

    @property
    def persona(self) -> str:
        """The blend as one expression."""
        return expression_of(self.request)

    @property
    def experts(self) -> tuple[ExpertInfo, ...]:
        """The experts of the blend."""
        return self.engine.experts(self.request)

    # -- turns -----------------------------------------------------------------------------------

    def say(self, text: str) -> Iterator[Event]:
        """The events of the reply to one more user turn. Raises ContextError if there is no room for it."""
        self._unanswered = text
        return self._events(self.transcript, Exchange(text, "", self.transcript.turn_count + 1))

    def retry(self) -> Iterator[Event]:
        """The events of another reply to the last user turn, from a new random stream.

        A turn without a reply gets its first.
        """
        if self._unanswered is not None:
            return self.say(self._unanswered)
        last = self._last_exchange()
        return self._events(self.transcript.without_last(), replace(last, attempt=last.attempt + 1))

    def undo(self) -> Exchange:
        """Remove the last exchange and return it."""
        last = self._last_exchange()
        self.transcript = self.transcript.without_last()
        self.last = self._unanswered = None
        return last

    def drop(self, count: int) -> int:
        """Remove the oldest exchanges; returns how many were removed."""
        count = min(count, len(self.transcript.exchanges))
        self.transcript = self.transcript.without_first(count)
        return count

    def clear(self) -> None:
        """Remove all exchanges; the system text and the blend stay."""
        self.transcript = Transcript(self.transcript.system, turn_count=self.transcript.turn_count)
        self.last = None

    def set_system(self, text: str | None) -> None:
        """Set the system text that precedes the personas' own."""
        self.transcript = replace(self.transcript, system=text)

    def set_seed(self, seed: int) -> None:
        """Set the seed of later replies."""
        self.request = replace(self.request, seed=seed)

    def change(self, request: Request, report: Callable[[str], None]) -> list[str]:
        """Continue with the blend of another request; returns the notices for the user.

        Raises PersonaError, AdapterError, ModelError, and keeps the blend in that case.
        """
        notices = self.engine.prepare(request, report)
        self.request = request
        return notices

    def explanation(self) -> tuple[Explanation, Sequence[ExpertInfo]]:
        """The contribution of each expert to each token of the last reply."""
        last, tokenizer = self.last, self.engine.loaded.tokenizer
        if last is None or last.finished is None:
            raise UsageError("there is no complete reply to explain", hint="send a message, or /retry")
        check_explainable(last.finished.spec.scheme)
        return explanation_of(last.rounds, last.finished, tokenizer), last.finished.spec.experts

    def saved(self) -> SavedChat:
        """The chat as /save writes it."""
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

    # -- internals --------------------------------------------------------------------------------

    def _last_exchange(self) -> Exchange:
        if not self.transcript.exchanges:
            raise UsageError("the chat has no exchange yet")
        return self.transcript.exchanges[-1]

    def _events(self, before: Transcript, exchange: Exchange) -> Iterator[Event]:
        """The events of a reply to `exchange` after `before`; text before an interruption is kept."""
        notices, self._notices = self._notices, []
        yield from map(Notice, notices)
        turns = (*before.messages, {"role": "user", "content": exchange.user})
        prompting = replace(self.request.prompting, prompt=None, messages=turns, system=None)
        request = replace(self.request, prompting=prompting, sequence_id=exchange.sequence)
        tokens, read = self.engine.prompt_tokens, self.engine.read_tokens
        last: LastReply | None = None
        earlier = self.stats
        try:
            for event in self.engine.replies(request):
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
            raise ContextError(f"the chat is full: {error.message}", hint=ROOM_HINT) from None
        except (KeyboardInterrupt, GeneratorExit):  # in the middle of a round, or while it is displayed
            if last is not None and last.finished is None:
                self._keep(before, exchange, last)
            raise
        finally:
            self.reading = Reading(self.engine.prompt_tokens - tokens, self.engine.read_tokens - read)
        if last is not None and not last.has_text and last is not self.last:
            yield Notice("stopped before any text: the turn is not kept; /retry sends it again")
        if last is not None and self._ran_full(last):
            yield Notice(f"the context is full, so the reply was cut short: {ROOM_HINT}")

    def _keep(self, before: Transcript, exchange: Exchange, last: LastReply) -> None:
        """Add a reply to the transcript, unless it was interrupted before any text."""
        interrupted = last.finished is None or last.finished.finish_reason == "interrupted"
        if last.has_text or not interrupted:
            self.transcript = before.plus(replace(exchange, reply=last.text))
            self.last, self._unanswered = last, None

    def _ran_full(self, last: LastReply) -> bool:
        """Whether the reply ended at the end of the model's context, below the requested limit."""
        wanted = self.request.sampling.max_tokens or MAX_TOKENS
        ended = last.finished is not None and last.finished.finish_reason == "length"
        return ended and last.max_tokens < wanted
