"""The paper's role-playing data: a profile and a personality per line, each an expert. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from mpg_cli.evaluation.data_lines import DataLine
from mpg_cli.evaluation.prompts import EvalPrompt
from mpg_cli.personas.registry import Blend, BlendExpert
from mpg_cli.personas.schema import Persona

PROFILE, PERSONALITY = "profile", "personality"
PERSONAS = (PROFILE, PERSONALITY)
ASK = "Tell me about yourself."


def roleplay_prompts(
    lines: Iterable[DataLine], weights: tuple[float, float], ask: str = ASK
) -> tuple[EvalPrompt, ...]:
    """Role-playing lines as prompts, each with a blend of two system prompts of these weights.

    `ask` is the question of lines without one. Raises UsageError naming file and line.
    """
    return tuple(_prompt(line, weights, ask) for line in lines)


def _prompt(line: DataLine, weights: tuple[float, float], ask: str) -> EvalPrompt:
    described = {name: line.text(name, needed=True) or "" for name in PERSONAS}
    experts = tuple(
        BlendExpert(Persona(name, line.file, line.line, prompt=described[name], use="prompt"), weight)
        for name, weight in zip(PERSONAS, weights, strict=True)
        if weight
    )
    blend = Blend("+".join(PERSONAS), experts)
    question, reference = line.text("question"), line.text("reference_answer")
    return EvalPrompt(line.id, question or ask, described, blend, reference)
