"""What a lookup finds."""

from __future__ import annotations

import torch

from mpg_cli.sampling.drafters import LookupDrafter


def proposed(text: list[int], size: int) -> list[int]:
    draft = LookupDrafter([text]).draft([size])
    assert draft.sizes == (draft.tokens.shape[2],)
    assert torch.equal(draft.log_q, torch.zeros(draft.tokens.shape))
    found: list[int] = draft.tokens[0, 0].tolist()
    return found


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
    drafter = LookupDrafter([[1, 2, 3], [4, 5]])
    assert drafter.draft([2, 2]).sizes == (0, 0)
    drafter.append(0, [9, 1, 2])
    drafter.append(1, [1, 2])
    draft = drafter.draft([2, 2])
    assert draft.sizes == (2, 0)
    assert draft.tokens[:, 0].tolist() == [[3, 9], [0, 0]]


def test_the_law_of_a_lookup_is_all_on_its_proposal() -> None:
    draft = LookupDrafter([[1, 2, 0, 1, 2]]).draft([2])
    assert draft.log_law(0, 4).exp().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]
