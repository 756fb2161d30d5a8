"""Recordings of passes, on a CPU: what stands in for a graph runs the pass again on the recorded tensors.

The real ones are in tests/test_cuda.py.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mpg_cli.models import graphs
from mpg_cli.models.compiling import compile_copy, is_compiled, records
from mpg_cli.models.graphs import Graphs, Pass
from mpg_cli.models.rows import RowGroup
from mpg_cli.models.steps import StepRow
from tests.models.tiny import random_tokens, tiny_model


class Again:
    """Reads and writes what was there at the recording, as a graph does."""

    made = 0

    def __init__(self, do: Pass, tokens: Tensor, start: Tensor, pool: Any) -> None:
        type(self).made += 1
        self._do, self._tokens, self._start = do, tokens.clone(), start.clone()

    def replay(self, tokens: Tensor, start: Tensor) -> Tensor:
        self._tokens.copy_(tokens)
        self._start.copy_(start)
        return self._do(self._tokens, self._start)


@pytest.fixture(autouse=True)
def _again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "_Recording", Again)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(Again, "made", 0)


def recorded(model: Any) -> Any:
    model._mpg_records = True
    return model


@pytest.mark.parametrize("kind", [RowGroup, StepRow])
@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_recorded_rows_are_the_plain_ones(architecture: str, kind: type[RowGroup]) -> None:
    """Two sequences of different length, rejected tails, a cache that grows, one sequence that leaves."""
    prompts = random_tokens(batch=2, length=9).tolist()
    results = []
    for model in (tiny_model(architecture), recorded(tiny_model(architecture))):
        model.config.max_position_embeddings = 512
        rows = kind(model, ["a"], batch=2)
        assert (rows.graphs is not None) == records(model)
        rows.prefill([[prompts[0]], [prompts[1][:6]]])
        found = []
        for size in (0, 0, 0, 3, 3, 3, *[40] * 5, 3, 3):
            found.append(rows.extend(torch.arange(2 * size).view(2, 1, size) % 90).flatten())
            rows.push(torch.tensor([[3], [4]]))
            rows.commit([min(size, 2) + 1, 1], [[5], [6]])
        rows.keep([1])
        for _ in range(3):
            found.append(rows.extend(torch.zeros(1, 1, 0, dtype=torch.long)).flatten())
            rows.commit([0], [[7]])
        results.append(torch.cat(found))
    assert torch.allclose(*results, atol=1e-5)
    assert Again.made >= 5


def test_a_shape_is_recorded_when_it_comes_again() -> None:
    passes: list[int] = []

    def do(tokens: Tensor, start: Tensor) -> Tensor:
        passes.append(tokens.shape[1])
        return tokens

    found = Graphs()
    for count in (1, 1, 1, 4):
        found.run(do, torch.zeros(2, count), torch.zeros(2), width=64, version=0)
    assert (len(found), Again.made) == (1, 1)
    found.run(do, torch.zeros(2, 1), torch.zeros(2), width=128, version=0)  # another width is another shape
    assert (len(found), Again.made) == (1, 1)


def test_recordings_of_a_cache_that_has_moved_are_dropped() -> None:
    found = Graphs()
    for version in (0, 0, 1):
        found.run(lambda tokens, start: tokens, torch.zeros(1, 1), torch.zeros(1), width=64, version=version)
    assert (len(found), Again.made) == (1, 2)


def test_the_oldest_recording_goes_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "MOST", 2)
    found = Graphs()
    for count in (1, 1, 2, 2, 1, 3, 3, 1):  # 2 is the one that was used longest ago
        found.run(lambda tokens, start: tokens, torch.zeros(1, count), torch.zeros(1), width=64, version=0)
    assert (len(found), Again.made) == (2, 3)


def test_a_copy_of_a_recorded_model_is_recorded() -> None:
    model, copy = recorded(tiny_model("llama")), tiny_model("llama")
    compile_copy(copy, model)
    assert is_compiled(copy)
    assert not is_compiled(tiny_model("llama"))
