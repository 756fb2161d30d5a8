"""Small tokenizers: of bytes with a chat template, of whole words, and of words with marks for spaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

TEMPLATE = (
    "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('no such role') }}{% endif %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% if think is defined %}[{{ think }}]{% endif %}{% endif %}"
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('system is not allowed') }}{% endif %}"
    + TEMPLATE
)
DROPS_SYSTEM = TEMPLATE.replace("<{{ m.role }}>", "{% if m.role != 'system' %}<{{ m.role }}>").replace(
    "</>{% endfor %}", "</>{% endif %}{% endfor %}"
)


def byte_tokenizer(
    template: str | None = TEMPLATE, extra: int = 0, pairs: Sequence[tuple[str, str]] = ()
) -> Any:
    """256 bytes, tokens for `pairs` of them, then an end token `<end>` and `extra` unused ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: i for i, character in enumerate([*alphabet, *map("".join, pairs)])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=list(pairs)))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>")
    tokenizer.add_tokens([f"<unused{i}>" for i in range(extra)])
    tokenizer.chat_template = template
    return tokenizer


def word_tokenizer(vocabulary: int = 96, last: str = "zz") -> Any:
    """Whole words w0, w1, …, of which w0 is the unknown one and w1 the end; `last` is the last one."""
    words = {f"w{i}": i for i in range(vocabulary - 1)} | {last: vocabulary - 1}
    core = Tokenizer(models.WordLevel(words, unk_token="w0"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="w0", eos_token="w1")


def metaspace_tokenizer() -> Any:
    """Whole words with a mark for the space before them, as sentencepiece has them."""
    words = {"<unk>": 0, "▁the": 1, "▁cat": 2, "▁sat": 3}
    core = Tokenizer(models.WordLevel(vocab=words, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")
