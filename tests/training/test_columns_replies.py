"""Single replies in the layouts of public data sets: prompt, imitated replies and unread columns."""

from __future__ import annotations

import json

import pytest

from mpg_cli.training.columns import read_row
from mpg_cli.training.rows import Turn
from tests.training.shapes import HUMAN, SYSTEM, Message, gpt, read, said, user


@pytest.mark.parametrize(
    ("row", "prompt", "imitated", "unread"),
    [
        pytest.param({"prompt": "Hi", "completion": "Arr!"}, ["user: Hi"], (), (), id="TRL"),
        pytest.param(
            {"prompt": [SYSTEM, user("a"), said("b"), user()], "completion": [said()]},
            ["system: Be kind.", "user: a", "assistant: b", "user: Hi"],
            (),
            (),
            id="TRL, replies of the prompt are not imitated",
        ),
        pytest.param(
            {"prompt": [user("a")], "completion": [said("b"), user(), said()]},
            ["user: a", "assistant: b", "user: Hi"],
            (1,),
            (),
            id="TRL, a completion of several turns",
        ),
        pytest.param(
            {"messages": [SYSTEM, user("a"), said("b"), user(), said(), user("bye")]},
            ["system: Be kind.", "user: a", "assistant: b", "user: Hi"],
            (2,),
            (),
            id="messages up to the last reply",
        ),
        pytest.param(
            {
                "messages": [
                    user("a"),
                    said("b", weight=0),
                    user(),
                    said(weight=1, name="x"),
                    user(),
                    said("c", loss=False),
                ]
            },
            ["user: a", "assistant: b", "user: Hi"],
            (),
            ("messages.name",),
            id="weights",
        ),
        pytest.param(
            {"messages": [user(), said()], "prompt": "Hi\n", "prompt_id": "0f"},
            ["user: Hi"],
            (),
            ("prompt_id",),
            id="UltraChat",
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, said()]},
            ["user: Hi"],
            (),
            (),
            id="parts of text",
        ),
        pytest.param(
            {"id": 7, "system": "Be kind.", "conversations": [HUMAN, gpt("b"), HUMAN, gpt()], "tools": "[]"},
            ["system: Be kind.", "user: Hi", "assistant: b", "user: Hi"],
            (2,),
            ("id",),
            id="ShareGPT with a system column",
        ),
        pytest.param(
            {
                "conversations": [
                    {"role": "model", "content": "Ahoy"},
                    {"from": "User", "value": "Hi"},
                    {"from": "bot", "value": "Arr!"},
                ]
            },
            ["assistant: Ahoy", "user: Hi"],
            (),
            (),
            id="a greeting, which no prompt has asked for",
        ),
        pytest.param(
            {"conversation": [{"input": "a", "output": "b"}, {"input": "Hi", "output": "Arr!"}]},
            ["user: a", "assistant: b", "user: Hi"],
            (1,),
            (),
            id="Capybara",
        ),
        pytest.param(
            {"instruction": "Hi", "input": "", "output": "Arr!", "text": "Below is …"},
            ["user: Hi"],
            (),
            ("text",),
            id="Alpaca",
        ),
        pytest.param(
            {
                "instruction": "Hi",
                "input": "you",
                "output": "Arr!",
                "history": [["a", "b"], ["c", "d"]],
                "system": "S",
            },
            ["system: S", "user: a", "assistant: b", "user: c", "assistant: d", "user: Hi\nyou"],
            (2, 4),
            (),
            id="Alpaca with history",
        ),
        pytest.param(
            {"instruction": "Hi", "context": "you", "response": "Arr!", "category": "qa"},
            ["user: Hi\nyou"],
            (),
            ("category",),
            id="Dolly",
        ),
        pytest.param(
            {"system_prompt": "S", "question": "Hi", "response": "Arr!"},
            ["system: S", "user: Hi"],
            (),
            (),
            id="OpenOrca",
        ),
        pytest.param(
            {"Question": "Hi", "Answer": "Arr!", "URL": "x"}, ["user: Hi"], (), ("URL",), id="capitals"
        ),
        pytest.param(
            {"answer": "42", "messages": [user(), said()]},
            ["user: Hi"],
            (),
            ("answer",),
            id="messages come before a bare answer",
        ),
        pytest.param(
            {"instruction": "", "input": "Hi", "response": "", "output": "Arr!"},
            ["user: Hi"],
            (),
            (),
            id="Alpaca without an instruction",
        ),
        pytest.param(
            {
                "conversation": [
                    {"system": "S", "input": "a", "output": "b"},
                    {"system": "", "input": "Hi", "output": "Arr!"},
                ]
            },
            ["system: S", "user: a", "assistant: b", "user: Hi"],
            (2,),
            (),
            id="XTuner",
        ),
        pytest.param(
            {"conversation": [{"human": "Hi", "assistant": "Arr!"}]}, ["user: Hi"], (), (), id="Firefly"
        ),
        pytest.param(
            {"messages": [SYSTEM, {"role": "developer", "content": "S"}, user(), said()]},
            ["system: Be kind.\n\nS", "user: Hi"],
            (),
            (),
            id="several system turns before the others",
        ),
        pytest.param(
            {"messages": [SYSTEM | {"content": None}, user(), said()]},
            ["user: Hi"],
            (),
            (),
            id="a system turn that says nothing",
        ),
        pytest.param(
            {"conversations": ["a", "b", "Hi", "Arr!"]},
            ["user: a", "assistant: b", "user: Hi"],
            (1,),
            (),
            id="LIMA",
        ),
        pytest.param({"id": "0", "data": ["Hi", "Arr!"]}, ["user: Hi"], (), ("id",), id="UltraChat, raw"),
        pytest.param(
            {"messages": json.dumps([user(), said()])}, ["user: Hi"], (), (), id="messages of a CSV file"
        ),
        pytest.param(
            {
                "messages": [
                    {"role": "user", "content": [{"type": "input_text", "text": "H"}, "i"]},
                    {"role": "assistant", "content": [{"type": "output_text", "text": "Arr!"}]},
                ]
            },
            ["user: Hi"],
            (),
            (),
            id="parts of every kind of text",
        ),
        pytest.param(
            {"prompt": "Hi", "completion": "Arr!", "label": True},
            ["user: Hi"],
            (),
            (),
            id="KTO, a good reply",
        ),
        pytest.param(
            {"prompt": "Hi", "completion": "Arr!", "label": 1},
            ["user: Hi"],
            (),
            (),
            id="KTO of a table, a good reply",
        ),
    ],
)
def test_replies(row: Message, prompt: list[str], imitated: tuple[int, ...], unread: tuple[str, ...]) -> None:
    assert read(row, "sft") == (prompt, ("Arr!",), imitated, unread)


def test_a_row_per_imitated_reply() -> None:
    row, _ = read_row({"messages": [SYSTEM, user("a"), said("b"), user("c"), said("d")]}, "sft", "f:1")
    first, last = row.per_reply()
    assert (first.prompt, first.replies) == ((Turn("system", "Be kind."), Turn("user", "a")), ("b",))
    assert (last.prompt, last.replies) == (row.prompt, ("d",))
    assert first.imitated == last.imitated == ()
    assert first.opening == last.opening == first.prompt


@pytest.mark.parametrize(
    ("prompt", "reply"),
    [
        ("<s>strike</s> what is it?", "HTML, as in <s>this</s>"),
        ("Hi", "<|begin_of_thought|>\n\nhm\n\n<|end_of_thought|>"),
        ("Hi", "<|begin_of_box|>3<|end_of_box|>"),
        ("Hi", "[]"),
    ],
)
def test_text_that_only_looks_like_marks(prompt: str, reply: str) -> None:
    row, _ = read_row({"prompt": prompt, "response": reply}, "sft", "f:1")
    assert (row.prompt[0].content, row.replies) == (prompt, (reply,))
