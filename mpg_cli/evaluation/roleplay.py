"""The paper's role-playing data: a profile and a personality per line, each an expert. Torch-free.

A line is {profile, personality, reference_answer}, and optionally a question.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mpg_cli.errors import UsageError
from mpg_cli.evaluation.prompts import EvalPrompt
from mpg_cli.io.lines import read_lines
from mpg_cli.io.text import check_text, did_you_mean, visible
from mpg_cli.personas.registry import Blend, BlendExpert
from mpg_cli.personas.schema import Persona

PROFILE, PERSONALITY = "profile", "personality"
PERSONAS = (PROFILE, PERSONALITY)
KEYS = ("profile", "personality", "reference_answer", "question", "id")
ASK = "Tell me about yourself."


def read_roleplay(
    file: Path, weights: tuple[float, float], ask: str = ASK, most: int | None = None
) -> tuple[EvalPrompt, ...]:
    """The lines of a JSONL file as prompts, each with a blend of two system prompts of these weights.

    `ask` is the question of lines without one. Raises UsageError naming file and line.
    """
    name = visible(str(file))
    found = [
        _prompt(f"--data {name}:{number}", file, number, line, weights, ask)
        for number, line in enumerate(read_lines(file, f"--data {name}"), 1)
        if line.strip()
    ]
    if not found:
        raise UsageError(
            f"--data {name} has no lines", hint="give lines of {profile, personality, reference_answer}"
        )
    if most is not None and not 1 <= most <= len(found):
        raise UsageError(f"--count {most} must be between 1 and {len(found)}, the number of lines")
    ids = [one.id for one in found]
    if twice := next((id_ for id_ in ids if ids.count(id_) > 1), None):
        raise UsageError(f"--data {name} has the id {visible(twice, 60)} twice")
    return tuple(found[:most])


def _prompt(
    where: str, file: Path, number: int, line: str, weights: tuple[float, float], ask: str
) -> EvalPrompt:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        raise UsageError(f"{where}: not JSON") from None
    if not isinstance(data, dict):
        raise UsageError(f"{where}: must be an object with {', '.join(KEYS[:3])}")
    for key in data:
        if key not in KEYS:
            close = did_you_mean(key, KEYS, 1) or f" (choose from {', '.join(KEYS)})"
            raise UsageError(f"{where}: unknown key '{visible(key, 60)}'{close}")
    texts = {key: _text(where, data, key, needed=key in PERSONAS) for key in KEYS if key != "id"}
    id_ = data.get("id", number)
    if isinstance(id_, bool) or not isinstance(id_, str | int) or id_ == "":
        raise UsageError(f"{where}: id must be text or a number")
    described = {name: texts[name] or "" for name in PERSONAS}
    experts = tuple(
        BlendExpert(Persona(name, file, number, prompt=described[name], use="prompt"), weight)
        for name, weight in zip(PERSONAS, weights, strict=True)
        if weight
    )
    blend = Blend("+".join(PERSONAS), experts)
    return EvalPrompt(str(id_), texts["question"] or ask, described, blend, texts["reference_answer"])


def _text(where: str, data: dict[str, Any], key: str, *, needed: bool) -> str | None:
    value = data.get(key)
    if value is None and not needed:
        return None
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{where}: {key} must be text" if key in data else f"{where}: {key} is missing")
    return check_text(f"{where}: {key}", value.strip())
