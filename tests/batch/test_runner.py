"""Continuous batching on a tiny model: a line's text is that of a run of its own, whatever else runs."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from mpg_cli.batch.events import BatchEvent, LineDone, LineFailed, Progress, Sized
from mpg_cli.batch.lines import LineReader
from mpg_cli.batch.runner import Runner
from mpg_cli.engine.events import Finished, Notice
from mpg_cli.engine.request import Request
from mpg_cli.engine.sequence import prepare
from mpg_cli.engine.session import Session
from mpg_cli.errors import ModelError, NumericsError
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.prepare import load_prepared
from mpg_cli.models.run import lora
from mpg_cli.models.run.row_group import RowGroup
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.expression import parse
from mpg_cli.personas.registry import Blend, Registry, resolve
from mpg_cli.sampling.params import Sampling, Scheme, Threshold
from mpg_cli.sampling.sampler import Sampler

LINES: list[dict[str, Any]] = [
    {"id": f"line-{n}", "prompt": "word " * (1 + 5 * n % 17), **extra}
    for n, extra in enumerate(
        [
            {},
            {"max_tokens": 3},
            {"persona": "terse"},
            {},
            {"temperature": 0.5},
            {"persona": "terse+calm:0.5", "seed": 99},
            {},
            {"system": "Be kind."},
            {"persona": "terse"},
            {"stop": "a"},
            {},
            {"max_tokens": 40},
            {"temperature": 0.5, "top_p": 0.9},
        ]
    )
]


@pytest.fixture(scope="module")
def loaded(world: Path) -> LoadedModel:
    return load_prepared(ModelOptions(str(world / "base"), device="cpu", dtype="float32"))


def defaults(world: Path, **scheme: Any) -> Request:
    return Request(
        ModelOptions(str(world / "base"), device="cpu", dtype="float32"),
        Prompting("?"),
        Sampling(max_tokens=12),
        Scheme(**scheme),
        blend=blend_of(world, "bold+calm:0.5"),
        seed=5,
    )


def blend_of(world: Path, persona: str) -> Blend:
    return resolve(parse(persona), Registry.load([world]))


def answer(
    world: Path, loaded: LoadedModel, lines: Sequence[dict[str, Any]], size: int | None = 3, **options: Any
) -> list[BatchEvent]:
    """The events of a run over these lines."""
    return list(runner(world, loaded, size, **options).run(read(world, lines)))


def runner(
    world: Path, loaded: LoadedModel, size: int | None = 3, max_experts: int | None = None, **scheme: Any
) -> Runner:
    asked = defaults(world, **scheme)

    def blends(persona: str | None) -> Blend | None:
        return asked.blend if persona is None else blend_of(world, persona)

    return Runner(asked, loaded, blends, batch_size=size, max_experts=max_experts)


def read(world: Path, lines: Sequence[dict[str, Any]]) -> Iterator[Any]:
    raw = [json.dumps(line).encode() for line in lines]
    return LineReader(defaults(world), "jsonl", lambda persona: None).read(raw)


def texts(events: Sequence[BatchEvent]) -> dict[str, str]:
    return {e.line.id: e.finished.text for e in events if isinstance(e, LineDone)}


@pytest.fixture(scope="module")
def alone(world: Path) -> dict[str, str]:
    """What `mpg generate` says to each line with its seed and sequence id."""
    said = {}
    for line in read(world, LINES):
        asked = replace(
            defaults(world),
            prompting=line.prompting,
            sampling=line.sampling,
            seed=5 if line.seed is None else line.seed,
            sequence_id=line.id,
        )
        if line.persona is not None:
            asked = replace(asked, blend=blend_of(world, line.persona))
        events = Session.open(asked).replies(asked)
        said[line.id] = next(e.text for e in events if isinstance(e, Finished))
    return said


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("scheme", [{}, {"drafter": "lookup"}, {"drafter": "none"}], ids=str)
def test_under_exact_a_line_says_what_generate_says(
    world: Path, loaded: LoadedModel, alone: dict[str, str], size: int, scheme: dict[str, Any]
) -> None:
    lines = list(LINES)
    random.Random(size).shuffle(lines)
    events = answer(world, loaded, lines, size, **scheme)
    assert texts(events) == alone
    assert sum(isinstance(e, LineDone) for e in events) == len(LINES)


@pytest.mark.parametrize(
    "scheme",
    [{"rule": "block"}, {"rule": "threshold", "threshold": Threshold(candidates=2, ahead=2)}],
    ids=lambda scheme: scheme["rule"],
)
def test_other_rules_do_not_depend_on_the_batch_either(
    world: Path, loaded: LoadedModel, scheme: dict[str, Any]
) -> None:
    assert texts(answer(world, loaded, LINES, 1, **scheme)) == texts(
        answer(world, loaded, LINES, 4, **scheme)
    )


def test_prompts_really_run_together(
    world: Path, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    round_ = Sampler.round

    def spy(self: Sampler) -> Any:
        sizes.append(sum(reply.finish_reason is None for reply in self.states))
        return round_(self)

    monkeypatch.setattr(Sampler, "round", spy)
    lines = [{"id": str(n), "prompt": "word", "max_tokens": 4 + n} for n in range(12)]
    answer(world, loaded, lines, 4, drafter="none")
    # A finished line is replaced at once: the batch is full until the queue is empty.
    assert set(sizes[: len(sizes) // 2]) == {4}


SHORT = [{"id": str(n), "prompt": "word" * (1 + n % 3), "max_tokens": 2 + 5 * n % 11} for n in range(40)]


@pytest.mark.parametrize("scheme", [{}, {"drafter": "lookup"}, {"drafter": "none"}], ids=str)
def test_short_prompts_are_read_ahead_and_say_the_same(
    world: Path, loaded: LoadedModel, scheme: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    one_by_one = texts(answer(world, loaded, SHORT, 1, **scheme))
    passes: list[int] = []
    replace_ = RowGroup.insert

    def spy(self: RowGroup, places: Sequence[int], prompts: Any) -> None:
        passes.append(len(places))
        replace_(self, places, prompts)

    monkeypatch.setattr(RowGroup, "insert", spy)
    assert texts(answer(world, loaded, SHORT, 12, **scheme)) == one_by_one
    groups = 2 if scheme == {} else 1
    assert sum(passes) == len(SHORT) * groups
    # The first twelve, then six a pass (half of the batch), the last four; a few more where many are free.
    assert len(passes) <= 8 * groups
    passes.clear()
    monkeypatch.setattr("mpg_cli.batch.ahead.SHORT", 3)
    assert texts(answer(world, loaded, SHORT, 12, **scheme)) == one_by_one
    assert len(passes) > 8 * groups


def test_what_was_read_ahead_is_not_lost_without_memory_nor_begun_after_a_stop(
    world: Path, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = texts(answer(world, loaded, SHORT, 1))
    adopt, calls = RowGroup.copy, 0

    def scarce(self: RowGroup, *args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise MemoryError
        adopt(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(RowGroup, "copy", scarce)
        events = answer(world, loaded, SHORT, 8)
    assert [e.batch_size for e in events if isinstance(e, Sized)] == [4]
    assert texts(events) == whole
    assert sum(isinstance(e, LineDone) for e in events) == len(SHORT)
    assert all(e.finished.stats.seconds.prefill > 0 for e in events if isinstance(e, LineDone))
    busy, begun = runner(world, loaded, 8), list[str]()
    replies = iter(busy.run(read(world, SHORT)))
    for event in replies:
        if isinstance(event, LineDone):
            begun.append(event.line.id)
            if len(begun) == 12:
                busy.stop()
                break
    begun += [e.line.id for e in replies if isinstance(e, LineDone)]
    assert 12 < len(begun) <= 12 + 7


def test_only_what_ran_is_blamed_for_nan(
    world: Path, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines whose prompts were read ahead did not run; after a stop they stay for the next time."""
    whole, round_, stopped = texts(answer(world, loaded, SHORT, 1)), Sampler.round, False

    def sick(self: Sampler) -> Any:
        if any(r.sequence == "12" and r.finish_reason is None for r in self.states):
            raise NumericsError("the model returned NaN in the row of bold")
        return round_(self)

    monkeypatch.setattr(Sampler, "round", sick)
    busy = runner(world, loaded, 8)
    events = list(busy.run(read(world, SHORT)))
    assert [e.line.id for e in events if isinstance(e, LineFailed)] == ["12"]
    assert texts(events) == {id_: text for id_, text in whole.items() if id_ != "12"}
    assert len(busy._waiting.alone) <= 8

    def sick_when_stopped(self: Sampler) -> Any:
        if stopped and len(self.states) == 1:
            raise NumericsError("the model returned NaN in the row of bold")
        return round_(self)

    monkeypatch.setattr(Sampler, "round", sick_when_stopped)
    busy, failed = runner(world, loaded, 8), []
    for event in busy.run(read(world, SHORT)):
        if isinstance(event, LineDone) and not stopped:
            stopped = True
            busy.stop()
        failed += [event] if isinstance(event, LineFailed) else []
    assert len(failed) == 1


def test_no_prompt_is_rendered_twice(
    world: Path, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def spy(lineup: Any, request: Request) -> Any:
        asked.append(str(request.sequence_id))
        return prepare(lineup, request)

    monkeypatch.setattr("mpg_cli.batch.runner.prepare", spy)
    for size in (1, 8):
        asked.clear()
        answer(world, loaded, SHORT, size)
        assert sorted(asked, key=int) == [line["id"] for line in SHORT]


def test_a_prompt_that_is_too_long_fails_and_the_others_go_on(world: Path, loaded: LoadedModel) -> None:
    lines = [{"prompt": "a"}, {"prompt": "long " * 60}, {"prompt": "b"}]
    events = answer(world, loaded, lines)
    (failed,) = [e for e in events if isinstance(e, LineFailed)]
    assert (failed.line.number, failed.code) == (2, "too_long")
    assert set(texts(events)) == {"1", "3"}


def test_an_error_of_the_prompt_names_the_field_of_the_line(world: Path, loaded: LoadedModel) -> None:
    names = ("template_args", "chat_template_kwargs")
    lines = [{"prompt": "a", name: {"tokenize": True}} for name in names]
    failed = [e.message for e in answer(world, loaded, lines) if isinstance(e, LineFailed)]
    assert [message.split(";")[0] for message in failed] == [
        f"{name} tokenize is no switch of a template" for name in names
    ]


def test_a_persona_that_cannot_be_loaded_fails_its_lines_only(world: Path, loaded: LoadedModel) -> None:
    (world / "broken.yaml").write_text("name: broken\nadapters: [{base: base, path: nowhere}]\n")
    lines = [{"prompt": "a", "persona": "broken"}, {"prompt": "b"}, {"prompt": "c", "persona": "broken"}]
    events = answer(world, loaded, lines)
    failed = [e for e in events if isinstance(e, LineFailed)]
    assert [(e.line.number, e.code) for e in failed] == [(1, "bad_persona"), (3, "bad_persona")]
    assert set(texts(events)) == {"2"}


def test_a_notice_is_told_once_a_run(world: Path, loaded: LoadedModel) -> None:
    adapters = "adapters: [{base: other/Model-7B, path: bold}]"
    (world / "away.yaml").write_text(f"name: away\nprompt: Be away.\n{adapters}\n")
    lines = [
        {"prompt": "a", "persona": persona, "temperature": heat}
        for heat in (0.5, 1.0)
        for persona in ("away", "away+calm", "away")
    ]
    notices = [event.message for event in answer(world, loaded, lines, None) if isinstance(event, Notice)]
    assert len([text for text in notices if "so the system prompt is the expert: away" in text]) == 1
    assert len(set(notices)) == len(notices)
    (world / "away.yaml").unlink()


def test_experts_are_read_once_and_give_way(
    world: Path, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mpg_cli.models import experts

    reads: list[str] = []
    read_adapter = experts.read_adapter
    monkeypatch.setattr(
        experts, "read_adapter", lambda path, label: reads.append(label) or read_adapter(path, label)
    )
    turns = [{"prompt": "a", "persona": ("bold", "calm")[n % 2]} for n in range(20)]
    answer(world, loaded, turns, 2)
    assert sorted(reads) == ["bold", "calm"]
    reads.clear()
    keeps_one = runner(world, loaded, 1, max_experts=1)
    list(keeps_one.run(read(world, turns)))
    assert len(keeps_one._shelf) == 1
    assert len(reads) > 2


def test_without_memory_the_batch_halves_and_goes_on(
    world: Path, loaded: LoadedModel, alone: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = RowGroup._pass

    def small(self: RowGroup, tokens: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.batch > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return whole(self, tokens, *args, **kwargs)

    monkeypatch.setattr(RowGroup, "_pass", small)
    events = answer(world, loaded, LINES, 8)
    assert [e.batch_size for e in events if isinstance(e, Sized)] == [4, 2]
    assert texts(events) == alone
    monkeypatch.setattr(RowGroup, "_pass", lambda *args, **kwargs: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(ModelError, match="not enough memory for one prompt"):
        answer(world, loaded, LINES, 2)


def test_nan_fails_the_line_it_comes_from(
    world: Path, loaded: LoadedModel, alone: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    round_ = Sampler.round

    def sick(self: Sampler) -> Any:
        if any(r.sequence == "line-3" and r.finish_reason is None for r in self.states):
            raise NumericsError("the model returned NaN in the row of bold")
        return round_(self)

    monkeypatch.setattr(Sampler, "round", sick)
    events = answer(world, loaded, LINES, 4)
    (failed,) = [e for e in events if isinstance(e, LineFailed)]
    assert (failed.line.id, failed.code) == ("line-3", "numerics")
    assert "row of bold" in failed.message
    assert texts(events) == {id_: text for id_, text in alone.items() if id_ != "line-3"}


@pytest.mark.parametrize("now", [False, True])
def test_stopping_ends_the_running_lines_or_drops_them(world: Path, loaded: LoadedModel, now: bool) -> None:
    busy = runner(world, loaded, 3)
    events = []
    for event in busy.run(read(world, LINES)):
        events.append(event)
        if isinstance(event, LineDone):
            busy.stop(now=now)
    done = len(texts(events))
    assert done < len(LINES)
    assert (done == 1) if now else (done >= 2)


def test_other_errors_are_not_hidden(
    world: Path, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Sampler) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Sampler, "round", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        answer(world, loaded, LINES)


def test_auto_chooses_a_size_and_says_why(world: Path, loaded: LoadedModel) -> None:
    events = answer(world, loaded, LINES[:2], None)
    (sized,) = [e for e in events if isinstance(e, Sized)]
    assert sized.batch_size == 32
    assert "cpu" in sized.reason


def slow(world: Path, turns: Sequence[Sequence[dict[str, Any]]]) -> Iterator[Any]:
    """Lines that come turn by turn; after each turn there are none for a while."""
    raw: list[bytes | None] = []
    for turn in turns:
        raw += [*(json.dumps(line).encode() for line in turn), None, None]
    return LineReader(defaults(world), "jsonl", lambda persona: None).read(raw)


def test_a_slow_source_keeps_no_reply_waiting(world: Path, loaded: LoadedModel) -> None:
    asked, done = [], []

    def source() -> Iterator[Any]:
        for line in read(world, SHORT[:4]):
            asked.append(line.id)
            yield line
            while line.id not in done:  # the next one comes when this one is answered
                yield None

    for event in runner(world, loaded, 8).run(source()):
        if isinstance(event, LineDone):
            assert asked[-1] == event.line.id
            done.append(event.line.id)
    assert done == [line["id"] for line in SHORT[:4]]


@pytest.mark.parametrize("scheme", [{}, {"drafter": "lookup"}, {"drafter": "none"}], ids=str)
def test_a_group_that_began_small_makes_room_for_more(
    world: Path, loaded: LoadedModel, scheme: dict[str, Any]
) -> None:
    whole = texts(answer(world, loaded, SHORT, 1))
    first = [line for line in SHORT if line["max_tokens"] > 10][:2]
    rest = [line for line in SHORT if line not in first]
    turns = [first, rest[:1], rest[1:]]
    events = list(runner(world, loaded, 8, **scheme).run(slow(world, turns)))
    assert texts(events) == whole
    assert sum(isinstance(e, LineDone) for e in events) == len(SHORT)
    running = [e.running for e in events if isinstance(e, Progress)]
    assert running[0] <= 2
    assert max(running) >= 6  # of 8: others of the round have ended


def test_a_short_line_does_not_wait_for_the_end_of_a_long_one(world: Path, loaded: LoadedModel) -> None:
    long = {"id": "long", "prompt": "word", "max_tokens": 60}
    short = [{"id": str(n), "prompt": "word", "max_tokens": 2} for n in range(12)]
    events = list(runner(world, loaded, 4).run(slow(world, [[long], short])))
    assert [e.line.id for e in events if isinstance(e, LineDone)][-1] == "long"


def test_late_lines_of_one_blend_find_its_weights_as_they_are(
    world: Path, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    folds, fold = [], lora.fold
    monkeypatch.setattr(lora, "fold", lambda *args: folds.append(1) or fold(*args))
    busy = runner(world, loaded, 4, drafter="folded")
    events = list(busy.run(slow(world, [[line] for line in SHORT[:5]])))
    assert sum(isinstance(e, LineDone) for e in events) == 5
    assert len(folds) == 1


def test_others_have_their_turn_while_lines_keep_coming(world: Path, loaded: LoadedModel) -> None:
    mine = [{"id": f"mine {n}", "prompt": "word", "max_tokens": 4} for n in range(40)]
    other = {"id": "other", "prompt": "word", "persona": "terse", "max_tokens": 4}

    def source() -> Iterator[Any]:
        """There are always lines of mine."""
        for place, line in enumerate(read(world, [*mine[:4], other, *mine[4:]])):
            yield line
            if place > 4 and place % 3 == 0:
                yield None

    order = [e.line.id for e in runner(world, loaded, 2).run(source()) if isinstance(e, LineDone)]
    assert len(order) == 41
    assert order.index("other") <= 8


def test_who_waits_for_slow_lines_of_others_waits_for_few_of_them(world: Path, loaded: LoadedModel) -> None:
    """Lines of mine overlap, so that their group never stands empty, and one other waits from the start."""
    mine = [{"id": f"mine {n}", "prompt": "word", "max_tokens": 30} for n in range(12)]
    other = {"id": "other", "prompt": "word", "persona": "terse", "max_tokens": 4}

    def source() -> Iterator[Any]:
        for line in read(world, [mine[0], other, *mine[1:]]):
            yield line
            if line.id not in ("mine 0", "other"):
                yield from [None] * 8

    events = runner(world, loaded, 8, drafter="none").run(source())
    order = [e.line.id for e in events if isinstance(e, LineDone)]
    assert len(order) == 13
    assert order.index("other") <= 2


@pytest.mark.parametrize("early", [1, 2])
def test_memory_that_ends_while_a_group_grows_makes_it_smaller(
    world: Path, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, early: int
) -> None:
    whole, select = texts(answer(world, loaded, SHORT, 1)), RowGroup.select

    def scarce(self: RowGroup, places: Sequence[int]) -> None:
        if len(places) > 8:
            raise MemoryError
        select(self, places)

    monkeypatch.setattr(RowGroup, "select", scarce)
    first = [line for line in SHORT if line["max_tokens"] > 10][:early]
    rest = [line for line in SHORT if line not in first]
    events = list(runner(world, loaded, 16).run(slow(world, [first, rest])))
    assert [e.batch_size for e in events if isinstance(e, Sized)] == [8]
    assert texts(events) == whole
    assert sum(isinstance(e, LineDone) for e in events) == len(SHORT)
