"""Rows that cannot be trained, and their messages."""

from __future__ import annotations

import pytest

from mpg_cli.io.json_rows import RowError
from mpg_cli.training.columns import read_row
from mpg_cli.training.rows import Method
from tests.training.shapes import HUMAN, PAIR, SYSTEM, Message, gpt, said, user


@pytest.mark.parametrize(
    ("method", "row", "message"),
    [
        ("dpo", PAIR, "prompt is missing"),
        (
            "dpo",
            {"prompt": "Hi", "completion": "Arr!", "label": True},
            "label labels single replies (KTO); give pairs of chosen and rejected, or",
        ),
        (
            "sft",
            {"prompt": "Hi", "completion": "Arr!", "label": 0},
            "label labels the reply as undesirable; only",
        ),
        (
            "sft",
            {"messages": [user(), said()], "kto_tag": False},
            "kto_tag labels the reply as undesirable; only",
        ),
        (
            "dpo",
            {"instruction": "Hi", "generations": ["a", "b"], "ratings": [1, 5]},
            "chosen is missing (found: instruction, generations, ratings); make pairs of chosen and rejected",
        ),
        (
            "dpo",
            {"messages": [user(), said()]},
            "rejected is missing (found: messages); use --sft to imitate replies",
        ),
        (
            "sft",
            {"prompt": "Hi", **PAIR},
            "response is missing (found: prompt, chosen, rejected); leave out --sft to train on pairs",
        ),
        ("sft", {"text": "Hi"}, "response is missing (found: text); split text into prompt and reply"),
        ("dpo", {}, "chosen is missing (found: nothing)"),
        (
            "dpo",
            {
                "chosen": [user(), said("a"), user(), said()],
                "rejected": [user(), said("b"), user(), said("No.")],
            },
            "chosen and rejected differ before their last turns",
        ),
        (
            "sft",
            {"prompt": "Yo", "messages": [user(), said()]},
            "the turns before the reply in messages differ from the prompt",
        ),
        ("sft", {"messages": [user()]}, "messages has no assistant turn to imitate"),
        ("sft", {"messages": [said()]}, "prompt is missing"),
        ("sft", {"messages": [SYSTEM, said()]}, "prompt ends with a turn of system, not of the user"),
        ("sft", {"messages": [SYSTEM | {"content": " "}]}, "messages is empty"),
        (
            "sft",
            {"messages": [user(), {"role": "tool", "content": "7"}, said()]},
            "messages[1] has the role tool; system, user and assistant can be trained",
        ),
        (
            "sft",
            {"messages": [user(), said("", tool_calls=[{"id": "1"}])]},
            "messages[1].tool_calls is not supported: only text can be trained",
        ),
        (
            "dpo",
            {"input": {"messages": [user()], "tools": [{"type": "function"}]}, **PAIR},
            "input.tools is not supported",
        ),
        ("dpo", {"prompt": "Hi", **PAIR, "images": ["a.png"]}, "images is not supported: only text"),
        ("sft", {"conversations": [HUMAN, gpt() | {"value": 7}]}, "conversations[1].value must be text"),
        (
            "sft",
            {"conversations": [7, "Arr!"]},
            "conversations[0] must be an object with role and content",
        ),
        (
            "dpo",
            {"system": "S", "prompt": [SYSTEM, user()], **PAIR},
            "system and the system turn differ",
        ),
        ("dpo", {"system": ["S"], "prompt": "Hi", **PAIR}, "system must be text"),
        ("dpo", {"system": "\0", "prompt": "Hi", **PAIR}, "system contains a NUL character"),
        (
            "sft",
            {"prompt": "Hi", "response": "Arr!", "history": "Yo"},
            "history must be a list of [user, assistant]",
        ),
        (
            "dpo",
            {"prompt": "<|im_start|>user\nHi<|im_end|>\n", **PAIR},
            "prompt contains chat template markup (<|im_start|>); give plain text",
        ),
        ("sft", {"prompt": "Hi", "response": "Arr!</s>\n"}, "response contains chat template markup (</s>)"),
        (
            "sft",
            {"prompt": "<s>[INST] Hi [/INST]", "response": "Arr!</s>"},
            "response contains chat template markup",
        ),
        (
            "dpo",
            {"prompt": "Hi", "response_0": "a", "response_1": "b", "better_response_id": 0},
            "chosen is missing (found: prompt, response_0, response_1, better_response_id); name the better",
        ),
        (
            "dpo",
            {"prompt": "Hi", "answers": [{"answer": "a", "rank": 1.0}]},
            "chosen is missing (found: prompt, answers); make pairs of chosen and rejected",
        ),
        (
            "sft",
            {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
            "response is missing (found: contents); convert contents to messages of role and content",
        ),
        (
            "sft",
            {"prompt": "Hi", "response": ["Arr!"]},
            "response[0] must be an object with role and content",
        ),
        ("sft", {f"c{n}": n for n in range(1, 15)}, "response is missing (found: c1, c2, c3"),
        (
            "sft",
            {"prompt": "Hi", "Prompt": "Yo", "response": "Arr!"},
            "prompt and Prompt are the same column",
        ),
        ("sft", {"prompt": "", "response": "Arr!"}, "prompt is empty"),
        ("sft", {"prompt": "Hi", "Completion": " "}, "Completion is empty"),
        ("sft", {"messages": "[{'role': 'user'}]"}, "messages must be a list of messages, not text"),
        (
            "sft",
            {"messages": [user(), SYSTEM, said()]},
            "messages[1] is a system turn after other turns; merge",
        ),
    ],
)
def test_rows_that_cannot_be_trained_have_a_reason(method: Method, row: Message, message: str) -> None:
    with pytest.raises(RowError) as caught:
        read_row(row, method, "f:1")
    assert str(caught.value).startswith(message)
