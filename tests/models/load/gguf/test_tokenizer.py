"""Tokenizers of GGUF files: token ids and text are llama.cpp's."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.errors import ModelError
from mpg_cli.models.load.gguf.pretokenizers import PRE_TOKENIZERS
from mpg_cli.models.load.gguf.tokenizer import end_tokens, write_tokenizer
from mpg_cli.models.load.tokenizer import load_tokenizer
from mpg_cli.models.text.detokenizer import Detokenizer
from tests.support.gguf_models import write_blank
from tests.support.llama_cpp import LlamaCpp
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
    with LlamaCpp(write_blank(folder / "tiny.gguf", metadata)) as theirs:
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
    check_equal({**sentencepiece(), **fields}, tmp_path, 1000, [*CLASSIC, *OWN, " " * 29, "aaa", "\x00", "🜁"])


def test_control_tokens_of_phi_3_take_the_space_after_them(tmp_path: Path) -> None:
    metadata = {**sentencepiece(), "general.name": "Phi-3 tiny"}
    ours = rebuilt(metadata, tmp_path)
    with LlamaCpp(write_blank(tmp_path / "tiny.gguf", metadata)) as theirs:
        for first, second in product(CLASSIC, CLASSIC):
            text = f" {first}\n\n hello{second}  {second}\tThe\n"
            assert ours(text)["input_ids"] == theirs.encode(text, around=True), text


@pytest.mark.parametrize("kind", ["llama", "qwen2", "mistral", "gemma3_text", "phi3", "gpt2"])
def test_no_architecture_changes_the_tokenizer(kind: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    for metadata in ({**byte_level(), "tokenizer.ggml.pre": "smollm"}, sentencepiece()):
        loaded = json.loads(rebuilt(metadata, tmp_path).backend_tokenizer.to_str())
        assert loaded == json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("make", [byte_level, sentencepiece])
def test_a_reply_is_the_text_of_its_tokens(make: Callable[[], Mapping[str, Any]], tmp_path: Path) -> None:
    tokenizer = rebuilt({"tokenizer.ggml.pre": "qwen2", **make()}, tmp_path)
    for text in texts(200, seed=4):
        detokenizer = Detokenizer(tokenizer)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        whole = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        assert "".join(map(detokenizer.push, ids)) + detokenizer.flush() == whole
        assert whole == text or make is sentencepiece  # which adds a space after user-defined tokens


def test_user_defined_tokens_are_shown_and_control_tokens_are_not(tmp_path: Path) -> None:
    tokenizer = rebuilt({**byte_level(), "tokenizer.ggml.pre": "qwen2"}, tmp_path)
    ids = tokenizer("<|im_start|><think>a<|im_end|>")["input_ids"]
    assert len(ids) == 4
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<think>a"


def test_padding_of_the_embedding_is_no_token(tmp_path: Path) -> None:
    metadata = {**byte_level(), "tokenizer.ggml.pre": "qwen2"}
    last = len(metadata["tokenizer.ggml.tokens"]) - 1
    assert last not in rebuilt(metadata, tmp_path).get_vocab().values()


def test_an_ordinary_token_for_padding_is_not_searched_in_text(tmp_path: Path) -> None:
    metadata = {**byte_level(), "tokenizer.ggml.pre": "qwen2"}
    the = metadata["tokenizer.ggml.tokens"].index("the")
    tokenizer = rebuilt({**metadata, "tokenizer.ggml.padding_token_id": the}, tmp_path)
    assert tokenizer.pad_token is None
    assert tokenizer.tokenize("tokenisathe") == rebuilt(metadata, tmp_path / "without").tokenize(
        "tokenisathe"
    )


def test_a_reply_ends_at_every_control_token_that_is_known_to_end_one() -> None:
    metadata = {**byte_level(), "tokenizer.ggml.eot_token_id": 5}
    assert end_tokens(metadata, "tiny") == [2, 5, 0]


def joined(tokens: list[str]) -> list[str]:
    return [token.replace("<0x41>", "A" * 99) for token in tokens]


@pytest.mark.parametrize(
    "make, key, value, message",
    [
        (byte_level, "model", "rwkv", "is a vocabulary of the kind rwkv; gpt2 and llama are supported"),
        (byte_level, "pre", "kimi-k2", "names the pre-tokenizer kimi-k2, which is not supported"),
        (byte_level, "pre", "default", "names no pre-tokenizer, and token ids depend on it"),
        (byte_level, "tokens", [], "has no tokens"),
        (byte_level, "tokens", ["a", "a"], "has the token 'a' twice"),
        (byte_level, "token_type", [1, 1], "and 2 token_type"),
        (byte_level, "token_type", "?", "has token_type that are no list of int"),
        (byte_level, "merges", [], "has no merges"),
        (byte_level, "merges", ["ab"], "has the merge 'ab', which is no pair"),
        (byte_level, "merges", ["a \x1b"], "cannot be built: "),
        (byte_level, "eos_token_id", 10**6, "has eos_token_id 1000000, which is no token of it"),
        (byte_level, "add_bos_token", 1, "has add_bos_token 1, which is neither true nor false"),
        (sentencepiece, "scores", [], "tokens and 0 scores"),
        (sentencepiece, "scores", lambda old: [math.nan for _ in old], "has no scores"),
        (sentencepiece, "scores", lambda old: [0.0 for _ in old], "the same score, so that the order of"),
        (sentencepiece, "tokens", joined, "lacks the token '<0x41>', from which others are made"),
        (sentencepiece, "tokens", lambda old: [*old[:-1], "A" * 10**5], "has a token of 100000 characters"),
        (
            sentencepiece,
            "remove_extra_whitespaces",
            True,
            "removes extra white space, which is not supported",
        ),
    ],
)
def test_what_cannot_be_right_is_refused(
    make: Callable[[], Mapping[str, Any]], key: str, value: Any, message: str, tmp_path: Path
) -> None:
    metadata = {"tokenizer.ggml.pre": "smollm", **make()}
    name = f"tokenizer.ggml.{key}"
    with pytest.raises(ModelError) as caught:
        write_tokenizer(
            {**metadata, name: value(metadata[name]) if callable(value) else value}, tmp_path, "tiny"
        )
    assert caught.value.message.startswith("model tiny: its tokenizer ")
    assert message in caught.value.message
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_the_documents_list_the_pre_tokenizers() -> None:
    text = (Path(__file__).parents[4] / "docs" / "models.md").read_text(encoding="utf-8")
    section = re.search(r"\n## Tokenizers of GGUF files\n(.*?)(?=\n## )", text, re.DOTALL)
    assert section
    table = [line for line in section[1].splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`([^`]+)`", "".join(table))) == sorted(PRE_TOKENIZERS)
