"""A conversation against fresh engines: same text, and no token is read twice without need."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.chat.conversation import Conversation
from mpg_cli.chat.transcript import Transcript
from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import Event, Finished, Notice, Text
from mpg_cli.engine.request import Request
from mpg_cli.errors import ContextError, ModelError, UsageError
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.expression import parse
from mpg_cli.personas.registry import Registry, resolve
from mpg_cli.sampling.params import SamplingLaw, Scheme
from tests.support.steps import after_passes
from tests.support.tokenizers import byte_tokenizer
from tests.support.world import build, set_context


@pytest.fixture(autouse=True)
def _room_to_talk(world: Path) -> None:
    set_context(world, 1500)


def request(world: Path, personas: str, **fields: Any) -> Request:
    whole = Request(
        model=ModelOptions(str(world / "base"), device="cpu", dtype="float32"),
        prompting=Prompting("-"),
        sampling=SamplingLaw(max_tokens=24),
        scheme=Scheme(drafter=fields.pop("drafter", "merged")),
        blend=resolve(parse(personas), Registry.load([world])),
        seed=7,
    )
    return replace(whole, **fields)


def finished(events: Iterable[Event]) -> Finished:
    return next(event for event in list(events) if isinstance(event, Finished))


def quiet(message: str) -> None:
    """A report callback that ignores its messages."""


class Talk:
    """A conversation, each reply of which is compared with that of an engine that has read nothing."""

    def __init__(self, world: Path, personas: str, **fields: Any) -> None:
        self.world = world
        self.chat = Conversation.open(request(world, personas, **fields), Transcript("Be kind."))

    def say(self, text: str) -> None:
        self.compare(finished(self.chat.say(text)))

    def retry(self) -> str:
        end = finished(self.chat.retry())
        self.compare(end)
        return end.text

    def blend(self, personas: str) -> None:
        blend = resolve(parse(personas), Registry.load([self.world]))
        self.chat.change(replace(self.chat.request, blend=blend), quiet)

    def compare(self, end: Finished) -> None:
        last = self.chat.transcript.exchanges[-1]
        assert last.reply == end.text
        asked = replace(
            self.chat.request,
            prompting=Prompting(messages=self.chat.transcript.messages[:-1]),
            sequence_id=last.sequence,
        )
        fresh = Engine.load(asked.model)
        assert finished(fresh.replies(asked)).token_ids == end.token_ids
        assert fresh.prompt_tokens == self.chat.reading.tokens
        assert self.chat.reading.read <= fresh.read_tokens <= fresh.prompt_tokens


@pytest.mark.parametrize("drafter", ["merged", "reference", "lookup", "none", "folded"])
def test_every_turn_equals_that_of_a_fresh_engine(world: Path, drafter: str) -> None:
    """After turns, changed weights, new and lost personas of each kind, retries, another seed, undo, drop.

    The replies are random bytes: read back as text most become other tokens than those that were sampled.
    """
    talk = Talk(world, "bold+calm:0.5", drafter=drafter)
    talk.say("Hello")
    talk.say("And then?")
    talk.blend("bold:0.3+calm:0.5")
    talk.say("Go on")
    talk.blend("terse+bold:0.3+full:0.5")
    talk.say("Who are you?")
    first = talk.chat.transcript.exchanges[-1].reply
    second = talk.retry()
    assert len({first, second, talk.retry()}) == 3
    talk.chat.set_seed(8)
    talk.retry()
    talk.chat.undo()
    talk.blend("calm")
    talk.say("Again")
    talk.chat.drop(2)
    talk.say("What was that?")
    assert [e.sequence for e in talk.chat.transcript.exchanges] == ["turn-3", "turn-5", "turn-6"]


@pytest.mark.parametrize("rule", ["threshold", "block"])
def test_other_rules_say_the_same_as_well(world: Path, rule: Any) -> None:
    from mpg_cli.sampling.params import Threshold

    candidates = 3 if rule == "threshold" else 1
    scheme = Scheme(rule=rule, chunk_size=3, threshold=Threshold(candidates=candidates))
    talk = Talk(world, "bold+calm:0.5", scheme=scheme)
    for text in ("Hello", "And then?", "Go on"):
        talk.say(text)
    talk.blend("bold+terse")
    talk.say("Really?")
    assert [e.sequence for e in talk.chat.transcript.exchanges] == ["turn-1", "turn-2", "turn-3", "turn-4"]


def test_a_stopped_reply_stays_and_the_chat_continues(world: Path) -> None:
    talk = Talk(world, "bold+calm", sampling=SamplingLaw(max_tokens=60))
    talk.say("Hello")
    events = talk.chat.say("Tell me all")
    for event in events:
        if isinstance(event, Text):
            talk.chat.stop()
            break
    end = finished(events)
    assert end.finish_reason == "interrupted"
    assert 0 < len(end.token_ids) < 60
    assert talk.chat.transcript.exchanges[-1].reply == end.text
    talk.chat.stop()  # too late
    talk.say("Go on")
    talk.retry()


def test_an_interruption_in_the_middle_of_a_pass_costs_only_its_round(world: Path) -> None:
    talk = Talk(world, "bold+calm", sampling=SamplingLaw(max_tokens=60))
    talk.say("Hello")

    def interrupt(number: int) -> None:
        if number == 30:
            raise KeyboardInterrupt

    with after_passes(interrupt), pytest.raises(KeyboardInterrupt):
        for _ in talk.chat.say("Tell me all"):
            pass
    last = talk.chat.transcript.exchanges[-1]
    assert last.user == "Tell me all"
    assert last.reply
    talk.say("Go on")


def test_a_reply_without_text_is_not_kept(world: Path) -> None:
    talk = Talk(world, "bold")
    talk.say("Hello")
    events = talk.chat.say("Never mind")
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert [e.user for e in talk.chat.transcript.exchanges] == ["Hello"]
    assert talk.retry()
    assert [e.user for e in talk.chat.transcript.exchanges] == ["Hello", "Never mind"]


def test_a_turn_reads_its_new_tokens_only(world: Path) -> None:
    """ASCII replies, so that they are the same tokens again: rows read what is behind the last pass."""
    talk = Talk(world, "bold+calm+terse")
    talk.say("Hello")
    assert talk.chat.reading.read == talk.chat.reading.tokens
    before = talk.chat.transcript.exchanges[-1]
    talk.say("And now something else")
    rows = 5  # reference, three personas, the drafter
    assert talk.chat.reading.read >= rows * len("</><user>And now something else</><assistant>")
    least = rows * len(f"<system>Be kind.</><user>{before.user}</><assistant>")
    assert talk.chat.reading.tokens - talk.chat.reading.read >= least
    talk.retry()
    assert talk.chat.reading.read == 0


def test_only_what_changed_is_read_again(world: Path) -> None:
    talk = Talk(world, "bold+calm")
    talk.say("Hello")
    plain = len("<system>Be kind.</><user>Hello</><assistant>") - 1
    talk.blend("bold+calm:0.5")
    talk.retry()
    assert talk.chat.reading.read == plain  # the merged row, whose weights are others
    talk.blend("bold+terse+calm:0.5")
    talk.retry()
    known = len("<system>Be kind.")  # of the prompt with another persona's text, by a row of the same weights
    read = plain + len("\n\nSay little.") - known
    assert talk.chat.reading.read == read + read  # the new row, and the merged one with its prompt
    talk.blend("bold+calm:0.5")
    talk.retry()
    assert talk.chat.reading.read == plain - known  # the merged row without it
    talk.blend("calm:0.5+bold+full")
    talk.retry()
    assert talk.chat.reading.read == plain  # the checkpoint; the order of the adapters does not matter


def test_a_full_context_is_reported_and_the_chat_continues(tmp_path: Path) -> None:
    world = build(tmp_path)
    set_context(world, 150)
    talk = Talk(world, "bold", sampling=SamplingLaw(max_tokens=60))
    talk.say("Hello")
    notices = [e.message for e in talk.chat.say("And then?") if isinstance(e, Notice)]
    assert any("the context is full" in notice for notice in notices), notices
    before = talk.chat.transcript
    with pytest.raises(ContextError, match="the chat is full") as error:
        list(talk.chat.say("x" * 100))
    assert error.value.hint is not None
    assert "/drop" in error.value.hint
    assert talk.chat.transcript == before
    assert talk.chat.drop(5) == 2
    talk.retry()  # there is room now
    assert talk.chat.transcript.exchanges[-1].user == "x" * 100
    assert talk.chat.transcript.exchanges[-1].sequence == "turn-3"
    talk.chat.clear()
    talk.say("Again")
    assert talk.chat.transcript.exchanges[-1].sequence == "turn-4"  # no turn has the noise of another
    talk.chat.clear()
    talk.say("Hello")
    assert talk.chat.transcript.exchanges[-1].sequence == "turn-5"


def test_a_blend_that_cannot_be_loaded_leaves_the_old_one(world: Path) -> None:
    talk = Talk(world, "bold")
    talk.say("Hello")
    (world / "broken.yaml").write_text("name: broken\nadapters: [{base: base, path: nowhere}]\n")
    try:
        with pytest.raises(Exception, match="nowhere"):
            talk.blend("bold+broken")
    finally:
        (world / "broken.yaml").unlink()
    talk.say("Still you?")
    assert talk.chat.persona == "bold"


def test_undo_and_retry_need_an_exchange(world: Path) -> None:
    chat = Conversation.open(request(world, "bold"), Transcript())
    for call in (chat.undo, chat.retry):
        with pytest.raises(UsageError, match="the chat has no exchange yet"):
            call()
    with pytest.raises(UsageError, match="no complete reply to explain"):
        chat.explanation()


def test_a_model_without_turns_is_refused(tmp_path: Path) -> None:
    world = build(tmp_path)
    byte_tokenizer(None, extra=3).save_pretrained(world / "base")
    (world / "base" / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(ModelError, match="no chat template"):
        Conversation.open(request(world, "bold"), Transcript())


def test_the_explanation_is_that_of_the_last_reply(world: Path) -> None:
    talk = Talk(world, "bold+calm")
    talk.say("Hello")
    explanation, experts = talk.chat.explanation()
    assert [expert.name for expert in experts] == list(explanation.names) == ["bold", "calm"]
    assert "".join(token.text for token in explanation.tokens) == talk.chat.transcript.exchanges[-1].reply
