"""How byte-level BPE vocabularies in GGUF files split text into words before they merge bytes to tokens.

A file names its pre-tokenizer in `tokenizer.ggml.pre`; what the name means is defined by llama.cpp
(src/llama-vocab.cpp). Each entry is here because a test has compared its tokens with llama.cpp's. Where
llama.cpp simplifies the pattern of the original tokenizer (Unicode cases of `tekken` and `gpt-4o`, the
normalisation of Qwen), this is llama.cpp's form: it is what the users of a GGUF file get everywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_SUFFIX = r"'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS = r" ?[^\s\p{L}\p{N}]+"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = rf"'(?:[stmd]|re|ve|ll)| ?\p{{L}}+| ?\p{{N}}+|{_SIGNS}|\s+(?!\S)|\s+"
_QWEN2 = rf"{_SUFFIX}|{_LETTERS}|\p{{N}}|{_SIGNS}[\r\n]*|{_SPACES}"
_LLAMA3 = _QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|")
_UPPER, _LOWER = r"[\p{L}&&[^a-z]]", r"[\p{L}&&[^A-Z]]"  # letters beyond ASCII count as both
_CASED = rf"[^\r\n\p{{L}}\p{{N}}]?(?:{_UPPER}*{_LOWER}+|{_UPPER}+{_LOWER}*)"
_REST = rf"{_SIGNS}[\r\n/]*|{_SPACES}"
_BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"
_DIGIT = r"\p{N}"
_CJK = r"[\u0800-\u9fa5\uac00-\ud7ff&&\S]+"


@dataclass(frozen=True)
class PreTokenizer:
    """Patterns that split text one after another, at the ends of every match, each the pieces of the last."""

    patterns: tuple[str, ...]
    ignore_merges: bool = False  # a piece that is a token is taken whole, whatever the merges say
    add_bos: bool = False  # unless the file says otherwise


_TABLE = (
    ("gpt-2 a.x-4.0 exaone4 gigachat granite-docling jais mellum mpt olmo phi-2 trillion", (_GPT2,)),
    ("smollm codeshell command-r exaone minerva-7b refact starcoder", (_DIGIT, _GPT2)),
    ("qwen2 deepseek-r1-qwen f2llmv2 grok-2 hunyuan kormo megrez solar-open stablelm2", (_QWEN2,)),
    ("bailingmoe bailingmoe2 llada-moe", (_QWEN2,)),
    ("smaug-bpe chatglm-bpe dbrx", (_LLAMA3,)),
    ("llama-bpe falcon-h1 falcon3 lfm2 llama-v3 llama3 midm-2.0 pixtral", (_LLAMA3,), True, True),
    ("gpt-4o kanana2 llama4 minimax-m2", (rf"{_CASED}(?:{_SUFFIX})?|{_DIGIT}{{1,3}}|{_REST}",)),
    ("tekken", (rf"{_CASED}|{_DIGIT}|{_REST}",), True, True),
    ("falcon", (r"[\p{P}$+<=>^~|`]+", _GPT2, r"[0-9][0-9][0-9]")),
    ("bloom gpt3-finnish poro-chat", (_BLOOM,)),
    ("viking", (_BLOOM, _DIGIT)),
    ("seed-coder", (rf"{_SUFFIX}|{_LETTERS}|{_DIGIT}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACES}",)),
    ("deepseek-coder", (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK, _DIGIT)),
)
PRE_TOKENIZERS: Mapping[str, PreTokenizer] = {
    name: PreTokenizer(*fields) for names, *fields in _TABLE for name in names.split()
}
