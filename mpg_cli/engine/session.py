"""A loaded model with a blend of experts, from which replies are sampled as a stream of events."""

from __future__ import annotations

import secrets
from collections import abc
from time import perf_counter
from typing import Any

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.engine.events import Event, FinishReason, Notice, Started, Text
from mpg_cli.engine.request import Request
from mpg_cli.engine.run_spec import DESCRIPTION, expression_of
from mpg_cli.engine.sequence import Sequence, decoding_of, prepare, run_spec
from mpg_cli.errors import UsageError, caused_by
from mpg_cli.models.experts import Expert, ExpertCache, find_experts
from mpg_cli.models.load.loader import LoadedModel, load_drafter
from mpg_cli.models.prepare import load_prepared, prepare_model
from mpg_cli.models.run.lora import LoraBank
from mpg_cli.sampling.sampler import Sampler


class Session:
    """One model, one blend. `open` loads, `replies` samples, `stop` ends the current reply."""

    def __init__(
        self,
        request: Request,
        loaded: LoadedModel,
        experts: abc.Sequence[Expert],
        smaller: LoadedModel | None = None,
        cache: ExpertCache | None = None,
    ) -> None:
        """`smaller` is the drafting model, where the request names one; `cache` holds loaded experts."""
        self.loaded, self.experts = loaded, tuple(experts)
        self._smaller, self._cache = smaller, ExpertCache() if cache is None else cache
        self.persona = expression_of(request)
        self.prompt_tokens = 0  # of all rows and replies so far
        self.read_tokens = 0  # those of them that were not cached
        self._stopping: FinishReason | None = None
        self._running: Sequence | None = None
        self._closed = False
        self._rows = BlendRows(loaded, LoraBank.of(loaded.model), experts, request.scheme, smaller=smaller)
        self.notices = [Notice(text) for text in (*loaded.notices, *self._rows.notices)]

    @classmethod
    def open(cls, request: Request, report: abc.Callable[[str], None] = lambda message: None) -> Session:
        """Load the model and the experts of the request; `report` gets progress messages.

        Raises ModelError, AdapterError, PersonaError; nothing is generated yet.
        """
        loaded, notices, cache = load_prepared(request.model, report), list[str](), ExpertCache()
        experts = find_experts(request.blend, request.adapters, loaded, report, notices.append, cache)
        smaller = open_drafter(request, loaded, report)
        session = cls(request, loaded, experts, smaller, cache)
        session.notices += [Notice(text) for text in (*notices, *(smaller.notices if smaller else ()))]
        return session

    def change(self, request: Request, report: abc.Callable[[str], None] = lambda message: None) -> None:
        """Switch to the blend of another request; rows of both blends keep their cache.

        Raises AdapterError, PersonaError, ModelError, after which the blend is unchanged.
        """
        self._running = None
        notices: list[str] = []
        experts = find_experts(
            request.blend, request.adapters, self.loaded, report, notices.append, self._cache
        )
        before, bank = self._rows, LoraBank.of(self.loaded.model)
        self._rows = BlendRows(
            self.loaded, bank, experts, request.scheme, smaller=self._smaller, before=before
        )
        before.release(successor=self._rows)
        self.experts, self.persona = experts, expression_of(request)
        self.notices = [Notice(text) for text in (*notices, *self._rows.notices)]

    def stop(self, reason: FinishReason = "interrupted") -> None:
        """End the current reply at the next round, and start no further samples."""
        self._stopping = reason

    def resume(self) -> None:
        """Cancel a `stop` that came between replies."""
        self._stopping = None

    def close(self) -> None:
        """Free the memory of the adapter stacks; the session cannot reply afterwards."""
        if not self._closed:
            self._closed, self._running = True, None
            self._rows.release()

    def check_open(self) -> None:
        """Raise UsageError after `close`."""
        if self._closed:
            raise UsageError("the model is closed", hint="load it again")

    def replies(self, request: Request) -> abc.Iterator[Event]:
        """The events of all samples in turn. Raises ContextError if the prompt leaves no room."""
        return self._replies(request, self._rows)

    def _replies(self, request: Request, rows: BlendRows) -> abc.Iterator[Event]:
        yield from self.notices
        self.notices.clear()
        self._check_current(rows)
        seed = secrets.randbelow(2**32) if request.seed is None else request.seed
        prompts = prepare(rows, request)
        yield from map(Notice, prompts.notices)
        sequence: Sequence | None = None
        try:
            for sample in range(request.samples):
                id_ = request.sequence_id if request.sequence_id is not None else sample
                sequence = Sequence(rows, prompts, seed, id_)
                yield Started(sequence.spec)
                self._check_current(rows)
                yield from self._reply(sequence)
                if self._stopping:
                    break
        except GeneratorExit:  # between two rounds
            raise
        except BaseException:  # a pass that was cut short leaves the caches inconsistent
            if self._running is sequence:
                self._rows.reset()
            raise
        finally:
            self._stopping = None

    def _reply(self, sequence: Sequence) -> abc.Iterator[Event]:
        """The rounds of one reply, and their text."""
        self._running = sequence
        prompts, began = sequence.prompts, perf_counter()
        self.prompt_tokens += self._rows.prompt_tokens(prompts.rows, prompts.draft)
        self.read_tokens -= self._rows.read_tokens
        self._rows.prefill([prompts.rows], [prompts.draft])
        self.read_tokens += self._rows.read_tokens
        sequence.prefilled(perf_counter() - began)
        if sequence.spec.prefill:
            yield Text(sequence.id, sequence.spec.prefill)
            self._check_running(sequence)
        rows, decoding = self._rows, decoding_of(self._rows, prompts.request)
        sampler = Sampler(rows.rows, rows.draft.drafter, decoding, [sequence.state], rows.cost)
        for next_round in sampler.run():
            round_, piece = sequence.accept(next_round, self._stopping)
            yield round_
            if piece:
                yield Text(round_.sequence, piece)
            self._check_running(sequence)
        yield sequence.finished()

    def _check_current(self, rows: BlendRows) -> None:
        """Raise UsageError if the session is closed, or has another blend."""
        self.check_open()
        if rows is not self._rows:
            raise _interrupted()

    def _check_running(self, sequence: Sequence) -> None:
        """Raise UsageError if the session was closed, or changed its blend, or began another reply."""
        self.check_open()
        if self._running is not sequence:
            raise _interrupted()

    # -- dry run ---------------------------------------------------------------------------------

    def describe(self, request: Request) -> dict[str, Any]:
        """Rows, prompt lengths and memory, for a dry run; nothing is generated."""
        prompts = prepare(self._rows, request)
        spec = run_spec(self._rows, prompts, request.seed or 0, 0)
        lengths = [len(ids) for ids in prompts.rows]
        rows: list[dict[str, object]] = [
            {"row": "reference", "kind": "base", "weight": None, "prompt_tokens": lengths[0]}
        ]
        for e, tokens in zip(self.experts, lengths[1:], strict=True):
            basis = {"basis": e.basis} if e.basis else {}
            rows.append({"row": e.name, "kind": e.kind, "weight": e.weight, "prompt_tokens": tokens} | basis)
        return {
            **spec.part(*DESCRIPTION),
            "device": f"{spec.model.device} ({spec.model.device_reason})",
            "dtype": f"{spec.model.dtype} ({spec.model.dtype_reason})",
            "seed": request.seed,
            "samples": request.samples,
            "rows": rows,
            "memory": self._rows.memory(),
        }


def _interrupted() -> UsageError:
    return UsageError(
        "another reply was started, or the blend changed, before this reply was complete",
        hint="read each reply to its end, or load a separate session for each",
    )


@caused_by("--drafter")
def open_drafter(
    request: Request, loaded: LoadedModel, report: abc.Callable[[str], None]
) -> LoadedModel | None:
    """The drafting model, where the request names one."""
    kind, _, place = request.scheme.drafter.partition(":")
    if kind != "model" or request.scheme.chunk_size == 0:
        return None
    report(f"loading drafter {place}")
    smaller = load_drafter(place, loaded, report=report)
    return prepare_model(smaller, compiled=loaded.compiled)
