"""Rows for TRL: with a chat template as messages, without as text; the prompt is that of `mpg generate`."""

from __future__ import annotations

from mpg_cli.models.prompt import render
from mpg_cli.request import Prompting
from mpg_cli.training.conversation import examples, reply_tokens
from mpg_cli.training.data import Row, Turn
from tests.models.words import DROPS_SYSTEM, NO_SYSTEM, TEMPLATE, byte_tokenizer

PAIR = Row((Turn("user", "Hi"),), ("Arr!", "Hello."), "f:1")
WITH_SYSTEM = Row((Turn("system", "Be brief."), Turn("user", "Hi")), ("Arr!",), "f:2")
LONGER = Row((Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c")), ("d", "e"), "f:3")


def test_messages_for_a_chat_template() -> None:
    made, used, problems = examples([PAIR, LONGER], byte_tokenizer(), {"think": "no"})
    assert problems == []
    assert used == [PAIR, LONGER]
    assert made[0] == {
        "prompt": [{"role": "user", "content": "Hi"}],
        "chosen": [{"role": "assistant", "content": "Arr!"}],
        "rejected": [{"role": "assistant", "content": "Hello."}],
        "chat_template_kwargs": {"think": "no"},
    }
    assert [message["role"] for message in made[1]["prompt"]] == ["user", "assistant", "user"]


def test_text_without_a_template() -> None:
    made, _, problems = examples([PAIR, WITH_SYSTEM, LONGER], byte_tokenizer(None))
    assert made == [
        {"prompt": "Hi", "chosen": "Arr!", "rejected": "Hello."},
        {"prompt": "Be brief.\n\nHi", "completion": "Arr!"},
    ]
    assert [(problem.where, problem.message) for problem in problems] == [
        ("f:3", "messages need a chat template, and this model has none")
    ]


def test_the_prompt_is_what_generate_gives_to_the_model() -> None:
    for template in (TEMPLATE, NO_SYSTEM, DROPS_SYSTEM, None):
        tokenizer = byte_tokenizer(template)
        (made,), _, _ = examples([WITH_SYSTEM], tokenizer)
        if template is None:
            ids = tokenizer(made["prompt"])["input_ids"]
        else:
            text = tokenizer.apply_chat_template(made["prompt"], tokenize=False, add_generation_prompt=True)
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert ids == render(tokenizer, Prompting("Hi", None, "Be brief.", False, {}))


def test_the_system_text_of_a_conversation_goes_where_generate_puts_it() -> None:
    """Also where the assistant greets first, and where no system turn is taken."""
    turns = (Turn("system", "Be brief."), Turn("assistant", "Ahoy"), Turn("user", "Hi"))
    messages = tuple({"role": turn.role, "content": turn.content} for turn in turns)
    for template in (TEMPLATE, NO_SYSTEM, DROPS_SYSTEM):
        tokenizer = byte_tokenizer(template)
        (made,), _, _ = examples([Row(turns, ("Arr!",), "f:1")], tokenizer)
        text = tokenizer.apply_chat_template(made["prompt"], tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert ids == render(tokenizer, Prompting(messages=messages))


def test_an_example_for_each_reply_that_is_learnt() -> None:
    talk = Row(LONGER.prompt, ("d",), "f:4", learnt=(1,))
    made, used, _ = examples([talk], byte_tokenizer())
    assert [example["completion"][0]["content"] for example in made] == ["b", "d"]
    assert [len(example["prompt"]) for example in made] == [1, 3]
    assert [row.replies for row in used] == [("b",), ("d",)]


def test_a_row_that_the_template_refuses_is_named() -> None:
    picky = "{% if messages[0].content == 'Hi' %}{{ raise_exception('rude') }}{% endif %}" + TEMPLATE
    made, used, problems = examples([PAIR, LONGER], byte_tokenizer(picky))
    assert used == [LONGER]
    assert len(made) == 1
    assert [problem.message for problem in problems] == ["this model's chat template refuses it: rude"]


def test_a_row_whose_words_the_template_swallows_is_named() -> None:
    for content, reason in (
        ("m.content[:1]", "leaves out what the user says"),
        ("m.content[0].text", "reads text in parts, which is not trained"),  # it finds none in a string
    ):
        template = TEMPLATE.replace("m.content", content)
        made, used, problems = examples([PAIR], byte_tokenizer(template))
        assert (made, used) == ([], [])
        assert [problem.message for problem in problems] == [f"this model's chat template {reason}"]


def test_length_of_replies() -> None:
    assert reply_tokens([PAIR], byte_tokenizer()) == (4 + 6) / 2 + 1
