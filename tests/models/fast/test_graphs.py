"""Recordings of passes, on a CPU: what stands in for a graph runs the pass again on the recorded tensors.

The real ones are in tests/test_cuda.py.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mpg_cli.models.fast.graphs import Graphs
from mpg_cli.models.fast.plan import FastPlan
from mpg_cli.models.run.plan import Pass
from mpg_cli.sampling.scorer import Kept
from tests.support.models import random_tokens, tiny_model
from tests.support.rows import AlikeRows


class Again:
    """Writes to the place that was there at the recording, and wants the cache where it was then."""

    made = 0

    def __init__(self, do: Pass, tokens: Tensor, start: Tensor, pool: Any) -> None:
        type(self).made += 1
        self._do, self._tokens, self._start = do, tokens.clone(), start.clone()
        self._logits = do(tokens, start).clone()
        self._places = self._cache()

    def replay(self, tokens: Tensor, start: Tensor) -> Tensor:
        self._tokens.copy_(tokens)
        self._start.copy_(start)
        assert self._cache() == self._places
        return self._logits.copy_(self._do(self._tokens, self._start))

    def _cache(self) -> list[int]:
        [cache] = getattr(self._do, "args", [None])
        return [layer.keys.data_ptr() for layer in cache.layers] if cache else []


@pytest.fixture(autouse=True)
def _again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(Again, "made", 0)


class RecordingPlan(FastPlan):
    """Records on a CPU."""

    def recorder(self) -> Graphs:
        return Graphs(record=Again)


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
@pytest.mark.parametrize("candidates", [1, 2])
def test_recorded_rows_are_the_plain_ones(architecture: str, candidates: int) -> None:
    """Two sequences of different length, rejected tails, a cache that grows, new prompts, one that leaves."""
    prompts = random_tokens(batch=2, length=9).tolist()
    results = []
    for recorded in (False, True):
        model = tiny_model(architecture)
        model.config.max_position_embeddings = 1024
        plan = RecordingPlan(recorded=True) if recorded else FastPlan()
        rows = AlikeRows(model, ["a"], batch=2, candidates=candidates, plan=plan)
        rows.prefill([[prompts[0]], [prompts[1][:6]]])
        found = []
        for size in (0, 0, 0, 3, 3, 3, *[60] * 5, 3, 3, 3):
            drafts = torch.arange(2 * candidates * size).view(2, candidates, size) % 90
            found.append(rows.score(drafts).log_probs.flatten().clone())  # recordings are written over
            rows.push(torch.tensor([[3] * candidates, [4] * candidates]))
            rows.commit([min(size, 2) + 1, 1], [[5], [6]], [candidates - 1, 0])
        rows.insert([0, 1], [[prompts[1]], [prompts[0][:4]]])  # back to a width from before the growth
        for _ in range(3):
            empty = torch.zeros(2, candidates, 0, dtype=torch.long)
            found.append(rows.score(empty).log_probs.flatten().clone())
            rows.commit([0, 0], [[5], [6]])
        rows.pool.free(0)
        for _ in range(3):
            empty = torch.zeros(2, candidates, 0, dtype=torch.long)
            found.append(rows.pool.score(empty, [1]).of([1]).log_probs.flatten().clone())
            rows.pool.commit({1: Kept(0, [7])})
        results.append(torch.cat(found))
    assert torch.allclose(*results, atol=1e-5)
    assert Again.made >= 4


def same(tokens: Tensor, start: Tensor) -> Tensor:
    return tokens


def passes(found: Graphs, *counts: int, rows: int = 1, width: int = 64, version: int = 0) -> tuple[int, int]:
    """Passes over so many tokens; then how many recordings there are, and how many were made."""
    for count in counts:
        found.run(same, torch.zeros(rows, count), torch.zeros(rows), width, version)
    return len(found), Again.made


def test_a_shape_is_recorded_when_it_comes_again() -> None:
    found = Graphs(record=Again)
    assert passes(found, 1) == (0, 0)
    assert passes(found, 1, 1, 4) == (1, 1)
    assert passes(found, 1, width=128) == (1, 1)
    assert passes(found, 1, rows=2) == (1, 1)
    assert passes(found, 1, rows=2) == (2, 2)


def test_recordings_of_a_cache_that_has_moved_are_dropped() -> None:
    found = Graphs(record=Again)
    assert passes(found, 1, 1) == (1, 1)
    assert passes(found, 1, version=1) == (1, 2)


def test_the_oldest_recording_goes_when_there_is_no_room() -> None:
    found = Graphs(room=4 * 4, record=Again)  # numbers of 4 bytes
    assert passes(found, 1, 1, 2, 2) == (2, 2)
    assert passes(found, 1, 1, 3, 3) == (2, 3)  # 2 was used longest ago
    assert passes(found, 1) == (2, 3)
    assert passes(found, 5, 5, 5) == (2, 3)  # larger than all the room


def test_where_a_recording_fails_passes_are_plain() -> None:
    def fail(*_: object) -> Again:
        Again.made += 1
        raise RuntimeError("operation not permitted when stream is capturing")

    found = Graphs(record=fail)
    assert passes(found, 1, 1, 1, 2, 2) == (0, 1)
