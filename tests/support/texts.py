"""Texts in many scripts, on which tokenizers differ."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

_WORDS = """
    the The THE hello Hello wOrld camelCase HTMLParser naïve Ünïcödé Straße œuvre ÉCOLE Ελλάδα Привет МИР
    İstanbul ǅ ʼn ﬁne x I a tokenisation"""
_CONTRACTIONS = "'s 'S 't 're 'RE 'Ve 've 'm 'll 'LL 'lL 'd 'D 'x ' '' ’s it's DON'T"
_NUMBERS = "0 7 42 123 1234 12345 1000000 3.14 1,234,567 ٣٤٥ ५६ ½ ² Ⅷ １２３"
_SCRIPTS = """
    你好 世界和平 東京タワー ひらがな カタカナ ﾊﾝｶｸ 한국어 안녕하세요 ㄱㄴ مرحبا السَّلام שלום नमस्ते हिन्दी
    สวัสดี ไทย বাংলা தமிழ் አማርኛ ქართული"""
_EMOJI = "🙂 👍🏽 🏳️ 🇩🇪 ❤️ ☺ 1️⃣ © ™ 👨+👩+👧+👦 🧑🏿+💻 🏳️+🌈".replace("+", "\u200d")  # a zero-width joiner
_SIGNS = """
    . , ! ? ... … !? ; : - -- — ( ) [ ] { } / // \\ $ € + = == < > ^ ~ | ` ``` # @ & * ** _ __ % " 。 ， 「
    」 ！ ¿ « » ، । ⟨ ∑ ≤ → ░"""
_CODE = "https://example.org/a?b=c&d=1 if(x!=y) snake_case x=[1,2] λ→x² #include<stdio.h> 0x1F 1e-5 </div>"
_LINES = ["def f(x):\n    return x + 1\n", "for (int i = 0; i < n; ++i) {\n\t\t", "// a comment\r\n"]
_SPACES = [
    *(" ", "  ", " " * 17, "\t", "\t\t", "\n", "\n\n", "\r\n", " \n", "\n  ", "\n\n\n\t", "\u3000", "\u00a0")
]
_MARKS = [
    "e\u0301",
    "n\u0303",
    "a\u0300\u0323",
    "\u0301",
    "Z\u0351\u036b",
    "\u200d",
    "\u200b",
    "\u1112\u1161",
]
PIECES: Sequence[Sequence[str]] = [
    *(
        text.split()
        for text in (_WORDS, _WORDS, _CONTRACTIONS, _NUMBERS, _SCRIPTS, _EMOJI, _SIGNS, _SIGNS, _CODE)
    ),
    *(_LINES, _SPACES, _SPACES, _MARKS),
]


def texts(count: int, seed: int, extra: Sequence[str] = ()) -> Iterator[str]:
    """Random texts of up to 16 pieces; `extra` are further pieces, such as control tokens."""
    source = random.Random(seed)
    pieces = [*PIECES, extra] if extra else PIECES
    for _ in range(count):
        few = source.sample(pieces, source.randint(1, 4))  # runs of one kind are as likely as mixtures
        yield "".join(source.choice(source.choice(few)) for _ in range(source.randint(1, 16)))
