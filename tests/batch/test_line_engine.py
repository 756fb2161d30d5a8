"""Lines of a batch on a tiny model: their requests, and the codes of replies and errors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.batch.line_engine import BatchEvent, LineDone, LineEngine, LineFailed
from mpg_cli.batch.lines import Line, LineReader
from mpg_cli.engine.engine import Engine
from mpg_cli.engine.request import Request
from mpg_cli.errors import ContextError, RangeError
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.prepare import load_prepared
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.expression import parse
from mpg_cli.personas.registry import Blend, Registry, resolve
from mpg_cli.sampling.params import Sampling, Scheme


@pytest.fixture(scope="module")
def loaded(world: Path) -> LoadedModel:
    return load_prepared(ModelOptions(str(world / "base"), device="cpu", dtype="float32"))


def defaults(world: Path) -> Request:
    return Request(
        ModelOptions(str(world / "base"), device="cpu", dtype="float32"),
        Prompting("?"),
        Sampling(max_tokens=12),
        Scheme(),
        blend=blend_of(world, "bold+calm:0.5"),
        seed=5,
    )


def blend_of(world: Path, persona: str) -> Blend:
    return resolve(parse(persona), Registry.load([world]))


def line_engine(world: Path, loaded: LoadedModel) -> LineEngine:
    asked = defaults(world)

    def blends(persona: str | None) -> Blend | None:
        return asked.blend if persona is None else blend_of(world, persona)

    return LineEngine(Engine(loaded, batch_size=3), asked, blends)


def answer(world: Path, loaded: LoadedModel, lines: Sequence[Any]) -> list[BatchEvent]:
    """The events of a run over these lines."""
    return list(line_engine(world, loaded).run(read(world, lines)))


def read(world: Path, lines: Sequence[Any]) -> Iterator[Any]:
    """Objects as lines; text as it is."""
    raw = [(line if isinstance(line, str) else json.dumps(line)).encode() for line in lines]
    return LineReader(defaults(world), "jsonl", lambda persona: None).read(raw)


def done(events: Sequence[BatchEvent]) -> dict[str, LineDone]:
    return {event.line.id: event for event in events if isinstance(event, LineDone)}


def failed(events: Sequence[BatchEvent]) -> list[LineFailed]:
    return [event for event in events if isinstance(event, LineFailed)]


def test_fields_of_a_line_override_the_command(world: Path, loaded: LoadedModel) -> None:
    lines = [
        {"id": "plain", "prompt": "a"},
        {"id": "own", "prompt": "a", "persona": "terse", "seed": 99, "max_tokens": 3, "system": "Be kind."},
    ]
    found = done(answer(world, loaded, lines))
    plain, own = (found[id_].finished.spec for id_ in ("plain", "own"))
    assert (plain.sequence, plain.seed, plain.persona, plain.max_tokens) == ("plain", 5, "bold+calm:0.5", 12)
    assert (own.sequence, own.seed, own.persona, own.max_tokens) == ("own", 99, "terse", 3)
    assert own.prompting.system == "Be kind."


def test_a_wrong_line_fails_at_once_and_the_others_go_on(world: Path, loaded: LoadedModel) -> None:
    lines = ["{", {"id": "x", "prompt": "a"}, {"id": "x", "prompt": "b"}]
    events = answer(world, loaded, lines)
    assert [(event.line.number, event.code) for event in failed(events)] == [
        (1, "invalid_json"),
        (3, "duplicate_id"),
    ]
    assert set(done(events)) == {"x"}


def test_a_prompt_that_is_too_long_fails_alone(world: Path, loaded: LoadedModel) -> None:
    events = answer(world, loaded, [{"prompt": "a"}, {"prompt": "long " * 60}, {"prompt": "b"}])
    (error,) = failed(events)
    assert (error.line.number, error.code) == (2, "too_long")
    assert "; shorten the prompt" in error.message  # with what to do
    assert set(done(events)) == {"1", "3"}


def test_an_error_of_the_prompt_names_the_field_of_the_line(world: Path, loaded: LoadedModel) -> None:
    names = ("template_args", "chat_template_kwargs")
    lines = [{"prompt": "a", name: {"tokenize": True}} for name in names]
    messages = [event.message for event in failed(answer(world, loaded, lines))]
    assert [message.split(";")[0] for message in messages] == [
        f"{name} tokenize is not a variable of a chat template" for name in names
    ]


def test_a_persona_that_cannot_be_loaded_fails_its_lines_only(world: Path, loaded: LoadedModel) -> None:
    (world / "broken.yaml").write_text("name: broken\nadapters: [{base: base, path: nowhere}]\n")
    lines = [{"prompt": "a", "persona": "broken"}, {"prompt": "b"}, {"prompt": "c", "persona": "broken"}]
    events = answer(world, loaded, lines)
    assert [(e.line.number, e.code) for e in failed(events)] == [(1, "bad_persona"), (3, "bad_persona")]
    assert set(done(events)) == {"2"}


def test_a_line_can_be_checked_before_any_work(world: Path, loaded: LoadedModel) -> None:
    busy = line_engine(world, loaded)
    names = {"prompt": "a", "template_args": {"tokenize": True}}
    good, long, wrong = read(world, [{"prompt": "a"}, {"prompt": "long " * 60}, names])
    assert isinstance(good, Line)
    busy.check(good)
    with pytest.raises(ContextError):
        busy.check(long)
    with pytest.raises(RangeError, match="template_args"):
        busy.check(wrong)


def test_a_stop_leaves_lines_for_the_next_time(world: Path, loaded: LoadedModel) -> None:
    busy = line_engine(world, loaded)
    events = []
    for event in busy.run(read(world, [{"prompt": "a", "max_tokens": 2 + n} for n in range(12)])):
        events.append(event)
        if isinstance(event, LineDone):
            busy.stop()
    assert 1 <= len(done(events)) <= 3
