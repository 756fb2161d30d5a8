"""Requests to the tiny models of a world, one by one and to the scheduler, and what came of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from mpg_cli.engine.events import Event, Failed, Finished, Notice, Progress, Sized
from mpg_cli.engine.request import Request
from mpg_cli.engine.scheduler import Scheduler, SchedulerEvent
from mpg_cli.engine.session import Session, open_drafter
from mpg_cli.models.experts import find_experts
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.prepare import load_prepared
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.expression import parse
from mpg_cli.personas.registry import Registry, resolve
from mpg_cli.sampling.params import SamplingLaw, Scheme

Hook = Callable[[torch.nn.Module, torch.Tensor], None]


def request(world: Path, personas: str = "bold+calm:0.5", prompt: str = "Hello", **fields: Any) -> Request:
    blend = resolve(parse(personas), Registry.load([world])) if personas else None
    whole = Request(
        model=ModelOptions(str(world / "base"), device="cpu", dtype="float32"),
        prompting=Prompting(prompt),
        sampling=fields.pop("sampling", SamplingLaw(max_tokens=24)),
        scheme=fields.pop("scheme", Scheme()),
        blend=blend,
        seed=fields.pop("seed", 7),
    )
    return replace(whole, **fields)


def run(asked: Request) -> list[Event]:
    """The events of a session of its own; a model whose files are unchanged is read once."""
    files = sorted(Path(asked.model.name).iterdir())
    loaded = _loaded(asked.model, tuple((file.name, file.stat().st_mtime_ns) for file in files))
    notices: list[str] = []
    experts = find_experts(asked.blend, asked.adapters, loaded, _nothing, notices.append)
    session = Session(asked, loaded, experts, open_drafter(asked, loaded, _nothing))
    session.notices += map(Notice, notices)
    try:
        return list(session.replies(asked))
    finally:
        session.close()


@lru_cache(maxsize=4)
def _loaded(model: ModelOptions, files: tuple[tuple[str, int], ...]) -> LoadedModel:
    return load_prepared(model)


def _nothing(message: str) -> None:
    """No status line."""


def finished(asked: Request) -> Finished:
    return next(event for event in run(asked) if isinstance(event, Finished))


def one(
    world: Path,
    id_: int | str,
    prompt: str = "word",
    personas: str = "bold+calm:0.5",
    *,
    scheme: Scheme | None = None,
    seed: int = 5,
    **sampling: Any,
) -> Request:
    """A request of this id; 12 tokens unless it says otherwise."""
    return request(
        world,
        personas,
        prompt,
        scheme=scheme or Scheme(),
        sampling=SamplingLaw(**{"max_tokens": 12, **sampling}),
        seed=seed,
        sequence_id=id_,
    )


def short(world: Path, count: int = 40, **fields: Any) -> list[Request]:
    """Short prompts of three lengths, whose replies differ in theirs."""
    return [
        one(world, n, "word" * (1 + n % 3), **{"max_tokens": 2 + 5 * n % 11, **fields}) for n in range(count)
    ]


def answer(
    loaded: LoadedModel, requests: Iterable[Request | Failed | None], size: int | None = 3, **options: Any
) -> list[SchedulerEvent]:
    """The events of a run."""
    return list(Scheduler(loaded, batch_size=size, **options).run(iter(requests)))


def texts(events: Sequence[SchedulerEvent]) -> dict[int | str, str]:
    """The replies by id, each of which came once."""
    found = [event for event in events if isinstance(event, Finished)]
    assert len({event.sequence for event in found}) == len(found)
    return {event.sequence: event.text for event in found}


def ids(events: Iterable[SchedulerEvent]) -> list[int | str]:
    """Of the replies, in the order in which they came."""
    return [event.sequence for event in events if isinstance(event, Finished)]


def failures(events: Sequence[SchedulerEvent]) -> list[tuple[int | str, str]]:
    return [(event.sequence, event.code) for event in events if isinstance(event, Failed)]


def sizes(events: Sequence[SchedulerEvent]) -> list[int]:
    """The batch sizes that were chosen."""
    return [event.batch_size for event in events if isinstance(event, Sized)]


def running(events: Sequence[SchedulerEvent]) -> list[int]:
    """How many sequences took part in each round."""
    found, ended = [], 0
    for event in events:
        ended += isinstance(event, Finished)
        if isinstance(event, Progress):
            found.append(event.running + ended)
            ended = 0
    return found


@contextmanager
def passes(loaded: LoadedModel, hook: Hook) -> Iterator[None]:
    """Within it, the hook is given the token ids (rows, T) of every pass of the model before it runs."""

    def before(module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        hook(module, kwargs["input_ids"])

    handle = loaded.model.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
