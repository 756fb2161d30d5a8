"""Messages in all accepted forms: parts, keys without effect, and content that would not reach the model."""

from __future__ import annotations

from typing import Any

import pytest

from mpg_cli.engine.messages import check_turns, is_empty
from mpg_cli.errors import UsageError

ASKED = {"role": "user", "content": "Hello"}


def turn(**keys: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "Hi", **keys}


@pytest.mark.parametrize(
    "parts",
    [
        "Hello",
        [{"type": "text", "text": "Hello"}],
        [{"type": "input_text", "text": "Hel"}, {"type": "output_text", "text": "lo", "annotations": []}],
        [{"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}}],
        ["Hel", "lo"],
    ],
    ids=str,
)
def test_parts_are_one_text(parts: Any) -> None:
    assert check_turns([{"role": "user", "content": parts}], "m") == (ASKED,)


@pytest.mark.parametrize(
    "keys",
    [
        {"refusal": None, "annotations": [], "audio": None, "function_call": None, "tool_calls": None},
        {"tool_calls": [], "reasoning_content": "", "name": None, "anything": {}},
        {"annotations": [{"type": "url_citation"}], "prefix": True, "partial": False},
        {"provider_specific_fields": {"refusal": None, "citations": [{"x": None}]}, "example": False},
        {"type": "message", "id": "msg_1", "status": "completed", "weight": 1, "createdAt": "2024-05-01"},
        {"additional_kwargs": {}, "response_metadata": {"token_usage": {"total_tokens": 9}}, "timestamp": 17},
    ],
    ids=str,
)
def test_keys_without_effect_on_a_reply_are_ignored(keys: dict[str, Any]) -> None:
    turns = check_turns([ASKED, turn(**keys), ASKED], "m")
    assert turns == (ASKED, {"role": "assistant", "content": "Hi"}, ASKED)


def test_a_name_is_for_the_template_and_a_developer_is_the_system() -> None:
    said = [{"role": "developer", "content": "Rhyme."}, {**ASKED, "name": "Ann"}]
    assert check_turns(said, "m") == ({"role": "system", "content": "Rhyme."}, {**ASKED, "name": "Ann"})


def test_speakers_have_many_names() -> None:
    said = [
        {"type": "system", "content": "Rhyme."},
        {"type": "human", "content": "Hello", "example": False},
        {"role": "model", "content": "Hi"},
        {"role": "User", "content": "Hello"},
    ]
    roles = [message["role"] for message in check_turns(said, "m")]
    assert roles == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize(
    ("leading", "system"),
    [
        ([("developer", "Rhyme."), ("system", "Be brief.")], "Rhyme.\n\nBe brief."),
        (
            [("system", "a"), ("system", ""), ("system", None), ("system", [{"type": "text", "text": "b"}])],
            "a\n\nb",
        ),
        ([("system", ""), ("developer", " ")], ""),
        ([("system", None)], ""),
    ],
    ids=str,
)
def test_system_turns_at_the_beginning_are_one(leading: Any, system: str) -> None:
    said = [*({"role": role, "content": content} for role, content in leading), ASKED]
    assert check_turns(said, "m") == ({"role": "system", "content": system}, ASKED)


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        (
            [{"role": "system", "content": "a"}, ASKED, {"role": "system", "content": "b"}, ASKED],
            "m[2] is a system turn after other turns",
            "move its text into a system turn at the start",
        ),
        ([ASKED, {"role": "developer", "content": "b"}], "m[1] is a system turn after", "move its text"),
        (
            [
                {"role": "system", "content": "a"},
                {"role": "system", "content": "x", "name": "example_user"},
                ASKED,
            ],
            "m[1] is one of several system turns, and has a name",
            "write examples as turns of user and assistant",
        ),
        (
            [{"role": "system", "content": "a"}],
            "the last turn of m must have role user, not system",
            "continues",
        ),
        ([{**ASKED, "content": " "}, turn()], "the last user turn of m is empty", "write what to answer"),
    ],
    ids=str,
)
def test_turns_that_cannot_be_answered(said: Any, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_turns(said, "m")
    assert refused.value.message.startswith(message)
    assert hint in (refused.value.hint or "")


@pytest.mark.parametrize("value", [None, False, "", [], {}, {"a": {"b": [None, ""]}}, [[], [{}]]], ids=str)
def test_empty_values(value: Any) -> None:
    assert is_empty(value)


@pytest.mark.parametrize("value", [0, True, " ", [0], {"a": [None, {"b": 1}]}], ids=str)
def test_values_that_are_not_empty(value: Any) -> None:
    assert not is_empty(value)


@pytest.mark.parametrize(
    "item, message",
    [
        (
            turn(content=None, tool_calls=[{"id": "x"}]),
            "m[0].tool_calls is not supported: leave out the turns",
        ),
        ({"role": "tool", "content": "4", "tool_call_id": "x"}, "m[0].tool_call_id is not supported"),
        (turn(content=None, refusal="No."), "m[0].refusal is not supported: give its text as content"),
        (turn(reasoning_content="Hm."), "m[0].reasoning_content is not supported: leave it out"),
        (turn(audio={"id": "x"}), "m[0].audio is not supported: only text is read"),
        (turn(provider_specific_fields={"citations": ["x"]}), "m[0] has an unknown key 'provider_"),
        ({"role": "system"}, "m[0].content must be text, not null"),
        ({"role": "me", "content": "x"}, 'm[0].role must be system, user or assistant, not "me"'),
        ({"type": "tool", "content": "x"}, 'm[0].type must be system, user or assistant, not "tool"'),
        ({"content": "x"}, "m[0].role must be system, user or assistant, not null"),
        (turn(nme="x"), "m[0] has an unknown key 'nme'"),
        (turn(name=7), "m[0].name must be text, not 7"),
        (turn(content=None), "m[0].content must be text, not null"),
        (
            turn(content=[{"type": "image_url", "image_url": {}}]),
            "m[0].content[0] is of type image_url, but only",
        ),
        (turn(content=[{"text": "x"}]), "m[0].content[0] has no type"),
        (turn(content=[["x"]]), "m[0].content[0] has no type"),
        (turn(content=[{"type": "text", "text": None}]), "m[0].content[0].text must be text, not null"),
        (turn(content=[{"type": "text", "text": "\ud800"}]), "m[0].content[0].text is not UTF-8"),
        (
            turn(content=[{"type": "text", "text": "x", "image": "y"}]),
            "m[0].content[0] has an unknown key 'image'",
        ),
    ],
    ids=str,
)
def test_content_that_would_not_reach_the_model_is_refused(item: Any, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_turns([item, ASKED], "m")
    assert refused.value.message.startswith(message)
