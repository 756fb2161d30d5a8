"""Rows as token ids: the prompt of `mpg generate`, then the reply as the model would generate it."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mpg_cli.errors import ModelError
from mpg_cli.models.text.prompt import render
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.training.conversation import Example, examples, reply_tokens
from mpg_cli.training.data import Row, Turn
from tests.support.tokenizers import DROPS_SYSTEM, NO_SYSTEM, TEMPLATE, byte_tokenizer

PAIR = Row((Turn("user", "Hi"),), ("Arr!", "Hello."), "f:1")
WITH_SYSTEM = Row((Turn("system", "Be brief."), Turn("user", "Hi")), ("Arr!",), "f:2")
LONGER = Row((Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c")), ("d", "e"), "f:3")
THOUGHT = "<think>\nhm\n</think>\n\nArr!"
PARTS = TEMPLATE.replace("m.content", "m.content[0].text")

# As published, without their tools.
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN3 = CHATML.replace(
    "{{ m.content }}",
    "{% set c = m.content %}{% if m.role == 'assistant' %}{% set t = '' %}{% if '</think>' in c %}"
    "{% set t = c.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set c = c.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ '<think>\n' + t + '\n</think>\n\n' }}{% endif %}{{ c }}",
)
QWEN3_THINKS = QWEN3.replace("<|im_start|>assistant\n{% endif", "<|im_start|>assistant\n<think>\n{% endif")
QWEN3_SWITCH = QWEN3.replace(
    "assistant\n{% endif",
    "assistant\n{% if enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif",
)
NEMOTRON = QWEN3_THINKS.replace("{{ '<think>\n' + t + '\n</think>\n\n' }}", "<think>{{ t }}</think>")
R1 = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% endif %}"
    "{% if m.role == 'user' %}{{ '<｜User｜>' + m.content }}{% endif %}{% if m.role == 'assistant' %}"
    "{{ '<｜Assistant｜>' + m.content.split('</think>')[-1] + '<|im_end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\n' }}{% endif %}"
)
R1_FIRST = R1.replace("<think>\n", "")
GLM = (
    "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n{% if m.role == 'assistant' %}"
    "{{ '<think></think>\n' }}{% endif %}{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
LLAMA2 = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% for m in messages %}{% set c = m.content.strip() %}"
    "{% if m.role == 'user' %}[INST] {{ c }} [/INST]{% else %} {{ c }}<|im_end|>{% endif %}{% endfor %}"
)
MISTRAL = (  # v0.3: the system text stands in the last user turn as long as no reply follows
    "{% set ms = messages %}{% if messages[0].role == 'system' %}{% set s = messages[0].content %}"
    "{% set ms = messages[1:] %}{% endif %}{% for m in ms %}{% if m.role == 'user' %}"
    "[INST] {% if loop.last and s is defined %}{{ s + '\n\n' }}{% endif %}{{ m.content }}[/INST]"
    "{% else %}{{ ' ' + m.content | trim }}<|im_end|>{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{% for m in messages %}<|h|>{{ m.role }}<|/h|>\n\n{{ m.content | trim }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|h|>assistant<|/h|>\n\n{% endif %}"
)
GPT_OSS = (
    "{% for m in messages %}<|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final{% endif %}"
    "<|message|>{{ m.content }}{{ '<|im_end|>' if m.role == 'assistant' else '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)


def chat_tokenizer(template: str | None) -> Any:
    """Line ends merge, and a blank with a letter, as in any trained vocabulary; `<|im_end|>` is the end."""
    tokenizer = byte_tokenizer(template, pairs=[("Ċ", "Ċ"), ("Ġ", "A"), ("Ġ", "H")])
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>"})
    return tokenizer


def made(tokenizer: Any, *rows: Row, **template_args: Any) -> list[Example]:
    found, _, problems = examples(rows, tokenizer, (), template_args)
    assert problems == []
    return found


def generated(tokenizer: Any, row: Row, **template_args: Any) -> list[int]:
    """The prompt of `mpg generate`."""
    if len(row.prompt) == 1 or tokenizer.chat_template is None:
        system = row.prompt[0].content if row.prompt[1:] else None
        prompting = Prompting(row.prompt[-1].content, system=system, template_args=template_args)
    else:
        messages = tuple({"role": turn.role, "content": turn.content} for turn in row.prompt)
        prompting = Prompting(messages=messages, template_args=template_args)
    return render(tokenizer, prompting)


@pytest.mark.parametrize(
    ("template", "reply", "args", "trained"),
    [
        pytest.param(CHATML, "Arr!", {}, "Arr!<|im_end|>", id="ChatML"),
        pytest.param(CHATML, "\n\nArr!\n", {}, "Arr!<|im_end|>", id="ChatML, white space around a reply"),
        pytest.param(CHATML, THOUGHT, {}, THOUGHT + "<|im_end|>", id="ChatML, a thought"),
        pytest.param(LLAMA3, " Arr!", {}, "Arr!<|im_end|>", id="Llama 3"),
        pytest.param(LLAMA2, "Arr!", {}, " Arr!<|im_end|>", id="Llama 2"),
        pytest.param(MISTRAL, "Arr!", {}, " Arr!<|im_end|>", id="Mistral 0.3"),
        pytest.param(GPT_OSS, "Arr!", {}, "<|channel|>final<|message|>Arr!<|im_end|>", id="gpt-oss"),
        pytest.param(GLM, "Arr!", {}, "\n<think></think>\nArr!<|im_end|>", id="GLM 4.5, which writes no end"),
        pytest.param(QWEN3, "Arr!", {}, "<think>\n\n</think>\n\nArr!<|im_end|>", id="Qwen3"),
        pytest.param(QWEN3, THOUGHT, {}, THOUGHT + "<|im_end|>", id="Qwen3, a thought"),
        pytest.param(
            QWEN3_SWITCH, "Arr!", {"enable_thinking": False}, "Arr!<|im_end|>", id="Qwen3 without thinking"
        ),
        pytest.param(
            QWEN3_SWITCH,
            "<think>\n\n</think>\n\nArr!",
            {"enable_thinking": False},
            "Arr!<|im_end|>",
            id="Qwen3 without thinking, an empty thought",
        ),
        pytest.param(QWEN3_THINKS, "Arr!", {}, "\n</think>\n\nArr!<|im_end|>", id="Qwen3.5"),
        pytest.param(QWEN3_THINKS, THOUGHT, {}, "hm\n</think>\n\nArr!<|im_end|>", id="Qwen3.5, a thought"),
        pytest.param(NEMOTRON, "Arr!", {}, "</think>Arr!<|im_end|>", id="Nemotron, other white space"),
        pytest.param(R1, THOUGHT, {}, "hm\n</think>\n\nArr!<|im_end|>", id="R1, which cuts the thought"),
        pytest.param(
            R1, "<think>\n\n</think>\n\nArr!", {}, "\n</think>\n\nArr!<|im_end|>", id="R1, an empty thought"
        ),
        pytest.param(
            R1, THOUGHT[len("<think>\n") :], {}, "hm\n</think>\n\nArr!<|im_end|>", id="R1, as it says itself"
        ),
        pytest.param(R1_FIRST, THOUGHT, {}, THOUGHT + "<|im_end|>", id="R1 as it was first"),
        pytest.param(R1_FIRST, "Arr!", {}, "Arr!<|im_end|>", id="R1 as it was first, no thought"),
        pytest.param(TEMPLATE, "Arr!", {}, "Arr!</><|im_end|>", id="an end that is no end token"),
        pytest.param(PARTS, "Arr!", {}, "Arr!</><|im_end|>", id="content in parts"),
        pytest.param(None, " Arr!\n", {}, " Arr!\n<|im_end|>", id="no template"),
    ],
)
def test_training_tokens_are_those_of_generation(
    template: str | None, reply: str, args: dict[str, Any], trained: str
) -> None:
    """Prompt and reply share no token, whatever merges, and the end token comes last."""
    tokenizer = chat_tokenizer(template)
    rows = [WITH_SYSTEM, PAIR, Row(LONGER.prompt, ("d",), "f:3")]
    for row in rows[: 3 if template else 2]:
        (example,) = made(tokenizer, Row(row.prompt, (reply,), "f:1"), **args)
        assert example.prompt == generated(tokenizer, row, **args)
        assert tokenizer.decode(example.replies[0]) == trained
        assert example.replies[0].count(tokenizer.eos_token_id) == 1
        assert example.replies[0][-1] == tokenizer.eos_token_id


def test_a_token_without_an_embedding_leaves_the_row_out() -> None:
    tokenizer = chat_tokenizer(CHATML)
    tokenizer.add_tokens(["<new>"])
    bad = Row(PAIR.prompt, ("Arr <new>!",), "f:1")
    good = Row(PAIR.prompt, ("Arr!",), "f:2")
    _, used, problems = examples([bad, good], tokenizer, (), size=len(tokenizer) - 1)
    assert used == [good]
    assert "it has the token '<new>'" in problems[0].message
    assert "which has no embedding" in problems[0].message


def test_tokens_do_not_reach_over_from_the_prompt() -> None:
    """Line ends would merge, and a blank with the first letter: generation cannot go on from there."""
    opens_with_blank = CHATML.replace("<|im_start|>{{ m.role }}\n", "{{ m.role }}: ").replace(
        "<|im_start|>assistant\n", "assistant: "
    )
    for template, reply in ((QWEN3_THINKS, "Arr!"), (opens_with_blank, "Arr!"), (None, "\nArr!")):
        tokenizer = chat_tokenizer(template)
        prompt = "Hi\n" if template is None else "Hi"
        (example,) = made(tokenizer, Row((Turn("user", prompt),), (reply,), "f:1"))
        text = tokenizer.decode([*example.prompt, *example.replies[0]])
        assert tokenizer(text)["input_ids"][: len(example.prompt)] != example.prompt
        assert example.prompt == render(tokenizer, Prompting(prompt))


def test_a_tokenizer_that_begins_text_with_a_space() -> None:
    """As Llama's does: none after the prompt."""
    words = {word: at for at, word in enumerate(["<unk>", "</s>", "▁", "\n", "H", "i", "▁H"])}
    core = Tokenizer(models.BPE(vocab=words, merges=[("▁", "H")], unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    core.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", unk_token="<unk>")
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    (example,) = made(tokenizer, Row((Turn("user", "Hi"),), ("Hi",), "f:1"))
    assert tokenizer.convert_ids_to_tokens(example.prompt) == ["▁H", "i", "\n"]
    assert tokenizer.convert_ids_to_tokens(example.replies[0]) == ["H", "i", "\n", "</s>"]


def test_the_reply_ends_with_whatever_ends_it_in_generation() -> None:
    tokenizer = byte_tokenizer(CHATML)  # its end token is another
    tokenizer.add_tokens(["<|im_end|>"], special_tokens=True)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    (example,), _, _ = examples([PAIR], tokenizer, {end})
    assert [tokenizer.decode(reply) for reply in example.replies] == ["Arr!<|im_end|>", "Hello.<|im_end|>"]
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="has no end token"):
        examples([PAIR], tokenizer, ())


@pytest.mark.parametrize("template", [TEMPLATE, NO_SYSTEM, DROPS_SYSTEM])
def test_the_system_text_goes_where_generate_puts_it(template: str) -> None:
    """Also where the assistant greets first, and where no system turn is taken."""
    turns = (Turn("system", "Be brief."), Turn("assistant", "Ahoy"), Turn("user", "Hi"))
    tokenizer = byte_tokenizer(template)
    for row in (WITH_SYSTEM, Row(turns, ("Arr!",), "f:1")):
        (example,) = made(tokenizer, row)
        assert example.prompt == generated(tokenizer, row)


def test_text_without_a_template() -> None:
    tokenizer = byte_tokenizer(None)
    found, _, problems = examples([PAIR, WITH_SYSTEM, LONGER], tokenizer, ())
    texts = [[tokenizer.decode(each.prompt), *map(tokenizer.decode, each.replies)] for each in found]
    assert texts == [["Hi", "Arr!<end>", "Hello.<end>"], ["Be brief.\n\nHi", "Arr!<end>"]]
    assert [(problem.where, problem.message) for problem in problems] == [
        ("f:3", "messages need a chat template, and this model has none")
    ]


def test_an_example_per_imitated_reply() -> None:
    tokenizer = byte_tokenizer()
    talk = Row(LONGER.prompt, ("d",), "f:4", imitated=(1,))
    found, used, _ = examples([talk], tokenizer, ())
    assert [tokenizer.decode(each.replies[0]) for each in found] == ["b</><end>", "d</><end>"]
    assert [tokenizer.decode(each.prompt) for each in found] == [
        "<user>a</><assistant>",
        "<user>a</><assistant>b</><user>c</><assistant>",
    ]
    assert [row.replies for row in used] == [("b",), ("d",)]


@pytest.mark.parametrize(
    ("template", "reply", "args", "reason"),
    [
        ("{% if messages[0].content == 'Hi' %}{{ raise_exception('rude') }}{% endif %}", "Arr!", {}, "rude"),
        (R1, "Arr!", {}, "it opens every reply with '<think>', and this one does not begin with it"),
        (
            QWEN3_SWITCH,
            THOUGHT,
            {"enable_thinking": False},
            "it opens every reply with '</think>', and this one does not begin with it",
        ),
        (TEMPLATE.replace("m.content", "m.content[:1]"), "Arr!", {}, "it leaves out what the user says"),
        (
            TEMPLATE.replace("{{ m.content }}", "{{ m.content if m.role == 'user' }}"),
            "Arr!",
            {},
            "it drops assistant text",
        ),
    ],
)
def test_a_row_that_the_template_cannot_have_is_named(
    template: str, reply: str, args: dict[str, Any], reason: str
) -> None:
    bad, good = Row(PAIR.prompt, (reply,), "f:1"), Row(PAIR.prompt, (THOUGHT,), "f:2")
    tokenizer = chat_tokenizer(template if "rude" not in template else template + TEMPLATE)
    _, used, problems = examples([bad, good], tokenizer, (), args)
    assert problems[0].message == f"the chat template of the model refuses it: {reason}"
    assert (used == [good]) is (template == R1)


def test_an_end_token_inside_of_a_reply_is_named() -> None:
    for template in (CHATML, None):
        row = Row(PAIR.prompt, ("Arr!<|im_end|>\nuser: more",), "f:1")
        found, _, problems = examples([row], chat_tokenizer(template), ())
        assert found == []
        assert [problem.message for problem in problems] == ["a reply contains <|im_end|>, an end token"]


def test_length_of_replies() -> None:
    assert reply_tokens([Example([1], ([2, 3, 0], [4, 0])), Example([1], ([0],))]) == 2
