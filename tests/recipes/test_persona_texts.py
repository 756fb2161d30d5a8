"""The texts of the classifier are those that the recipe writes."""

from __future__ import annotations

from pathlib import Path

from mpg_cli.evaluation.judge_texts import BUNDLED, read_samples
from recipes.mpg_tiny.corpus import PERSONAS
from recipes.mpg_tiny.persona_texts import TEXTS, write


def test_the_package_has_what_the_recipe_writes(tmp_path: Path) -> None:
    write(tmp_path / "texts.jsonl")
    assert (tmp_path / "texts.jsonl").read_bytes() == BUNDLED.read_bytes()


def test_every_persona_shows_in_some_texts_and_some_are_neutral() -> None:
    samples = read_samples(BUNDLED)
    assert len(samples) == TEXTS
    for persona in PERSONAS:
        assert sum(persona.lower() in sample.personas for sample in samples) >= 20, persona
    assert sum(not sample.personas for sample in samples) >= 20
