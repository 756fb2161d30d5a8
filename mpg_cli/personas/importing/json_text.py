"""Parses untrusted JSON: unique keys, finite numbers of bounded length, bounded size and nesting."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from mpg_cli.errors import UsageError
from mpg_cli.io.text import visible

MAX_BYTES = 8 << 20
MAX_DIGITS = 300  # of a number, as in persona files


def parse_json(raw: bytes, where: str) -> Any:
    """The parsed value of `raw`; `where` names it in messages. Raises UsageError."""
    if len(raw) > MAX_BYTES:
        raise UsageError(f"{where}: larger than {MAX_BYTES >> 20} MiB of JSON")
    try:
        return json.loads(
            decode(raw, where),
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=_number,
        )
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise UsageError(f"{where}: not JSON: {error.msg[:1].lower() + error.msg[1:]} at {at}") from None
    except _Refused as error:
        raise UsageError(f"{where}: {error}") from None
    except RecursionError:
        raise UsageError(f"{where}: the JSON is nested too deeply") from None


def decode(raw: bytes, where: str) -> str:
    """`raw` as text: UTF-8, or UTF-16 as PowerShell writes it, with or without a byte order mark.

    Raises UsageError.
    """
    encoding = json.detect_encoding(raw)  # by the first four bytes, for any text
    try:
        return raw.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        name = encoding[:6].rstrip("-").upper()
        raise UsageError(
            f"{where}: byte 0x{raw[error.start]:02x} in line {line} is not {name}",
            hint="convert it, for instance with iconv",
        ) from None


class _Refused(Exception):
    """JSON that Python accepts and mpg rejects."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Refused(f"duplicate key '{visible(key, 60)}' in one object")
            seen.add(key)
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise _Refused(f"{name} is not valid JSON")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _Refused(f"a number has more than {MAX_DIGITS} digits")
    return int(digits)


def _number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _Refused(f"the number {visible(digits, 30)} is too large")
    return number
