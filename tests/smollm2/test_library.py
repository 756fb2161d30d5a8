"""The library's adapters for SmolLM2: they are found, and their personas are heard."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from mpg_cli.engine.engine import Engine
from mpg_cli.engine.events import Finished
from mpg_cli.engine.request import Request
from mpg_cli.evaluation.classifier import TrainedJudge, WordFeatures
from mpg_cli.evaluation.judge_texts import library_texts
from mpg_cli.evaluation.judging import Exhibit
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas import persona_data
from mpg_cli.personas.expression import parse
from mpg_cli.personas.registry import load_default, resolve
from mpg_cli.sampling.params import Sampling, Scheme
from mpg_cli.training.manifest import digest_of

ROOT = Path(__file__).parents[2]
ADAPTERS = ROOT / "personas" / "adapters" / "HuggingFaceTB--SmolLM2-135M-Instruct"
PROMPTS = (
    "How do I make tea?",
    "I can't sleep before an exam.",
    "What should I cook for two friends tonight?",
    "Is a bicycle worth it in a hilly town?",
)


def replies(loaded: LoadedModel, persona: str) -> list[str]:
    """A reply to each prompt; the expert must be an adapter."""
    request = Request(
        ModelOptions("smollm2", device="cpu", dtype="float32"),
        Prompting("?"),
        Sampling(max_tokens=48),
        Scheme(drafter="none"),
        blend=resolve(parse(persona), load_default()),
        seed=0,
    )
    requests = (replace(request, prompting=Prompting(text), sequence_id=n) for n, text in enumerate(PROMPTS))
    with closing(Engine(loaded, batch_size=len(PROMPTS))) as engine:
        assert [expert.kind for expert in engine.experts(request)] == ["adapter"]
        return [event.text for event in engine.run(requests) if isinstance(event, Finished)]


def heard(judge: TrainedJudge, texts: list[str], persona: str) -> int:
    exhibits = [Exhibit(str(n), "", text, persona) for n, text in enumerate(texts)]
    return sum(score > 0 for score in judge.judge(exhibits, lambda one: None, lambda share: None))


@pytest.fixture(scope="module")
def judge() -> TrainedJudge:
    return TrainedJudge(WordFeatures(), library_texts(["pirate", "N"]))


def test_the_pirate_is_heard_and_no_pole_is_a_pirate(
    loaded: LoadedModel, smollm2: str, judge: TrainedJudge
) -> None:
    """Pirate and N show in 95 of 100 replies: fewer than 3 of 4 have a chance of 1.4 % each."""
    assert heard(judge, replies(loaded, "pirate"), "pirate") >= 3
    of_pole = replies(loaded, "N")
    assert heard(judge, of_pole, "pirate") == 0
    assert heard(judge, of_pole, "N") >= 3


def test_every_persona_of_the_data_has_the_adapter_of_the_manifest() -> None:
    manifest = json.loads((ADAPTERS / "manifest.json").read_text(encoding="utf-8"))
    assert sorted(manifest["personas"]) == sorted(persona_data.NAMES)
    total = 0
    for name, entry in manifest["personas"].items():
        assert entry["library"] == persona_data.digest()
        assert entry["weights"] == digest_of(ADAPTERS / name)
        config = json.loads((ADAPTERS / name / "adapter_config.json").read_text(encoding="utf-8"))
        plan = entry["plan"]
        assert config["r"] == plan["rank"]
        assert config["lora_alpha"] == pytest.approx(plan["alpha"] * plan["strength"])
        total += sum(file.stat().st_size for file in (ADAPTERS / name).iterdir())
    assert total <= 30e6
