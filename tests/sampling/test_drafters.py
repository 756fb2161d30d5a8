"""The n-gram lookup, and the slots of drafters."""

from __future__ import annotations

import pytest
import torch

from mpg_cli.sampling.drafters import Draft, Drafter, LookupDrafter
from mpg_cli.sampling.noise import Noise
from mpg_cli.sampling.state import SequenceState
from tests.sampling.sampled import DRAFTERS, decoding, drafter_of


def lookup(*prompts: list[int]) -> LookupDrafter:
    drafter = LookupDrafter(len(prompts))
    drafter.insert(range(len(prompts)), prompts)
    return drafter


def draft(drafter: Drafter, sizes: list[int], replies: list[list[int]] | None = None) -> Draft:
    """The drafts after these replies (default: empty ones)."""
    states = [SequenceState(Noise(0, 0), 99) for _ in sizes]
    for state, tokens in zip(states, replies or [[] for _ in sizes], strict=True):
        state.append(tokens)
    return drafter.draft(states, sizes, decoding(rule="exact"), None)


def proposed(text: list[int], size: int) -> list[int]:
    found = draft(lookup(text), [size])
    assert found.sizes == (found.tokens.shape[2],)
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
    assert draft(drafter, [2, 2]).sizes == (0, 0)
    found = draft(drafter, [2, 2], [[9, 1, 2], [1, 2]])
    assert found.sizes == (2, 0)
    assert found.tokens[:, 0].tolist() == [[3, 9], [0, 0]]


def test_the_law_of_a_lookup_is_all_on_its_proposal() -> None:
    found = draft(lookup([1, 2, 0, 1, 2]), [2])
    assert found.log_q_of(0, 4).exp().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]


@pytest.mark.parametrize("row", DRAFTERS.values(), ids=DRAFTERS)
def test_slots_hold_what_was_put_there(row: int | None) -> None:
    """Inserted, selected, or copied from a clone that read the prompts: they are drafted for alike."""
    prompts = [[0, 1, 2, 0, 1], [2, 2, 1, 2, 2], [1, 0, 1, 0]]

    def drafted(drafter: Drafter, batch: int) -> list[list[int]]:
        found = draft(drafter, [3] * batch)
        own = zip(found.tokens[:, 0].tolist(), found.sizes, strict=True)
        return [decoding().until_end(tokens, size) for tokens, size in own]

    expected = []
    for prompt in prompts:
        alone = drafter_of(row)
        alone.insert([0], [prompt])
        expected += drafted(alone, 1)
    drafter = drafter_of(row, 4)
    drafter.insert([2, 0], prompts[:2])
    drafter.select([0, 2, 2])
    clone = drafter.clone(2)
    clone.insert([0, 1], [prompts[0], prompts[2]])
    drafter.copy(clone, [1], [1])
    assert drafted(drafter, 3) == [expected[1], expected[2], expected[0]]
