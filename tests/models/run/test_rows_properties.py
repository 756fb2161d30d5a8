"""Caches after any sequence of drafts, rollbacks and commits equal a fresh prefill (hypothesis)."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from tests.support.models import VOCABULARY, tiny_model
from tests.support.rows import AlikeRows

TOKENS = st.integers(3, VOCABULARY - 1)
ROUND = st.fixed_dictionaries(
    {
        "stepped": st.booleans(),  # drafted token by token, as a drafter does, or fed at once
        "seed": st.integers(0, 10_000),
        "drafted": st.integers(0, 4),
        "kept": st.lists(st.integers(0, 4), min_size=2, max_size=2),
        "winner": st.lists(st.integers(0, 2), min_size=2, max_size=2),
        "new": st.lists(st.lists(TOKENS, min_size=1, max_size=3), min_size=2, max_size=2),
    }
)


@cache
def model(architecture: str) -> Any:
    return tiny_model(architecture)


def fresh(architecture: str, streams: list[list[int]]) -> torch.Tensor:
    """(B, V) after each stream, from a new prefill."""
    rows = AlikeRows(model(architecture), ["row"], batch=len(streams))
    rows.prefill([[stream] for stream in streams])
    return rows.score(torch.zeros(len(streams), 1, 0, dtype=torch.long)).log_probs[0, :, 0, 0]


@trials(max_examples=25, deadline=None)
@given(
    architecture=st.sampled_from(["llama", "mistral"]),  # full attention, and windows of 8 tokens
    candidates=st.integers(1, 3),
    prompts=st.lists(st.lists(TOKENS, min_size=1, max_size=12), min_size=2, max_size=2),
    rounds=st.lists(ROUND, min_size=1, max_size=4),
)
def test_caches_after_rollback_equal_a_fresh_prefill(
    architecture: str, candidates: int, prompts: list[list[int]], rounds: list[dict[str, Any]]
) -> None:
    rows = AlikeRows(model(architecture), ["row"], batch=2, candidates=candidates)
    rows.prefill([[prompt] for prompt in prompts])
    streams = [list(prompt) for prompt in prompts]
    for step in rounds:
        T = step["drafted"]
        generator = torch.Generator().manual_seed(step["seed"])
        drafts = torch.randint(3, VOCABULARY, (2, candidates, T), generator=generator)  # (B, N, T)
        if step["stepped"]:
            for place in range(T):
                rows.score(torch.zeros(2, candidates, 0, dtype=torch.long))
                rows.push(drafts[:, :, place])
        else:
            rows.score(drafts)
        kept = [min(k, T) for k in step["kept"]]
        winner = [w % candidates for w in step["winner"]]
        rows.commit([T - k for k in kept], step["new"], winner)
        for b, stream in enumerate(streams):
            stream += [*drafts[b, winner[b], : kept[b]].tolist(), *step["new"][b]]
    got = rows.score(torch.zeros(2, candidates, 0, dtype=torch.long)).log_probs[0, :, :, 0]  # (B, N, V)
    assert (got - fresh(architecture, streams)[:, None]).abs().max() <= 1e-5
