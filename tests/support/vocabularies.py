"""Small vocabularies as the metadata of a GGUF file, trained so that every split shows in the ids."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from tests.support.texts import texts

CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]  # control tokens of the byte-level vocabulary
CLASSIC = ["<unk>", "<s>", "</s>", "<|endoftext|>", "<|user|>", "<|end|>"]  # of the SentencePiece one
OWN = ["  \n", "<think>", "naïve é"]  # user-defined
WHOLE = {"hello", "The", "123"}  # byte-level tokens that no merge makes


@cache
def byte_level() -> Mapping[str, Any]:
    """A byte-level BPE with merges across words, spaces, digits and scripts; it names no pre-tokenizer."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokens, merges = _train(core, sorted(pre_tokenizers.ByteLevel.alphabet()))
    assert set(tokens) >= WHOLE
    return {
        "tokenizer.ggml.model": "gpt2",
        **_tokens(CHATML, tokens),
        "tokenizer.ggml.merges": [pair for pair in merges if pair.replace(" ", "") not in WHOLE],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }


@cache
def sentencepiece() -> Mapping[str, Any]:
    """A BPE on characters, whose scores fall in the order in which the tokens were found."""
    core = Tokenizer(models.BPE())
    core.normalizer = normalizers.Replace(" ", "▁")
    tokens, _ = _train(core, [])
    tokens = [token for token in tokens if set(token) != {"▁"} or len(token) == 1]
    runs = ["▁" * length for length in (2, 3, 4, 6, 7, 8)]  # of one score, as in the vocabulary of Llama 2
    metadata = _tokens(CLASSIC, [*(f"<0x{byte:02X}>" for byte in range(256)), *tokens, *runs])
    rank = {token: -float(i) for i, token in enumerate(tokens)} | dict.fromkeys(runs, -1e9)
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        **metadata,
        "tokenizer.ggml.scores": [rank.get(token, 0.0) for token in metadata["tokenizer.ggml.tokens"]],
    }


def _train(core: Tokenizer, alphabet: list[str]) -> tuple[list[str], list[str]]:
    """The tokens in the order in which they were found, and the merges."""
    trainer = trainers.BpeTrainer(
        vocab_size=3000, show_progress=False, initial_alphabet=alphabet, max_token_length=16
    )
    core.train_from_iterator(texts(4000, seed=1), trainer)
    model = json.loads(core.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return tokens, [" ".join(pair) for pair in model["merges"]]


def _tokens(control: list[str], tokens: list[str]) -> dict[str, Any]:
    """The tokens between control and user-defined ones, and an id that only pads the embedding."""
    listed = list(dict.fromkeys([*control, *tokens, *OWN]))
    types = {"<unk>": 2} | dict.fromkeys(OWN, 4) | {t: 6 for t in tokens if t.startswith("<0x")}
    types = dict.fromkeys(control, 3) | types
    return {
        "tokenizer.ggml.tokens": [*listed, f"[PAD{len(listed)}]"],
        "tokenizer.ggml.token_type": [*(types.get(token, 1) for token in listed), 5],
    }
