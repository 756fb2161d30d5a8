"""Requests to the tiny models of a world, alone and together, and what came of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import EngineEvent, Event, Failed, Finished, Progress, Sized
from mpg_cli.engine.request import Request
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
    """The events of a request on an engine of its own; a model whose files are unchanged is read once."""
    files = sorted(Path(asked.model.name).iterdir())
    loaded = _loaded(asked.model, tuple((file.name, file.stat().st_mtime_ns) for file in files))
    engine = Engine(loaded)
    try:
        return list(engine.replies(asked))
    finally:
        engine.close()


@lru_cache(maxsize=4)
def _loaded(model: ModelOptions, files: tuple[tuple[str, int], ...]) -> LoadedModel:
    return load_prepared(model)


def finished(asked: Request) -> Finished:
    return next(event for event in run(asked) if isinstance(event, Finished))


def one(
    world: Path,
    id_: int | str | None,
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
) -> list[EngineEvent]:
    """The events of a run."""
    return list(Engine(loaded, batch_size=size, **options).run(iter(requests)))


def texts(events: Sequence[EngineEvent]) -> dict[int | str, str]:
    """The replies by id, each of which came once."""
    found = [event for event in events if isinstance(event, Finished)]
    assert len({event.sequence for event in found}) == len(found)
    return {event.sequence: event.text for event in found}


def ids(events: Iterable[EngineEvent]) -> list[int | str]:
    """Of the replies, in the order in which they came."""
    return [event.sequence for event in events if isinstance(event, Finished)]


def failures(events: Sequence[EngineEvent]) -> list[tuple[int | str, str]]:
    return [(event.sequence, event.code) for event in events if isinstance(event, Failed)]


def sizes(events: Sequence[EngineEvent]) -> list[int]:
    """The numbers of slots that were chosen."""
    return [event.batch_size for event in events if isinstance(event, Sized)]


def running(events: Sequence[EngineEvent]) -> list[int]:
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
