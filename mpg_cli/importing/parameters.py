"""Ollama's PARAMETER values: checked, and told as the flags of `mpg generate` that do the same."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import Any

from mpg_cli.errors import UsageError
from mpg_cli.importing.modelfile import Instruction
from mpg_cli.personas.text import visible

_FLAGS = {
    "temperature": "--temperature",
    "top_k": "--top-k",
    "top_p": "--top-p",
    "min_p": "--min-p",
    "repeat_penalty": "--repetition-penalty",
    "seed": "--seed",
    "stop": "--stop",
    "num_predict": "--max-tokens",
}
_WHOLE = frozenset(("top_k", "seed", "num_predict", "num_ctx", "repeat_last_n"))
_REAL = frozenset(("temperature", "top_p", "min_p", "repeat_penalty"))
_SHARES = frozenset(("top_p", "min_p"))  # from 0 to 1 in mpg
_MAX_DIGITS = 30


def read_parameters(instructions: Sequence[Instruction], where: str) -> dict[str, Any]:
    """Values by name as plain data; `stop` is a list, of others the last one counts. Raises UsageError."""
    found: dict[str, Any] = {}
    for instruction in instructions:
        value = _number(instruction, where)
        if instruction.key == "stop":
            found.setdefault("stop", []).append(instruction.value)
        else:
            found[instruction.key] = value
    return found


def as_flags(parameters: dict[str, Any]) -> tuple[str, list[str]]:
    """Flags of `mpg generate` as one would type them, and the names that have no flag."""
    words: list[str] = []
    without: list[str] = []
    for name, value in parameters.items():
        flag = _FLAGS.get(name)
        if flag is None:
            without.append(name)
        elif name == "stop":
            words += [word for text in value for word in (flag, _quoted(text))]
        elif _in_range(name, value):
            words += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
        else:
            without.append(f"{name} {value}")
    return " ".join(words), without


def _number(instruction: Instruction, where: str) -> Any:
    """The value as a number where the parameter is one, else the text."""
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


def _in_range(name: str, value: float) -> bool:
    """Whether mpg takes the value; -1 for endless replies or a new seed each time, it does not."""
    if name == "num_predict":
        return value >= 1
    return value >= 0 and not (name in _SHARES and value > 1) and not (name == "repeat_penalty" and not value)


def _quoted(text: str) -> str:
    if text.isprintable():
        return shlex.quote(text)
    return f"$'{visible(text.replace(chr(92), chr(92) * 2)).replace(chr(39), chr(92) + chr(39))}'"
