"""Trained judges: training, held-out accuracy, and the errors for texts that do not do."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mpg_cli.errors import UsageError
from mpg_cli.evaluation.classifier import TrainedJudge, WordFeatures
from mpg_cli.evaluation.judge_texts import (
    BUNDLED,
    LEAST_ACCURACY,
    NEITHER,
    Sample,
    library_texts,
    read_samples,
    split,
    texts_of_file,
)
from mpg_cli.evaluation.judging import Exhibit
from mpg_cli.personas import persona_data

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


def judge_of(names: Sequence[str], file: Path) -> TrainedJudge:
    return TrainedJudge(WordFeatures(), texts_of_file(names, file))


def scores(judge: TrainedJudge, texts: Sequence[str], names: Sequence[str]) -> list[float]:
    """The scores of each text, persona by persona."""
    shown = [Exhibit(str(n), "?", text, name) for n, text in enumerate(texts) for name in names]
    return judge.judge(shown, lambda own: None, lambda share: None)


def test_it_recognises_personas_alone_and_together(tmp_path: Path) -> None:
    judge = judge_of(["Sea", "wood"], written(tmp_path))
    texts = ["the salt and the tide", "moss on a root", "a boat by a tree with moss and salt"]
    assert scores(judge, texts, ["Sea", "wood"]) == [1, 0, 0, 1, 1, 1]
    assert all(own.accuracy > 0.95 for own in judge.held_out)


def test_held_out_accuracy_of_labels_that_say_nothing_is_that_of_a_coin(tmp_path: Path) -> None:
    judge = judge_of(["sea"], written(tmp_path, 800, noise=1.0))
    (own,) = judge.held_out
    assert own.texts == 200
    assert 0.35 < own.accuracy < 0.65
    assert f"balanced accuracy on others: sea {own.accuracy:.0%} (600 texts, tested on 200)" in judge.words


def test_a_judge_that_knows_too_little_is_refused(tmp_path: Path) -> None:
    texts = texts_of_file(["sea", "wood"], written(tmp_path, 800, noise=1.0))
    with pytest.raises(UsageError, match=r"below 85%: sea \d\d%, wood \d\d%") as raised:
        TrainedJudge(WordFeatures(), replace(texts, least=LEAST_ACCURACY))
    assert raised.value.hint == "use --judge encoder, or --judge-url"


def test_equal_texts_are_never_on_both_sides() -> None:
    samples = [Sample(frozenset(), f"text {n % 40}") for n in range(200)]
    kept, held = split(samples)
    assert len(kept) + len(held) == 200
    assert not {own.text for own in kept} & {own.text for own in held}


def test_the_texts_of_mpg_tiny_know_its_whole_library_and_are_small() -> None:
    from mpg_cli.evaluation.markers import bundled

    assert BUNDLED.stat().st_size <= 320_000
    judge = TrainedJudge(WordFeatures(), texts_of_file(bundled().marks))
    assert all(own.accuracy > 0.9 for own in judge.held_out), judge.about


@pytest.fixture(scope="module")
def library() -> TrainedJudge:
    """The judge of all personas of the persona data."""
    return TrainedJudge(WordFeatures(), library_texts(persona_data.NAMES))


def test_the_library_is_known_by_another_writers_replies(library: TrainedJudge) -> None:
    assert [own.persona for own in library.held_out] == list(persona_data.NAMES)
    assert all(own.accuracy >= LEAST_ACCURACY for own in library.held_out), library.about
    texts = {name: 180 if name in persona_data.POLES else 18 * 60 for name in persona_data.NAMES}
    assert {own.persona: own.texts for own in library.held_out} == texts
    neutral = [prompt.neutral or "" for prompt in persona_data.heldout()]
    for name in persona_data.NAMES:
        assert sum(scores(library, neutral, [name])) <= 0.25 * len(neutral), name


def test_whom_else_a_judge_knows_changes_no_score(library: TrainedJudge) -> None:
    texts = (
        list(persona_data.references("I").values())[:20] + list(persona_data.references("noir").values())[:20]
    )
    few = TrainedJudge(WordFeatures(), library_texts(["noir", "I"]))
    assert scores(few, texts, ["I", "noir"]) == scores(library, texts, ["I", "noir"])


def test_an_empty_reply_shows_nobody(library: TrainedJudge) -> None:
    assert set(scores(library, ["", " \n"], persona_data.NAMES)) == {0}


def test_a_pole_is_told_from_its_opposite_and_from_neutral_replies_only() -> None:
    pole, character = library_texts(["i", "Pirate"]).labels
    assert Counter(pole.training) == {"i": 80, "E": 80, NEITHER: 80, None: 15 * 80}
    assert Counter(pole.held_out) == {"i": 60, "E": 60, NEITHER: 60, None: 15 * 60}
    assert Counter(character.training) == {"Pirate": 80, NEITHER: 17 * 80}


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
        judge_of(["sea"], file)
    assert message in raised.value.message


def test_other_texts_to_learn_from_are_another_judge(tmp_path: Path) -> None:
    file = written(tmp_path)
    before = judge_of(["sea"], file).about
    assert judge_of(["sea"], file).about == before
    file.write_text(file.read_text().replace("note 7 ", "note seven "))
    after = judge_of(["sea"], file).about
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
