"""The fields of a line: what each is called, how its value is read and what becomes of it. Torch-free.

What the options of a command call so (`Option.keyword`) has its name, reader and flag from there. The table
adds what OpenAI's chat completions, and vLLM beyond them, call otherwise or have besides. Every name that may
stand in a line is here, so that nothing on which a reply depends is passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mpg_cli.io.text import check_text, did_you_mean, visible
from mpg_cli.options.option import Option, options_of
from mpg_cli.options.prompt import PromptOptions
from mpg_cli.options.run import RunOptions
from mpg_cli.sampling.params import Sampling

Use = Literal["line", "sampling", "none", "fixed"]
Shape = Literal["own", "openai"]
_ID = re.compile("[0-9]{1,18}")  # of a token
Reader = Callable[[str, Any], Any]


class Wrong(Exception):
    """What is wrong with a line: a code and a message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True)
class Field:
    """One field, by what becomes of it.

    line: the line itself asks for it. sampling: it is the attribute `sets` of `Sampling`. none: it has no
    effect on one reply. fixed: it may say what holds anyway, one of `only`; all else is refused, and `why`.
    `shapes` of lines have it; `flag` is what the command calls it.
    """

    name: str
    use: Use
    read: Reader = lambda name, value: value
    sets: str = ""
    only: tuple[Any, ...] = ()
    why: str = ""
    shapes: tuple[Shape, ...] = ("own", "openai")
    flag: str = ""

    @property
    def heeded(self) -> bool:
        """Whether a reply depends on it."""
        return self.use in ("line", "sampling")

    def tells(self, value: Any) -> bool:
        """Whether a line with this value asks for something else than one without the field."""
        return self.use != "none" and not (self.use == "fixed" and value in self.only)


def given(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that say something: null is as good as nothing, as SDKs write every field that they know."""
    return {name: value for name, value in data.items() if value is not None}


def read_fields(data: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """Values of the fields on which the reply depends, by name.

    Raises Wrong, and UsageError for text that is not UTF-8.
    """
    values = {}
    for name, value in data.items():
        field = FIELDS[shape].get(name)
        if field is None:
            raise Wrong("unknown_field", _unknown(name, shape))
        if not field.tells(value):
            continue
        if field.use == "fixed":
            raise Wrong("unsupported", f"{name} is not supported: {field.why}")
        values[name] = field.read(name, value)
    return values


def telling(data: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """The fields that count, as they stand in a line; those that nobody knows are among them."""
    fields = FIELDS[shape]
    return {
        name: value for name, value in given(data).items() if name not in fields or fields[name].tells(value)
    }


def sampling_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are attributes of `Sampling`, by attribute."""
    return {f.sets: values[f.name] for f in _TABLE if f.use == "sampling" and f.name in values}


def names_of(values: Mapping[str, Any]) -> dict[str, str]:
    """What a line with these fields calls its settings, by their flags."""
    return {f.flag: f.name for f in _TABLE if f.flag and f.name in values}


def _unknown(name: str, shape: Shape) -> str:
    """What is said of a field that lines of this shape do not have."""
    other: Shape = "openai" if shape == "own" else "own"
    if name in FIELDS[other]:
        place = "the body of OpenAI lines" if shape == "own" else "lines without custom_id and body"
        return f"the field '{name}' belongs into {place}{FIELDS[other][name].why}"
    known = [field.name for field in FIELDS[shape].values() if field.heeded]
    hint = did_you_mean(name, known, most=1) or "; what is only to be kept goes into metadata"
    return f"unknown field '{visible(name, 60)}'{hint}"


# -- readers -------------------------------------------------------------------------------------------


def text(name: str, value: Any) -> str:
    """Text."""
    if not isinstance(value, str):
        raise Wrong("wrong_type", f"{name} must be text")
    return check_text(name, value)


def texts(name: str, value: Any) -> tuple[str, ...]:
    """Text or a list of texts."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise Wrong("wrong_type", f"{name} must be text or a list of texts")
    return tuple(check_text(name, item) for item in found)


def number(name: str, value: Any) -> float:
    """A number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Wrong("wrong_type", f"{name} must be a number")
    try:
        return float(value)
    except OverflowError:
        raise Wrong("wrong_type", f"{name} is too large") from None


def count(name: str, value: Any) -> int:
    """A whole number; 2.0 is one, as tables with gaps write it."""
    if isinstance(value, bool) or not (isinstance(value, int) or is_whole(value)):
        raise Wrong("wrong_type", f"{name} must be a whole number")
    return int(value)


def is_whole(value: Any) -> bool:
    """Whether it is a float without a fraction."""
    return isinstance(value, float) and value.is_integer()


def _top_k(name: str, value: Any) -> int:
    return 0 if value == -1 else count(name, value)  # vLLM and others turn it off with -1


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise Wrong("wrong_type", f"{name} must be true or false")
    return value


def _ids(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise Wrong("wrong_type", f"{name} must be a list of token ids")
    return tuple(count(f"{name}[{i}]", item) for i, item in enumerate(value))


def _biases(name: str, value: Any) -> tuple[tuple[int, float], ...]:
    """Ascending by id, so that lines that say the same can run together."""
    if not isinstance(value, dict) or not all(map(_ID.fullmatch, value)):
        raise Wrong("wrong_type", f'{name} must be an object of token ids, as in {{"50256": -100}}')
    biases = {int(key): number(f"{name} of {key}", bias) for key, bias in value.items()}
    if len(biases) < len(value):
        raise Wrong("wrong_type", f"{name} names a token twice")
    return tuple(sorted(biases.items()))


def _object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Wrong("wrong_type", f"{name} must be an object")
    check_text(name, json.dumps(value, ensure_ascii=False))
    return value


# -- the table -----------------------------------------------------------------------------------------


# How the value of an option is read, by its type in Python.
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
    """An option that lines have: by its own name, or by another."""
    return Field(name or option.keyword, "line", _READERS[option.type], shapes=shapes, flag=option.flag)


def _sampling(option: Option, name: str = "") -> Field:
    """The same, of `Sampling`."""
    read = _top_k if option.key == "top_k" else _READERS[option.type]
    return Field(name or option.keyword, "sampling", read, sets=option.field, flag=option.flag)


def _without_effect(*names: str) -> list[Field]:
    return [Field(name, "none") for name in names]


def _fixed(why: str, **only: tuple[Any, ...]) -> list[Field]:
    return [Field(name, "fixed", only=values, why=why) for name, values in only.items()]


_TABLE = [
    # What is said to whom.
    Field("id", "line", shapes=("own",)),
    Field("prompt", "line", text, shapes=("own",)),
    Field("messages", "line", flag="--messages"),
    _line(_option(PromptOptions, "prefill"), shapes=("own",)),
    _line(_option(PromptOptions, "system")),
    Field("persona", "line", text),
    Field("metadata", "line", shapes=("own",)),  # it stands in the record
    Field("metadata", "none", shapes=("openai",)),
    _line(_option(RunOptions, "seed")),
    Field("continue_final_message", "line", _switch),
    Field("add_generation_prompt", "line", _switch),
    # Switches of the chat template; the last counts.
    Field("reasoning_effort", "line", text, flag="--template-arg"),
    _line(_option(PromptOptions, "template_arg")),
    _line(_option(PromptOptions, "template_arg"), "chat_template_kwargs"),
    # How tokens are drawn, and when a reply ends.
    *map(_sampling, options_of(Sampling)),
    _sampling(_option(Sampling, "max_tokens"), "max_completion_tokens"),  # OpenAI's newer name, which counts
    # Without effect on one reply: bookkeeping, speed, the way it is sent, and options of what is refused.
    Field("model", "none", why="; one model answers all lines, --model names it", shapes=("openai",)),
    *_without_effect(
        *("user", "store", "service_tier", "safety_identifier", "request_id", "session_id"),
        *("prompt_cache_key", "prompt_cache_retention", "prediction", "priority", "cache_salt"),
        *("stream", "stream_options", "stream_interval", "return_token_ids"),
        *("kv_transfer_params", "ec_transfer_params", "extra_headers", "extra_query", "timeout"),
        *("parallel_tool_calls", "return_tokens_as_token_ids", "truncation_side"),
        *("guided_decoding_backend", "guided_whitespace_pattern"),
        *("mm_processor_kwargs", "media_io_kwargs", "spaces_between_special_tokens"),
    ),
    # What would change a reply, or what comes with it: only as it is here anyway.
    *_fixed("one line gets one reply, so write another line for another", n=(1,), best_of=(1,)),
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
        "a reply cannot be forced into a form",
        response_format=({"type": "text"},),
        structured_outputs=({},),
        structural_tag=(),
        guided_json=(),
        guided_regex=(),
        guided_choice=([],),
        guided_grammar=(),
    ),
    *_fixed(
        "log-probabilities are not given",
        logprobs=(False,),
        top_logprobs=(0,),
        prompt_logprobs=(),
        logprob_token_ids=([],),
    ),
    *_fixed(
        "the prompt is not given back",
        echo=(False,),
        return_prompt_text=(False,),
        return_token_offsets=(False,),
    ),
    *_fixed("only text is made", modalities=(["text"],), audio=()),
    *_fixed("a reply ends where the model ends it", ignore_eos=(False,), min_tokens=(0,)),
    *_fixed("a reply ends before its stop text", include_stop_str_in_output=(False,)),
    *_fixed("special tokens are left out of the text", skip_special_tokens=(True,)),
    *_fixed("prompts are never cut", truncate_prompt_tokens=()),
    *_fixed("logit_bias rules out tokens by their ids", bad_words=([],), allowed_token_ids=([],)),
    *_fixed("code of yours does not run here", logits_processors=([],), vllm_xargs=({},)),
    *_fixed("the model's own chat template is used", chat_template=(), documents=([],)),
    *_fixed("the chat template adds them", add_special_tokens=(False,)),
    *_fixed("set max_tokens and a penalty", repetition_detection=(), thinking_token_budget=()),
    *_fixed("what the model thinks is part of its reply", include_reasoning=(True,)),
    *_fixed("replies carry no watermark", watermarking=(False,)),
    *_fixed("models here have no such switch, so say it in words", verbosity=("medium",)),
    *_fixed("it goes into chat_template_kwargs", enable_thinking=(), thinking_budget=(), thinking=()),
]
_SHAPES: tuple[Shape, ...] = ("own", "openai")
FIELDS: Mapping[Shape, Mapping[str, Field]] = {
    shape: {field.name: field for field in _TABLE if shape in field.shapes} for shape in _SHAPES
}
