"""Replies of one method to a set of prompts, drawn many at a time. Each prompt has its own noise.

Two methods that answer prompts of the same id with the same seed answer them with the same noise: they pair.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mpg_cli.batch.events import LineDone, LineFailed
from mpg_cli.batch.events import Progress as Drawn
from mpg_cli.batch.lines import Line
from mpg_cli.batch.runner import Runner
from mpg_cli.engine.events import Notice
from mpg_cli.engine.request import Request
from mpg_cli.errors import ContextError, MpgError
from mpg_cli.evaluation.asking import Asked, Reply
from mpg_cli.evaluation.fluency import fluencies
from mpg_cli.io import signals
from mpg_cli.models.experts import ExpertCache
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.text.prompt import render
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.personas.registry import Blend


@dataclass(frozen=True)
class Source:
    """Where replies come from: a model, and a request that has blend, sampling, scheme and seed.

    `smaller` is the model that drafts, where the scheme names one.
    """

    loaded: LoadedModel
    request: Request
    smaller: LoadedModel | None = None


def draw(
    source: Source,
    asked: Sequence[Asked],
    *,
    done: Mapping[str, Reply] | None = None,
    keep: Callable[[Reply], None] = lambda reply: None,
    notice: Callable[[str], None] = lambda message: None,
    report: Callable[[float], None] = lambda share: None,
    shelf: ExpertCache | None = None,
    batch_size: int | None = None,
) -> list[Reply]:
    """A reply to every prompt, in their order. Those of `done` are taken as they are, by the prompt's id.

    `keep` is given each new reply as soon as it is there. Raises MpgError for a prompt without an answer.
    """
    found = dict(done or {})
    missing = [one for one in asked if one.id not in found]
    own = {one.id: one.blend for one in asked if one.blend is not None}
    blend = source.request.blend

    def blend_of(persona: str | None) -> Blend | None:
        return blend if persona is None else own[persona]

    runner = Runner(
        source.request,
        source.loaded,
        blend_of,
        batch_size=batch_size,
        smaller=source.smaller,
        shelf=shelf,
    )
    said: set[str] = set()
    for event in runner.run(_lines(source.request, missing, own)):
        signals.check()
        if isinstance(event, LineFailed):
            kind = ContextError if event.code == "too_long" else MpgError
            raise kind(f"prompt {event.line.id}: {event.message}")
        if isinstance(event, Notice) and event.message not in said:
            said.add(event.message)
            notice(event.message)
        if isinstance(event, LineDone):
            told = event.finished
            seconds = told.stats.seconds.total
            reply = Reply(event.line.id, told.text, told.token_ids, told.finish_reason, seconds)
            found[reply.id] = reply
            keep(reply)
        if isinstance(event, LineDone | Drawn):
            report(len(found) / len(asked))
    return [found[one.id] for one in asked]


def with_fluency(
    loaded: LoadedModel,
    how: Prompting,
    asked: Sequence[Asked],
    replies: Sequence[Reply],
    report: Callable[[float], None] = lambda share: None,
) -> list[Reply]:
    """The replies with their fluency under this model and the plain prompt, without any persona."""
    size = loaded.vocabulary.size
    prompts = [render(loaded.tokenizer, replace(how, prompt=one.prompt), size=size) for one in asked]
    values = fluencies(loaded, prompts, [reply.token_ids for reply in replies], report)
    return [replace(reply, fluency=value) for reply, value in zip(replies, values, strict=True)]


def _lines(request: Request, asked: Sequence[Asked], own: Collection[str]) -> Iterator[Line]:
    """The prompts as lines of a batch; one with a blend of its own names it by its id."""
    for number, one in enumerate(asked, 1):
        prompting = replace(request.prompting, prompt=one.prompt)
        persona = one.id if one.id in own else None
        yield Line(number, one.id, "", prompting, request.sampling, persona=persona)
