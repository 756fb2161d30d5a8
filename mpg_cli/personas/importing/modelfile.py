"""Parses Ollama's Modelfiles to a list of instructions, by Ollama's rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mpg_cli.errors import UsageError
from mpg_cli.io.text import nearest, visible
from mpg_cli.personas.importing.json_text import decode

MAX_BYTES = 1 << 20

INSTRUCTIONS = (
    "from",
    "adapter",
    "system",
    "parameter",
    "message",
    "template",
    "license",
    "draft",
    "renderer",
    "parser",
    "requires",
)
ROLES = ("system", "user", "assistant")

_LINE = re.compile(r"[ \t]*([^ \t]+)(?:[ \t]+(.*))?")
_TEXTS = ("system", "message", "template", "license")  # instructions whose values often span several lines
_WORD = re.compile(r"([A-Za-z0-9_]+)[ \t]+(.*)", re.DOTALL)
_QUOTES = ('"""', '"')


@dataclass(frozen=True)
class Instruction:
    """An instruction: `name` is in lower case; `key` is the name of a PARAMETER or the role of a MESSAGE."""

    name: str
    value: str
    line: int  # from 1
    key: str = ""


def parse_modelfile(raw: bytes, where: str) -> tuple[Instruction, ...]:
    """The instructions in order. Raises UsageError with the line of the first error."""
    if len(raw) > MAX_BYTES:
        raise UsageError(f"{where}: larger than {MAX_BYTES >> 20} MiB, too large for a Modelfile")
    text = decode(raw, where)
    if "\x00" in text:
        raise UsageError(f"{where}: not a text file")
    found = tuple(_instructions(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), where))
    if not any(instruction.name == "from" for instruction in found):
        raise UsageError(f"{where}: no FROM line, so this is not a Modelfile")
    return found


def _instructions(lines: list[str], where: str) -> Iterator[Instruction]:
    at = 0
    before = ""  # the previous instruction
    while at < len(lines):
        number, line = at + 1, lines[at]
        at += 1
        if not line.strip() or line.lstrip(" \t").startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        word = match.group(1) if match else line.split()[0]
        name = word.lower()
        if name not in INSTRUCTIONS:
            raise _unknown(word, before, f"{where}:{number}")
        rest, key = (match.group(2) if match else None) or "", ""
        if name in ("parameter", "message"):
            key, rest = _key(name, rest, f"{where}:{number}")
        value, at = _value(rest, lines, at, f"{where}:{number}")
        yield Instruction(name, value, number, key)
        before = name


def _unknown(word: str, before: str, where: str) -> UsageError:
    """The error for a line that begins with `word`, after the instruction `before`."""
    close = "".join(f"; did you mean {known.upper()}?" for known in nearest(word, INSTRUCTIONS, 1))
    hint = f"choose from {', '.join(INSTRUCTIONS).upper()}"
    if before in _TEXTS and not close:
        quotes = _QUOTES[0]
        hint = f"enclose text of several lines in three double quotes: {before.upper()} {quotes}…{quotes}"
    return UsageError(f"{where}: unknown instruction '{visible(word, 30)}'{close}", hint=hint)


def _key(name: str, rest: str, where: str) -> tuple[str, str]:
    """The name of a parameter or role of a message, and the rest of the line."""
    match = _WORD.fullmatch(rest)
    if match is None:
        form = "NAME VALUE" if name == "parameter" else "ROLE TEXT"
        raise UsageError(f"{where}: {name.upper()} needs {form}")
    if name == "message" and match.group(1) not in ROLES:
        raise UsageError(f"{where}: the role of a MESSAGE must be one of {', '.join(ROLES)}")
    return match.group(1), match.group(2)


def _value(first: str, lines: list[str], at: int, where: str) -> tuple[str, int]:
    """The rest of the line, or quoted text that may span lines; and the index of the next line.

    As in Ollama, a closing quote must be at the end of a line.
    """
    first = first.strip()
    quote = next((quote for quote in _QUOTES if first.startswith(quote)), None)
    if quote is None:
        if not first:
            raise UsageError(f"{where}: a value is missing")
        return first, at
    parts = [first.removeprefix(quote)]
    while not parts[-1].rstrip().endswith(quote):
        if at == len(lines):
            raise UsageError(f"{where}: the {quote} that begins here is never closed")
        parts.append(lines[at])
        at += 1
    parts[-1] = parts[-1].rstrip().removesuffix(quote)
    return "\n".join(parts), at
