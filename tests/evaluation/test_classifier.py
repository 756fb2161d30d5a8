"""The classifier judge: training, held-out accuracy, and the error for too few texts."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from mpg_cli.errors import UsageError
from mpg_cli.evaluation.classifier import BUNDLED, ClassifierJudge, Sample, read_samples, split
from mpg_cli.evaluation.judging import Exhibit

sklearn = pytest.importorskip("sklearn")

WORDS = {"sea": "boat wave salt sail tide", "wood": "tree leaf moss fern root"}


def written(folder: Path, count: int = 120, noise: float = 0.0) -> Path:
    """Texts of one of two personas or of both; with `noise`, labels that say nothing."""
    rng = random.Random(1)
    file = folder / "texts.jsonl"
    with file.open("w") as stream:
        for number in range(count):
            shown = [name for name in WORDS if rng.random() < 0.5]
            words = [word for name in shown for word in rng.sample(WORDS[name].split(), 3)]
            said = [name for name in WORDS if rng.random() < 0.5] if rng.random() < noise else shown
            stream.write(json.dumps({"persona": said, "text": f"note {number} " + " ".join(words)}) + "\n")
    return file


def test_it_recognises_personas_alone_and_together(tmp_path: Path) -> None:
    judge = ClassifierJudge(["Sea", "wood"], written(tmp_path))
    texts = ["the salt and the tide", "moss on a root", "a boat by a tree with moss and salt"]
    shown = [Exhibit(str(n), "?", text, name) for n, text in enumerate(texts) for name in ("Sea", "wood")]
    scores = judge.judge(shown, lambda own: None, lambda share: None)
    assert scores == [1, 0, 0, 1, 1, 1]
    assert all(own.accuracy > 0.95 for own in judge.held_out)


def test_held_out_accuracy_of_labels_that_say_nothing_is_that_of_a_coin(tmp_path: Path) -> None:
    judge = ClassifierJudge(["sea"], written(tmp_path, 800, noise=1.0))
    (own,) = judge.held_out
    assert own.texts == 200
    assert 0.35 < own.accuracy < 0.65
    assert "trained on 600 texts" in judge.words


def test_equal_texts_are_never_on_both_sides() -> None:
    samples = [Sample(frozenset(), f"text {n % 40}") for n in range(200)]
    kept, held = split(samples)
    assert len(kept) + len(held) == 200
    assert not {own.text for own in kept} & {own.text for own in held}


def test_the_bundled_texts_know_the_whole_library_and_are_small() -> None:
    from mpg_cli.evaluation.markers import bundled

    assert BUNDLED.stat().st_size <= 320_000
    judge = ClassifierJudge(bundled().marks)
    assert all(own.accuracy > 0.9 for own in judge.held_out), judge.about


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"persona": "a"}', ":1: must be {persona, text}"),
        ("nonsense", ":1: not JSON"),
        ('{"persona": [1], "text": "x"}', ":1: persona must be a name"),
        ('{"persona": "sea", "text": "x"}', "has 1 texts that show sea"),
    ],
)
def test_wrong_texts(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text(text + "\n")
    with pytest.raises(UsageError) as raised:
        ClassifierJudge(["sea"], file)
    assert message in raised.value.message


def test_other_texts_to_learn_from_are_another_judge(tmp_path: Path) -> None:
    file = written(tmp_path)
    before = ClassifierJudge(["sea"], file).about
    assert ClassifierJudge(["sea"], file).about == before
    file.write_text(file.read_text().replace("note 7 ", "note seven "))
    after = ClassifierJudge(["sea"], file).about
    assert after["digest"] != before["digest"]


def test_a_line_ends_at_a_newline_only(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    text = "a\u2028b\u2029c\x85d"
    file.write_bytes(json.dumps({"persona": "sea", "text": text}, ensure_ascii=False).encode() + b"\r\n" * 2)
    assert read_samples(file) == [Sample(frozenset({"sea"}), text)]


def test_neutral_texts_have_no_persona(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text('{"persona": [], "text": "x"}\n\n{"persona": "Sea", "text": "y"}\n')
    assert read_samples(file) == [Sample(frozenset(), "x"), Sample(frozenset({"sea"}), "y")]
