"""The persona data of the library: everyday prompts with neutral replies and replies in each persona.

The files stand in the folder `data` of the persona library; its README says how they were written. All errors
are MpgErrors: the files are part of the package, so only a damaged installation raises one.
Torch-free.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mpg_cli.errors import MpgError, UsageError
from mpg_cli.io.lines import read_lines
from mpg_cli.io.text import visible
from mpg_cli.personas.registry import library_dir

POLES = ("E", "I", "S", "N", "T", "F", "J", "P")
CHARACTERS = ("pirate", "noir", "bard", "robot", "coach", "zen", "stoic", "grandmother", "scientist")
NAMES = (*POLES, *CHARACTERS)
OPPOSITES: Mapping[str, str] = MappingProxyType(
    {"E": "I", "I": "E", "S": "N", "N": "S", "T": "F", "F": "T", "J": "P", "P": "J"}
)
# Personas whose replies are close to the neutral ones: whose replies theirs are contrasted with instead.
CONTRASTS: Mapping[str, str] = MappingProxyType({"S": "N", "J": "P"})
REINSTALL = "install mpg-cli again"


@dataclass(frozen=True)
class Message:
    """One turn; `role` is user or assistant."""

    role: str
    content: str

    def as_json(self) -> dict[str, str]:
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True)
class DataPrompt:
    """A prompt of one or more turns, the last the user's; `neutral` is a reply in no persona, or None."""

    id: str
    topic: str
    messages: tuple[Message, ...]
    neutral: str | None = None

    @property
    def text(self) -> str:
        """The last turn, which the reply answers."""
        return self.messages[-1].content


def prompts() -> tuple[DataPrompt, ...]:
    """The prompts of training, with neutral replies."""
    return _prompts(folder() / "prompts.jsonl")


def tuning() -> tuple[DataPrompt, ...]:
    """Prompts on other topics, without replies, to choose weights and settings on."""
    return _prompts(folder() / "tuning.jsonl")


def heldout() -> tuple[DataPrompt, ...]:
    """Prompts on topics of neither, with neutral replies, for reports only."""
    return _prompts(folder() / "heldout.jsonl")


def replies(name: str) -> Mapping[str, str]:
    """The replies of a persona of NAMES to the prompts of training, by id."""
    return _complete(folder() / "replies" / f"{_known(name)}.jsonl", prompts())


def references(name: str) -> Mapping[str, str]:
    """Replies of a persona of NAMES to the held-out prompts, by id; another writer wrote them."""
    return _complete(folder() / "references" / f"{_known(name)}.jsonl", heldout())


def _complete(file: Path, asked: Sequence[DataPrompt]) -> Mapping[str, str]:
    """The replies of a file, which must answer all of these prompts."""
    found = _replies(file)
    missing = [prompt.id for prompt in asked if prompt.id not in found]
    if missing:
        raise MpgError(f"{visible(str(file))} has no reply to {missing[0]}", hint=REINSTALL)
    return found


@lru_cache(maxsize=1)
def digest() -> str:
    """A fingerprint of all files of the data (BLAKE2b-128, hexadecimal), whatever folder they stand in."""
    place = folder()
    found = hashlib.blake2b(digest_size=16)
    written = [f"{kind}/{name}" for kind in ("replies", "references") for name in NAMES]
    for name in ("prompts", "tuning", "heldout", *written):
        content = _content(place / f"{name}.jsonl")
        found.update(f"{name} {len(content)}\n".encode() + content)
    return found.hexdigest()


def folder() -> Path:
    """The folder of the data. Raises MpgError where the package has none."""
    library = library_dir()
    if library is None:
        raise MpgError("the persona library of the package is missing", hint=REINSTALL)
    return library / "data"


def _known(name: str) -> str:
    if name not in NAMES:
        raise MpgError(
            f"there is no persona data of {visible(name, 60)}", hint=f"choose from {', '.join(NAMES)}"
        )
    return name


@lru_cache(maxsize=8)
def _prompts(file: Path) -> tuple[DataPrompt, ...]:
    found = []
    for where, data in _objects(file):
        try:
            messages = tuple(Message(str(turn["role"]), str(turn["content"])) for turn in data["messages"])
            found.append(DataPrompt(str(data["id"]), str(data["topic"]), messages, data.get("neutral")))
        except (LookupError, TypeError):
            raise MpgError(f"{where}: must be {{id, topic, messages}}", hint=REINSTALL) from None
    return tuple(found)


@lru_cache(maxsize=64)
def _replies(file: Path) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for where, data in _objects(file):
        if not isinstance(data.get("id"), str) or not isinstance(data.get("reply"), str):
            raise MpgError(f"{where}: must be {{id, reply}}", hint=REINSTALL)
        if data["id"] in found:
            raise MpgError(f"{where}: a second reply to {visible(data['id'], 60)}", hint=REINSTALL)
        found[data["id"]] = data["reply"]
    return MappingProxyType(found)


def _objects(file: Path) -> list[tuple[str, dict[str, Any]]]:
    """The JSON objects of a file with their places."""
    name = visible(str(file))
    try:
        lines = read_lines(file, name)
    except UsageError as error:
        raise MpgError(error.message, hint=REINSTALL) from None
    found = []
    for number, line in enumerate(lines, 1):
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            raise MpgError(f"{name}:{number}: not a JSON object", hint=REINSTALL)
        found.append((f"{name}:{number}", data))
    return found


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise MpgError(f"{visible(str(file))} cannot be read: {error.strerror}", hint=REINSTALL) from None
