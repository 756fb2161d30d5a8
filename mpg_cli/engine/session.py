"""A loaded model with a blend of experts, and replies drawn from it as a stream of events."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter

from mpg_cli.engine.blend_rows import Lineup
from mpg_cli.engine.events import Event, FinishReason, Notice, Text
from mpg_cli.engine.request import Request
from mpg_cli.engine.sequence import Growing, decoding_of, expression_of, prepare, started
from mpg_cli.errors import UsageError
from mpg_cli.models.experts import Expert, ExpertCache, find_experts
from mpg_cli.models.load.loader import LoadedModel, load_drafter
from mpg_cli.models.prepare import load_prepared, prepare_model
from mpg_cli.models.run.lora import LoraBank
from mpg_cli.sampling.sampler import Sampler


class Session:
    """One model, one blend. `open` loads, `replies` samples, `stop` ends the reply under way."""

    def __init__(
        self,
        request: Request,
        loaded: LoadedModel,
        experts: Sequence[Expert],
        smaller: LoadedModel | None = None,
        shelf: ExpertCache | None = None,
    ) -> None:
        """`smaller` is the model that drafts, where the request names one; `shelf` keeps what was read."""
        self.loaded, self.experts = loaded, tuple(experts)
        self._smaller, self._shelf = smaller, ExpertCache() if shelf is None else shelf
        self.persona = expression_of(request)
        self.asked_tokens = 0  # of the prompts of all rows so far,
        self.read_tokens = 0  # and of these what they did not know already
        self._stopping: FinishReason | None = None
        self._under_way: Growing | None = None
        self._lineup = Lineup(loaded, LoraBank.of(loaded.model), experts, request.scheme, smaller=smaller)
        self.notices = [Notice(text) for text in (*loaded.notices, *self._lineup.notices)]

    @classmethod
    def open(cls, request: Request, report: Callable[[str], None] = lambda message: None) -> Session:
        """Load the model and the experts of the request; `report` is told what takes time.

        Raises ModelError, AdapterError, PersonaError; nothing is generated yet.
        """
        loaded, said, shelf = load_prepared(request.model, report), list[str](), ExpertCache()
        experts = find_experts(request.blend, request.adapters, loaded, report, said.append, shelf)
        smaller = open_drafter(request, loaded, report)
        session = cls(request, loaded, experts, smaller, shelf)
        session.notices += [Notice(text) for text in (*said, *(smaller.notices if smaller else ()))]
        return session

    def change(self, request: Request, report: Callable[[str], None] = lambda message: None) -> None:
        """Go on with the blend of another request: rows that stay keep what they have read.

        Raises AdapterError, PersonaError, ModelError; the blend is then what it was.
        """
        self._under_way = None
        said: list[str] = []
        experts = find_experts(request.blend, request.adapters, self.loaded, report, said.append, self._shelf)
        before, bank = self._lineup, LoraBank.of(self.loaded.model)
        self._lineup = Lineup(
            self.loaded, bank, experts, request.scheme, smaller=self._smaller, before=before
        )
        before.release(heir=self._lineup)
        self.experts, self.persona = experts, expression_of(request)
        self.notices = [Notice(text) for text in (*said, *self._lineup.notices)]

    def stop(self, reason: FinishReason = "interrupted") -> None:
        """End the reply under way at the next round, and draw no further samples."""
        self._stopping = reason

    def resume(self) -> None:
        """Take back a `stop` that found no reply under way."""
        self._stopping = None

    def close(self) -> None:
        """Give up the memory of the adapters' stacks; the session cannot be used any more."""
        self._lineup.release()

    def replies(self, request: Request) -> Iterator[Event]:
        """The events of all samples in turn. Raises ContextError if the prompt leaves no room."""
        yield from self.notices
        self.notices.clear()
        seed = secrets.randbelow(2**32) if request.seed is None else request.seed
        job = prepare(self._lineup, request)
        yield from map(Notice, job.notices)
        growing: Growing | None = None
        try:
            for sample in range(request.samples):
                sequence = request.sequence_id if request.sequence_id is not None else sample
                growing = Growing(self._lineup, job, seed, sequence)
                yield growing.started
                yield from self._reply(growing)
                if self._stopping:
                    break
        except GeneratorExit:  # between two rounds
            raise
        except BaseException:  # whatever cut a pass short, half of it must not count as read
            if self._under_way is growing:
                self._lineup.forget()
            raise
        finally:
            self._stopping = None

    def _reply(self, growing: Growing) -> Iterator[Event]:
        """One reply: rounds as the sampler makes them, and their text."""
        self._under_way = growing
        job, began = growing.job, perf_counter()
        self.asked_tokens += self._lineup.to_read(job.prompts, job.draft)
        self.read_tokens -= self._lineup.read_tokens
        self._lineup.prefill([job.prompts], [job.draft])
        self.read_tokens += self._lineup.read_tokens
        growing.prefilled(perf_counter() - began)
        if growing.started.prefill:
            yield Text(growing.started.sequence, growing.started.prefill)
        lineup, how = self._lineup, decoding_of(self._lineup, job.request)
        sampler = Sampler(lineup.rows, lineup.draft.drafter, how, [growing.state], lineup.cost)
        for drawn in sampler.run():
            round_, piece = growing.add(drawn, self._stopping)
            yield round_
            if piece:
                yield Text(round_.sequence, piece)
            if self._under_way is not growing:
                raise UsageError(
                    "another reply was begun, or the blend changed, while this one was read half",
                    hint="read a reply to its end, or load a session of its own for each",
                )
        yield growing.finished()

    # -- what would be done ----------------------------------------------------------------------

    def describe(self, request: Request) -> dict[str, object]:
        """The rows, their prompts and the memory they take, for a dry run; nothing is generated."""
        job = prepare(self._lineup, request)
        told = started(self._lineup, job, request.seed or 0, 0)
        lengths = [len(ids) for ids in job.prompts]
        rows: list[dict[str, object]] = [
            {"row": "reference", "kind": "base", "weight": None, "prompt_tokens": lengths[0]}
        ]
        for e, tokens in zip(self.experts, lengths[1:], strict=True):
            basis = {"basis": e.basis} if e.basis else {}
            rows.append({"row": e.name, "kind": e.kind, "weight": e.weight, "prompt_tokens": tokens} | basis)
        return {
            "persona": self.persona,
            "model": self.loaded.id,
            "revision": self.loaded.revision,
            "device": f"{told.device} ({self.loaded.device.reason})",
            "dtype": f"{told.dtype} ({self.loaded.dtype.reason})",
            "target": told.target,
            "rule": told.rule,
            "drafter": told.drafter,
            "chunk_size": told.chunk_size,
            "max_tokens": job.limit,
            "seed": request.seed,
            "samples": request.samples,
            "rows": rows,
            "memory": self._lineup.memory(),
        }


def open_drafter(request: Request, loaded: LoadedModel, report: Callable[[str], None]) -> LoadedModel | None:
    """The smaller model that drafts, where the request names one."""
    kind, _, place = request.scheme.drafter.partition(":")
    if kind != "model" or request.scheme.chunk_size == 0:
        return None
    report(f"loading drafter {place}")
    smaller = load_drafter(place, loaded)
    return prepare_model(smaller, compiled=loaded.compiled)
