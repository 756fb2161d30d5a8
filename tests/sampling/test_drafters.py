"""The n-gram lookup, and the slots of drafters."""

from __future__ import annotations

import pytest
import torch

from mpg_cli.sampling.drafters import Draft, Drafter, LookupDrafter, SlotDrafters
from mpg_cli.sampling.noise import Noise
from mpg_cli.sampling.state import SequenceState
from tests.sampling.sampled import DRAFTERS, LOOKUP, MERGED, decoding, drafter_of


def lookup(*prompts: list[int]) -> LookupDrafter:
    drafter = LookupDrafter()
    for slot, prompt in enumerate(prompts):
        drafter.insert(slot, prompt)
    return drafter


def states_after(replies: list[list[int]]) -> list[SequenceState]:
    states = [SequenceState(Noise(0, 0), decoding(), 99) for _ in replies]
    for state, tokens in zip(states, replies, strict=True):
        state.append(tokens)
    return states


def draft(drafter: Drafter, sizes: list[int], replies: list[list[int]] | None = None) -> Draft:
    """The drafts after these replies (default: empty ones)."""
    states = states_after(replies or [[] for _ in sizes])
    return drafter.draft(states, dict(enumerate(sizes)))


def proposed(text: list[int], size: int) -> list[int]:
    found = draft(lookup(text), [size])
    assert found.sizes == {0: found.tokens.shape[2]}
    assert torch.equal(found.log_q, torch.zeros(found.tokens.shape))
    tokens: list[int] = found.tokens[0, 0].tolist()
    return tokens


def test_what_followed_the_last_words_before() -> None:
    assert proposed([5, 6, 7, 8, 9, 1, 5, 6], 3) == [7, 8, 9]


def test_the_longest_suffix_counts_then_the_latest_place() -> None:
    assert proposed([1, 2, 3, 10, 2, 3, 11, 1, 2, 3], 1) == [10]
    assert proposed([2, 3, 10, 2, 3, 11, 4, 2, 3], 1) == [11]


def test_a_repetition_goes_on_with_itself() -> None:
    assert proposed([9, 1, 2, 1, 2], 5) == [1, 2, 1, 2, 1]


def test_nothing_new_is_found() -> None:
    assert proposed([1, 2, 3, 4], 3) == []
    assert proposed([7], 3) == []
    assert proposed([], 3) == []
    assert proposed([1, 2, 1, 2], 0) == []


def test_committed_tokens_are_found_later_and_sequences_are_apart() -> None:
    drafter = lookup([1, 2, 3], [4, 5])
    assert draft(drafter, [2, 2]).sizes == {0: 0, 1: 0}
    found = draft(drafter, [2, 2], [[9, 1, 2], [1, 2]])
    assert found.sizes == {0: 2, 1: 0}
    assert found.tokens[:, 0].tolist() == [[3, 9], [0, 0]]


def test_the_law_of_a_lookup_is_all_on_its_proposal() -> None:
    found = draft(lookup([1, 2, 0, 1, 2]), [2])
    assert found.log_q_of(0, 4).exp().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]


@pytest.mark.parametrize("row", [row for row in DRAFTERS.values() if row is not None])
def test_every_slot_has_its_own_drafter(row: int) -> None:
    """Slots of different drafters, one without: each is drafted for as it is alone, for its own size."""
    replies = [[0, 1], [], [2, 0, 1, 0], [1]]
    drafters = [drafter_of(row, 4), drafter_of(LOOKUP, 4), None, drafter_of(MERGED, 4)]
    sizes = {0: 3, 1: 2, 3: 4}
    states = states_after(replies)
    together = SlotDrafters(drafters).draft(states, sizes)
    assert set(together.sizes) == {0, 1, 3}
    for slot, size in sizes.items():
        alone = SlotDrafters([drafter_of(of, 4) for of in (row, LOOKUP, None, MERGED)])
        own = alone.draft(states, {slot: size})
        assert own.sizes[slot] == together.sizes[slot]
        length = own.tokens.shape[2]
        assert own.tokens[slot].tolist() == together.tokens[slot, :, :length].tolist()
        assert torch.equal(own.log_q[slot], together.log_q[slot, :, :length])
    assert SlotDrafters(drafters).draft(states, {}).tokens.shape == (4, 1, 0)
