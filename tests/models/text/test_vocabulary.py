"""Ids that the tokenizer does not know are never sampled."""

from __future__ import annotations

import pytest
import torch

from mpg_cli.models.text.vocabulary import Vocabulary
from tests.support.models import VOCABULARY, tiny_model
from tests.support.rows import AlikeRows


def test_of_ids() -> None:
    assert Vocabulary.of([0, 1, 2]) == Vocabulary(3)
    some = Vocabulary.of([4, 1, 2])
    assert (some, some.first) == (Vocabulary(5, (0, 3)), 1)
    assert [id_ for id_ in range(-1, 7) if id_ in some] == [1, 2, 4]
    assert Vocabulary.of([-1, 0, 1, 2, 4]) == Vocabulary(5, (3,))  # -1 says that there is no such token


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_what_is_not_known_is_impossible_and_the_rest_is_normalised(dtype: torch.dtype) -> None:
    known = Vocabulary(VOCABULARY - 7, (0, 5))
    whole = AlikeRows(tiny_model("llama").to(dtype), ["row"])
    cut = AlikeRows(tiny_model("llama").to(dtype), ["row"], vocabulary=known)
    for rows in (whole, cut):
        rows.prefill([[[5, 6, 7]]])
    every, found = (rows.score(torch.tensor([[[8]]])) for rows in (whole, cut))
    logits = every.log_probs + every.normaliser[..., None]
    inside = [id_ for id_ in range(VOCABULARY) if id_ in known]
    assert found.log_probs.shape[-1] == known.size
    assert found.log_probs[..., list(known.holes)].exp().max() == 0
    expected = logits[..., inside]
    assert torch.allclose(found.log_probs[..., inside], expected.log_softmax(-1), atol=1e-5)
    assert torch.allclose(found.normaliser, expected.logsumexp(-1), atol=1e-4)
