"""The curly-braced syntax of character cards (Character Card V3, "Curly Braced Syntaxes").

A persona's prompt is fixed, so what a chat program would draw anew each time is settled once, the same way
for the same text.
"""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import dataclass, field

from mpg_cli.errors import UsageError
from mpg_cli.personas.text import visible

MAX_DEPTH = 16  # of macros inside macros; deeper ones stay as they are
MAX_EXPANDED = 1 << 20  # characters of all texts together with their macros replaced

_TOKEN = re.compile(r"\{\{|\}\}|<(?:char|bot|user)>", re.IGNORECASE)
_ESCAPED_COMMA = re.compile(r"(?<!\\),")
_ROLL = re.compile(r"\s*[dD]?([0-9]{1,9})\s*")


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
    _room: int = field(default=MAX_EXPANDED, init=False)

    def expand(self, text: str) -> str:
        """`text` with its macros replaced; what comes in is not looked at again.

        Raises UsageError where it grows without measure.
        """
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
        if body.startswith("//"):
            return ""
        name, colon, argument = body.partition(":")
        name = name.strip().lower()
        if not colon:
            plain = {"char": self.char, "bot": self.char, "user": self.user, "original": self.original}
            if name in plain:
                return plain[name]
        elif name in ("hidden_key", "comment"):
            return ""
        elif name == "reverse":
            return argument.removeprefix(":")[::-1]
        elif name in ("random", "pick"):
            return self._choice(name, argument.removeprefix(":"))
        elif name == "roll" and (sides := _ROLL.fullmatch(argument.removeprefix(":"))):
            self.settled[name] = None
            return str(_drawn(body).randint(1, max(1, int(sides.group(1)))))
        self.unknown["{{" + visible(body.strip(), 30) + "}}"] = None
        return "{{" + body + "}}"

    def _choice(self, name: str, argument: str) -> str:
        self.settled[name] = None
        values = [value.replace("\\,", ",") for value in _ESCAPED_COMMA.split(argument)]
        return _drawn(argument).choice(values)


def _drawn(text: str) -> random.Random:
    """Always the same for the same text, and under any Python."""
    return random.Random(hashlib.blake2b(text.encode("utf-8", "surrogatepass")).hexdigest())
