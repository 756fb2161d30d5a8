"""Parsing of input lines, and the errors of invalid ones."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from mpg_cli.batch.lines import BadLine, InputFormat, Line, LineReader
from mpg_cli.engine.request import Request
from mpg_cli.errors import PersonaError
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import ModelOptions
from mpg_cli.sampling.params import Sampling, Scheme

DEFAULTS = Request(
    ModelOptions(), Prompting("?", system="Be brief."), Sampling(max_tokens=9), Scheme(), seed=1
)


USER = {"role": "user", "content": "Hi"}


def short(value: Any) -> str:
    """The id of a case."""
    return str(value)[:40]


def check_persona(persona: str | None) -> None:
    if persona == "nobody":
        raise PersonaError("unknown persona nobody")


def read(*lines: Any, format_: InputFormat = "jsonl") -> list[Line | BadLine]:
    raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    return list(LineReader(DEFAULTS, format_, check_persona).read([part + b"\n" for part in raw]))


def good(line: Any) -> Line:
    (found,) = read(line)
    assert isinstance(found, Line), found
    return found


def bad(line: Any) -> tuple[str, str]:
    (found,) = read(line)
    assert isinstance(found, BadLine)
    return found.code, found.message


def test_a_line_over_the_defaults() -> None:
    line = good({"id": "a", "prompt": "Hi", "persona": "pirate", "seed": 7, "top_p": 1, "stop": "x"})
    assert (line.id, line.persona, line.seed, line.number) == ("a", "pirate", 7, 1)
    assert line.prompting == Prompting("Hi", system="Be brief.")
    assert line.sampling == Sampling(max_tokens=9, top_p=1.0, stop=("x",))
    assert good({"prompt": "Hi", "system": "", "max_tokens": 3}).prompting.system == ""
    turns = [{"role": "user", "content": "Hi"}]
    assert good({"messages": turns}).prompting.messages == tuple(turns)
    assert good({"prompt": "Hi", "metadata": {"k": [1]}}).metadata == {"k": [1]}


def test_a_missing_id_is_the_physical_line_number() -> None:
    lines = read(b"", {"prompt": "a"}, b"  ", {"prompt": "b"}, {"id": 12, "prompt": "c"})
    assert [(line.id, line.number) for line in lines] == [("2", 2), ("4", 4), ("12", 5)]


def test_whole_numbers_as_tables_with_gaps_write_them() -> None:
    line = good({"id": 7.0, "prompt": "Hi", "max_tokens": 2.0, "top_k": 50.0, "seed": 42.0})
    assert (line.id, line.seed, repr(line.seed)) == ("7", 42, "42")
    assert line.sampling == Sampling(max_tokens=2, top_k=50)
    assert repr(line.sampling.max_tokens) == "2"
    assert good({"prompt": "Hi", "top_k": -1.0, "stop_token_ids": [3.0]}).sampling.stop_token_ids == (3,)


def test_plain_text_lines() -> None:
    lines = read(b"\xef\xbb\xbfHow are you?\r", b"", b'{"prompt": 1}', format_="text")
    assert [line.prompting.prompt for line in lines if isinstance(line, Line)] == [
        "How are you?",
        '{"prompt": 1}',
    ]
    assert [line.id for line in lines] == ["1", "3"]


def openai(**body: Any) -> dict[str, Any]:
    messages = [{"role": "developer", "content": "Rhyme."}, {"role": "user", "content": "Hi"}]
    return {
        "custom_id": "r-1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt-x", "messages": messages, **body},
    }


def test_an_openai_line() -> None:
    line = good(openai(max_completion_tokens=5, temperature=0, n=1, user="u", persona="pirate"))
    assert line.openai
    assert (line.id, line.persona, line.sampling.max_tokens, line.sampling.temperature) == (
        "r-1",
        "pirate",
        5,
        0,
    )
    assert line.prompting.messages == (
        {"role": "system", "content": "Rhyme."},
        {"role": "user", "content": "Hi"},
    )
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    joined = good(openai(messages=[{"role": "user", "content": parts}]))
    assert joined.prompting.messages == ({"role": "user", "content": "Hello"},)


SAMPLED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"top_k": 20, "min_p": 0.05, "repetition_penalty": 1.1},
        {"top_k": 20, "min_p": 0.05, "repetition_penalty": 1.1},
    ),
    ({"top_k": -1}, {"top_k": 0}),
    (
        {"presence_penalty": 1, "frequency_penalty": -0.5},
        {"presence_penalty": 1.0, "frequency_penalty": -0.5},
    ),
    ({"logit_bias": {"12": 5, "7": -100}}, {"logit_bias": ((7, -100.0), (12, 5.0))}),
    ({"stop": ["x", "y"], "stop_token_ids": [3]}, {"stop": ("x", "y"), "stop_token_ids": (3,)}),
    ({"max_tokens": 7, "max_completion_tokens": 5}, {"max_tokens": 5}),
    ({"temperature": None, "stop": None, "max_tokens": None}, {}),
]


@pytest.mark.parametrize(("fields", "sampled"), SAMPLED, ids=short)
def test_sampling_fields_mean_the_same_in_every_line(fields: dict[str, Any], sampled: dict[str, Any]) -> None:
    wanted = replace(DEFAULTS.sampling, **sampled)
    assert good({"prompt": "Hi", **fields}).sampling == wanted
    assert good(openai(**fields)).sampling == wanted
    assert good(openai(extra_body=fields)).sampling == wanted


def test_switches_of_the_chat_template() -> None:
    quiet = {"enable_thinking": False}
    assert good({"prompt": "Hi", "template_args": quiet}).prompting.template_args == quiet
    line = good(openai(chat_template_kwargs=quiet, reasoning_effort="low"))
    assert line.prompting.template_args == {"reasoning_effort": "low", **quiet}


def test_a_last_assistant_turn_is_the_beginning_of_the_reply() -> None:
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Aye,"}]
    for line in (
        good({"messages": said}),
        good(openai(messages=said)),
        good({"prompt": "Hi", "prefill": "Aye,"}),
    ):
        assert line.prompting.prefill == "Aye,"
    going_on = {"continue_final_message": True, "add_generation_prompt": False}
    assert good(openai(messages=said, **going_on)).prompting.prefill == "Aye,"
    code, message = bad(openai(messages=said, add_generation_prompt=True))
    assert (code, "cannot be true here" in message) == ("unsupported", True)
    assert bad(openai(**going_on))[0] == "unsupported"
    assert good(openai(continue_final_message=False, add_generation_prompt=True)).prompting.prefill == ""


@pytest.mark.parametrize(
    "fields",
    [
        {
            "parallel_tool_calls": True,
            "prompt_cache_key": "k",
            "user": "u",
            "metadata": {"a": "b"},
            "store": True,
        },
        {"service_tier": "flex", "safety_identifier": "s", "stream": False, "stream_options": None},
        {"n": 1, "best_of": 1, "tools": [], "tool_choice": "auto", "response_format": {"type": "text"}},
        {"logprobs": False, "top_logprobs": 0, "modalities": ["text"], "verbosity": "medium"},
        {"ignore_eos": False, "min_tokens": 0, "skip_special_tokens": True, "use_beam_search": False},
        {"length_penalty": 1.0, "bad_words": [], "echo": False, "add_special_tokens": False, "priority": 0},
        {"guided_json": None, "reasoning_effort": None, "audio": None, "seed": None},
        {"of_a_later_sdk": None, "persona": None, "extra_body": {"another": None, "top_k": None}},
    ],
    ids=short,
)
def test_fields_that_change_no_reply_are_accepted(fields: dict[str, Any]) -> None:
    plain, line = good(openai()), good(openai(**fields))
    assert (line.prompting, line.sampling, line.seed) == (plain.prompting, plain.sampling, None)
    assert line.digest == plain.digest


def test_null_is_nothing_wherever_it_stands() -> None:
    line = good({"prompt": "x", "foo": None, "custom_id": None, "body": None, "params": None})
    assert line.digest == good({"prompt": "x"}).digest
    assert good(openai() | {"persona": None}).digest == good(openai()).digest
    kept = good(openai(seed=3, extra_body={"seed": None, "top_k": 5}))
    assert (kept.seed, kept.sampling.top_k) == (3, 5)
    assert good(openai(seed=None, extra_body={"seed": 4})).seed == 4


@pytest.mark.parametrize(
    "line, code, message",
    [
        (b"{", "invalid_json", "not JSON"),
        (b'{"prompt": "a", "prompt": "b"}', "invalid_json", "'prompt' occurs twice"),
        (b'{"prompt": NaN}', "invalid_json", "NaN is not a JSON value"),
        (b"[" * 100_000, "invalid_json", ""),
        (b'{"metadata": ' + b"[" * 900 + b"]" * 900 + b"}", "invalid_json", "nested too deeply"),
        (b"[1]", "wrong_type", "must be an object"),
        (b'{"prompt": "\xff"}', "invalid_text", "byte 0xff"),
        ({}, "missing_prompt", "no prompt and no messages"),
        ({"prompt": "a", "messages": []}, "missing_prompt", "both a prompt and messages"),
        ({"prompt": "  "}, "empty_prompt", "the prompt is empty"),
        ({"prompt": 1}, "wrong_type", "prompt must be text"),
        ({"prompt": "\ud800"}, "bad_value", "not UTF-8"),
        ({"messages": [{"role": "user"}]}, "bad_value", "messages[0].content must be text"),
        ({"prompt": "a", "temprature": 1}, "unknown_field", "did you mean temperature?"),
        ({"prompt": "a", "note": 1}, "unknown_field", "metadata"),
        ({"prompt": "a", "rule": "block"}, "unknown_field", "give --rule for all of them"),
        ({"prompt": "a", "raw": True}, "unknown_field", "give --raw for all of them"),
        ({"prompt": "a", "temperature": "1"}, "wrong_type", "temperature must be a number"),
        ({"prompt": "a", "temperature": -1}, "bad_value", "temperature -1 must be 0 or more"),
        ({"prompt": "a", "top_k": 1.5}, "wrong_type", "top_k must be a whole number"),
        ({"prompt": "a", "seed": -1}, "bad_value", "seed -1 must be between"),
        ({"prompt": "a", "seed": True}, "wrong_type", "seed must be a whole number"),
        ({"prompt": "a", "stop": [1]}, "wrong_type", "stop must be text"),
        ({"prompt": "a", "stop": [""]}, "bad_value", "stop is empty; every reply"),
        ({"prompt": "a", "id": ""}, "wrong_type", "the id must be"),
        ({"prompt": "a", "id": ["x"]}, "wrong_type", "the id must be"),
        ({"prompt": "a", "persona": "nobody"}, "bad_persona", "unknown persona nobody"),
        (openai(n=2), "unsupported", "n is not supported"),
        (openai(tools=[{}]), "unsupported", "tools is not supported"),
        (openai(prompt="x"), "unknown_field", "'prompt'"),
        (
            openai() | {"persona": "pirate"},
            "unknown_field",
            "'persona' belongs in body, not beside it",
        ),
        ({"prompt": "a", "model": "x"}, "unknown_field", "choose it with --model"),
        (
            openai(logprobs=True),
            "unsupported",
            "logprobs is not supported: log-probabilities are not returned",
        ),
        (openai(guided_choice=["a"]), "unsupported", "constrained decoding is not available"),
        (openai(ignore_eos=True), "unsupported", "a reply always ends at an end token"),
        (openai(min_tokens=5), "unsupported", "min_tokens is not supported"),
        (openai(skip_special_tokens=False), "unsupported", "special tokens are always left out of the text"),
        (openai(enable_thinking=False), "unsupported", "put it into chat_template_kwargs"),
        (openai(verbosity="low"), "unsupported", "ask for it in the prompt"),
        (openai(bad_words=["x"]), "unsupported", "exclude tokens by id with logit_bias"),
        (openai(extra_body=[1]), "wrong_type", "extra_body must be an object"),
        ({"prompt": "a", "logit_bias": {"x": 1}}, "wrong_type", "logit_bias must be an object of token ids"),
        ({"prompt": "a", "logit_bias": {"7": 1, "07": 2}}, "wrong_type", "logit_bias names a token twice"),
        ({"prompt": "a", "logit_bias": {"7": "x"}}, "wrong_type", "logit_bias of 7 must be a number"),
        ({"prompt": "a", "stop_token_ids": 3}, "wrong_type", "stop_token_ids must be a list of token ids"),
        ({"prompt": "a", "presence_penalty": 3}, "bad_value", "presence_penalty 3 must be between"),
        ({"prompt": "a", "temperature": 10**400}, "wrong_type", "temperature is too large"),
        ({"prompt": "a", "template_args": []}, "wrong_type", "template_args must be an object"),
        ({"prompt": "a", "system": "\ud800"}, "bad_value", "system is not UTF-8"),
        (
            {"messages": [{"role": "assistant", "content": "x"}]},
            "bad_value",
            "; end with a user turn",
        ),
        (openai() | {"url": "/v1/completions"}, "unsupported", "lines with a prompt and use --raw"),
        (openai() | {"url": "/v1/responses"}, "unsupported", "write its input as messages"),
        ({"custom_id": "x"}, "wrong_type", "body must be an object"),
        ({"prompt": "a", "max_tokens": 0}, "bad_value", "max_tokens 0 must be at least 1"),
        (openai(max_tokens=3, max_completion_tokens=0), "bad_value", "max_completion_tokens 0 must be"),
        ({"prompt": "a", "stop_token_ids": [-1]}, "bad_value", "stop_token_ids -1 is not a token id"),
        ({"prompt": "a", "stop_token_ids": [1.5]}, "wrong_type", "stop_token_ids[0] must be a whole number"),
        ({"prompt": "a", "logit_bias": {"7": 101}}, "bad_value", "logit_bias 101 for token 7 must be"),
        (
            {"messages": [USER, {"role": "assistant", "content": "A"}], "prefill": "B"},
            "bad_value",
            "a prefill",
        ),
        ({"prompt": "a", "max_tokens": 2.5}, "wrong_type", "max_tokens must be a whole number"),
        (b'{"prompt": "a", "max_tokens": 1e999}', "wrong_type", "max_tokens must be a whole number"),
        ({"prompt": "a", "id": 7.5}, "wrong_type", "the id must be"),
        (
            {"custom_id": "x", "params": {"messages": [USER]}},
            "unsupported",
            "Anthropic batch; rename params",
        ),
        ({"key": "x", "request": {"contents": []}}, "unsupported", "the line is of a Gemini batch"),
        ({"recordId": "x", "modelInput": {}}, "unsupported", "the line is of a Bedrock batch"),
        (
            {"id": "mpg-1", "custom_id": "x", "response": {"status_code": 200}, "error": None},
            "unsupported",
            "the line is a record of batch output, not an input line",
        ),
        (
            {"id": "x", "text": "Aye.", "finish_reason": "stop"},
            "unsupported",
            "the line is a record of batch output",
        ),
        (openai() | {"url": "/v1/embeddings"}, "unsupported", "only POST"),
    ],
    ids=short,
)
def test_a_bad_line_has_code_and_message(line: Any, code: str, message: str) -> None:
    found = bad(line)
    assert found[0] == code
    assert message in found[1]


def test_an_id_that_was_there_already() -> None:
    first, second, third = read(
        {"id": "2", "prompt": "a"}, {"prompt": "b"}, {"id": "x", "prompt": "c", "top_k": "no"}
    )
    assert isinstance(first, Line)
    assert isinstance(second, BadLine)  # the number of its line
    assert (second.code, second.id) == ("duplicate_id", "2 (line 2)")
    assert isinstance(third, BadLine)
    assert (third.id, third.number) == ("x", 3)


@pytest.mark.parametrize("wrong", [b'{"id":2,"prompt":"c" "seed":2}', b'{"id":2,\xff}', b"[]", {"id": ["x"]}])
def test_a_line_without_a_readable_id_takes_none_from_another(wrong: Any) -> None:
    found = read(
        *({"id": n, "prompt": "a"} for n in range(2)), wrong, {"id": 3, "prompt": "d"}, {"prompt": "e"}
    )
    assert [(line.id, isinstance(line, Line)) for line in found] == [
        ("0", True),
        ("1", True),
        ("(line 3)", False),
        ("3", True),
        ("5", True),
    ]


def test_the_digest_is_of_what_a_line_says_not_of_how_it_is_spelled() -> None:
    one, other = good(b'{"id":"a","prompt":"x"}'), good(b'{ "prompt" : "\\u0078", "id" : "a" }')
    assert one.digest == other.digest
    assert good({"id": "a", "prompt": "x", "top_p": None}).digest == one.digest
    assert good(openai(model="other") | {"metadata": {"k": 1}}).digest == good(openai()).digest


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ({"id": "a", "prompt": "x", "temprature": 0.5}, {"id": "a", "prompt": "x"}),
        (openai(n=2), openai(n=1)),
        (openai() | {"url": "/v1/completions"}, openai()),
        (openai() | {"body": None}, openai()),
        (
            {"id": "a", "prompt": "x", "metadata": 1},
            {"id": "a", "prompt": "x", "metadata": 2},
        ),  # in the record
        ({"id": "a", "prompt": "x"}, {"id": "a", "prompt": "y"}),
    ],
    ids=short,
)
def test_a_line_that_was_corrected_has_another_digest(wrong: Any, right: Any) -> None:
    (before,), (after,) = read(wrong), read(right)
    assert (before.id, before.digest != after.digest) == (after.id, True)
