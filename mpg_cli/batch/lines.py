"""Lines of an input file: own JSONL, OpenAI batch lines or plain text (formats page). Torch-free.

Lines are read one at a time and a wrong one is a value like any other, so that a run goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from mpg_cli.errors import MpgError, UsageError
from mpg_cli.personas.text import did_you_mean, visible
from mpg_cli.request import GenerateRequest, Prompting, Sampling
from mpg_cli.turns import check_text, check_turns

InputFormat = Literal["jsonl", "text"]

LONGEST = 16 * 2**20  # bytes of a line
_NUMBERS = ("temperature", "top_p", "min_p", "repetition_penalty")
_COUNTS = ("max_tokens", "top_k", "seed")
_FIELDS = ("id", "prompt", "messages", "persona", "system", "metadata", "stop", *_COUNTS, *_NUMBERS)
# Of OpenAI's bodies: what has a meaning here, what may stand there unheeded, and what must be as said.
_OPENAI = (
    "messages",
    "persona",
    "max_completion_tokens",
    "stop",
    "max_tokens",
    "seed",
    "temperature",
    "top_p",
)
_OPENAI_UNHEEDED = ("model", "user", "metadata", "store", "service_tier", "stream", "safety_identifier")
_OPENAI_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "tools": ([],),
    "response_format": ({"type": "text"},),
}


@dataclass(frozen=True)
class Line:
    """One prompt: what it asks for beside the defaults of the command."""

    number: int  # physical, from 1
    id: str
    digest: str  # of what the line says
    prompting: Prompting
    sampling: Sampling
    persona: str | None = None
    seed: int | None = None
    metadata: Any = None
    openai: bool = False


@dataclass(frozen=True)
class BadLine:
    """A line that cannot be answered, and why."""

    number: int
    id: str
    digest: str
    code: str
    message: str
    openai: bool = False


class _Wrong(Exception):
    """What is wrong with a line."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class LineReader:
    """Turns raw lines into `Line` and `BadLine`; blank lines are passed over.

    `check_persona` is asked about each line's persona expression; it raises MpgError for what is wrong.
    Ids seen are kept as 8 bytes each.
    """

    def __init__(
        self, defaults: GenerateRequest, format_: InputFormat, check_persona: Callable[[str | None], None]
    ) -> None:
        self._defaults, self._format, self._check_persona = defaults, format_, check_persona
        self._seen: set[int] = set()

    def read(self, raw_lines: Iterable[bytes | None]) -> Iterator[Line | BadLine | None]:
        """All lines in order; None, which says that no line has come yet, is passed on."""
        number = 0
        for raw in raw_lines:
            if raw is None:
                yield None
                continue
            number += 1
            if number == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            if raw.strip():
                yield self.parse(number, raw)

    def parse(self, number: int, raw: bytes) -> Line | BadLine:
        """One physical line."""
        name, digest, openai = str(number), digest_of(raw.strip()), False
        try:
            try:
                text = raw.rstrip(b"\r\n").decode("utf-8")
            except UnicodeDecodeError as error:
                raise _Wrong("invalid_text", f"not UTF-8: byte 0x{raw[error.start]:02x}") from None
            if len(raw) > LONGEST:
                raise _Wrong("too_long", f"the line has more than {LONGEST // 2**20} MiB")
            if self._format == "text":
                line = self._line(number, name, digest, {"prompt": text})
            else:
                data = _json(text)
                openai = "body" in data or "custom_id" in data
                name = _id(data.get("custom_id" if openai else "id"), number)
                digest = digest_of(canonical(data))
                line = self._line(number, name, digest, _from_openai(data) if openai else data, openai)
            self._check_persona(line.persona)
            found: Line | BadLine = line
        except _Wrong as wrong:
            found = BadLine(number, name, digest, wrong.code, wrong.message, openai)
        except MpgError as error:
            code = "bad_persona" if not isinstance(error, UsageError) or _of_persona(error) else "bad_value"
            found = BadLine(number, name, digest, code, error.message, openai)
        key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
        if key in self._seen:
            message = f"the id {visible(name, 60)} was there already"
            return BadLine(number, f"{name} (line {number})", digest, "duplicate_id", message, openai)
        self._seen.add(key)
        return found

    def _line(
        self, number: int, name: str, digest: str, data: Mapping[str, Any], openai: bool = False
    ) -> Line:
        """A line's fields over the defaults of the command."""
        known = _OPENAI if openai else _FIELDS
        unknown = next((key for key in data if key not in known), None)
        if unknown is not None:
            hint = did_you_mean(unknown, known) or "; what is only to be kept goes into metadata"
            raise _Wrong("unknown_field", f"unknown field '{visible(unknown, 60)}'{hint}")
        values: dict[str, Any] = {key: _number(data, key) for key in _NUMBERS if data.get(key) is not None}
        values |= {key: _count(data, key) for key in _COUNTS if data.get(key) is not None}
        if openai and data.get("max_completion_tokens") is not None:
            values["max_tokens"] = _count(data, "max_completion_tokens")
        seed = values.pop("seed", None)
        if data.get("stop") is not None:
            stop = [data["stop"]] if isinstance(data["stop"], str) else data["stop"]
            if not isinstance(stop, list) or not all(isinstance(text, str) for text in stop):
                raise _Wrong("wrong_type", "stop must be text or a list of texts")
            values["stop"] = tuple(stop)
        sampling = replace(self._defaults.sampling, **values)
        if seed is not None:
            replace(self._defaults, seed=seed)  # checks its range
        return Line(
            number=number,
            id=name,
            digest=digest,
            prompting=self._prompting(data),
            sampling=sampling,
            persona=_text(data, "persona"),
            seed=seed,
            metadata=data.get("metadata"),
            openai=openai,
        )

    def _prompting(self, data: Mapping[str, Any]) -> Prompting:
        default = self._defaults.prompting
        prompt, messages = _text(data, "prompt"), data.get("messages")
        if (prompt is None) == (messages is None):
            raise _Wrong("missing_prompt", "it needs either a prompt or messages")
        if prompt is not None and not prompt.strip():
            raise _Wrong("empty_prompt", "the prompt is empty")
        if prompt is not None:
            check_text("prompt", prompt)
        turns = None if messages is None else check_turns(messages, "messages")
        system = _text(data, "system")
        return replace(
            default, prompt=prompt, messages=turns, system=default.system if system is None else system
        )


def canonical(data: Any) -> bytes:
    """JSON that does not depend on the order of keys or on spaces."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def digest_of(data: bytes) -> str:
    """16 hexadecimal digits (BLAKE2b-64)."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _json(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise _Wrong("invalid_json", f"not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise _Wrong("invalid_json", "nested too deeply") from None
    except ValueError as error:
        raise _Wrong("invalid_json", f"not JSON: {error}") from None
    if not isinstance(data, dict):
        raise _Wrong("wrong_type", "must be an object")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        twice = next(key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i]))
        raise _Wrong("invalid_json", f"the field '{visible(twice, 60)}' is there twice")
    return data


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _id(value: Any, number: int) -> str:
    if value is None:
        return str(number)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise _Wrong("wrong_type", "the id must be text or a whole number")
    return check_text("id", value)


def _from_openai(data: Mapping[str, Any]) -> dict[str, Any]:
    """The body of an OpenAI line, without what has no meaning here."""
    body = data.get("body")
    if not isinstance(body, dict):
        raise _Wrong("wrong_type", "body must be an object")
    method, url = data.get("method", "POST"), data.get("url", "/v1/chat/completions")
    if method != "POST" or not isinstance(url, str) or not url.endswith("/chat/completions"):
        raise _Wrong("unsupported", "only POST to /v1/chat/completions is answered")
    fields = {key: value for key, value in body.items() if key not in _OPENAI_UNHEEDED and value is not None}
    for key, neutral in _OPENAI_NEUTRAL.items():
        if key in fields and fields.pop(key) not in neutral:
            raise _Wrong("unsupported", f"{key} is not supported")
    if isinstance(fields.get("messages"), list):
        fields["messages"] = [_joined(turn) for turn in fields["messages"]]
    return fields


def _joined(turn: Any) -> Any:
    """A turn whose content is a list of text parts, as one text; another role name for system."""
    if not isinstance(turn, dict):
        return turn
    content = turn.get("content")
    if isinstance(content, list) and all(isinstance(p, dict) and p.get("type") == "text" for p in content):
        content = "".join(str(part.get("text", "")) for part in content)
    role = "system" if turn.get("role") == "developer" else turn.get("role")
    return {**{key: value for key, value in turn.items() if key != "name"}, "role": role, "content": content}


def _text(data: Mapping[str, Any], key: str) -> str | None:
    value = data.get(key)
    if value is None or isinstance(value, str):
        return value
    raise _Wrong("wrong_type", f"{key} must be text")


def _number(data: Mapping[str, Any], key: str) -> float:
    value = data[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Wrong("wrong_type", f"{key} must be a number")
    return float(value)


def _count(data: Mapping[str, Any], key: str) -> int:
    value = data[key]
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Wrong("wrong_type", f"{key} must be a whole number")
    return value


def _of_persona(error: UsageError) -> bool:
    from mpg_cli.errors import ExpressionError, PersonaError

    return isinstance(error, ExpressionError | PersonaError)
