"""The fields of an input line: name, reader and use of each. Torch-free.

Fields that are options of the command take name (`Option.keyword`), reader and flag from the option. The
table adds the other names and fields of OpenAI's chat completions and of vLLM. It is complete: a field that
is not in the table is an error, so no setting is silently ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mpg_cli.io.text import check_text, did_you_mean, visible
from mpg_cli.options.blend import BlendOptions
from mpg_cli.options.model import ModelOptions
from mpg_cli.options.option import Option, options_of
from mpg_cli.options.prompt import PromptOptions
from mpg_cli.options.run import RunOptions
from mpg_cli.sampling.params import Sampling, Scheme

Use = Literal["line", "sampling", "none", "fixed"]
Shape = Literal["own", "openai"]
_ID = re.compile("[0-9]{1,18}")  # of a token
Reader = Callable[[str, Any], Any]


class LineError(Exception):
    """A line that cannot be answered: an error code and a message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True)
class Field:
    """One field and its use.

    line: read by `LineReader`. sampling: the attribute `sets` of `Sampling`. none: no effect on a reply.
    fixed: only the values in `allowed`, which change nothing, are accepted; others are refused with `why`.
    `shapes` are the line formats that have the field, `flag` is the command's option for it.
    """

    name: str
    use: Use
    read: Reader = lambda name, value: value
    sets: str = ""
    allowed: tuple[Any, ...] = ()
    why: str = ""
    shapes: tuple[Shape, ...] = ("own", "openai")
    flag: str = ""

    @property
    def affects_reply(self) -> bool:
        return self.use in ("line", "sampling")

    def has_effect(self, value: Any) -> bool:
        """Whether this value differs in effect from leaving the field out."""
        return self.use != "none" and not (self.use == "fixed" and value in self.allowed)


def non_null(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are not null: some SDKs write null for every field that is not set."""
    return {name: value for name, value in data.items() if value is not None}


def read_fields(data: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """Values of the fields that affect the reply, by name.

    Raises LineError, and UsageError for text that is not UTF-8.
    """
    values = {}
    for name, value in data.items():
        field = FIELDS[shape].get(name)
        if field is None:
            raise LineError("unknown_field", _unknown(name, shape))
        if not field.has_effect(value):
            continue
        if field.use == "fixed":
            raise LineError("unsupported", f"{name} is not supported: {field.why}")
        values[name] = field.read(name, value)
    return values


def effective_fields(data: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """The fields that affect the reply, with their raw values; unknown fields are included."""
    fields = FIELDS[shape]
    return {
        name: value
        for name, value in non_null(data).items()
        if name not in fields or fields[name].has_effect(value)
    }


def sampling_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of `Sampling` that the line sets."""
    return {f.sets: values[f.name] for f in _TABLE if f.use == "sampling" and f.name in values}


def names_of(values: Mapping[str, Any]) -> dict[str, str]:
    """The field name of each setting that the line gives, by the flag of its option."""
    return {f.flag: f.name for f in _TABLE if f.flag and f.name in values}


def _unknown(name: str, shape: Shape) -> str:
    """The message for a field that lines of this shape do not have."""
    other: Shape = "openai" if shape == "own" else "own"
    if name in FIELDS[other]:
        place = "in the body of OpenAI lines" if shape == "own" else "in lines without custom_id and body"
        return f"the field '{name}' belongs {place}{FIELDS[other][name].why}"
    known = [field.name for field in FIELDS[shape].values() if field.affects_reply]
    if name in _OF_COMMAND:
        return f"the field '{name}' cannot differ between lines: give {_OF_COMMAND[name]} for all of them"
    hint = did_you_mean(name, known, most=1) or "; put data that is only copied to the record into metadata"
    return f"unknown field '{visible(name, 60)}'{hint}"


# -- readers -------------------------------------------------------------------------------------------


def text(name: str, value: Any) -> str:
    """Text."""
    if not isinstance(value, str):
        raise LineError("wrong_type", f"{name} must be text")
    return check_text(name, value)


def texts(name: str, value: Any) -> tuple[str, ...]:
    """Text or a list of texts."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise LineError("wrong_type", f"{name} must be text or a list of texts")
    return tuple(check_text(name, item) for item in found)


def number(name: str, value: Any) -> float:
    """A number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LineError("wrong_type", f"{name} must be a number")
    try:
        return float(value)
    except OverflowError:
        raise LineError("wrong_type", f"{name} is too large") from None


def count(name: str, value: Any) -> int:
    """A whole number; 2.0 is accepted, as data frames write integers so in columns with gaps."""
    if isinstance(value, bool) or not (isinstance(value, int) or is_whole(value)):
        raise LineError("wrong_type", f"{name} must be a whole number")
    return int(value)


def is_whole(value: Any) -> bool:
    """Whether the value is a float without a fraction."""
    return isinstance(value, float) and value.is_integer()


def _top_k(name: str, value: Any) -> int:
    return 0 if value == -1 else count(name, value)  # vLLM and others write -1 for off


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise LineError("wrong_type", f"{name} must be true or false")
    return value


def _ids(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise LineError("wrong_type", f"{name} must be a list of token ids")
    return tuple(count(f"{name}[{i}]", item) for i, item in enumerate(value))


def _biases(name: str, value: Any) -> tuple[tuple[int, float], ...]:
    """Pairs sorted by id, so that lines with equal biases can run together."""
    if not isinstance(value, dict) or not all(map(_ID.fullmatch, value)):
        raise LineError("wrong_type", f'{name} must be an object of token ids, as in {{"50256": -100}}')
    biases = {int(key): number(f"{name} of {key}", bias) for key, bias in value.items()}
    if len(biases) < len(value):
        raise LineError("wrong_type", f"{name} names a token twice")
    return tuple(sorted(biases.items()))


def _object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise LineError("wrong_type", f"{name} must be an object")
    check_text(name, json.dumps(value, ensure_ascii=False))
    return value


# -- the table -----------------------------------------------------------------------------------------


# The reader of an option's value, by the option's type.
_READERS: Mapping[Any, Reader] = {
    str: text,
    int: count,
    float: number,
    tuple[str, ...]: texts,
    tuple[int, ...]: _ids,
    tuple[tuple[int, float], ...]: _biases,
    Mapping[str, Any]: _object,
}


def _option(kind: type, key: str) -> Option:
    return next(one for one in options_of(kind) if one.key == key)


def _line(option: Option, name: str = "", shapes: tuple[Shape, ...] = ("own", "openai")) -> Field:
    """A field that `LineReader` reads, for an option; `name` if it differs from the keyword."""
    return Field(name or option.keyword, "line", _READERS[option.type], shapes=shapes, flag=option.flag)


def _sampling(option: Option, name: str = "") -> Field:
    """A field that sets an attribute of `Sampling`."""
    read = _top_k if option.key == "top_k" else _READERS[option.type]
    return Field(name or option.keyword, "sampling", read, sets=option.field, flag=option.flag)


def _without_effect(*names: str) -> list[Field]:
    return [Field(name, "none") for name in names]


def _fixed(why: str, **allowed: tuple[Any, ...]) -> list[Field]:
    return [Field(name, "fixed", allowed=values, why=why) for name, values in allowed.items()]


_TABLE = [
    # The prompt, the persona and the identity of the line.
    Field("id", "line", shapes=("own",)),
    Field("prompt", "line", text, shapes=("own",)),
    Field("messages", "line", flag="--messages"),
    _line(_option(PromptOptions, "prefill"), shapes=("own",)),
    _line(_option(PromptOptions, "system")),
    Field("persona", "line", text),
    Field("metadata", "line", shapes=("own",)),  # copied to the record
    Field("metadata", "none", shapes=("openai",)),
    _line(_option(RunOptions, "seed")),
    Field("continue_final_message", "line", _switch),
    Field("add_generation_prompt", "line", _switch),
    # Arguments of the chat template; later ones override.
    Field("reasoning_effort", "line", text, flag="--template-arg"),
    _line(_option(PromptOptions, "template_arg")),
    _line(_option(PromptOptions, "template_arg"), "chat_template_kwargs"),
    # How tokens are drawn, and when a reply ends.
    *map(_sampling, options_of(Sampling)),
    _sampling(
        _option(Sampling, "max_tokens"), "max_completion_tokens"
    ),  # OpenAI's newer name; it takes precedence
    # Without effect on a reply: bookkeeping, speed, transport, and parameters of refused features.
    Field("model", "none", why="; one model answers all lines: choose it with --model", shapes=("openai",)),
    *_without_effect(
        *("user", "store", "service_tier", "safety_identifier", "request_id", "session_id"),
        *("prompt_cache_key", "prompt_cache_retention", "prediction", "priority", "cache_salt"),
        *("stream", "stream_options", "stream_interval", "return_token_ids"),
        *("kv_transfer_params", "ec_transfer_params", "extra_headers", "extra_query", "timeout"),
        *("parallel_tool_calls", "return_tokens_as_token_ids", "truncation_side"),
        *("guided_decoding_backend", "guided_whitespace_pattern"),
        *("mm_processor_kwargs", "media_io_kwargs", "spaces_between_special_tokens"),
    ),
    # Features that mpg does not have: only the values that leave them off are accepted.
    *_fixed("each line gets one reply; repeat the line with another id for more", n=(1,), best_of=(1,)),
    *_fixed(
        "replies are sampled, there is no beam search",
        use_beam_search=(False,),
        early_stopping=(False,),
        length_penalty=(1,),
    ),
    *_fixed(
        "no tools are called",
        tools=([],),
        tool_choice=("none", "auto"),
        functions=([],),
        function_call=("none", "auto"),
        web_search_options=(),
    ),
    *_fixed(
        "constrained decoding is not available",
        response_format=({"type": "text"},),
        structured_outputs=({},),
        structural_tag=(),
        guided_json=(),
        guided_regex=(),
        guided_choice=([],),
        guided_grammar=(),
    ),
    *_fixed(
        "log-probabilities are not returned",
        logprobs=(False,),
        top_logprobs=(0,),
        prompt_logprobs=(),
        logprob_token_ids=([],),
    ),
    *_fixed(
        "the prompt is not returned",
        echo=(False,),
        return_prompt_text=(False,),
        return_token_offsets=(False,),
    ),
    *_fixed("only text is generated", modalities=(["text"],), audio=()),
    *_fixed("a reply always ends at an end token", ignore_eos=(False,), min_tokens=(0,)),
    *_fixed("stop strings are never part of the text", include_stop_str_in_output=(False,)),
    *_fixed("special tokens are always left out of the text", skip_special_tokens=(True,)),
    *_fixed("prompts are never truncated", truncate_prompt_tokens=()),
    *_fixed("exclude tokens by id with logit_bias", bad_words=([],), allowed_token_ids=([],)),
    *_fixed("custom logits processors are not run", logits_processors=([],), vllm_xargs=({},)),
    *_fixed("the model's own chat template is always used", chat_template=(), documents=([],)),
    *_fixed("the chat template adds the special tokens", add_special_tokens=(False,)),
    *_fixed("use max_tokens and a penalty instead", repetition_detection=(), thinking_token_budget=()),
    *_fixed("reasoning is always part of the reply", include_reasoning=(True,)),
    *_fixed("replies carry no watermark", watermarking=(False,)),
    *_fixed("the models have no such parameter; ask for it in the prompt", verbosity=("medium",)),
    *_fixed("put it into chat_template_kwargs", enable_thinking=(), thinking_budget=(), thinking=()),
]
# Options of the command that hold for all lines: the flag by the name that a field would have.
_OF_COMMAND: Mapping[str, str] = {
    one.keyword: one.flag
    for kind in (Scheme, ModelOptions, BlendOptions, PromptOptions)
    for one in options_of(kind)
    if one.flag and one.key != "persona"
}
_SHAPES: tuple[Shape, ...] = ("own", "openai")
FIELDS: Mapping[Shape, Mapping[str, Field]] = {
    shape: {field.name: field for field in _TABLE if shape in field.shapes} for shape in _SHAPES
}
