"""Conversations as people write them: parts, keys that say nothing, and what the model would not be told."""

from __future__ import annotations

from typing import Any

import pytest

from mpg_cli.errors import UsageError
from mpg_cli.turns import check_turns

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
    ],
    ids=str,
)
def test_keys_on_which_no_reply_depends_are_passed_over(keys: dict[str, Any]) -> None:
    turns = check_turns([ASKED, turn(**keys), ASKED], "m")
    assert turns == (ASKED, {"role": "assistant", "content": "Hi"}, ASKED)


def test_a_name_is_for_the_template_and_a_developer_is_the_system() -> None:
    said = [{"role": "developer", "content": "Rhyme."}, {**ASKED, "name": "Ann"}]
    assert check_turns(said, "m") == ({"role": "system", "content": "Rhyme."}, {**ASKED, "name": "Ann"})


@pytest.mark.parametrize(
    "item, message",
    [
        (
            turn(content=None, tool_calls=[{"id": "x"}]),
            "m[0].tool_calls is not supported: leave out the turns",
        ),
        ({"role": "tool", "content": "4", "tool_call_id": "x"}, "m[0].tool_call_id is not supported"),
        (turn(content=None, refusal="No."), "m[0].refusal is not supported: write what was said as content"),
        (turn(reasoning_content="Hm."), "m[0].reasoning_content is not supported: leave it out"),
        (turn(audio={"id": "x"}), "m[0].audio is not supported: only text is read"),
        (turn(nme="x"), "m[0] has an unknown key 'nme'"),
        (turn(name=7), "m[0].name must be text, not 7"),
        (turn(content=None), "m[0].content must be text, not null"),
        (
            turn(content=[{"type": "image_url", "image_url": {}}]),
            "m[0].content[0] is of type image_url, and only",
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
def test_what_the_model_would_not_be_told_is_refused(item: Any, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_turns([item, ASKED], "m")
    assert refused.value.message.startswith(message)
