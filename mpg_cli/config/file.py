"""The user's config file. Precedence is Click's: flag, `MPG_*`, this file, default."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpg_cli.config.paths import config_file
from mpg_cli.errors import UsageError
from mpg_cli.io import safe_yaml
from mpg_cli.io.safe_yaml import kind_of
from mpg_cli.io.text import did_you_mean, visible

Value = str | int | float | bool | list[str]


@dataclass(frozen=True)
class Option:
    """What the config file may say for one option; `low` and `high` are inclusive."""

    kind: type  # str, int, float, bool, or list for text that may be repeated
    pattern: str | None = None
    low: float = -math.inf
    high: float = math.inf
    numeric: bool = False  # text that may be written as a number
    expand: bool = False  # a leading ~ is the home folder


def _choice(*values: str) -> Option:
    return Option(str, pattern="|".join(map(re.escape, values)))


# What depends on more than the value itself (a drafter on the blend) is left to the command.
OPTIONS: dict[str, Option] = {
    "model": Option(str, expand=True),
    "revision": Option(str),
    "device": Option(str, pattern=r"auto|cpu|mps|cuda(:\d+)?"),
    "dtype": _choice("auto", "bfloat16", "float16", "float32"),
    "persona": Option(list),
    "persona-dir": Option(list, expand=True),
    "system": Option(str),
    "prefill": Option(str),
    "scale": Option(float),
    "raw": Option(bool),
    "template-arg": Option(list),
    "target": _choice("product", "mixture"),
    "rule": _choice("exact", "threshold", "block"),
    "drafter": Option(str),
    "chunk-size": Option(str, pattern=r"auto|\d+", numeric=True),
    "threshold": Option(str, pattern=r"max|(fixed:)?\d*\.?\d+", numeric=True),
    "threshold-window": Option(int, low=1),
    "candidates": Option(int, low=1),
    "ahead": Option(int, low=1),
    "max-tokens": Option(int, low=1),
    "temperature": Option(float, low=0),
    "top-k": Option(int, low=0),
    "top-p": Option(float, low=0, high=1),
    "min-p": Option(float, low=0, high=1),
    "repetition-penalty": Option(float, low=0),
    "presence-penalty": Option(float, low=-2, high=2),
    "frequency-penalty": Option(float, low=-2, high=2),
    "logit-bias": Option(list),
    "stop": Option(list),
    "stop-token-id": Option(list, numeric=True),
    "seed": Option(int, low=0),
    "format": _choice("auto", "live", "plain", "json", "events"),
    "stats": Option(bool),
    "explain": Option(bool),
    "quiet": Option(bool),
    "verbose": Option(bool),
    "history": Option(bool),
}


@dataclass(frozen=True)
class Config:
    """What the config file sets: values by parameter name (`max_tokens` for `max-tokens`)."""

    file: Path
    values: Mapping[str, Value] = field(default_factory=dict)


def load_config(file: Path | None = None) -> Config:
    """The config file, empty if there is none. Raises one UsageError with all that is wrong in it."""
    file = file or config_file()
    if not os.path.exists(file):
        return Config(file)
    documents = safe_yaml.read(file, error=UsageError)
    if not documents:
        return Config(file)
    if len(documents) > 1:
        raise UsageError(f"{visible(str(file))}:{documents[1].line}: a config file is one document")
    values: dict[str, Value] = {}
    problems: list[str] = []
    for key, value in documents[0].data.items():
        option = OPTIONS.get(key)
        message = unknown_key(key) if option is None else problem_with(option, value)
        if message is not None:
            problems.append(f"{documents[0].where((key,))}: {message}")
        elif option is not None:
            values[key.replace("-", "_")] = _convert(option, value)
    if problems:
        raise UsageError("\n".join(problems))
    return Config(file, values)


def unknown_key(key: str) -> str:
    """What to say of a key that is no option."""
    return f"unknown option{did_you_mean(key, OPTIONS, 1) or '; known are ' + ', '.join(OPTIONS)}"


def problem_with(option: Option, value: Any) -> str | None:
    """What is wrong with `value` for that option, or None."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if option.kind is bool:
        return None if isinstance(value, bool) else f"must be true or false, not {kind_of(value)}"
    if option.kind is list:
        texts = _texts(option, value)
        if texts and all(isinstance(text, str) and text for text in texts):
            return None
        return f"must be text or a list of texts, not {kind_of(value)}"
    if option.kind is str:
        return _text_problem(option, str(value) if option.numeric and is_number else value)
    if not is_number or (option.kind is int and not isinstance(value, int)):
        what = "a whole number" if option.kind is int else "a number"
        found = value if is_number else kind_of(value)
        return f"must be {what}, not {found}"
    return None if option.low <= value <= option.high else _range(option)


def _texts(option: Option, value: Any) -> list[Any]:
    """The items of a list, or the one that stands for it; numbers as text where the option takes them."""
    items = value if isinstance(value, list) else [value]
    return [str(item) if option.numeric and type(item) is int else item for item in items]


def _text_problem(option: Option, value: Any) -> str | None:
    if not isinstance(value, str):
        return f"must be text, not {kind_of(value)}; put it in quotes"
    if not value:
        return "is empty; leave the key out"
    if option.pattern is None or re.fullmatch(option.pattern, value, re.ASCII):
        return None
    forms = option.pattern.split("|")
    if all(re.fullmatch(r"\w+", form) for form in forms):
        return f"must be {', '.join(forms)}, not '{visible(value, 60)}'{did_you_mean(value, forms, 1)}"
    return f"'{visible(value, 60)}' is not a value of this option"


def _range(option: Option) -> str:
    if math.isfinite(option.high):
        return f"must be between {option.low:g} and {option.high:g}"
    return f"must be at least {option.low:g}"


def _convert(option: Option, value: Any) -> Value:
    if option.kind is list:
        texts = _texts(option, value)
        return [os.path.expanduser(text) for text in texts] if option.expand else texts
    if option.kind is float:
        return float(value)
    if option.kind is str:
        return os.path.expanduser(str(value)) if option.expand else str(value)
    return value  # type: ignore[no-any-return]
