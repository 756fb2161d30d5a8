"""Pairs in the layouts of public data sets: prompt, chosen, rejected and unread columns."""

from __future__ import annotations

import pytest

from tests.training.shapes import HUMAN, PAIR, SYSTEM, Message, gpt, read, said, spoken, user


@pytest.mark.parametrize(
    ("row", "prompt", "unread"),
    [
        pytest.param({"prompt": "Hi", **PAIR}, ["user: Hi"], (), id="texts"),
        pytest.param(
            {"prompt": [SYSTEM, user()], "chosen": [said()], "rejected": [said("No.")]},
            ["system: Be kind.", "user: Hi"],
            (),
            id="TRL, explicit prompt with a system turn",
        ),
        pytest.param(
            {
                "chosen": [user(), said("Aye?"), user("Go"), said()],
                "rejected": [user(), said("Aye?"), user("Go"), said("No.")],
                "score_chosen": 8.0,
            },
            ["user: Hi", "assistant: Aye?", "user: Go"],
            ("score_chosen",),
            id="TRL, implicit prompt",
        ),
        pytest.param(
            {
                "prompt": "Hi ",
                "prompt_id": "0f",
                "chosen": [user(), said()],
                "rejected": [user("\nHi"), said("No.")],
                "messages": [user(), said()],
                "score_rejected": 2.5,
            },
            ["user: Hi"],
            ("prompt_id", "messages", "score_rejected"),
            id="UltraFeedback, prompts that differ in white space",
        ),
        pytest.param(
            {
                "prompt": "Hi",
                "chosen": [SYSTEM, user(), said()],
                "rejected": [SYSTEM, user(), said("No.")],
            },
            ["system: Be kind.", "user: Hi"],
            (),
            id="a system turn in the replies' conversations alone",
        ),
        pytest.param(
            {"prompt": [SYSTEM, user()], "chosen": [user(), said()], "rejected": [user(), said("No.")]},
            ["system: Be kind.", "user: Hi"],
            (),
            id="a system turn in the prompt alone",
        ),
        pytest.param(
            {
                "prompt": "Go",
                "chosen": [user(), said("Aye?"), user("Go"), said()],
                "rejected": [user(), said("Aye?"), user("Go"), said("No.")],
            },
            ["user: Hi", "assistant: Aye?", "user: Go"],
            (),
            id="the last turn of a longer conversation as the prompt",
        ),
        pytest.param(
            {"chosen": spoken("Hi", "Aye?", "Go", "Arr!"), "rejected": spoken("Hi", "Aye?", "Go", "No.")},
            ["user: Hi", "assistant: Aye?", "user: Go"],
            (),
            id="hh-rlhf",
        ),
        pytest.param(
            {"prompt": "\n\nHuman: Hi\n\nAssistant:", "chosen": "Arr!", "rejected": "No."},
            ["user: Hi"],
            (),
            id="hh-rlhf with a prompt of its own",
        ),
        pytest.param(
            {
                "chosen": spoken("Hi", "Aye?", "Go", "Arr!").replace("\n", "\r\n"),
                "rejected": spoken("Hi", "Aye?", "Go", "No.").replace("\n\n", "\n"),
            },
            ["user: Hi", "assistant: Aye?", "user: Go"],
            (),
            id="hh-rlhf with other line ends",
        ),
        pytest.param(
            {"system": "Be kind.", "question": "Hi", **PAIR}, ["system: Be kind.", "user: Hi"], (), id="Orca"
        ),
        pytest.param({"system": "", "question": "Hi", **PAIR}, ["user: Hi"], (), id="Orca, empty system"),
        pytest.param(
            {
                "system": None,
                "input": "Hi",
                **PAIR,
                "generations": ["a", "b"],
                "in_gsm8k_train": False,
                "order": [],
            },
            ["user: Hi"],
            ("generations", "in_gsm8k_train"),
            id="distilabel",
        ),
        pytest.param(
            {
                "instruction": "Hi",
                "chosen_response": [user(), said()],
                "rejected_response": [user(), said("No.")],
                "chosen_avg_rating": 5.0,
            },
            ["user: Hi"],
            ("chosen_avg_rating",),
            id="argilla",
        ),
        pytest.param(
            {
                "conversations": [{"from": "system", "value": "Be kind."}, HUMAN],
                "chosen": gpt(),
                "rejected": gpt("No."),
            },
            ["system: Be kind.", "user: Hi"],
            (),
            id="ShareGPT",
        ),
        pytest.param(
            {"system": "Be kind.", "instruction": "Hi", "input": "you", "history": [["a", "b"]], **PAIR},
            ["system: Be kind.", "user: a", "assistant: b", "user: Hi\nyou"],
            (),
            id="Alpaca with history",
        ),
        pytest.param(
            {
                "input": {"messages": [user()], "tools": [], "parallel_tool_calls": True},
                "preferred_output": [said()],
                "non_preferred_output": [said("No.")],
            },
            ["user: Hi"],
            ("input.parallel_tool_calls",),
            id="OpenAI",
        ),
        pytest.param(
            {"messages": [SYSTEM, user(), said()], "rejected_response": "No."},
            ["system: Be kind.", "user: Hi"],
            (),
            id="ms-swift",
        ),
        pytest.param(
            {"messages": [user(), said()], "rejected_messages": [user(), said("No.")]},
            ["user: Hi"],
            (),
            id="ms-swift, messages of both",
        ),
        pytest.param(
            {"chosen_conversations": [user(), said()], "rejected_conversations": [user(), said("No.")]},
            ["user: Hi"],
            (),
            id="torchtune",
        ),
        pytest.param(
            {"qid": 1, "question": "Hi", "response_j": "Arr!", "response_k": "No."},
            ["user: Hi"],
            ("qid",),
            id="StackExchange",
        ),
        pytest.param(
            {
                "prompt": " ",
                "instruction": "Hi",
                "system": "",
                "system_prompt": "Be kind.",
                "chosen": "",
                "chosen_response": "Arr!",
                "rejected": [],
                "rejected_response": "No.",
            },
            ["system: Be kind.", "user: Hi"],
            (),
            id="empty columns before those that are filled",
        ),
    ],
)
def test_pairs(row: Message, prompt: list[str], unread: tuple[str, ...]) -> None:
    assert read(row, "dpo") == (prompt, ("Arr!", "No."), (), unread)
