"""Chat templates of GGUF files, and of files without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mpg_cli.errors import ModelError, UsageError
from mpg_cli.models.load.gguf.tokenizer import write_tokenizer
from mpg_cli.models.load.tokenizer import load_tokenizer
from mpg_cli.models.text.prompt import render
from mpg_cli.models.text.prompting import Prompting

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
BYE = [{"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Bye"}]


def load(folder: Path, *control: str, end: str, **fields: Any) -> Any:
    """A tokenizer of bytes and these control tokens, of which the first begins a text."""
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*control, *alphabet, "aa"]
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token in control else 1 for token in tokens],
        "tokenizer.ggml.merges": ["a a"],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": tokens.index(end),
        **{f"tokenizer.{key.replace('__', '.')}": value for key, value in fields.items()},
    }
    write_tokenizer(metadata, folder, "tiny")
    return load_tokenizer(folder, "tiny")


def rendered(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    text: str = tokenizer.decode(render(tokenizer, Prompting(messages=tuple(messages))))
    return text


@pytest.mark.parametrize(
    "control, end, expected",
    [
        (
            ["<|begin|>", "<|im_start|>", "<|im_end|>"],
            "<|im_end|>",
            "<|begin|><|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
            "<|im_start|>assistant\n",
        ),
        (
            ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
            "<|eot_id|>",
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        (
            ["<bos>", "<start_of_turn>", "<end_of_turn>"],
            "<end_of_turn>",
            "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n"
            "<start_of_turn>model\nHello.<end_of_turn>\n<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n",
        ),
        (
            ["<s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"],
            "<|end|>",
            "<s><|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHello.<|end|>\n"
            "<|user|>\nBye<|end|>\n<|assistant|>\n",
        ),
    ],
)
def test_the_end_token_of_a_file_shows_its_format(
    control: list[str], end: str, expected: str, tmp_path: Path
) -> None:
    assert rendered(load(tmp_path, *control, end=end), [*ASKED, *BYE]) == expected


def test_a_file_that_begins_text_with_no_token_gets_none_from_the_format(tmp_path: Path) -> None:
    control = ["<|im_start|>", "<|im_end|>"]
    tokenizer = load(tmp_path, *control, end="<|im_end|>", ggml__add_bos_token=False)
    assert rendered(tokenizer, ASKED[1:]).startswith("<|im_start|>user\nHi")


def test_a_base_model_with_tokens_of_a_format_has_no_template(tmp_path: Path) -> None:
    tokenizer = load(tmp_path, "<|endoftext|>", "<|im_start|>", "<|im_end|>", end="<|endoftext|>")
    assert tokenizer.chat_template is None
    assert tokenizer.decode(render(tokenizer, Prompting("Hi"))) == "<|endoftext|>Hi"
    with pytest.raises(UsageError, match="needs a chat template, and this model's tokenizer has none"):
        rendered(tokenizer, ASKED)


@pytest.mark.parametrize("key", ["chat_template", "chat_template__default"])
def test_the_template_of_the_file_comes_first(key: str, tmp_path: Path) -> None:
    own = "{% for m in messages %}{% generation %}{{ m.content }};{% endgeneration %}{% endfor %}"
    tokenizer = load(tmp_path, "<|im_start|>", "<|im_end|>", end="<|im_end|>", **{key: own})
    assert rendered(tokenizer, ASKED[1:]) == "Hi;"


def test_a_template_may_reject_a_conversation(tmp_path: Path) -> None:
    own = "{% if messages[0].role != 'system' %}{{ raise_exception('no') }}{% endif %}"
    assert load(tmp_path, "<s>", end="<s>", chat_template=own).chat_template == own


def test_a_template_that_is_not_jinja_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load(tmp_path, "<s>", end="<s>", chat_template="{% for m in messages %}\n{{ m.content }")
    assert caught.value.message.startswith("model tiny: its chat template is no valid Jinja: ")
    assert caught.value.message.endswith("(line 2)")
    assert list(tmp_path.iterdir()) == []
