"""Expands macros of character cards (Character Card V3, "Curly Braced Syntaxes", and SillyTavern's).

A persona's prompt is fixed, so random macros get one value, reproducible for the same text.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from mpg_cli.errors import UsageError
from mpg_cli.io.text import visible
from mpg_cli.personas.importing.chance import choices, rolled, seeded

MAX_DEPTH = 16  # of nested macros; deeper ones are not expanded
MAX_EXPANDED = 1 << 20  # total characters of all expanded texts

# Single braces are used by Backyard (with # before the speaker of a line) and, by mistake, in other cards.
_NAME = r"<(?:char|bot|user|charifnotgroup)>|(?<!\{)#?\{(?:char|character|user)\}(?!\})"
_TOKEN = re.compile(rf"\{{\{{|\}}\}}|{_NAME}", re.IGNORECASE)
# SillyTavern's {{trim}} removes the line ends around it.
_TRIM = re.compile(r"(?<![\r\n])[\r\n]*\{\{\s*trim\s*\}\}[\r\n]*", re.IGNORECASE)
# A name, and an argument after one or two colons or a space.
_CALL = re.compile(r"\s*(//|\w*)\s*(:{0,2})(.*)", re.DOTALL)
_CHAR = frozenset(("char", "bot", "charifnotgroup", "group", "name2"))
_USER = re.compile(r"user|name1|random_user_[0-9]")


@dataclass
class Macros:
    """Expands macros: `char` and `user` are names, `original` the text that a prompt replaces.

    `fields` are the card's texts by macro name in lower case; `where` names the card in messages. Unknown
    macros are left unchanged and collected in `unknown`, random ones in `settled`.
    """

    char: str
    user: str
    where: str = "the card"
    original: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    unknown: dict[str, None] = field(default_factory=dict)
    settled: dict[str, None] = field(default_factory=dict)
    _variables: dict[str, str] = field(default_factory=dict, init=False)
    _values: dict[str, str] = field(default_factory=dict, init=False)  # of `fields`
    _draws: Counter[str] = field(default_factory=Counter, init=False)
    _room: int = field(default=MAX_EXPANDED, init=False)

    def expand(self, text: str) -> str:
        """`text` with its macros replaced, in one pass. Raises UsageError beyond MAX_EXPANDED characters."""
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
                self._room += len(body)  # replaced by its value
                self._put(stack, self._value(body))
            elif word in ("{{", "}}"):
                self._put(stack, token.group())
            else:
                self._put(stack, self.user if "user" in word else self.char)
        self._put(stack, text[at:])
        while len(stack) > 1:  # unclosed braces
            body = "".join(stack.pop())
            stack[-1].append("{{" + body)
        return "".join(stack[0])

    def _put(self, stack: list[list[str]], piece: str) -> None:
        self._room -= len(piece)
        if self._room < 0:
            raise UsageError(
                f"{self.where}: the expanded texts are longer than {MAX_EXPANDED >> 20} million characters"
            )
        stack[-1].append(piece)

    def _value(self, body: str) -> str:
        match = _CALL.match(body)
        name, colon, argument = match.groups() if match else ("", "", body)
        name = name.lower()
        value = self._with_argument(name, argument, body) if colon or argument else self._plain(name)
        if value is not None:
            return value
        self.unknown["{{" + visible(body.strip(), 30) + "}}"] = None
        return "{{" + body + "}}"

    def _plain(self, name: str) -> str | None:
        """The value of a macro without an argument."""
        if name in _CHAR:
            return self.char
        if _USER.fullmatch(name):
            return self.user
        if name in self.fields:
            return self._field(name)
        return {"original": self.original, "newline": "\n", "noop": "", "//": ""}.get(name)

    def _with_argument(self, name: str, argument: str, body: str) -> str | None:
        """The value of a macro with an argument."""
        if name in ("//", "hidden_key", "comment"):
            return ""
        if name == "reverse":
            return argument[::-1]
        if name in ("random", "pick"):
            self.settled[name] = None
            return self._random(body).choice(choices(argument))
        if name in ("roll", "dice"):
            return self._rolled(argument.strip(), body)
        if name in ("setvar", "setglobalvar"):
            variable, _, value = argument.partition("::")
            self._variables[variable.strip()] = value
            return ""
        return self._variables.get(argument.strip()) if name in ("getvar", "getglobalvar") else None

    def _field(self, name: str) -> str:
        """A text of the card with its macros expanded, except macros for other texts of the card."""
        if name not in self._values:
            fields, self.fields = self.fields, {}
            self._values[name] = self.expand(fields[name])
            self.fields = fields
        return self._values[name]

    def _rolled(self, formula: str, body: str) -> str | None:
        total = rolled(formula, self._random(body))
        if total is not None:
            self.settled["roll"] = None
        return total

    def _random(self, body: str) -> random.Random:
        """A random generator for each occurrence of a macro."""
        self._draws[body] += 1
        return seeded(f"{self._draws[body]} {body}")
