"""How byte-level BPE vocabularies in GGUF files split text into words before they merge bytes to tokens.

A file names its pre-tokenizer in `tokenizer.ggml.pre`; what the name means is defined by llama.cpp
(src/llama-vocab.cpp). Each entry is here because a test has compared its tokens with llama.cpp's. Where
llama.cpp simplifies the pattern of the original tokenizer (Unicode cases of `tekken` and `gpt-4o`, the
normalisation of Qwen), this is llama.cpp's form: it is what the users of a GGUF file get everywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

_SUFFIX = r"'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS = r" ?[^\s\p{L}\p{N}]+"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = rf"'(?:[stmd]|re|ve|ll)| ?\p{{L}}+| ?\p{{N}}+|{_SIGNS}|\s+(?!\S)|\s+"
_QWEN2 = rf"{_SUFFIX}|{_LETTERS}|\p{{N}}|{_SIGNS}[\r\n]*|{_SPACES}"
_LLAMA3 = _QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|")
_UPPER, _LOWER = r"[\p{L}&&[^a-z]]", r"[\p{L}&&[^A-Z]]"  # letters beyond ASCII count as both
_CASED = rf"[^\r\n\p{{L}}\p{{N}}]?(?:{_UPPER}*{_LOWER}+|{_UPPER}+{_LOWER}*)"
_BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"
_DIGIT = r"\p{N}"


@dataclass(frozen=True)
class PreTokenizer:
    """Patterns that split text one after another, at the ends of every match, each the pieces of the last."""

    patterns: tuple[str, ...]
    ignore_merges: bool = False  # a piece that is a token is taken whole, whatever the merges say
    add_bos: bool = False  # unless the file says otherwise


_llama3 = PreTokenizer((_LLAMA3,))
_llama3_whole = replace(_llama3, ignore_merges=True, add_bos=True)
_qwen2 = PreTokenizer((_QWEN2,))
_gpt2 = PreTokenizer((_GPT2,))
_digits_gpt2 = PreTokenizer((_DIGIT, _GPT2))
_bloom = PreTokenizer((_BLOOM,))
_gpt4o = PreTokenizer((rf"{_CASED}(?:{_SUFFIX})?|\p{{N}}{{1,3}}|{_SIGNS}[\r\n/]*|{_SPACES}",))

PRE_TOKENIZERS: Mapping[str, PreTokenizer] = {
    "bailingmoe": PreTokenizer((rf"{_SUFFIX}|{_LETTERS}|\p{{N}}|{_SIGNS}[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",)),
    "bloom": _bloom,
    "command-r": _digits_gpt2,
    "deepseek-coder": PreTokenizer(
        (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", _DIGIT)
    ),
    "deepseek-r1-qwen": _qwen2,
    "exaone": _digits_gpt2,
    "exaone4": _gpt2,
    "falcon": PreTokenizer((r"[\p{P}$+<=>^~|`]+", _GPT2, r"[0-9][0-9][0-9]")),
    "falcon3": _llama3_whole,
    "gigachat": _gpt2,
    "gpt-2": _gpt2,
    "gpt-4o": _gpt4o,
    "gpt3-finnish": _bloom,
    "llama-bpe": _llama3_whole,
    "llama-v3": _llama3_whole,
    "llama3": _llama3_whole,
    "megrez": _qwen2,
    "mellum": _gpt2,
    "minerva-7b": _digits_gpt2,
    "minimax-m2": _gpt4o,
    "olmo": _gpt2,
    "phi-2": _gpt2,
    "pixtral": _llama3_whole,
    "poro-chat": _bloom,
    "qwen2": _qwen2,
    "refact": _digits_gpt2,
    "seed-coder": PreTokenizer((rf"{_SUFFIX}|{_LETTERS}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACES}",)),
    "smaug-bpe": _llama3,
    "smollm": _digits_gpt2,
    "stablelm2": _qwen2,
    "starcoder": _digits_gpt2,
    "superbpe": PreTokenizer((r"\p{N}+", r"(?=(\d{3})+(?!\d))")),
    "tekken": PreTokenizer(
        (rf"{_CASED}|\p{{N}}|{_SIGNS}[\r\n/]*|{_SPACES}",), ignore_merges=True, add_bos=True
    ),
    "trillion": _gpt2,
    "viking": PreTokenizer((_BLOOM, _DIGIT)),
}
