"""Tokenizers of GGUF files: token ids and text are llama.cpp's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.models.load.gguf.pretokenizers import PRE_TOKENIZERS
from mpg_cli.models.load.gguf.tokenizer import write_tokenizer
from mpg_cli.models.load.tokenizer import load_tokenizer
from tests.support.llama_cpp import LlamaTokenizer, write_gguf
from tests.support.texts import texts
from tests.support.vocabularies import CHATML, CLASSIC, OWN, byte_level, sentencepiece

FIRST = {pre: name for name, pre in reversed(PRE_TOKENIZERS.items())}  # the first name of each


def rebuilt(metadata: Mapping[str, Any], folder: Path) -> Any:
    """The tokenizer that loads from the folder."""
    write_tokenizer(metadata, folder, "tiny")
    return load_tokenizer(folder, "tiny")


def check_equal(metadata: Mapping[str, Any], folder: Path, count: int, extra: Sequence[str]) -> None:
    """The ids of so many texts, with what is added around them, and the texts of the ids."""
    ours = rebuilt(metadata, folder)
    with LlamaTokenizer(write_gguf(folder / "tiny.gguf", metadata)) as theirs:
        for text in texts(count, seed=2, extra=extra):
            ids = theirs.encode(text, around=True)
            assert ours(text)["input_ids"] == ids, text
            assert ours.decode(ids, clean_up_tokenization_spaces=False) == theirs.decode(ids), text


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_a_pre_tokenizer_splits_text_as_llama_cpp_does(pre: str, tmp_path: Path) -> None:
    metadata = {**byte_level(), "tokenizer.ggml.pre": pre}
    count = 1000 if pre in FIRST.values() else 50
    check_equal(metadata, tmp_path, count, [*CHATML, *OWN])


def test_the_texts_tell_every_two_pre_tokenizers_apart(tmp_path: Path) -> None:
    ids = {}
    for name in FIRST.values():
        ours = rebuilt({**byte_level(), "tokenizer.ggml.pre": name}, tmp_path / name)
        ids[name] = [ours(text, add_special_tokens=False)["input_ids"] for text in texts(1000, seed=2)]
    assert [pair for pair in combinations(ids, 2) if ids[pair[0]] == ids[pair[1]]] == []


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tokenizer.ggml.add_space_prefix": False, "tokenizer.ggml.add_bos_token": False},
        {"tokenizer.ggml.add_eos_token": True},
    ],
    ids=["plain", "without prefix and bos", "with eos"],
)
def test_sentencepiece_merges_by_scores_as_llama_cpp_does(fields: dict[str, Any], tmp_path: Path) -> None:
    check_equal({**sentencepiece(), **fields}, tmp_path, 1000, [*CLASSIC, *OWN, "aaaaaaa", "\x00", "🜁"])


def test_control_tokens_of_phi_3_take_the_space_after_them(tmp_path: Path) -> None:
    metadata = {**sentencepiece(), "general.name": "Phi-3 tiny"}
    ours = rebuilt(metadata, tmp_path)
    with LlamaTokenizer(write_gguf(tmp_path / "tiny.gguf", metadata)) as theirs:
        for first, second in product(CLASSIC, CLASSIC):
            text = f" {first}\n\n hello{second}  {second}\tThe\n"
            assert ours(text)["input_ids"] == theirs.encode(text, around=True), text
