"""Checks Ollama's PARAMETER values and converts them to flags of `mpg generate`."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mpg_cli.errors import UsageError
from mpg_cli.io.text import visible
from mpg_cli.options.run import MAX_SEED
from mpg_cli.personas.importing.modelfile import Instruction
from mpg_cli.sampling.params import Sampling

# Fields of Sampling, which have the names of their flags.
_SAMPLING = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repeat_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "stop": "stop",
    "num_predict": "max_tokens",
}
_WHOLE = frozenset(("top_k", "seed", "num_predict", "num_ctx", "repeat_last_n"))
_REAL = frozenset(
    ("temperature", "top_p", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty")
)
_MAX_DIGITS = 30


def read_parameters(instructions: Sequence[Instruction], where: str) -> dict[str, Any]:
    """Values by name; `stop` is a list, for other names the last value is used. Raises UsageError."""
    found: dict[str, Any] = {}
    for instruction in instructions:
        value = _number(instruction, where)
        if instruction.key == "stop":
            found.setdefault("stop", []).append(instruction.value)
        else:
            found[instruction.key] = value
    return found


def as_flags(parameters: dict[str, Any]) -> tuple[str, list[str]]:
    """The flags of `mpg generate`, and the parameters (or `name value`) without a flag.

    Unsupported values are, for example, -1 for replies without a limit and for random seeds.
    """
    words: list[str] = []
    without: list[str] = []
    for name, value in parameters.items():
        for one in value if isinstance(value, list) else [value]:
            if name not in _SAMPLING and name != "seed":
                without.append(name)
            elif (flag := _flag(name, one)) is not None:
                words.append(flag)
            else:
                without.append(f"{name} {one}".rstrip())
    return " ".join(words), without


def _flag(name: str, value: Any) -> str | None:
    """The flag with its value; None for an unsupported value."""
    if name == "seed":
        return f"--seed {value}" if 0 <= value <= MAX_SEED else None
    if name == "top_k":
        value = max(0, value)  # -1 disables it in Ollama
    field = _SAMPLING[name]
    chosen: dict[str, Any] = {field: (value,) if name == "stop" else value}
    try:
        replace(Sampling(), **chosen)
    except UsageError:
        return None
    shown = _quoted(value) if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else value
    return f"--{field.replace('_', '-')} {shown}"


def _number(instruction: Instruction, where: str) -> Any:
    """The value as a number for numeric parameters, else the text. Raises UsageError."""
    name, text = instruction.key, instruction.value
    if name not in _WHOLE | _REAL:
        return text
    try:
        value: float = (int if name in _WHOLE else float)(text) if len(text) <= _MAX_DIGITS else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        needed = "a whole number" if name in _WHOLE else "a number"
        raise UsageError(f"{where}:{instruction.line}: {name} must be {needed}, not '{visible(text, 40)}'")
    return value


def _quoted(text: str) -> str:
    if text.isprintable():
        return shlex.quote(text)
    return f"$'{visible(text.replace(chr(92), chr(92) * 2)).replace(chr(39), chr(92) + chr(39))}'"
