"""The row of a drafter against an ordinary one: equal numbers, no read-back within a chunk."""

from __future__ import annotations

import pytest
import torch

from mpg_cli.errors import NumericsError
from mpg_cli.models.run.row_group import RowGroup
from mpg_cli.models.run.step_row import StepRow
from tests.support.models import random_tokens, tiny_model

EMPTY = torch.zeros(2, 1, 0, dtype=torch.long)


def groups(model: torch.nn.Module) -> tuple[RowGroup, StepRow]:
    made = RowGroup(model, ["a"], batch=2), StepRow(model, ["a"], batch=2)
    first, second = random_tokens(batch=2, length=7).tolist()
    for group in made:
        group.prefill([[first], [second[:4]]])  # of different lengths
    return made


def test_steps_give_what_an_ordinary_row_gives() -> None:
    plain, steps = groups(tiny_model("llama"))
    for round_ in range(3):
        for place in range(4):
            expected, found = plain.score(EMPTY).log_probs, steps.score(EMPTY).log_probs
            assert torch.allclose(expected, found, atol=1e-6), (round_, place)
            token = found[0, :, :, 0].argmax(dim=-1)  # (B, N)
            plain.push(token)
            steps.push(token)
        for group in (plain, steps):  # the last token was pushed and never fed
            group.commit([3, 1], [[5], [6, 7]])
        assert torch.equal(plain.cached, steps.cached)
    drafts = torch.tensor([[[3, 4]], [[5, 6]]])
    assert torch.allclose(plain.score(drafts).log_probs, steps.score(drafts).log_probs, atol=1e-6)


def test_a_draft_may_follow_a_pushed_token() -> None:
    plain, steps = groups(tiny_model("llama"))
    drafts = torch.tensor([[[3, 4]], [[5, 6]]])
    for group in (plain, steps):
        group.score(EMPTY)
        group.push(torch.tensor([[8], [9]]))
    assert torch.allclose(plain.score(drafts).log_probs, steps.score(drafts).log_probs, atol=1e-6)


def test_the_pushed_token_is_fed_from_where_it_is() -> None:
    """No step after the first goes through the pending tokens, which are on the CPU."""
    _, steps = groups(tiny_model("llama"))
    steps.score(EMPTY)
    for token in (3, 4, 5):
        steps.push(torch.tensor([[token], [token]]))
        assert not steps.pending.counts.any()
        assert steps.score(EMPTY).log_probs.shape[:4] == (1, 2, 1, 1)


def test_nan_is_an_error_when_the_chunk_is_over() -> None:
    model = tiny_model("llama")
    _, steps = groups(model)
    with torch.no_grad():
        model.lm_head.weight[0] = float("nan")
    for _ in range(2):
        steps.score(EMPTY)
        steps.push(torch.tensor([[3], [3]]))
    with pytest.raises(NumericsError, match="row of a"):
        steps.commit([2, 2], [[1], [1]])


def test_what_was_pushed_is_forgotten_with_the_rest() -> None:
    plain, steps = groups(tiny_model("llama"))
    steps.score(EMPTY)
    steps.push(torch.tensor([[9], [9]]))
    steps.reset()
    prompts = [[[5, 6, 7]], [[8, 9, 4]]]
    for group in (plain, steps):
        group.prefill(prompts)
    assert torch.allclose(plain.score(EMPTY).log_probs, steps.score(EMPTY).log_probs, atol=1e-6)
