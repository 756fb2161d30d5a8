"""Measurements: the time of a score pass by chunk size, and the statistics of sampled replies."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count
from time import perf_counter

import torch

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import Round
from mpg_cli.engine.request import Request
from mpg_cli.engine.sequence import prepare
from mpg_cli.engine.teacher_forcing import BLOCK
from mpg_cli.models.experts import ExpertCache, find_experts
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.run.slot_rows import SlotRows
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.sampling.params import Scheme
from mpg_cli.sampling.scorer import Kept
from mpg_cli.sampling.stats import Stats

GRID = (0, 1, 2, 4, 8, 16, 32, 64)  # chunk sizes whose score pass is timed
REPEATS = 5
SLOW = 2.0  # seconds: after a slower pass no larger chunk is timed

Report = Callable[[str], None]


def _no_report(message: str) -> None:
    """Drop a message."""


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
    """A loaded blend and the prompts on which variants are measured.

    Every variant gets an engine of its own: rows that another one left would take part in its passes, and
    recordings of passes would be made anew at every turn.
    """

    def __init__(
        self,
        request: Request,
        loaded: LoadedModel,
        prompts: Sequence[Prompting],
        *,
        cache: ExpertCache | None = None,
        report: Report = _no_report,
        notice: Report = _no_report,
    ) -> None:
        """`cache` has experts and drafting models, where they are loaded already; `report` gets progress
        messages, `notice` messages for the user.
        """
        self.request, self.loaded, self.prompts = request, loaded, tuple(prompts)
        self.cache = ExpertCache() if cache is None else cache
        self.experts = find_experts(request.blend, request.adapters, loaded, report, notice, self.cache)

    def engine(self, variant: Variant) -> Engine:
        """An engine that is ready for this variant."""
        engine = Engine(self.loaded, batch_size=1, cache=self.cache)
        engine.prepare(replace(self.request, scheme=self.scheme(variant)))
        return engine

    def scheme(self, variant: Variant) -> Scheme:
        """The request's scheme with this variant."""
        own = self.request.scheme
        threshold = replace(own.threshold, candidates=variant.candidates)
        return replace(own, drafter=variant.drafter, chunk_size=variant.chunk_size, threshold=threshold)

    def run(self, engine: Engine, variant: Variant, place: int) -> Iterator[Stats]:
        """The statistics of one reply, to the prompt at this index, after each of its rounds."""
        prompting = self.prompts[place % len(self.prompts)]
        request = replace(self.request, prompting=prompting, scheme=self.scheme(variant), sequence_id=place)
        for event in engine.replies(request):
            if isinstance(event, Round):
                yield event.stats

    def probe(self, variant: Variant, seconds: float) -> Stats:
        """Statistics of sampling for about this many seconds, at least four rounds."""
        found = Stats()
        with closing(self.engine(variant)) as engine:
            began = perf_counter()
            for place in count():
                before = found
                for stats in self.run(engine, variant, place):
                    found = before + stats
                    if perf_counter() - began > seconds and found.passes >= 4:
                        return found
        return found

    def score_times(self, candidates: int) -> dict[int, float]:
        """Median seconds of a score pass for each chunk size of GRID that fits the context."""
        scheme = self.scheme(Variant("none", candidates, 0))
        blend = BlendRows.of(self.loaded, self.experts, scheme)
        sampling = replace(self.request.sampling, max_tokens=max(GRID) + 1)  # or what the context leaves
        prompts = prepare(blend, replace(self.request, prompting=self.prompts[0], sampling=sampling))
        rows = SlotRows(self.loaded.model)
        rows.insert({0: blend.new_rows(prompts.rows)})
        try:
            rows.read_all(BLOCK)
            times: dict[int, list[float]] = {}
            for gamma in (g for g in GRID if g < prompts.limit):
                if times and min(times[max(times)]) > SLOW:
                    break  # times of larger chunks are extrapolated
                times[gamma] = [self._score(rows, candidates, gamma) for _ in range(REPEATS + 1)]
            return {gamma: statistics.median(found[1:]) for gamma, found in times.items()}
        finally:
            rows.reset()

    def _score(self, rows: SlotRows, candidates: int, gamma: int) -> float:
        """Seconds of one score pass over gamma drafted tokens, which are then dropped from the cache."""
        drafts = torch.zeros(1, candidates, gamma, dtype=torch.long)  # (1, N, gamma)
        began = perf_counter()
        rows.score(drafts, [0]).of([0])
        if self.loaded.device.value.type == "cuda":
            torch.cuda.synchronize()
        seconds = perf_counter() - began
        rows.commit({0: Kept(-1, [0])})
        return seconds
