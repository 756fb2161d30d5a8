"""The exchanges of a chat and the file that stores them. Torch-free."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mpg_cli.engine.messages import Turns, check_messages
from mpg_cli.errors import UsageError
from mpg_cli.io.files import write_atomic
from mpg_cli.io.text import visible
from mpg_cli.options.run import MAX_SEED

FORMAT, VERSION = "mpg-chat", 1


@dataclass(frozen=True)
class Exchange:
    """A user turn and its reply.

    `turn` counts from 1 and is never reused in a conversation, `attempt` counts retries. Together they form
    the sequence id, so every reply has its own random stream.
    """

    user: str
    reply: str
    turn: int
    attempt: int = 0

    @property
    def sequence(self) -> str:
        """`turn-3`, or `turn-3-retry-1`."""
        return f"turn-{self.turn}" + (f"-retry-{self.attempt}" if self.attempt else "")


@dataclass(frozen=True)
class Transcript:
    """A system text and the exchanges after it, in order."""

    system: str | None = None
    exchanges: tuple[Exchange, ...] = ()
    count: int = 0  # turns so far, removed ones included

    @property
    def messages(self) -> Turns:
        """In the form of `mpg generate --messages`, without the final user turn."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        turns = [
            {"role": role, "content": text}
            for exchange in self.exchanges
            for role, text in (("user", exchange.user), ("assistant", exchange.reply))
        ]
        return (*system, *turns)

    def plus(self, exchange: Exchange) -> Transcript:
        """A transcript with one more exchange."""
        count = max(self.count, exchange.turn)
        return replace(self, exchanges=(*self.exchanges, exchange), count=count)

    def without_last(self) -> Transcript:
        """A transcript without the last exchange."""
        return replace(self, exchanges=self.exchanges[:-1])

    def without_first(self, count: int) -> Transcript:
        """A transcript without the oldest exchanges."""
        return replace(self, exchanges=self.exchanges[count:])


@dataclass(frozen=True)
class SavedChat:
    """A transcript with the model, the blend (resolved weights) and the seed to continue it with."""

    model: str
    revision: str | None
    persona: str | None
    adapters: tuple[tuple[str, float], ...]
    seed: int
    transcript: Transcript = field(default_factory=Transcript)

    def as_json(self) -> dict[str, Any]:
        """The object of the file."""
        exchanges = self.transcript.exchanges
        return {
            "format": FORMAT,
            "version": VERSION,
            "model": self.model,
            "revision": self.revision,
            "persona": self.persona,
            "adapters": [{"path": path, "weight": weight} for path, weight in self.adapters],
            "seed": self.seed,
            "turns": self.transcript.count,
            "sequence": [[exchange.turn, exchange.attempt] for exchange in exchanges],
            "messages": list(self.transcript.messages),
        }


def save_chat(path: Path, chat: SavedChat) -> None:
    """Write the file atomically. Raises UsageError, also for an existing file that is not a saved chat."""
    target = Path(os.path.realpath(os.path.expanduser(path)))
    shown = visible(str(path))
    if target.exists() and not _is_chat(target):
        raise UsageError(f"{shown} exists and is not a saved chat", hint="choose another name")
    write_atomic(
        target,
        json.dumps(chat.as_json(), ensure_ascii=False, indent=1) + "\n",
        what=shown,
        hint="choose a file in an existing, writable folder",
    )


def load_chat(path: Path) -> SavedChat:
    """Read a file of `save_chat`. Raises UsageError naming the invalid field."""
    name = visible(str(path))
    try:
        text = Path(os.path.expanduser(path)).read_bytes().decode("utf-8-sig")
        data = json.loads(text)
    except OSError as error:
        raise UsageError(f"--load {name} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise UsageError(f"--load {name} is not a saved chat", hint="save one with /save in a chat")
    if data.get("version") != VERSION:
        raise UsageError(
            f"--load {name} has version {visible(str(data.get('version')), 20)}, this mpg reads {VERSION}"
        )
    return SavedChat(
        model=_field(data, "model", str, name),
        revision=_field(data, "revision", (str, type(None)), name),
        persona=_field(data, "persona", (str, type(None)), name),
        adapters=tuple(_adapter(item, name) for item in _field(data, "adapters", list, name)),
        seed=_number(_field(data, "seed", int, name), MAX_SEED, "seed", name),
        transcript=_transcript(data, name),
    )


def answered_turns(data: Mapping[str, Any], name: str) -> Turns:
    """The messages of a saved chat up to its last user turn, without its last reply."""
    turns = check_messages(data.get("messages"), f"the messages of {name}")
    last = max((i for i, turn in enumerate(turns) if turn["role"] == "user"), default=-1)
    if last < 0:
        raise UsageError(f"the chat of {name} has no user turn")
    return turns[: last + 1]


def is_saved_chat(data: object) -> bool:
    """Whether decoded JSON is a chat written by `save_chat`."""
    return isinstance(data, dict) and data.get("format") == FORMAT


def _is_chat(file: Path) -> bool:
    try:
        return is_saved_chat(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return False


def _transcript(data: dict[str, Any], name: str) -> Transcript:
    saved = data.get("messages")
    turns = list(check_messages(saved, f"{name}: messages")) if saved != [] else []
    system = turns.pop(0)["content"] if turns and turns[0]["role"] == "system" else None
    users, replies = turns[::2], turns[1::2]
    paired = len(users) == len(replies)
    if not paired or any(u["role"] != "user" or r["role"] != "assistant" for u, r in zip(users, replies)):  # noqa: B905
        raise UsageError(f"--load {name}: messages must be alternating user and assistant turns")
    sequence = _field(data, "sequence", list, name)
    numbers = [n for pair in sequence if isinstance(pair, list) and len(pair) == 2 for n in pair]
    if len(numbers) != 2 * len(users) or any(type(n) is not int or n < 0 for n in numbers):
        raise UsageError(f"--load {name}: sequence must be a pair of numbers for each exchange")
    exchanges = tuple(
        Exchange(user["content"], reply["content"], turn, attempt)
        for user, reply, (turn, attempt) in zip(users, replies, sequence, strict=True)
    )
    count = _number(_field(data, "turns", int, name), MAX_SEED, "turns", name)
    return Transcript(system, exchanges, max([count, *(exchange.turn for exchange in exchanges)]))


def _adapter(item: object, name: str) -> tuple[str, float]:
    if isinstance(item, dict) and isinstance(item.get("path"), str):
        weight = item.get("weight")
        if isinstance(weight, int | float) and not isinstance(weight, bool) and abs(weight) <= 10:
            return item["path"], float(weight)
    raise UsageError(f"--load {name}: each of adapters must have a path and a weight between -10 and 10")


def _field(data: dict[str, Any], key: str, kind: Any, name: str) -> Any:
    value = data.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UsageError(f"--load {name}: {key} is missing or has the wrong type")
    return value


def _number(value: int, most: int, key: str, name: str) -> int:
    if not 0 <= value <= most:
        raise UsageError(f"--load {name}: {key} must be between 0 and {most}")
    return value
