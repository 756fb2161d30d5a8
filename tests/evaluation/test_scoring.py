"""Scores of options: equal to token by token forward passes of merged PEFT models, whatever the batch."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from mpg_cli.api import blend
from mpg_cli.evaluation.item_files import read_items
from mpg_cli.evaluation.mbti import Findings, Quiz, run, types
from mpg_cli.evaluation.questionnaire import Item, item_prompt
from mpg_cli.evaluation.scoring import option_scores
from mpg_cli.models.experts import find_experts
from mpg_cli.models.load.loader import load_model
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from recipes.mpg_tiny.token_by_token import load_experts

ROOT = Path(__file__).resolve().parents[2]
ITEMS = read_items()


@pytest.fixture(scope="module")
def loaded() -> Any:
    return load_model("mpg-tiny", None, "cpu", "float32")


def scored(loaded: Any, persona: str, items: tuple[Item, ...], **settings: Any) -> list[tuple[float, ...]]:
    experts = find_experts(blend(persona), (), loaded, print, print)
    weights = [expert.weight for expert in experts]
    return option_scores(loaded, experts, [weights], items, **settings)[0]


@cache
def merged_models(names: frozenset[str]) -> tuple[Any, Any]:
    """The base under "" and the merged model of each persona, and the tokenizer."""
    base = ROOT / "mpg_cli" / "data" / "mpg-tiny"
    experts = load_experts(base, ROOT / "personas" / "adapters" / "mpg-tiny", sorted(names))
    return experts, load_model("mpg-tiny", None, "cpu", "float32").tokenizer


def independent(persona: dict[str, float], item: Item, target: str, prompts: dict[str, str]) -> list[float]:
    """Mean log-probability a token of each option, one whole forward pass a token and expert."""
    experts, tokenizer = merged_models(frozenset(persona.keys() - prompts))
    totals = [0.0] * len(item.options)
    for swapped in (False, True):
        asked = item_prompt(item, "text", swapped=swapped)
        for place, option in enumerate(asked.options):
            opening = tokenizer(asked.opening, add_special_tokens=False)["input_ids"]
            whole = tokenizer(f"{asked.opening} {option}", add_special_tokens=False)["input_ids"]
            assert whole[: len(opening)] == opening
            found = []
            for step in range(len(opening), len(whole)):
                law = {}
                for name in ("", *persona):
                    system = [{"role": "system", "content": prompts[name]}] if name in prompts else []
                    chat = [*system, {"role": "user", "content": asked.prompt}]
                    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
                    ids = tokenizer(text, add_special_tokens=False)["input_ids"] + whole[:step]
                    with torch.no_grad():
                        model = experts["" if name in prompts else name]
                        law[name] = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
                if target == "product":
                    terms = [w * (law[name] - law[""]) for name, w in persona.items()]
                    mixed = (law[""] + sum(terms)).log_softmax(-1)
                else:
                    total = sum(persona.values())
                    mixed = sum(w / total * law[name].exp() for name, w in persona.items()).log()
                found.append(float(mixed[whole[step]]))
            totals[place] += sum(found) / len(found) / 2
    return totals


@pytest.mark.parametrize(
    "persona, weights, target",
    [
        ("E", {"E": 1.0}, "product"),
        ("INTJ+pirate", {"I": 0.7, "N": 0.7, "T": 0.7, "J": 0.7, "pirate": 1.0}, "product"),
        ("I:0.5+pirate", {"I": 0.5, "pirate": 1.0}, "mixture"),
    ],
)
def test_scores_are_those_of_forward_passes_token_by_token(
    loaded: Any, persona: str, weights: dict[str, float], target: Any
) -> None:
    items = ITEMS[:: len(ITEMS) // 3][:3]
    found = scored(loaded, persona, items, target=target)
    for item, scores in zip(items, found, strict=True):
        assert scores == pytest.approx(independent(weights, item, target, {}), abs=1e-4)


def test_a_prompt_expert_gets_its_own_prompt(loaded: Any, tmp_path: Path) -> None:
    (tmp_path / "shy.yaml").write_text("name: shy\nprompt: You are an introvert.\n")
    experts = find_experts(blend("shy+E", persona_dirs=[tmp_path]), (), loaded, print, print)
    found = option_scores(loaded, experts, [[expert.weight for expert in experts]], ITEMS[:1])[0][0]
    prompts = {"shy": "You are an introvert."}
    assert found == pytest.approx(independent({"shy": 1.0, "E": 1.0}, ITEMS[0], "product", prompts), abs=1e-4)


def test_neither_batch_nor_company_changes_a_score(loaded: Any) -> None:
    whole = scored(loaded, "E", ITEMS[:7])
    for item, scores in zip(ITEMS[:7], whole, strict=True):
        assert scored(loaded, "E", (item,))[0] == pytest.approx(scores, abs=1e-4)
    assert scored(loaded, "E", ITEMS[:7], at_once=3) == [pytest.approx(scores, abs=1e-4) for scores in whole]


def test_options_of_different_number_are_scored_together(loaded: Any, tmp_path: Path) -> None:
    line = '{"statement": "I like parties.", "dimension": "EI", "pole": "E"}'
    (tmp_path / "items.json").write_text(f"[{', '.join([line] * 4)}]")
    mixed = (ITEMS[0], *read_items(tmp_path / "items.json"), ITEMS[1])
    found = scored(loaded, "E", mixed)
    assert [len(scores) for scores in found] == [2, 5, 5, 5, 5, 2]
    assert found[-1] == pytest.approx(scored(loaded, "E", ITEMS[1:2])[0], abs=1e-4)


@pytest.mark.parametrize("how", [Prompting("?", raw=True), Prompting("?", system="Be brief.")])
def test_letters_and_other_ways_to_ask_give_finite_scores(loaded: Any, how: Prompting) -> None:
    letters = scored(loaded, "E", ITEMS[:2], readout="letter", how=how)
    assert all(math.isfinite(score) and score < 0 for scores in letters for score in scores)
    assert letters != scored(loaded, "E", ITEMS[:2], readout="letter")


# -- what the bundled model answers ------------------------------------------------------------


@pytest.fixture(scope="module")
def findings() -> Findings:
    names = (*types(), *"EISNTFJP", "INTJ+pirate")
    return run(
        Quiz(tuple(map(blend, names)), names, ITEMS, ModelOptions("mpg-tiny", device="cpu", dtype="float32"))
    )


def test_the_base_is_within_chance(findings: Findings) -> None:
    assert [score.dimension for score in findings.base.scores if score.excludes_chance] == []


def test_the_sixteen_types_are_mostly_recovered(findings: Findings) -> None:
    read = {sheet.persona: sheet.type for sheet in findings.sheets}
    assert sum(read[name] == name for name in types()) >= 12


def test_each_pole_moves_its_dimension(findings: Findings) -> None:
    moved = {}
    for sheet in findings.sheets:
        if len(sheet.persona) == 1:
            score = next(s for s in findings.shift(sheet) if sheet.persona in s.dimension)
            moved[sheet.persona] = score.pole == sheet.persona and score.excludes_chance
    assert moved == dict.fromkeys("EISNTFJP", True)


def test_asking_together_is_asking_alone(findings: Findings) -> None:
    """The rows of all experts with other weights give what the rows of the blend give, repeatedly."""
    quiz = Quiz(
        (blend("INTJ+pirate"),), ("x",), ITEMS[:20], ModelOptions("mpg-tiny", device="cpu", dtype="float32")
    )
    alone = run(quiz)
    together = findings.sheets[-1].answers[:20]
    assert alone.sheets[0].answers == pytest.approx(together, abs=1e-3)
    assert run(quiz).as_json() == alone.as_json()
