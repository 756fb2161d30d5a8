"""Sampled replies of blends to prompts of the persona data, in a log that goes on where it stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import Failed, Finished
from mpg_cli.engine.request import Request
from mpg_cli.errors import MpgError
from mpg_cli.evaluation.fluency import fluencies
from mpg_cli.evaluation.judging import digest
from mpg_cli.io.log import ResumableLog
from mpg_cli.models.experts import ExpertCache, find_experts
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.text.prompt import render
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas import expression, registry
from mpg_cli.personas.persona_data import DataPrompt
from mpg_cli.personas.registry import Blend
from mpg_cli.sampling.params import Sampling, Scheme
from studies.library.blends import UNRESTRICTED


@dataclass(frozen=True)
class Reply:
    """A reply of a blend. `fluency` is the mean log p of its tokens under the base, in nats."""

    blend: str
    prompt: str  # its id
    sample: int
    text: str
    tokens: int
    finished: bool  # by the end token
    fluency: float | None
    experts: str  # the digest of weights and experts


Replies = Mapping[str, Sequence[Reply]]  # by blend, in the order of prompts and samples


@dataclass(frozen=True)
class Bench:
    """The model and its prompts; every blend replies `samples` times to each, at most `tokens` long."""

    loaded: LoadedModel
    prompts: Sequence[DataPrompt]
    samples: int
    tokens: int
    batch: int
    persona_dirs: tuple[Path, ...]
    cache: ExpertCache

    def measure(self, blends: Sequence[str], log: ResumableLog | None) -> Replies:
        """The replies of these blends; those in the log are read from it. Prints progress."""
        known = {(own.blend, own.prompt, own.sample): own for own in self._logged(log, blends)}
        places = [(one.id, sample) for one in self.prompts for sample in range(self.samples)]
        began = time.perf_counter()
        found = {}
        for number, blend in enumerate(blends, 1):
            missing = [place for place in places if (blend, *place) not in known]
            for reply in self._sampled(blend, missing) if missing else ():
                known[blend, reply.prompt, reply.sample] = reply
                if log:
                    log.append(asdict(reply))
            found[blend] = [known[(blend, *place)] for place in places]
            print(
                f"{time.perf_counter() - began:6.0f} s  {number}/{len(blends)}  {blend or 'base'}", flush=True
            )
        return found

    def _logged(self, log: ResumableLog | None, blends: Sequence[str]) -> Iterator[Reply]:
        """The replies in the log of these blends, made by experts as they are now."""
        now = {blend: self._digest(blend) for blend in blends}
        for reply in log.records(lambda data: Reply(**data)) if log else ():
            if now.get(reply.blend) == reply.experts:
                yield reply

    def _blend(self, blend: str) -> Blend | None:
        blend = blend.removesuffix(UNRESTRICTED)
        library = registry.load_default(self.persona_dirs)
        return registry.resolve(expression.parse(blend), library) if blend else None

    def _digest(self, blend: str) -> str:
        """The digest of the weights, adapters and prompts of the experts of a blend."""
        experts = find_experts(self._blend(blend), (), self.loaded, _quiet, _quiet, self.cache)
        parts = [
            (own.weight, own.prompt, own.adapter.fingerprint if own.adapter is not None else None)
            for own in experts
        ]
        return digest(repr(parts))

    def _sampled(self, blend: str, places: Sequence[tuple[str, int]]) -> Iterator[Reply]:
        """The replies of one blend at these places: prompt and sample."""
        asked = {one.id: prompting(one) for one in self.prompts}
        request = Request(
            ModelOptions(self.loaded.given_name),
            Prompting("?"),
            Sampling(max_tokens=self.tokens, expert_min_p=0.0 if blend.endswith(UNRESTRICTED) else None),
            Scheme(drafter="none"),  # the text does not depend on it
            blend=self._blend(blend),
        )
        requests = (
            replace(request, prompting=asked[prompt], seed=sample, sequence_id=f"{prompt} {sample}")
            for prompt, sample in places
        )
        made_by = self._digest(blend)
        done: list[Finished] = []
        with closing(Engine(self.loaded, batch_size=self.batch, cache=self.cache)) as engine:
            for event in engine.run(requests):
                if isinstance(event, Failed):
                    raise MpgError(f"{blend}, prompt {event.sequence}: {event.error.text}")
                if isinstance(event, Finished):
                    done.append(event)
                if len(done) == self.batch:  # read together, and logged while the others grow
                    yield from self._read(blend, made_by, done)
                    done = []
        yield from self._read(blend, made_by, done)

    def _read(self, blend: str, made_by: str, done: Sequence[Finished]) -> Iterator[Reply]:
        """The replies with their log p under the base."""
        asked = {one.id: prompting(one) for one in self.prompts}
        at = [str(event.sequence).split() for event in done]
        size = self.loaded.vocabulary.size
        plain = [render(self.loaded.tokenizer, asked[prompt], size=size) for prompt, _ in at]
        values = fluencies(self.loaded, plain, [event.token_ids for event in done])
        for (prompt, sample), event, fluency in zip(at, done, values, strict=True):
            stopped = event.finish_reason == "stop"
            yield Reply(
                blend, prompt, int(sample), event.text, len(event.token_ids), stopped, fluency, made_by
            )


def _quiet(message: str) -> None:
    pass


def prompting(prompt: DataPrompt) -> Prompting:
    """The conversation that is answered."""
    if len(prompt.messages) == 1:
        return Prompting(prompt.text)
    return Prompting(messages=tuple(message.as_json() for message in prompt.messages))
