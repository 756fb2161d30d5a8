"""The curly-braced syntax of character cards (Character Card V3, "Curly Braced Syntaxes"; SillyTavern's too).

A persona's prompt is fixed, so what a chat program would draw anew each time is settled once, the same way
for the same text.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from dataclasses import dataclass, field

from mpg_cli.errors import UsageError
from mpg_cli.personas.text import visible

MAX_DEPTH = 16  # of macros inside macros; deeper ones stay as they are
MAX_EXPANDED = 1 << 20  # characters of all texts together with their macros replaced

_TOKEN = re.compile(r"\{\{|\}\}|<(?:char|bot|user|charifnotgroup)>", re.IGNORECASE)
# SillyTavern's {{trim}} takes the line ends around it away.
_TRIM = re.compile(r"(?<![\r\n])[\r\n]*\{\{\s*trim\s*\}\}[\r\n]*", re.IGNORECASE)
_ESCAPED_COMMA = re.compile(r"(?<!\\),")
_ROLL = re.compile(r"\s*(?:roll|dice)[\s:]", re.IGNORECASE)
_SIDES = re.compile(r"[0-9]{1,9}")
_MAX_FORMULA = 60  # characters
_TERM = re.compile(r"([+-]?)\s*(?:([0-9]{0,3})d([0-9]{1,9})|([0-9]{1,9}))\s*", re.IGNORECASE)
_CHAR = frozenset(("char", "bot", "charifnotgroup", "group", "name2"))
_USER = re.compile(r"user|name1|random_user_[0-9]")


@dataclass
class Macros:
    """Replaces macros: `char` and `user` are names, `original` the text that a prompt replaces.

    Unknown macros stay as they are and are collected in `unknown`; `settled` are those with a random value.
    """

    char: str
    user: str
    original: str = ""
    unknown: dict[str, None] = field(default_factory=dict)
    settled: dict[str, None] = field(default_factory=dict)
    _variables: dict[str, str] = field(default_factory=dict, init=False)
    _draws: Counter[str] = field(default_factory=Counter, init=False)
    _room: int = field(default=MAX_EXPANDED, init=False)

    def expand(self, text: str) -> str:
        """`text` with its macros replaced; what comes in is not looked at again.

        Raises UsageError where it grows without measure.
        """
        text = _TRIM.sub("", text)
        stack: list[list[str]] = [[]]
        at = 0
        for token in _TOKEN.finditer(text):
            self._put(stack, text[at : token.start()])
            at = token.end()
            word = token.group().lower()
            if word == "{{" and len(stack) <= MAX_DEPTH:
                stack.append([])
            elif word == "}}" and len(stack) > 1:
                body = "".join(stack.pop())
                self._room += len(body)  # its value counts instead
                self._put(stack, self._value(body))
            elif word.startswith("<"):
                self._put(stack, self.user if word == "<user>" else self.char)
            else:
                self._put(stack, token.group())
        self._put(stack, text[at:])
        while len(stack) > 1:  # braces that were never closed
            body = "".join(stack.pop())
            stack[-1].append("{{" + body)
        return "".join(stack[0])

    def _put(self, stack: list[list[str]], piece: str) -> None:
        self._room -= len(piece)
        if self._room < 0:
            raise UsageError(f"its texts are longer than {MAX_EXPANDED >> 20} million characters")
        stack[-1].append(piece)

    def _value(self, body: str) -> str:
        name, colon, argument = body.partition(":")
        name, argument = name.strip().lower(), argument.removeprefix(":")
        if body.startswith("//"):
            value: str | None = ""
        elif roll := _ROLL.match(body):
            value = self._rolled(body, body[roll.end() :].strip(": \t\n"))
        else:
            value = self._called(name, argument, body) if colon else self._plain(name)
        if value is not None:
            return value
        self.unknown["{{" + visible(body.strip(), 30) + "}}"] = None
        return "{{" + body + "}}"

    def _plain(self, name: str) -> str | None:
        """What has no argument."""
        if name in _CHAR:
            return self.char
        if _USER.fullmatch(name):
            return self.user
        return {"original": self.original, "newline": "\n", "noop": ""}.get(name)

    def _called(self, name: str, argument: str, body: str) -> str | None:
        """What has an argument."""
        if name in ("hidden_key", "comment"):
            return ""
        if name == "reverse":
            return argument[::-1]
        if name in ("random", "pick"):
            self.settled[name] = None
            return self._drawn(body).choice(_choices(argument))
        if name in ("setvar", "setglobalvar"):
            variable, _, value = argument.partition("::")
            self._variables[variable.strip()] = value
            return ""
        return self._variables.get(argument.strip()) if name in ("getvar", "getglobalvar") else None

    def _rolled(self, body: str, formula: str) -> str | None:
        """The total of dice such as `2d6+1`, `d20` and `6`, which are the sides; None for what is none."""
        if len(formula) > _MAX_FORMULA:
            return None
        if _SIDES.fullmatch(formula):
            formula = f"d{formula}"
        source = self._drawn(body)
        total = at = 0
        while at < len(formula):
            term = _TERM.match(formula, at)
            if term is None or (at > 0 and not term.group(1)):
                return None
            sign, count, sides, number = term.groups()
            value = int(number or 0)
            if sides:
                value = sum(source.randint(1, max(1, int(sides))) for _ in range(int(count or 1)))
            total += -value if sign == "-" else value
            at = term.end()
        if "d" not in formula.lower():
            return None
        self.settled["roll"] = None
        return str(total)

    def _drawn(self, body: str) -> random.Random:
        """A source of its own for each time that a macro stands in the texts."""
        self._draws[body] += 1
        return drawn(f"{self._draws[body]} {body}")


def _choices(argument: str) -> list[str]:
    """`a::b` or `a, b`, as SillyTavern parts them."""
    if "::" in argument:
        return argument.split("::")
    return [value.strip().replace("\\,", ",") for value in _ESCAPED_COMMA.split(argument)]


def drawn(text: str) -> random.Random:
    """Always the same for the same text, and under any Python."""
    return random.Random(hashlib.blake2b(text.encode("utf-8", "surrogatepass")).hexdigest())
