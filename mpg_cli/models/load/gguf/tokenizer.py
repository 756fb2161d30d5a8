"""The tokenizer of a GGUF file, rebuilt from its metadata so that token ids equal llama.cpp's.

transformers' own conversion goes by the architecture and ignores `tokenizer.ggml.pre`, on which the ids
depend. Text is first split at control and user-defined tokens, as llama.cpp does with `parse_special`. The
rest goes through a byte-level BPE (`gpt2`), or a SentencePiece BPE whose merges follow from scores (`llama`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mpg_cli.errors import ModelError, brief
from mpg_cli.io.text import visible
from mpg_cli.models.load.gguf.pretokenizers import PRE_TOKENIZERS
from mpg_cli.models.load.gguf.templates import check_template, find_template
from mpg_cli.models.load.gguf.vocabulary import PREFIX, Vocabulary, read_flag, read_list, refused
from mpg_cli.models.load.tokenizer import REBUILT

SPACE = "▁"  # of SentencePiece
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]  # tokens for characters that are none
MOST_WORK = 10**9  # characters to compare for the merges; real vocabularies have 10**8


def write_tokenizer(metadata: Mapping[str, Any], folder: Path, name: str) -> None:
    """Write tokenizer.json, tokenizer_config.json and the chat template of a GGUF file into a folder.

    `metadata` is that of the file's header, `name` the model in messages. Raises ModelError where token ids
    might be wrong, and for a chat template that is not Jinja.
    """
    from transformers import PreTrainedTokenizerFast

    vocabulary = Vocabulary.read(metadata, name)
    try:
        core, adds_bos = _core(metadata, vocabulary, name)
    except ModelError:
        raise
    except Exception as error:  # the class that tokenizers raises
        raise refused(name, f"cannot be built: {brief(error)}") from error
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, clean_up_tokenization_spaces=False, **vocabulary.named(), **{REBUILT: True}
    )
    tokenizer.chat_template = find_template(metadata, vocabulary, adds_bos)
    check_template(tokenizer, name)
    try:
        tokenizer.save_pretrained(folder)
    except OSError:
        raise
    except Exception as error:  # of tokenizers, for a full disk
        raise OSError(brief(error)) from error


def end_tokens(metadata: Mapping[str, Any], name: str) -> list[int]:
    """Ids of the tokens that end a reply, the end token of the file first. Raises ModelError."""
    return list(Vocabulary.read(metadata, name).ends)


def _core(metadata: Mapping[str, Any], vocabulary: Vocabulary, name: str) -> tuple[Any, bool]:
    """The tokenizers.Tokenizer, and whether it begins text with the bos token."""
    from tokenizers import AddedToken, processors

    kind = metadata.get(f"{PREFIX}model")
    if kind == "gpt2":
        core, adds_bos = _byte_level(metadata, vocabulary, name)
    elif kind == "llama":
        core, adds_bos = _sentencepiece(metadata, vocabulary, name), True
    else:
        shown = visible(str(kind), 40)
        raise refused(name, f"is a vocabulary of the kind {shown}; gpt2 and llama are supported")
    label = str(metadata.get("general.name", "")).lower()
    trims = "phi-3" in label or "phi3" in label  # by the name, as in llama.cpp
    core.add_tokens(
        [
            AddedToken(
                text,
                normalized=False,
                special=vocabulary.special(id_),
                rstrip=trims and text not in ("<unk>", "<s>", "<|endoftext|>"),
            )
            for id_, text in vocabulary.tokens.items()
            if vocabulary.matched(id_)
        ]
    )
    adds = {
        "bos": read_flag(metadata, "add_bos_token", adds_bos, name),
        "eos": read_flag(metadata, "add_eos_token", False, name),
    }
    around = {role: vocabulary.roles[role] for role in adds if adds[role] and role in vocabulary.roles}
    core.post_processor = processors.TemplateProcessing(
        single=[*["bos"] * ("bos" in around), "$A", *["eos"] * ("eos" in around)],
        special_tokens=[
            {"id": role, "ids": [id_], "tokens": [vocabulary.tokens[id_]]} for role, id_ in around.items()
        ],
    )
    return core, "bos" in around


def _byte_level(metadata: Mapping[str, Any], vocabulary: Vocabulary, name: str) -> tuple[Any, bool]:
    """A BPE on bytes, and whether it begins text with the bos token by default."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    split = visible(str(metadata.get(f"{PREFIX}pre", "default")), 40)
    if split == "default":
        raise refused(name, "names no pre-tokenizer, and token ids depend on it")
    if split not in PRE_TOKENIZERS:
        raise refused(name, f"names the pre-tokenizer {split}, which is not supported")
    pre = PRE_TOKENIZERS[split]
    core = Tokenizer(
        models.BPE(
            vocab=dict(vocabulary.ids), merges=_read_merges(metadata, name), ignore_merges=pre.ignore_merges
        )
    )
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in pre.patterns),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    return core, pre.add_bos


def _sentencepiece(metadata: Mapping[str, Any], vocabulary: Vocabulary, name: str) -> Any:
    """A BPE on characters, with a mark for spaces and tokens for the bytes of other characters."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    if read_flag(metadata, "remove_extra_whitespaces", False, name):
        raise refused(name, "removes extra white space, which is not supported")
    merges = _scored_merges(metadata, vocabulary, name)
    prefix = read_flag(metadata, "add_space_prefix", True, name)
    core = Tokenizer(models.BPE(vocab=dict(vocabulary.ids), merges=merges, byte_fallback=True))
    spaces = normalizers.Replace(" ", SPACE)
    core.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), spaces]) if prefix else spaces
    text = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    core.decoder = decoders.Sequence([*text, decoders.Strip(" ", 1, 0)] if prefix else text)
    return core


def _scored_merges(metadata: Mapping[str, Any], vocabulary: Vocabulary, name: str) -> list[tuple[str, str]]:
    """The pairs that make up each token, in the order of the scores of the tokens."""
    ids = vocabulary.ids
    scores = read_list(metadata, "scores", float, name, max(vocabulary.tokens) + 1)
    if not scores or not all(map(math.isfinite, scores)):
        raise refused(name, "has no scores, which decide what is merged")
    if sum(len(text) ** 2 for text in ids) > MOST_WORK:
        raise refused(name, f"has a token of {max(map(len, ids))} characters")
    # What is found in text beforehand is never merged, unless it has a mark that spaces turn into.
    merged = [text for text, id_ in ids.items() if SPACE in text or not vocabulary.matched(id_)]
    made = {text: pairs for text in merged if (pairs := list(_halves(text, ids)))}
    order = sorted(made, key=lambda text: (-scores[ids[text]], -len(text)))
    for first, second in itertools.pairwise(order):
        # Runs of spaces have one score: merged from the left, each made as long as possible before the next.
        if scores[ids[first]] == scores[ids[second]] and len({*first, *second}) > 1:
            pair = f"{visible(first, 40)!r} and {visible(second, 40)!r}"
            raise refused(name, f"gives {pair} the same score, so that the order of merges is unknown")
    # llama.cpp merges characters that are no tokens as well; the BPE of tokenizers does not.
    if lacking := sorted({*BYTES, *"".join(order)} - ids.keys()):
        raise refused(name, f"lacks the token {visible(lacking[0], 40)!r}, from which others are made")
    return [pair for text in order for pair in made[text]]


def _halves(text: str, ids: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """The pairs of tokens that make up a token."""
    for i in range(1, len(text)):
        if text[:i] in ids and text[i:] in ids:
            yield text[:i], text[i:]


def _read_merges(metadata: Mapping[str, Any], name: str) -> list[tuple[str, str]]:
    """The pairs of tokens that are merged, in this order."""
    merges = read_list(metadata, "merges", str, name)
    if not merges:
        raise refused(name, "has no merges")
    spaces = [merge.find(" ", 1) for merge in merges]
    if -1 in spaces:
        raise refused(name, f"has the merge {visible(merges[spaces.index(-1)], 40)!r}, which is no pair")
    pairs = ((merge[:at], merge[at + 1 :]) for merge, at in zip(merges, spaces, strict=True))
    return list(dict.fromkeys(pairs))
