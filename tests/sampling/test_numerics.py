"""The edges of float32 through whole rounds: large vocabularies, large weights, zeros, truncation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from mpg_cli.sampling.drafters import RowDrafter, SlotDrafters
from mpg_cli.sampling.noise import Noise
from mpg_cli.sampling.params import RuleName, Threshold
from mpg_cli.sampling.sampler import Sampler
from mpg_cli.sampling.scorer import Kept, Scores
from mpg_cli.sampling.state import SequenceState
from tests.sampling.fake import FakeScorer, random_law
from tests.sampling.sampled import decoding

VOCABULARY = 150_000


class WideScorer(FakeScorer):
    """Rows of random logits over a large vocabulary with impossible tokens, by the length of the text."""

    def __init__(self, rows: Sequence[int], candidates: int = 1) -> None:
        super().__init__(random_law, rows, 1, candidates)
        self.length = self.fed = 0

    def at(self, place: int) -> Tensor:
        laws = []
        for row in self.row_ids:
            generator = torch.Generator().manual_seed(100 * place + row)
            logits = 8 * torch.randn(VOCABULARY, generator=generator)
            logits[50_000 + 1000 * row : 51_000 + 1000 * row] = -torch.inf
            laws.append(logits.log_softmax(-1))
        return torch.stack(laws)  # (R, V)

    def score(  # type: ignore[override]
        self, drafts: Tensor, slots: Sequence[int]
    ) -> WideScored:
        fed = drafts.shape[2]
        laws = torch.stack([self.at(self.length + n) for n in range(fed + 1)], dim=1)  # (R, T+1, V)
        self.length += fed
        self.fed += fed
        log_probs = laws[:, None, None].expand(-1, 1, self.candidates, -1, -1)  # (R, 1, N, T+1, V)
        return WideScored(Scores(log_probs, torch.full(log_probs.shape[:-1], 12.0)))

    def push(self, tokens: Tensor, slots: Sequence[int]) -> None:
        self.length += 1
        self.fed += 1

    def commit(self, kept: Mapping[int, Kept]) -> None:
        self.length += len(kept[0].tokens) - (self.fed - kept[0].accepted)
        self.fed = 0


@dataclass(frozen=True)
class WideScored:
    scores: Scores

    def of(self, slots: Sequence[int]) -> Scores:
        return self.scores


@pytest.mark.parametrize("rule", ["exact", "block", "threshold"])
@pytest.mark.parametrize("weights", [(10.0, -10.0), (10.0, 10.0), (-10.0, -10.0)])
@pytest.mark.parametrize(
    "sampling",
    [
        {},
        {"top_p": 0.9, "min_p": 0.01, "temperature": 0.7},
        {
            "temperature": 0.7,
            "repetition_penalty": 1.3,
            "presence_penalty": 2.0,
            "frequency_penalty": -2.0,
            "logit_bias": ((50_500, 100.0), (7, -100.0)),
        },
    ],
)
def test_no_nan_with_a_large_vocabulary_large_weights_and_zeros(
    rule: RuleName, weights: tuple[float, float], sampling: dict[str, Any]
) -> None:
    paper = Threshold(candidates=2) if rule == "threshold" else Threshold()
    how = decoding(weights, rule=rule, chunk_size=2, threshold=paper, ends=False, **sampling)
    drafters = SlotDrafters.all(RowDrafter(WideScorer((3,), paper.candidates)), 1)
    reply = SequenceState(Noise(1, 0), how, 6, [50_500, 3])
    rounds = list(Sampler(WideScorer((0, 1, 2), paper.candidates), drafters, [reply]).run())
    assert len(reply.tokens) == 6
    assert not any(math.isnan(x) for r in rounds for row in r.contributions for x in row)
    assert not any(math.isnan(a) for r in rounds for chunk in r.log_ratios or () for a in chunk)
    impossible = range(50_000, 51_000)  # for the reference, so for the blend
    assert not any(token in impossible for token in reply.tokens)
