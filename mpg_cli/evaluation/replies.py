"""Sample the replies of one method to a set of prompts, many at a time.

The noise depends on seed and prompt id, so replies of two methods with the same seed are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import Failed, Finished, Notice, Progress
from mpg_cli.engine.request import Request
from mpg_cli.errors import ContextError, MpgError
from mpg_cli.evaluation.fluency import fluencies
from mpg_cli.evaluation.prompts import EvalPrompt, Reply
from mpg_cli.io import signals
from mpg_cli.models.experts import ExpertCache
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.text.prompt import render
from mpg_cli.models.text.prompting import Prompting


@dataclass(frozen=True)
class Source:
    """A source of replies: a model, and a request with blend, sampling, scheme and seed."""

    loaded: LoadedModel
    request: Request


def draw(
    source: Source,
    prompts: Sequence[EvalPrompt],
    *,
    done: Mapping[str, Reply] | None = None,
    keep: Callable[[Reply], None] = lambda reply: None,
    notice: Callable[[str], None] = lambda message: None,
    report: Callable[[float], None] = lambda share: None,
    cache: ExpertCache | None = None,
    batch_size: int | None = None,
) -> list[Reply]:
    """A reply to every prompt, in order. Replies in `done`, by prompt id, are reused.

    Each new reply goes to `keep` as soon as it is finished; `cache` has loaded experts and drafting models.
    The engine is a new one, so that the times of methods compare: none finds prompts of another in its rows.
    Raises MpgError for a prompt that fails.
    """
    found = dict(done or {})
    missing = [_request(source.request, one) for one in prompts if one.id not in found]
    with closing(Engine(source.loaded, batch_size=batch_size, cache=cache)) as engine:
        for event in engine.run(iter(missing)):
            signals.check()
            match event:
                case Failed():
                    kind = ContextError if event.code == "too_long" else MpgError
                    raise kind(f"prompt {event.sequence}: {event.error.text}")
                case Notice():
                    notice(event.message)
                case Finished():
                    reply = Reply(
                        str(event.sequence),
                        event.text,
                        event.token_ids,
                        event.finish_reason,
                        event.stats.seconds.total,
                    )
                    found[reply.id] = reply
                    keep(reply)
            if isinstance(event, Finished | Progress):
                report(len(found) / len(prompts))
    return [found[one.id] for one in prompts]


def _request(request: Request, one: EvalPrompt) -> Request:
    """The request of one prompt, whose id is the sequence id."""
    own = replace(request, prompting=replace(request.prompting, prompt=one.prompt), sequence_id=one.id)
    return own if one.blend is None else replace(own, blend=one.blend, adapters=())


def with_fluency(
    loaded: LoadedModel,
    how: Prompting,
    prompts: Sequence[EvalPrompt],
    replies: Sequence[Reply],
    report: Callable[[float], None] = lambda share: None,
) -> list[Reply]:
    """The replies with their fluency under this model, after the prompt without any persona."""
    size = loaded.vocabulary.size
    ids = [render(loaded.tokenizer, replace(how, prompt=one.prompt), size=size) for one in prompts]
    values = fluencies(loaded, ids, [reply.token_ids for reply in replies], report)
    return [replace(reply, fluency=value) for reply, value in zip(replies, values, strict=True)]
