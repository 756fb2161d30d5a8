"""Lines of an input file: own JSONL, OpenAI batch lines or plain text (formats page). Torch-free.

Lines are read one at a time and a wrong one is a value like any other, so that a run goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mpg_cli.batch.fields import (
    FIELDS,
    Shape,
    Wrong,
    given,
    is_whole,
    names_of,
    read_fields,
    sampling_values,
    telling,
)
from mpg_cli.engine.messages import check_turns
from mpg_cli.engine.request import Request
from mpg_cli.errors import MpgError, RangeError, UsageError
from mpg_cli.io.file_kinds import BOM
from mpg_cli.io.lines import UnreadableLine, text_of
from mpg_cli.io.text import check_text, visible
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.sampling.params import Sampling

InputFormat = Literal["jsonl", "text"]

DEEPEST = 100  # objects and lists within each other
_ENVELOPE = {"custom_id", "method", "url", "body"}  # of an OpenAI line
_OTHER_URLS = {
    "/v1/completions": "; to continue raw text write lines with a prompt and give --raw",
    "/v1/embeddings": "; no embeddings are made here",
    "/v1/responses": "; write its input as messages",
}
# What is in lines of other kinds, where ours have a prompt, messages or a body.
_OTHER_LINES = {
    "params": "is of an Anthropic batch; call its params body",
    "request": "is of a Gemini batch; write its contents as messages",
    "modelInput": "is of a Bedrock batch; write its modelInput as body, and its recordId as custom_id",
    "response": "is the answer of a batch, not a line of its input",
    "finish_reason": "is the answer of a batch, not a line of its input",
}


@dataclass(frozen=True)
class Line:
    """One prompt: what it asks for beside the defaults of the command."""

    number: int  # physical, from 1
    id: str
    digest: str  # of what counts in the line
    prompting: Prompting
    sampling: Sampling
    persona: str | None = None
    seed: int | None = None
    metadata: Any = None
    openai: bool = False
    names: Mapping[str, str] = field(default_factory=dict)  # what it calls its settings, by flag


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
    """Turns raw lines into `Line` and `BadLine`; blank lines are passed over.

    `check_persona` is asked about each line's persona expression; it raises MpgError for what is wrong.
    Ids seen are kept as 8 bytes each.
    """

    def __init__(
        self, defaults: Request, format_: InputFormat, check_persona: Callable[[str | None], object]
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
                raw = raw.removeprefix(BOM)
            if raw.strip():
                yield self.parse(number, raw)

    def parse(self, number: int, raw: bytes) -> Line | BadLine:
        """One physical line."""
        # A line that cannot be read has an id that no other line has.
        name = str(number) if self._format == "text" else f"(line {number})"
        digest, openai = digest_of(raw.strip()), False
        try:
            try:
                text = text_of(raw, number)
            except UnreadableLine as error:
                raise Wrong(error.kind, error.message) from None
            if self._format == "text":
                line = self._line(number, name, digest, {"prompt": text}, "own")
            else:
                data = given(_json(text))
                openai = "body" in data or "custom_id" in data
                name = _id(data.get("custom_id" if openai else "id"), number)
                shape: Shape = "openai" if openai else "own"
                digest = digest_of(canonical(data))
                _check_ours(data)
                fields = _body(data) if openai else data
                digest = digest_of(canonical(telling(fields, shape)))
                line = self._line(number, name, digest, fields, shape)
            self._check_persona(line.persona)
            found: Line | BadLine = line
        except Wrong as wrong:
            found = BadLine(number, name, digest, wrong.code, wrong.message, openai)
        except MpgError as error:
            code = "bad_persona" if not isinstance(error, UsageError) or _of_persona(error) else "bad_value"
            found = BadLine(number, name, digest, code, told(error), openai)
        key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
        if key in self._seen:
            message = f"the id {visible(name, 60)} was there already"
            return BadLine(number, f"{name} (line {number})", digest, "duplicate_id", message, openai)
        self._seen.add(key)
        return found

    def _line(self, number: int, name: str, digest: str, data: Mapping[str, Any], shape: Shape) -> Line:
        """A line's fields over the defaults of the command."""
        values = read_fields(data, shape)
        seed = values.get("seed")
        try:
            replace(self._defaults, seed=seed)  # checks its range
            sampling = replace(self._defaults.sampling, **sampling_values(values))
        except RangeError as error:
            raise called(error, names_of(values)) from None
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
        )

    def _prompting(self, values: Mapping[str, Any]) -> Prompting:
        default = self._defaults.prompting
        prompt, messages = values.get("prompt"), values.get("messages")
        if (prompt is None) == (messages is None):
            raise Wrong("missing_prompt", "it needs either a prompt or messages")
        if prompt is not None and not prompt.strip():
            raise Wrong("empty_prompt", "the prompt is empty")
        turns = None if messages is None else check_turns(messages, "messages")
        switches = {key: values[key] for key in ("reasoning_effort",) if key in values}  # as vLLM does
        switches |= values.get("template_args", {}) | values.get("chat_template_kwargs", {})
        prompting = replace(
            default,
            prompt=prompt,
            messages=turns,
            system=values.get("system", default.system),
            template_args={**default.template_args, **switches},
            prefill=values.get("prefill", default.prefill),
        )
        _check_opening(values, bool(prompting.prefill))
        return prompting


def _check_opening(values: Mapping[str, Any], continues: bool) -> None:
    """The turns say whether the reply continues one: other fields about it have to agree."""
    for name, held in (("continue_final_message", continues), ("add_generation_prompt", not continues)):
        if values.get(name, held) != held:
            why = "a last turn of the assistant is continued, and no other"
            raise Wrong("unsupported", f"{name} cannot be {str(not held).lower()} here: {why}")


def called(error: RangeError, names: Mapping[str, str]) -> RangeError:
    """The same error, of the field of a line that has these names."""
    return error.renamed(names.get(error.setting, error.setting))


def told(error: MpgError) -> str:
    """What a record says of an error: the message, and what to do."""
    return f"{error.message}; {error.hint}" if error.hint else error.message


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
        raise Wrong("invalid_json", f"not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise Wrong("invalid_json", "nested too deeply") from None
    except ValueError as error:
        raise Wrong("invalid_json", f"not JSON: {error}") from None
    if not isinstance(data, dict):
        raise Wrong("wrong_type", "must be an object")
    inside: list[Any] = [data]
    for _ in range(DEEPEST):
        inside = [item for part in inside for item in _items(part)]
    if inside:
        raise Wrong("invalid_json", "nested too deeply")
    return data


def _items(part: Any) -> Iterable[Any]:
    if isinstance(part, dict):
        return part.values()
    return part if isinstance(part, list) else ()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        twice = next(key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i]))
        raise Wrong("invalid_json", f"the field '{visible(twice, 60)}' is there twice")
    return data


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _id(value: Any, number: int) -> str:
    if value is None:
        return str(number)
    if (isinstance(value, int) and not isinstance(value, bool)) or is_whole(value):
        return str(int(value))
    if not isinstance(value, str) or not value:
        raise Wrong("wrong_type", "the id must be text or a whole number")
    return check_text("id", value)


def _check_ours(data: Mapping[str, Any]) -> None:
    """Raise Wrong for a line that others' programs read or write."""
    if data.keys().isdisjoint(("prompt", "messages", "body")):
        for key, what in _OTHER_LINES.items():
            if key in data:
                raise Wrong("unsupported", f"it {what}")


def _body(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an OpenAI line."""
    body = data.get("body")
    if not isinstance(body, dict):
        raise Wrong("wrong_type", "a line with custom_id has a body, and body must be an object")
    method, url = data.get("method") or "POST", data.get("url") or "/v1/chat/completions"
    if method != "POST" or not isinstance(url, str) or not url.endswith("/chat/completions"):
        other = next((why for end, why in _OTHER_URLS.items() if str(url).endswith(end)), "")
        raise Wrong("unsupported", f"only POST to /v1/chat/completions is answered{other}")
    known = FIELDS["openai"]
    lost = min((key for key in data.keys() - _ENVELOPE if key in known and known[key].heeded), default=None)
    if lost is not None:
        raise Wrong("unknown_field", f"the field '{lost}' belongs into body, and stands beside it")
    extra = body.get("extra_body") or {}  # SDKs write its fields among the others
    if not isinstance(extra, dict):
        raise Wrong("wrong_type", "extra_body must be an object")
    own = {key: value for key, value in body.items() if key != "extra_body"}
    return given(own | given(extra))


def _of_persona(error: UsageError) -> bool:
    from mpg_cli.errors import ExpressionError, PersonaError

    return isinstance(error, ExpressionError | PersonaError)
