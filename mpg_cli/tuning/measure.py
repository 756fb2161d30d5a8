"""Measurements: the time of a score pass by chunk size, and the statistics of sampled replies."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from time import perf_counter

import torch

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.engine.events import Finished, Round
from mpg_cli.engine.request import Request
from mpg_cli.engine.sequence import prepare
from mpg_cli.engine.session import Session
from mpg_cli.models.experts import Expert
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.run.lora import LoraBank
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.sampling.params import Scheme
from mpg_cli.sampling.stats import Stats

GRID = (0, 1, 2, 4, 8, 16, 32, 64)  # chunk sizes whose score pass is timed
REPEATS = 5
SLOW = 2.0  # seconds: after a slower pass no larger chunk is timed


@dataclass(frozen=True)
class Variant:
    """One configuration to measure: draft source, number of candidates and chunk size."""

    drafter: str
    candidates: int
    chunk_size: int


def acceptance_by_position(stats: Stats) -> tuple[float, ...]:
    """Conditional acceptance rate of a drafted token by position, given that all before it were accepted.

    Rates of rarely reached positions shrink towards the overall rate, which is also the last entry, for all
    positions beyond.
    """
    accepted = [sum(stats.histogram[place + 1 :]) for place in range(len(stats.reached))]
    overall = (sum(accepted) + 1) / (sum(stats.reached) + 2)
    rates = [(k + 4 * overall) / (n + 4) for k, n in zip(accepted, stats.reached, strict=True)]
    return (*rates, overall)


def effect_per_token(stats: Stats) -> float | None:
    """The sum of all personas' log-ratio contributions, averaged over tokens."""
    return sum(stats.contributions) / stats.committed if stats.committed else None


class Bench:
    """A loaded blend and the prompts on which variants are measured."""

    def __init__(
        self,
        request: Request,
        loaded: LoadedModel,
        experts: Sequence[Expert],
        prompts: Sequence[Prompting],
        smaller: LoadedModel | None = None,
    ) -> None:
        self.request, self.loaded, self.experts, self.smaller = request, loaded, tuple(experts), smaller
        self.prompts = tuple(prompts)

    def scheme(self, variant: Variant) -> Scheme:
        """The request's scheme with this variant."""
        own = self.request.scheme
        threshold = replace(own.threshold, candidates=variant.candidates)
        return replace(own, drafter=variant.drafter, chunk_size=variant.chunk_size, threshold=threshold)

    def session(self, variant: Variant) -> Session:
        """A session that samples with this variant."""
        request = replace(self.request, scheme=self.scheme(variant))
        return Session(request, self.loaded, self.experts, self.smaller)

    def run(self, session: Session, variant: Variant, place: int) -> Iterator[Stats]:
        """The statistics of one reply, to the prompt at this index, after each of its rounds."""
        prompting = self.prompts[place % len(self.prompts)]
        request = replace(self.request, prompting=prompting, scheme=self.scheme(variant), sequence_id=place)
        for event in session.replies(request):
            if isinstance(event, Round):
                yield event.stats
            elif isinstance(event, Finished):
                return

    def probe(self, variant: Variant, seconds: float) -> Stats:
        """Statistics of sampling for about this many seconds, at least four rounds."""
        found, session = Stats(), self.session(variant)
        began = perf_counter()
        try:
            for place in count():
                before = found
                for stats in self.run(session, variant, place):
                    found = before + stats
                    if perf_counter() - began > seconds and found.passes >= 4:
                        return found
        finally:
            session.close()
        return found

    def score_times(self, candidates: int) -> dict[int, float]:
        """Median seconds of a score pass for each chunk size of GRID that fits the context."""
        blend_rows = BlendRows(
            self.loaded,
            LoraBank.of(self.loaded.model),
            self.experts,
            self.scheme(Variant("none", candidates, 0)),
        )
        try:
            sampling = replace(
                self.request.sampling, max_tokens=max(GRID) + 1
            )  # or what is left of the context
            request = replace(self.request, prompting=self.prompts[0], sampling=sampling)
            prompts = prepare(blend_rows, request)
            blend_rows.prefill([prompts.rows], [prompts.draft])
            times: dict[int, list[float]] = {}
            for gamma in (g for g in GRID if g < prompts.limit):
                if times and min(times[max(times)]) > SLOW:
                    break  # times of larger chunks are extrapolated
                times[gamma] = [_score(blend_rows, candidates, gamma) for _ in range(REPEATS + 1)]
            return {gamma: statistics.median(found[1:]) for gamma, found in times.items()}
        finally:
            blend_rows.release()


def _score(blend_rows: BlendRows, candidates: int, gamma: int) -> float:
    """Seconds of one score pass over gamma drafted tokens, which are then dropped from the cache."""
    drafts = torch.zeros(1, candidates, gamma, dtype=torch.long)  # (1, N, gamma)
    began = perf_counter()
    blend_rows.rows.score(drafts)
    if blend_rows.loaded.device.value.type == "cuda":
        torch.cuda.synchronize()
    seconds = perf_counter() - began
    blend_rows.rows.commit([gamma + 1], [[0]])
    return seconds
