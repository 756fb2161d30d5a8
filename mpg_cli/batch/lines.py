"""Lines of an input file: mpg's JSONL, OpenAI batch lines or plain text. Torch-free.

Lines are read one at a time; an invalid line becomes a `BadLine`, so the run continues.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mpg_cli.batch.fields import (
    FIELDS,
    LineError,
    Shape,
    effective_fields,
    is_whole,
    names_of,
    non_null,
    read_fields,
    sampling_values,
)
from mpg_cli.engine.messages import check_turns
from mpg_cli.engine.request import Request
from mpg_cli.errors import MpgError, UsageError
from mpg_cli.io.file_kinds import BOM
from mpg_cli.io.lines import UnreadableLine, text_of
from mpg_cli.io.text import check_text, visible
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.sampling.params import Sampling

InputFormat = Literal["jsonl", "text"]

MAX_DEPTH = 100  # of nested objects and lists
_ENVELOPE = {"custom_id", "method", "url", "body"}  # of an OpenAI line
_OTHER_URLS = {
    "/v1/completions": "; to continue raw text, write lines with a prompt and use --raw",
    "/v1/embeddings": "; embeddings are not available",
    "/v1/responses": "; write its input as messages",
}
# Keys of other formats, looked for where a line has no prompt, messages or body.
_OTHER_LINES = {
    "params": "is of an Anthropic batch; rename params to body",
    "request": "is of a Gemini batch; rewrite contents as messages",
    "modelInput": "is of a Bedrock batch; rename modelInput to body and recordId to custom_id",
    "response": "is a record of batch output, not an input line",
    "finish_reason": "is a record of batch output, not an input line",
}


@dataclass(frozen=True)
class Line:
    """One prompt with its settings, over the command's defaults."""

    number: int  # in the file, from 1
    id: str
    digest: str  # of the fields that affect the reply
    prompting: Prompting
    sampling: Sampling
    persona: str | None = None
    seed: int | None = None
    metadata: Any = None
    openai: bool = False
    names: Mapping[str, str] = field(default_factory=dict)  # its field names of settings, by flag
    sets: Collection[str] = ()  # attributes of `sampling` that are its own


@dataclass(frozen=True)
class BadLine:
    """A line that cannot be answered, and why."""

    number: int
    id: str
    digest: str
    code: str
    message: str
    openai: bool = False


class LineReader:
    """Parses raw lines into `Line` and `BadLine`; blank lines are skipped.

    `check_persona` raises MpgError for a persona expression that cannot be used. Ids are remembered as
    hashes of 8 bytes.
    """

    def __init__(
        self, defaults: Request, format_: InputFormat, check_persona: Callable[[str | None], object]
    ) -> None:
        self._defaults, self._format, self._check_persona = defaults, format_, check_persona
        self._seen: set[int] = set()

    def read(self, raw_lines: Iterable[bytes | None]) -> Iterator[Line | BadLine | None]:
        """All lines in order; None (no line is available yet) is passed through."""
        number = 0
        for raw in raw_lines:
            if raw is None:
                yield None
                continue
            number += 1
            if number == 1:
                raw = raw.removeprefix(BOM)
            if raw.strip():
                yield self.parse(number, raw)

    def parse(self, number: int, raw: bytes) -> Line | BadLine:
        """Parse one line of the file."""
        # The id of a line whose own id cannot be read.
        name = str(number) if self._format == "text" else f"(line {number})"
        digest, openai = digest_of(raw.strip()), False
        try:
            try:
                text = text_of(raw, number)
            except UnreadableLine as error:
                raise LineError(error.kind, error.message) from None
            if self._format == "text":
                line = self._line(number, name, digest, {"prompt": text}, "own")
            else:
                data = non_null(_json(text))
                openai = "body" in data or "custom_id" in data
                name = _id(data.get("custom_id" if openai else "id"), number)
                shape: Shape = "openai" if openai else "own"
                digest = digest_of(canonical(data))
                _check_format(data)
                fields = _body(data) if openai else data
                digest = digest_of(canonical(effective_fields(fields, shape)))
                line = self._line(number, name, digest, fields, shape)
            self._check_persona(line.persona)
            found: Line | BadLine = line
        except LineError as error:
            found = BadLine(number, name, digest, error.code, error.message, openai)
        except MpgError as error:
            code = "bad_persona" if not isinstance(error, UsageError) or _of_persona(error) else "bad_value"
            found = BadLine(number, name, digest, code, error.text, openai)
        key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
        if key in self._seen:
            message = f"the id {visible(name, 60)} is that of an earlier line"
            return BadLine(number, f"{name} (line {number})", digest, "duplicate_id", message, openai)
        self._seen.add(key)
        return found

    def _line(self, number: int, name: str, digest: str, data: Mapping[str, Any], shape: Shape) -> Line:
        """A line with its fields over the command's defaults."""
        values = read_fields(data, shape)
        seed, own = values.get("seed"), sampling_values(values)
        try:
            replace(self._defaults, seed=seed)  # checks its range
            sampling = replace(self._defaults.sampling, **own)
        except UsageError as error:
            error.rename(names_of(values))
            raise
        return Line(
            number=number,
            id=name,
            digest=digest,
            prompting=self._prompting(values),
            sampling=sampling,
            persona=values.get("persona"),
            seed=seed,
            metadata=values.get("metadata"),
            openai=shape == "openai",
            names=names_of(values),
            sets=tuple(own),
        )

    def _prompting(self, values: Mapping[str, Any]) -> Prompting:
        default = self._defaults.prompting
        prompt, messages = values.get("prompt"), values.get("messages")
        if (prompt is None) == (messages is None):
            fault = "has no prompt and no messages" if prompt is None else "has both a prompt and messages"
            raise LineError("missing_prompt", f"the line {fault}; give one of them")
        if prompt is not None and not prompt.strip():
            raise LineError("empty_prompt", "the prompt is empty")
        turns = None if messages is None else check_turns(messages, "messages")
        arguments = {key: values[key] for key in ("reasoning_effort",) if key in values}  # as in vLLM
        arguments |= values.get("template_args", {}) | values.get("chat_template_kwargs", {})
        prompting = replace(
            default,
            prompt=prompt,
            messages=turns,
            system=values.get("system", default.system),
            template_args={**default.template_args, **arguments},
            prefill=values.get("prefill", default.prefill),
        )
        _check_opening(values, bool(prompting.prefill))
        return prompting


def _check_opening(values: Mapping[str, Any], continues: bool) -> None:
    """Raise LineError where continue_final_message or add_generation_prompt contradicts the turns."""
    for name, expected in (("continue_final_message", continues), ("add_generation_prompt", not continues)):
        if values.get(name, expected) != expected:
            why = "the reply continues a final assistant turn, and only that"
            raise LineError("unsupported", f"{name} cannot be {str(not expected).lower()} here: {why}")


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
        raise LineError("invalid_json", f"not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise LineError("invalid_json", "nested too deeply") from None
    except ValueError as error:
        raise LineError("invalid_json", f"not JSON: {error}") from None
    if not isinstance(data, dict):
        raise LineError("wrong_type", "must be an object")
    inside: list[Any] = [data]
    for _ in range(MAX_DEPTH):
        inside = [item for part in inside for item in _items(part)]
    if inside:
        raise LineError("invalid_json", "nested too deeply")
    return data


def _items(part: Any) -> Iterable[Any]:
    if isinstance(part, dict):
        return part.values()
    return part if isinstance(part, list) else ()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        twice = next(key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i]))
        raise LineError("invalid_json", f"the field '{visible(twice, 60)}' occurs twice")
    return data


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _id(value: Any, number: int) -> str:
    if value is None:
        return str(number)
    if (isinstance(value, int) and not isinstance(value, bool)) or is_whole(value):
        return str(int(value))
    if not isinstance(value, str) or not value:
        raise LineError("wrong_type", "the id must be text or a whole number")
    return check_text("id", value)


def _check_format(data: Mapping[str, Any]) -> None:
    """Raise LineError for a line of another batch format."""
    if data.keys().isdisjoint(("prompt", "messages", "body")):
        for key, what in _OTHER_LINES.items():
            if key in data:
                raise LineError("unsupported", f"the line {what}")


def _body(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an OpenAI line."""
    body = data.get("body")
    if not isinstance(body, dict):
        raise LineError("wrong_type", "a line with custom_id needs a body, and body must be an object")
    method, url = data.get("method") or "POST", data.get("url") or "/v1/chat/completions"
    if method != "POST" or not isinstance(url, str) or not url.endswith("/chat/completions"):
        other = next((why for end, why in _OTHER_URLS.items() if str(url).endswith(end)), "")
        raise LineError("unsupported", f"only POST to /v1/chat/completions is supported{other}")
    known = FIELDS["openai"]
    fields = (key for key in data.keys() - _ENVELOPE if key in known and known[key].affects_reply)
    misplaced = min(fields, default=None)
    if misplaced is not None:
        raise LineError("unknown_field", f"the field '{misplaced}' belongs in body, not beside it")
    extra = body.get("extra_body") or {}  # SDKs merge its fields into the body
    if not isinstance(extra, dict):
        raise LineError("wrong_type", "extra_body must be an object")
    own = {key: value for key, value in body.items() if key != "extra_body"}
    return non_null(own | non_null(extra))


def _of_persona(error: UsageError) -> bool:
    from mpg_cli.errors import ExpressionError, PersonaError

    return isinstance(error, ExpressionError | PersonaError)
