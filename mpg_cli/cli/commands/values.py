"""Values of flags that are more than a number: text in, typed value out, or a UsageError that says how."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from mpg_cli.errors import UsageError
from mpg_cli.io.text import check_text, did_you_mean, visible
from mpg_cli.personas.adapter_place import AdapterPlace, adapter_place
from mpg_cli.personas.expression import exact
from mpg_cli.personas.registry import MAX_WEIGHT
from mpg_cli.sampling.params import DRAFTERS, MAX_CHUNK, Threshold

_PYTHON_WORDS = {"True": True, "False": False, "None": None}
_WEIGHT = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")


def chunk_size(text: str) -> int | None:
    """`auto` (None) or a number; its range is the request's business."""
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        hint = f"give auto, or a number from 0 to {MAX_CHUNK}"
        raise UsageError(f"--chunk-size {_shown(text)} is no chunk size", hint=hint) from None


def threshold(how: str | None, window: int | None, candidates: int | None, ahead: int | None) -> Threshold:
    """`max`, a quantile Q in (0, 1], or `fixed:X` with X >= 0 in nats; None leaves the default."""
    given: dict[str, Any] = {"window": window, "candidates": candidates, "ahead": ahead}
    return Threshold(how or "max", **{name: value for name, value in given.items() if value is not None})


def drafter(text: str, personas: Sequence[str]) -> str:
    """One of DRAFTERS, model:PATH, or persona:NAME with a name of the blend (spelled as there)."""
    if text in DRAFTERS:
        return text
    kind, colon, name = text.partition(":")
    if kind == "model" and name.strip():
        return f"model:{os.path.expanduser(check_text('--drafter', name.strip()))}"
    if kind != "persona" or not colon:
        choices = f"{', '.join(DRAFTERS)}, persona:NAME or model:PATH"
        close = did_you_mean(text, [*DRAFTERS, "persona:", "model:"])
        raise UsageError(f"--drafter {_shown(text)} is none{close}", hint=f"choose {choices}")
    for known in personas:
        if known.lower() == name.strip().lower():
            return f"persona:{known}"
    raise UsageError(
        f"--drafter {_shown(text)} is not in the blend{did_you_mean(name, personas)}",
        hint=f"the blend has {', '.join(map(visible, personas))}",
    )


def adapters(texts: Iterable[str], strength: float) -> tuple[tuple[AdapterPlace, float], ...]:
    """PLACE[:WEIGHT], weights times `strength`; the same place twice adds up, a sum of zero drops out."""
    sums: dict[str, Decimal] = {}  # by the place meant, however it is spelled
    spelled: dict[str, AdapterPlace] = {}
    for text in texts:
        place, weight = _adapter(text)
        spelled.setdefault(place.identity, place)
        sums[place.identity] = sums.get(place.identity, Decimal(0)) + exact(weight) * exact(strength)
    for identity, total in sums.items():
        if abs(total) > MAX_WEIGHT:
            shown = _shown(str(spelled[identity]))
            message = f"the weight of --adapter {shown} comes to {total:g}, beyond ±{MAX_WEIGHT}"
            raise UsageError(message, hint="it is --strength times the weight after the colon")
    return tuple((spelled[identity], float(total)) for identity, total in sums.items() if total)


def two_weights(flag: str, text: str, strength: float) -> tuple[float, float]:
    """`P:Q`, each times `strength`."""
    numbers = [_number(part) for part in text.split(":") if _WEIGHT.fullmatch(part.strip())]
    if len(numbers) != 2 or text.count(":") != 1:
        raise UsageError(f"{flag} {_shown(text)} is not two weights", hint=f"as in {flag} 1:0.5")
    first, second = (float(exact(number or 0.0) * exact(strength)) for number in numbers)
    if max(abs(first), abs(second)) > MAX_WEIGHT:
        raise UsageError(f"{flag} {_shown(text)} comes to a weight beyond ±{MAX_WEIGHT}")
    return first, second


def logit_bias(texts: Iterable[str]) -> tuple[tuple[int, float], ...]:
    """ID:BIAS of tokens; the range is the request's business."""
    found = []
    for text in texts:
        id_, _, bias = text.partition(":")
        value = _number(bias)
        if not re.fullmatch(r"[0-9]{1,18}", id_.strip()) or value is None:
            hint = "as in --logit-bias 198:-5; the ids of a model stand in its tokenizer.json"
            raise UsageError(f"--logit-bias {_shown(text)} is not ID:BIAS", hint=hint)
        found.append((int(id_), value))
    return tuple(found)


def template_args(texts: Iterable[str]) -> dict[str, Any]:
    """KEY=VALUE; the value is JSON (true, 3, "x") if it reads as such, otherwise text."""
    args: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key.isidentifier():
            hint = "as in --template-arg enable_thinking=false"
            raise UsageError(f"--template-arg {_shown(text)} is not KEY=VALUE", hint=hint)
        if key in args:
            raise UsageError(f"--template-arg {key} is given twice")
        args[key] = _json_value(value.strip())
    return args


def sequence_id(text: str | None) -> int | str | None:
    """As JSON has it: 3 is the number, "3" (with its quotes) and anything else is text."""
    if text is None:
        return None
    if not text:
        raise UsageError("--sequence-id is empty", hint="give the number of a sample or the id of a line")
    try:
        value = json.loads(text)
    except ValueError:
        return text
    is_id = isinstance(value, str) or (type(value) is int and value >= 0)
    return value if is_id else text


def _adapter(text: str) -> tuple[AdapterPlace, float]:
    """PLACE or PLACE:WEIGHT; what exists as it is spelled is a path, colons and all."""
    head, colon, tail = text.rpartition(":")
    weighted = bool(colon) and _is_number(tail) and not os.path.exists(os.path.expanduser(text))
    if weighted and _WEIGHT.fullmatch(tail.strip()) is None:
        raise UsageError(f"--adapter {_shown(text)}: the weight must be a finite number, such as 0.5")
    path = head if weighted else text
    if not path.strip():
        hint = "as in --adapter adapters/pirate:0.5 or --adapter OWNER/NAME"
        raise UsageError(f"--adapter {_shown(text)} has no path", hint=hint)
    return adapter_place(check_text("--adapter", path)), float(tail) if weighted else 1.0


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False  # the colon belongs to the path
    return True


def _json_value(text: str) -> Any:
    if text in _PYTHON_WORDS:
        return _PYTHON_WORDS[text]
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        return check_text("--template-arg", text)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _shown(text: str) -> str:
    return f"'{visible(text, 60)}'"
