"""Training data: JSONL or a JSON list of {prompt, chosen, rejected}, or of {prompt, response}.

Every row that cannot be used becomes a `Problem` with file and line; whether that ends the run is the
caller's business. Knows nothing about tokens.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mpg_cli.errors import UsageError
from mpg_cli.personas.text import visible

Method = Literal["dpo", "sft"]

FIELDS: dict[Method, tuple[str, ...]] = {"dpo": ("chosen", "rejected"), "sft": ("response",)}
ROLES = ("system", "user", "assistant")
MIN_ROWS = 10  # below that nothing is learnt but the rows
LISTED = 10  # problems that a message tells one by one
_SPACE = " \t\r\n"


class Turn(NamedTuple):
    """One message of a conversation."""

    role: str
    content: str


@dataclass(frozen=True)
class Row:
    """A conversation up to the user's turn, and its replies: (chosen, rejected) or (response,)."""

    prompt: tuple[Turn, ...]
    replies: tuple[str, ...]
    where: str  # FILE:LINE


@dataclass(frozen=True)
class Problem:
    """A row that is left out: where it is, what kind of mistake, and what is wrong in words."""

    where: str
    kind: str
    message: str


@dataclass(frozen=True)
class Data:
    """What the files hold: usable rows in order, and the others."""

    rows: tuple[Row, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def digest(self) -> str:
        """BLAKE2b of the usable rows, wherever they came from."""
        digest = hashlib.blake2b(digest_size=16)
        for row in self.rows:
            digest.update(json.dumps([row.prompt, row.replies]).encode() + b"\n")
        return digest.hexdigest()


class _Wrong(Exception):
    """A row cannot be used: kind and message of its `Problem`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def read_data(files: Sequence[Path], method: Method) -> Data:
    """Rows of all files in order. Raises UsageError for a file that cannot be read or holds no rows."""
    rows: list[Row] = []
    problems: list[Problem] = []
    for file in files:
        label = visible(str(file))
        for line, item in _items(_read(file), label):
            where = f"{label}:{line}"
            try:
                rows.append(_row(item, method, where))
            except _Wrong as wrong:
                problems.append(Problem(where, wrong.kind, str(wrong)))
    if not rows and not problems:
        raise UsageError(
            f"{', '.join(visible(str(file)) for file in files)} holds no data",
            hint=_expected(method),
        )
    return Data(tuple(rows), tuple(problems))


def describe_problems(problems: Sequence[Problem], listed: int = LISTED) -> list[str]:
    """A line for each of the first problems, and the rest counted by kind."""
    lines = [f"{problem.where}: {problem.message}" for problem in problems[:listed]]
    rest = Counter(problem.kind for problem in problems[listed:])
    if rest:
        lines.append(
            f"and {sum(rest.values())} more: {', '.join(f'{n} × {kind}' for kind, n in rest.items())}"
        )
    return lines


def check_enough(count: int, method: Method, left_out: int, hint: str | None = None) -> None:
    """Raises UsageError if `count` rows are too few to train on; `hint` says what to do about the others."""
    if count < MIN_ROWS:
        what = "pairs" if method == "dpo" else "rows"
        rest = f"; {left_out} more cannot be used" if left_out else ""
        usual = "some hundred are usual for one persona" if count or not left_out else _expected(method)
        raise UsageError(
            f"too little data: {count} usable {what}{rest}, at least {MIN_ROWS} are needed",
            hint=hint or usual,
        )


def hold_out(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Rows for training and for the test at the end, no prompt in both.

    `share` of the rows, at least one if it is not 0, drawn with `seed`; both keep the order of the data.
    Where every prompt has more rows than that, rows are drawn regardless of their prompts.
    """
    wanted = max(1, round(share * len(rows))) if share else 0
    by_prompt: dict[tuple[Turn, ...], list[int]] = {}
    for index, row in enumerate(rows):
        by_prompt.setdefault(row.prompt, []).append(index)
    groups = list(by_prompt.values())
    if min(map(len, groups)) > wanted:
        groups = [[index] for index in range(len(rows))]
    random.Random(seed).shuffle(groups)
    held: set[int] = set()
    for group in groups:
        if len(held) + len(group) <= wanted:
            held.update(group)
    return (
        [row for index, row in enumerate(rows) if index not in held],
        [row for index, row in enumerate(rows) if index in held],
    )


def _expected(method: Method) -> str:
    fields = ", ".join(f'"{name}": …' for name in ("prompt", *FIELDS[method]))
    return f"a line of JSON for each row: {{{fields}}}"


def _read(file: Path) -> bytes:
    label = visible(str(file))
    try:
        raw = file.expanduser().read_bytes()
    except OSError as error:
        hint = "--data /dev/stdin reads what is piped in" if label == "-" else None
        raise UsageError(f"--data {label} cannot be read: {error.strerror}", hint=hint) from None
    if raw.startswith(b"\x1f\x8b"):
        raise UsageError(f"--data {label} is compressed", hint="unpack it with gunzip")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UsageError(f"--data {label} is UTF-16, not UTF-8", hint="convert it, for instance with iconv")
    return raw.removeprefix(b"\xef\xbb\xbf")


def _items(raw: bytes, label: str) -> Iterator[tuple[int, Any]]:
    """Line and value of each row; a `_Wrong` in place of a value that is not JSON."""
    if raw.lstrip()[:1] == b"[":
        yield from _list_items(raw, label)
        return
    for number, line in enumerate(raw.split(b"\n"), 1):
        if line.strip():
            yield number, _json(line)


def _json(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return _Wrong("not UTF-8", f"byte 0x{line[error.start]:02x} is not UTF-8")
    except json.JSONDecodeError as error:
        return _Wrong("not JSON", f"not JSON: {error.msg} at column {error.colno}")
    except (RecursionError, ValueError):
        return _Wrong("not JSON", "not JSON that can be read: nested too deeply, or a number too long")


def _list_items(raw: bytes, label: str) -> Iterator[tuple[int, Any]]:
    """As `_items`, for one JSON list. After a mistake in its syntax nothing more can be read."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UsageError(f"--data {label}:{line}: byte 0x{raw[error.start]:02x} is not UTF-8") from None
    decoder = json.JSONDecoder()
    at, line, counted = _skip(text, text.index("[") + 1), 1, 0
    ended = text[at : at + 1] == "]"
    while not ended:
        line, counted = line + text.count("\n", counted, at), at
        try:
            item, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            message = f"not JSON: {error.msg}; the rest of the file is left out"
            yield line + text.count("\n", counted, error.pos), _Wrong("not JSON", message)
            return
        except (RecursionError, ValueError):
            message = "not JSON that can be read; the rest of the file is left out"
            yield line, _Wrong("not JSON", message)
            return
        yield line, item
        at = _skip(text, at)
        ended = text[at : at + 1] == "]"
        if ended:
            break
        if text[at : at + 1] != ",":
            message = "not JSON: a comma or ] is missing; the rest of the file is left out"
            yield line + text.count("\n", counted, at), _Wrong("not JSON", message)
            return
        at = _skip(text, at + 1)
    after = _skip(text, at + 1)
    if after < len(text):
        message = "not JSON: text after the ] of the list; the rest of the file is left out"
        yield line + text.count("\n", counted, after), _Wrong("not JSON", message)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _row(item: Any, method: Method, where: str) -> Row:
    if isinstance(item, _Wrong):
        raise item
    if not isinstance(item, dict):
        raise _Wrong("no object", f"a row must be an object with prompt, {', '.join(FIELDS[method])}")
    prompt = _prompt(item)
    replies = tuple(_reply(item, name, prompt) for name in FIELDS[method])
    if method == "dpo" and replies[0].strip() == replies[1].strip():
        raise _Wrong("chosen = rejected", "chosen and rejected are the same")
    return Row(prompt, replies, where)


def _field(item: dict[str, Any], name: str) -> Any:
    if name not in item:
        raise _Wrong(f"no {name}", f"{name} is missing")
    return item[name]


def _prompt(item: dict[str, Any]) -> tuple[Turn, ...]:
    value = _field(item, "prompt")
    turns = (Turn("user", _text(value, "prompt")),) if isinstance(value, str) else _turns(value, "prompt")
    if turns[-1].role != "user":
        raise _Wrong("wrong turns", f"prompt ends with a turn of {turns[-1].role}, not of the user")
    return turns


def _reply(item: dict[str, Any], name: str, prompt: tuple[Turn, ...]) -> str:
    """The reply; given as messages it may repeat the prompt before it."""
    value = _field(item, name)
    if isinstance(value, str):
        return _text(value, name)
    *before, last = _turns(value, name)
    if last.role != "assistant":
        raise _Wrong("wrong turns", f"{name} ends with a turn of {last.role}, not of the assistant")
    if before and tuple(before) != prompt:
        raise _Wrong("wrong turns", f"{name} follows another conversation than the prompt")
    return last.content


def _turns(value: Any, name: str) -> tuple[Turn, ...]:
    if not isinstance(value, list):
        raise _Wrong(f"wrong {name}", f"{name} must be text or a list of messages")
    if not value:
        raise _Wrong(f"empty {name}", f"{name} is empty")
    turns: list[Turn] = []
    for index, message in enumerate(value):
        at = f"{name}[{index}]"
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise _Wrong(
                f"wrong {name}", f"{at} must be an object with role ({', '.join(ROLES)}) and content"
            )
        if not isinstance(message.get("content"), str):
            raise _Wrong(f"wrong {name}", f"{at}.content must be text")
        if index and message["role"] == "system":
            raise _Wrong("wrong turns", f"{at} is a system turn, and only the first turn may be one")
        # A system text may be empty: it says nothing, and that is no mistake.
        check = _characters if message["role"] == "system" else _text
        turns.append(Turn(message["role"], check(message["content"], name)))
    return tuple(turns)


def _text(value: str, name: str) -> str:
    if not value.strip():
        raise _Wrong(f"empty {name}", f"{name} is empty")
    return _characters(value, name)


def _characters(value: str, name: str) -> str:
    if "\x00" in value:
        raise _Wrong("NUL", f"{name} holds a NUL character, which is no text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise _Wrong("not UTF-8", f"{name} holds half of a surrogate pair, which is no text") from None
    return value
