"""From a request to the text of a row."""

from __future__ import annotations

from typing import Any

import pytest

from mpg_cli.errors import ModelError, UsageError
from mpg_cli.models.text.prompt import render
from mpg_cli.models.text.prompting import Prompting
from tests.support.tokenizers import DROPS_SYSTEM, NO_SYSTEM, TEMPLATE, byte_tokenizer


def text(prompting: Prompting, persona: str | None = None, **tokenizer: Any) -> str:
    chosen = byte_tokenizer(**tokenizer)
    return chosen.decode(render(chosen, prompting, persona))


def test_system_text_is_the_requests_then_the_personas() -> None:
    assert text(Prompting("Hi")) == "<user>Hi</><assistant>"
    assert text(Prompting("Hi"), "Be a pirate.") == "<system>Be a pirate.</><user>Hi</><assistant>"
    both = text(Prompting("Hi", system="Be brief."), "Be a pirate.")
    assert both == "<system>Be brief.\n\nBe a pirate.</><user>Hi</><assistant>"


@pytest.mark.parametrize("template", [NO_SYSTEM, DROPS_SYSTEM])
def test_a_template_without_a_system_turn_gets_it_in_front_of_the_user(template: str) -> None:
    got = text(Prompting("Hi", system="Be brief."), "Be a pirate.", template=template)
    assert got == "<user>Be brief.\n\nBe a pirate.\n\nHi</><assistant>"


def test_no_template_or_raw() -> None:
    assert text(Prompting("Hi"), template=None) == "Hi"
    assert text(Prompting("Hi", system="S"), "P", template=None) == "S\n\nP\n\nHi"
    assert text(Prompting("Hi", raw=True), "P") == "P\n\nHi"


def test_switches_of_a_template_need_one() -> None:
    with pytest.raises(UsageError, match="--template-arg needs a chat template"):
        text(Prompting("Hi", template_args={"think": True}), template=None)


def test_messages() -> None:
    turns = (
        {"role": "system", "content": "S"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    )
    got = text(Prompting(messages=turns), "P")
    assert got == "<system>S\n\nP</><user>a</><assistant>b</><user>c</><assistant>"
    with pytest.raises(UsageError, match="chat template"):
        text(Prompting(messages=turns), template=None)
    with pytest.raises(UsageError, match="no such role"):
        text(Prompting(messages=({"role": "tool", "content": "x"}, {"role": "user", "content": "c"})))


def test_template_arguments() -> None:
    assert text(Prompting("Hi", template_args={"think": False})).endswith("<assistant>[False]")


@pytest.mark.parametrize("name", ["tokenize", "add_generation_prompt", "conversation", "messages"])
def test_arguments_of_transformers_itself_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"--template-arg {name}"):
        text(Prompting("Hi", template_args={name: True}))


def test_system_text_goes_to_the_first_user_turn_even_behind_an_assistants() -> None:
    turns = ({"role": "assistant", "content": "a"}, {"role": "user", "content": "b"})
    got = text(Prompting(messages=turns), "P", template=NO_SYSTEM)
    assert got == "<assistant>a</><user>P\n\nb</><assistant>"


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ("{{ raise_exception('out of order') }}", "out of order"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{% macro own() %}{{ own() }}{% endmacro %}{{ own() }}", "recursion"),
        ("{{ 'x'.encode('no-codec') }}", "no-codec"),
        ("{{ range(10 ** 9) | list }}", "Range too big"),
        ("{{ 'x' * 10 ** 17 }}", "MemoryError"),
        ("{{ messages[0].content }}{{ 1 / (messages[0].content | length - 2) }}", "division by zero"),
    ],
)
def test_a_template_that_fails_by_itself_is_the_models_fault(broken: str, why: str) -> None:
    with pytest.raises(ModelError, match=why):
        text(Prompting("Hi"), template=broken)
    with pytest.raises(UsageError, match=why):
        text(Prompting(messages=({"role": "user", "content": "Hi"},)), template=broken)


def test_a_prefill_stands_behind_the_replys_opening() -> None:
    assert text(Prompting("Hi", prefill="Sure, ")) == "<user>Hi</><assistant>Sure, "
    assert text(Prompting("Hi", prefill="Sure, "), "P", template=None) == "P\n\nHiSure, "
    assert text(Prompting("Hi", raw=True, prefill=" there")) == "Hi there"


def test_a_last_assistant_turn_is_the_prefill() -> None:
    turns = ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Sure, "})
    asked = Prompting(messages=turns, system="S")
    assert (asked.messages, asked.prefill) == (turns[:1], "Sure, ")
    assert text(asked) == "<system>S</><user>Hi</><assistant>Sure, "
    assert text(asked, template=NO_SYSTEM) == "<user>S\n\nHi</><assistant>Sure, "
    with pytest.raises(UsageError, match="has two beginnings"):
        Prompting(messages=turns, prefill="Well, ")


def test_a_prefill_is_kept_as_it_is_where_a_template_would_change_it() -> None:
    """Of a template that strips turns, or has no place for an open one, the reply's opening is taken."""
    strips = TEMPLATE.replace("{{ m.content }}", "{{ m.content | trim }}")
    assert text(Prompting("Hi", prefill="Sure, "), template=strips) == "<user>Hi</><assistant>Sure, "
    refuses = "{% if messages[-1].role == 'assistant' %}{{ raise_exception('no') }}{% endif %}" + TEMPLATE
    assert text(Prompting("Hi", prefill="Sure, "), template=refuses) == "<user>Hi</><assistant>Sure, "


def test_the_newlines_of_a_prefill_reach_the_prompt() -> None:
    """A template that trims them, with as many of its own there, must not pass for one that does not."""
    trims = TEMPLATE.replace(
        "<{{ m.role }}>{{ m.content }}", "<{{ m.role }}>\n\n{{ m.content | trim }}"
    ).replace("<assistant>", "<assistant>\n\n")
    assert text(Prompting("Hi", prefill="\n\nSure"), template=trims).endswith("<assistant>\n\n\n\nSure")
    assert text(Prompting("Hi", prefill="Sure"), template=trims).endswith("<assistant>\n\nSure")


def test_a_thought_that_the_prefill_begins_with_is_opened_once() -> None:
    thinks = TEMPLATE.replace("{{ m.content }}", "{{ m.content.split('</think>')[-1] }}").replace(
        "<assistant>{% if think", "<assistant><think>\n{% if think"
    )
    begun = "<think>\nhm\n</think>\n\nOk"
    assert text(Prompting("Hi", prefill=begun), template=thinks) == f"<user>Hi</><assistant>{begun}"


def test_a_template_that_shows_a_turn_twice_has_no_place_for_an_open_one() -> None:
    twice = TEMPLATE.replace("{{ m.content }}", "{{ m.content }} {{ m.content }}")
    got = text(Prompting("Hi", prefill="Sure"), template=twice)
    assert got == "<user>Hi Hi</><assistant>Sure"


def test_earlier_replies_arrive_where_the_template_wants_them_in_parts() -> None:
    turns = (
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "<think>hm</think>ok then"},
        {"role": "user", "content": "b"},
    )
    parts = TEMPLATE.replace(
        "{{ m.content }}", "{{ m.content[0].text if m.role == 'assistant' else m.content }}"
    )
    assert "<assistant><think>hm</think>ok then</>" in text(Prompting(messages=turns), template=parts)
    cuts = TEMPLATE.replace("{{ m.content }}", "{{ m.content.split('</think>')[-1] }}")
    assert "<assistant>ok then</>" in text(Prompting(messages=turns), template=cuts)
    drops = TEMPLATE.replace("{{ m.content }}", "{{ m.content if m.role != 'assistant' }}")
    assert text(Prompting(messages=turns), template=drops) == "<user>a</><assistant></><user>b</><assistant>"


def test_messages_need_a_user_turn() -> None:
    with pytest.raises(UsageError, match="no user turn"):
        Prompting(messages=({"role": "assistant", "content": "x"},))


def test_a_template_may_open_a_reply_that_is_begun_otherwise() -> None:
    thinks = TEMPLATE.replace("<assistant>{% if think", "<assistant><think>{% if think")
    assert text(Prompting("Hi"), template=thinks) == "<user>Hi</><assistant><think>"
    assert text(Prompting("Hi", prefill="Sure"), template=thinks) == "<user>Hi</><assistant>Sure"


# Templates that read content as parts


def reading(system: str, user: str, assistant: str) -> str:
    """A template with a default system turn that reads the roles in these ways."""
    return (
        "<system>You are nice.</>{% for m in messages %}<{{ m.role }}>"
        f"{{% if m.role == 'system' %}}{system}{{% elif m.role == 'user' %}}{user}"
        f"{{% else %}}{assistant}{{% endif %}}</>{{% endfor %}}<assistant>"
    )


PLAIN, FIRST = "{{ m.content | trim }}", "{{ m.content[0]['text'] }}"
EACH = "{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}"
STRICT = "{% if m.content is string %}{{ raise_exception('parts, please') }}{% endif %}" + EACH
CONVERSATION = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "nice "},
    {"role": "assistant", "content": "b"},
    {"role": "user", "content": "c\n\nd"},
)


@pytest.mark.parametrize(
    "ways",
    [
        (PLAIN, PLAIN, PLAIN),
        (EACH, EACH, EACH),
        (FIRST, FIRST, FIRST),
        (STRICT, STRICT, STRICT),
        (PLAIN, EACH, FIRST),
        (PLAIN, FIRST, PLAIN),
        (EACH, EACH, PLAIN),
    ],
)
def test_every_content_form_reaches_the_model(ways: tuple[str, str, str]) -> None:
    got = text(Prompting(messages=CONVERSATION), "P", template=reading(*ways))
    expected = (
        "<system>You are nice.</><system>Be brief.\n\nP</><user>nice</>"
        "<assistant>b</><user>c\n\nd</><assistant>"
    )
    assert got.replace("nice </", "nice</") == expected
    assert text(Prompting("nice"), template=reading(*ways)).endswith("<user>nice</><assistant>")


def test_a_template_with_parts_and_without_a_system_turn() -> None:
    template = "{% for m in messages if m.role != 'system' %}<{{ m.role }}>" + EACH + "</>{% endfor %}"
    assert text(Prompting("Hi"), "P", template=template) == "<user>P\n\nHi</>"


@pytest.mark.parametrize("way", ["", "{{ m.content | upper }}", "{{ m.content[:4] }}", "{{ m.text }}"])
def test_a_template_that_drops_content_is_a_model_error(way: str) -> None:
    """The words of the default system turn do not pass for the user's."""
    with pytest.raises(ModelError, match="drops or changes user text") as caught:
        text(Prompting("nice"), template=reading(PLAIN, way, PLAIN))
    assert "--raw" in str(caught.value.hint)


def test_thoughts_of_earlier_replies_may_be_left_out() -> None:
    short = "{{ m.content.split('</think>')[-1] }}"
    turns = (CONVERSATION[1], {"role": "assistant", "content": "<think>x</think>b"}, CONVERSATION[3])
    got = text(Prompting(messages=turns), template=reading(PLAIN, PLAIN, short))
    assert "<assistant>b</>" in got
