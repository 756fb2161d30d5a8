"""MPG_FAST=0: nothing is fast, and nothing else changes but rounding."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

import mpg_cli
from mpg_cli.models.fast import accelerate
from mpg_cli.models.load.adapter import read_adapter
from mpg_cli.models.load.adapter_fit import fit_adapter
from mpg_cli.models.prepare import load_prepared
from mpg_cli.models.run.lora_bank import LoraBank
from mpg_cli.models.run.plan import PLAIN, plan_of
from mpg_cli.options.model import ModelOptions
from mpg_cli.sampling.params import SamplingLaw, Scheme
from tests.support.adapters import tiny_adapter
from tests.support.models import ALL, is_repacked, random_tokens, tiny_model
from tests.support.rows import AlikeRows

CLOSE = 1e-4  # log-probabilities in float32: the largest difference by another order of summation
QUESTIONS = ("How should I spend my weekend?", "What makes a good friend?")


def replies(drafter: str, temperature: float) -> list[str]:
    """Replies of the bundled model in float32."""
    scheme, sampling = Scheme(drafter=drafter), SamplingLaw(max_tokens=40, temperature=temperature)
    with mpg_cli.load(
        "I+N+pirate", model="mpg-tiny", device="cpu", dtype="float32", scheme=scheme
    ) as speaker:
        return [speaker.reply(text, seed=3, sampling=sampling).text for text in QUESTIONS]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("drafter", ["none", "merged", "folded"])
def test_texts_of_the_bundled_model_are_the_same(
    drafter: str, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPG_FAST", "1")
    fast = replies(drafter, temperature)
    monkeypatch.setenv("MPG_FAST", "0")
    assert replies(drafter, temperature) == fast


@pytest.mark.parametrize("architecture", ALL)
def test_log_probabilities_of_every_architecture_are_the_same(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts of different length, drafts, rollbacks, a long sequence beside short ones, a folded copy."""
    large = {"vocab_size": 2**13}  # a head that is large enough for another layout
    path = tiny_adapter(tmp_path, architecture, base=tiny_model(architecture, **large))
    prompts = [random_tokens(1, n, seed=n)[0].tolist() for n in (70, 5, 6, 9)]
    found = []
    for switch in ("1", "0"):
        monkeypatch.setenv("MPG_FAST", switch)
        model = tiny_model(architecture, **large)
        accelerate(model)
        assert is_repacked(model) == (plan_of(model) is not PLAIN) == (switch == "1")
        row = [(fit_adapter(read_adapter(path, "a"), model), 1.0)]
        stacked = AlikeRows(model, ["reference", "a"], adapters=[row], batch=4)
        folded = AlikeRows(LoraBank.of(model).folded(row), ["a"], batch=4)
        for group in (stacked, folded):
            group.prefill([[ids] * len(group.names) for ids in prompts])
            for size in (0, 3, 3, 0, 0):
                drafts = torch.arange(4 * size).view(4, 1, size) + 3
                found.append(group.score(drafts).log_probs.flatten())
                group.commit([min(size, 2), 0, 0, min(size, 1)], [[5], [6], [7], [8]])
    half = len(found) // 2
    for fast, plain in zip(found[:half], found[half:], strict=True):
        assert (fast - plain).abs().max() < CLOSE


def test_compile_has_no_effect_and_a_notice_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPG_FAST", "0")
    loaded = load_prepared(ModelOptions(device="cpu", compile=True))
    assert not loaded.compiled
    assert loaded.model._compiled_call_impl is None
    assert any("MPG_FAST=0" in notice for notice in loaded.notices)


def test_the_rest_of_the_program_uses_one_call() -> None:
    """A second name would be a fast path that the switch does not reach."""
    package = Path(mpg_cli.__file__).parent
    names = set()
    for file in package.rglob("*.py"):
        if file.is_relative_to(package / "models" / "fast"):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and "models.fast" in f"{node.module}.":
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
    assert names == {"mpg_cli.models.fast.accelerate", "mpg_cli.models.fast.SWITCH"}
