"""Rows as public data sets have them: what becomes the prompt, what is learnt, what is named or refused."""

from __future__ import annotations

from typing import Any

import pytest

from mpg_cli.training.columns import read_row
from mpg_cli.training.rows import Method, Turn, Wrong

Message = dict[str, Any]
PAIR = {"chosen": "Arr!", "rejected": "No."}
SYSTEM = {"role": "system", "content": "Be kind."}
HUMAN = {"from": "human", "value": "Hi"}


def user(content: str = "Hi") -> Message:
    return {"role": "user", "content": content}


def said(content: str = "Arr!", **beside: Any) -> Message:
    return {"role": "assistant", "content": content} | beside


def gpt(value: str = "Arr!") -> Message:
    return {"from": "gpt", "value": value}


def spoken(*texts: str) -> str:
    """As hh-rlhf writes a dialogue."""
    speakers = ("Human", "Assistant") * len(texts)
    return "".join(f"\n\n{speaker}: {text}" for speaker, text in zip(speakers, texts, strict=False))


def read(row: Message, method: Method) -> tuple[list[str], tuple[str, ...], tuple[int, ...], tuple[str, ...]]:
    """Prompt as `role: text`, replies, places of earlier replies that are learnt, columns not read."""
    found, unread = read_row(row, method, "f:1")
    return [f"{turn.role}: {turn.content}" for turn in found.prompt], found.replies, found.learnt, unread


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
            {"prompt": "\n\nHuman: Hi\n\nAssistant:", "chosen": " Arr!", "rejected": " No."},
            ["user: Hi"],
            (),
            id="hh-rlhf with a prompt of its own",
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
    ],
)
def test_pairs(row: Message, prompt: list[str], unread: tuple[str, ...]) -> None:
    assert read(row, "dpo") == (prompt, ("Arr!", "No."), (), unread)


@pytest.mark.parametrize(
    ("row", "prompt", "learnt", "unread"),
    [
        pytest.param({"prompt": "Hi", "completion": "Arr!"}, ["user: Hi"], (), (), id="TRL"),
        pytest.param(
            {"prompt": [SYSTEM, user("a"), said("b"), user()], "completion": [said()]},
            ["system: Be kind.", "user: a", "assistant: b", "user: Hi"],
            (),
            (),
            id="TRL, replies of the prompt are not learnt",
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
    ],
)
def test_replies(row: Message, prompt: list[str], learnt: tuple[int, ...], unread: tuple[str, ...]) -> None:
    assert read(row, "sft") == (prompt, ("Arr!",), learnt, unread)


@pytest.mark.parametrize(
    ("method", "row", "message"),
    [
        ("dpo", PAIR, "prompt is missing"),
        (
            "dpo",
            {"prompt": "Hi", "completion": "Arr!", "label": True},
            "label marks a single reply as good or bad (KTO); a pair is needed, chosen and rejected",
        ),
        ("sft", {"messages": [user(), said()], "kto_tag": False}, "kto_tag marks a single reply"),
        (
            "dpo",
            {"instruction": "Hi", "generations": ["a", "b"], "ratings": [1, 5]},
            "chosen is missing; of the rated replies two make a pair, chosen and rejected",
        ),
        (
            "dpo",
            {"messages": [user(), said()]},
            "rejected is missing; replies without a rejected one are imitated",
        ),
        (
            "sft",
            {"prompt": "Hi", **PAIR},
            "response is missing; pairs of chosen and rejected train without --sft",
        ),
        ("sft", {"text": "Hi"}, "prompt is missing; text has prompt and reply in one, give them apart"),
        (
            "dpo",
            {
                "chosen": [user(), said("a"), user(), said()],
                "rejected": [user(), said("b"), user(), said("No.")],
            },
            "chosen and rejected differ before their last turns",
        ),
        ("sft", {"prompt": "Yo", "messages": [user(), said()]}, "messages follows another conversation"),
        ("sft", {"messages": [user()]}, "messages has no turn of the assistant to learn from"),
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
            "messages[1].tool_calls cannot be trained, only the text of a conversation",
        ),
        (
            "dpo",
            {"input": {"messages": [user()], "tools": [{"type": "function"}]}, **PAIR},
            "input.tools cannot be trained",
        ),
        ("dpo", {"prompt": "Hi", **PAIR, "images": ["a.png"]}, "images cannot be trained, only the text"),
        ("sft", {"conversations": [HUMAN, gpt() | {"value": 7}]}, "conversations[1].value must be text"),
        (
            "sft",
            {"conversations": ["Hi", "Arr!"]},
            "conversations[0] must be an object with role and content",
        ),
        (
            "dpo",
            {"system": "S", "prompt": [SYSTEM, user()], **PAIR},
            "system and the system turn say different",
        ),
        ("dpo", {"system": ["S"], "prompt": "Hi", **PAIR}, "system must be text"),
        ("dpo", {"system": "\0", "prompt": "Hi", **PAIR}, "system holds a NUL character"),
        (
            "sft",
            {"prompt": "Hi", "response": "Arr!", "history": "Yo"},
            "history must be a list of [user, assistant]",
        ),
        (
            "dpo",
            {"prompt": "<|im_start|>user\nHi<|im_end|>\n", **PAIR},
            "prompt has marks of a chat template (<|im_start|>); give the words alone",
        ),
        ("sft", {"prompt": "Hi", "response": "Arr!</s>\n"}, "response has marks of a chat template (</s>)"),
    ],
)
def test_what_cannot_be_trained_says_why(method: Method, row: Message, message: str) -> None:
    with pytest.raises(Wrong) as caught:
        read_row(row, method, "f:1")
    assert str(caught.value).startswith(message)


def test_a_row_for_each_reply_that_is_learnt() -> None:
    row, _ = read_row({"messages": [SYSTEM, user("a"), said("b"), user("c"), said("d")]}, "sft", "f:1")
    first, last = row.apart()
    assert (first.prompt, first.replies) == ((Turn("system", "Be kind."), Turn("user", "a")), ("b",))
    assert (last.prompt, last.replies) == (row.prompt, ("d",))
    assert first.learnt == last.learnt == ()
    assert first.opening == last.opening == first.prompt
