"""Tokenizers that do not load, and tokenizers and weights that do not match token for token."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mpg_cli.engine.teacher_forcing import TeacherForcing
from mpg_cli.errors import ModelError, UsageError
from mpg_cli.models.experts import Expert
from mpg_cli.models.load.loader import LoadedModel, load_checkpoint, load_drafter, load_model
from mpg_cli.models.text.prompt import render
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.sampling.targets import combine
from tests.support.models import save_model, tiny_model
from tests.support.rows import AlikeRows
from tests.support.tokenizers import byte_tokenizer

CHAT = "{% for m in messages %}w5 {{ m.content }} w6 {% endfor %}"
CHATML = "{% for m in messages %}<|im_start|> {{ m.content }} w6 {% endfor %}"


def model(
    folder: Path, *added: str, words: int = 96, rows: int = 96, special: bool = True, **fields: Any
) -> Path:
    """A folder with a model of so many embeddings, and a tokenizer of so many words and these tokens."""
    from transformers import AutoTokenizer

    template = fields.pop("chat_template", None)
    names = fields.pop("names", {})
    save_model(folder, vocabulary=words, vocab_size=rows, **fields)
    words_of = AutoTokenizer.from_pretrained(folder)
    words_of.add_tokens(list(added), special_tokens=special)
    words_of.add_special_tokens(names)
    words_of.chat_template = template
    words_of.save_pretrained(folder)
    return folder


def load(folder: Path) -> LoadedModel:
    return load_model(str(folder), device="cpu")


def refused(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load(folder)
    return f"{caught.value.message}\nhint: {caught.value.hint}"


def prompt_ids(loaded: LoadedModel, text: str) -> list[int]:
    return render(loaded.tokenizer, Prompting(text), size=loaded.vocabulary.size)


# Tokenizers that do not load


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
SENTENCEPIECE = b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02"


@pytest.mark.parametrize(
    ("file", "content", "reason", "hint"),
    [
        (
            "tokenizer.model",
            SENTENCEPIECE,
            "is a vocabulary of SentencePiece, and sentencepiece and protobuf are not installed",
            "`pip install sentencepiece protobuf`",
        ),
        (
            "tokenizer.model",
            b"IQ== 0\nIg== 1\n",
            "tokenizer.model is a vocabulary of tiktoken, and tiktoken is not installed",
            "`pip install tiktoken`",
        ),
        ("tekken.json", b"{}", "tekken.json is a vocabulary of mistral-common", "with tokenizer.json"),
        ("tokenizer.json", POINTER, "tokenizer.json is a Git LFS pointer", "git lfs pull"),
        ("tokenizer.model", POINTER, "tokenizer.model is a Git LFS pointer", "git lfs pull"),
        ("tokenizer_config.json", b'{"tokenizer_class": "LlamaTokenizer"}', "no tokenizer.json or", "copy"),
        (
            "tokenizer_config.json",
            b'{"tokenizer_class": "XTokenizer", "auto_map": {"AutoTokenizer": ["x.X", null]}}',
            "it needs remote code, which is never run",
            "with tokenizer.json",
        ),
        (
            "vocab.json",
            b'{"a": 0}',
            "tokenizer cannot be loaded",
            "fetch the tokenizer files of the model again",
        ),
    ],
)
def test_what_a_tokenizer_lacks(
    file: str, content: bytes, reason: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sentencepiece", "google.protobuf", "tiktoken"):  # whatever this machine has
        monkeypatch.setitem(sys.modules, module, None)
    tiny_model("qwen2" if file == "vocab.json" else "llama").save_pretrained(tmp_path)
    (tmp_path / file).write_bytes(content)
    message, advice = refused(tmp_path).split("\nhint: ")
    assert reason in message
    assert hint in advice


# Tokens without an embedding


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("chat_template", [None, CHAT])
def test_a_pad_token_past_the_embedding_is_no_harm(
    tmp_path: Path, special: bool, chat_template: str | None
) -> None:
    names = {"pad_token": "[PAD]"} if special else {}
    loaded = load(model(tmp_path, "[PAD]", special=special, names=names, chat_template=chat_template))
    assert 3 in prompt_ids(loaded, "w3")
    assert loaded.vocabulary.size == 96
    assert loaded.tokenizer.pad_token is None, "a trainer pads with the end token"
    with pytest.raises(UsageError, match=r"token '\[PAD\]' \(96\), which has no embedding") as caught:
        prompt_ids(loaded, "w3 [PAD]")
    assert "up to 95" in str(caught.value.hint)


def test_tokens_that_the_library_adds_by_itself(tmp_path: Path) -> None:
    """The class that transformers takes for Qwen brings a pad token, past the end of a small vocabulary."""
    tiny_model("qwen2", vocab_size=257).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert loaded.tokenizer.get_vocab()["<|endoftext|>"] == 257
    own = byte_tokenizer()
    assert prompt_ids(loaded, "Hi") == render(own, Prompting("Hi"))


def test_a_token_of_every_prompt_without_an_embedding(tmp_path: Path) -> None:
    text = refused(model(tmp_path / "a", "<|im_start|>", chat_template=CHATML))
    assert "every prompt has the token '<|im_start|>' (96), its embedding ends at 95" in text
    assert "the fine-tuned model that this token was trained in" in text


def test_ordinary_words_without_an_embedding(tmp_path: Path) -> None:
    assert "its tokenizer has token 96, its embedding ends at 95" in refused(model(tmp_path, words=97))


def test_a_checkpoint_with_a_token_of_its_own_is_served(tmp_path: Path) -> None:
    loaded = load(model(tmp_path, "<|im_start|>", rows=97, chat_template=CHATML))
    assert prompt_ids(loaded, "w3") == [96, 3, 6]
    assert 96 in loaded.vocabulary


@pytest.mark.parametrize(
    "template", ["{{ 1 / 0 }}", "{{ 'x'.encode('no-codec') }}", "{{ [][0].x }}", "{% if %}"]
)
def test_a_template_that_fails_is_reported_where_a_prompt_needs_it(tmp_path: Path, template: str) -> None:
    loaded = load(model(tmp_path, "[PAD]", chat_template=template))
    with pytest.raises(ModelError, match="chat template fails") as caught:
        prompt_ids(loaded, "w3")
    assert "--raw" in str(caught.value.hint)


# Another model beside the base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(model(tmp_path_factory.mktemp("base") / "m", chat_template=CHAT))


@pytest.mark.parametrize(
    ("added", "rows", "names"),
    [
        (["[PAD]"], 96, {"pad_token": "[PAD]"}),
        (["[PAD]"], 97, {"pad_token": "[PAD]"}),
        (["[PAD]"], 128, {"pad_token": "[PAD]"}),
        (["<|mood|>", "<|voice|>"], 98, {}),
        ([], 100, {}),
    ],
)
@pytest.mark.parametrize("beside", [load_checkpoint, load_drafter])
def test_spare_tokens_and_padding_make_no_other_tokenizer(
    base: LoadedModel, added: list[str], rows: int, names: dict[str, str], beside: Any, tmp_path: Path
) -> None:
    other = model(tmp_path, *added, rows=rows, names=names, chat_template=CHAT)
    assert beside(str(other), base).id == str(other)
    assert beside(base.id, load(other)).id == base.id


def test_a_token_that_its_conversations_need_makes_another_tokenizer(
    base: LoadedModel, tmp_path: Path
) -> None:
    other = model(tmp_path / "a", "<|im_start|>", rows=97, chat_template=CHATML)
    with pytest.raises(
        ModelError, match=r"token '<\|im_start\|>' is 96 there and None in the base"
    ) as caught:
        load_checkpoint(str(other), base)
    assert "this one works as --model" in str(caught.value.hint)
    ends = model(tmp_path / "b", "<|im_end|>", rows=97, names={"eos_token": "<|im_end|>"}, chat_template=CHAT)
    with pytest.raises(ModelError, match=r"token '<\|im_end\|>' is 96 there"):
        load_drafter(str(ends), base)


def test_a_token_of_the_bases_prompts_that_the_other_cannot_read(tmp_path: Path) -> None:
    base = load(model(tmp_path / "base", "<|im_start|>", rows=97, chat_template=CHATML))
    other = model(tmp_path / "other", "<|im_start|>", chat_template=CHAT)
    with pytest.raises(ModelError, match=r"conversations have the token '<\|im_start\|>'.* ends at 95"):
        load_checkpoint(str(other), base)


def law(base: LoadedModel, expert: LoadedModel, weight: float, tokens: list[int]) -> torch.Tensor:
    """log p (V,) of a blend after these tokens."""
    experts = [Expert("e", weight, checkpoint=expert.model)]
    forcing = TeacherForcing.of(base, experts)
    rows = forcing.log_probs([[tokens, tokens]], torch.zeros(1, 1, 1, dtype=torch.long))[:, 0, 0, 0]  # (2, V)
    return combine("product", rows, torch.tensor([weight]))


@pytest.mark.parametrize(("of_base", "of_expert"), [(100, 97), (97, 96), (96, 128)])
@pytest.mark.parametrize("weight", [1.0, -0.5])
def test_a_blend_samples_the_tokens_that_all_of_its_models_have(
    of_base: int, of_expert: int, weight: float, tmp_path: Path
) -> None:
    """96 words; what is beyond them is padding, or a pad token that one of the two has."""
    pad = {"names": {"pad_token": "[PAD]"}}
    base = load(model(tmp_path / "base", "[PAD]", rows=of_base, **pad))
    expert = load_checkpoint(str(model(tmp_path / "expert", rows=of_expert, hidden_size=64)), base)
    tokens = [5, 9, 17]
    found = law(base, expert, weight, tokens)
    common = min(97, of_base, of_expert)
    expected = [
        one.model(torch.tensor([tokens])).logits[0, -1, :common].log_softmax(-1) for one in (base, expert)
    ]
    mixed = ((1 - weight) * expected[0] + weight * expected[1]).log_softmax(-1)
    assert found.shape == (common,)
    assert torch.allclose(found, mixed, atol=1e-4)


def test_a_drafter_reads_on_behind_a_token_that_it_lacks(tmp_path: Path) -> None:
    base = load(model(tmp_path / "base", "<|mood|>", rows=97))
    smaller = load_drafter(str(model(tmp_path / "smaller")), base)
    row = AlikeRows(smaller.model, ["drafter"], vocabulary=base.vocabulary)
    row.prefill([[[5, 96, 7]]])
    row.push(torch.tensor([[96]]))
    log_q = row.score().log_probs[0, 0, 0, 0]  # (97,)
    assert log_q[96] == -torch.inf
    assert bool(log_q[:96].isfinite().all())
