"""Derives persona names from titles, with transliteration of Latin, Greek, Cyrillic, kana and Hangul."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from mpg_cli.personas.expression import MAX_NAME

_LATIN = {
    "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i",
}  # fmt: skip
_CYRILLIC = {
    "а": "a", "б": "b", "в": "v", "г": "g", "д": "d", "е": "e", "ё": "yo", "ж": "zh", "з": "z", "и": "i",
    "й": "y", "к": "k", "л": "l", "м": "m", "н": "n", "о": "o", "п": "p", "р": "r", "с": "s", "т": "t",
    "у": "u", "ф": "f", "х": "kh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "shch", "ъ": "", "ы": "y",
    "ь": "", "э": "e", "ю": "yu", "я": "ya", "і": "i", "ї": "yi", "є": "ye", "ґ": "g",
}  # fmt: skip
_GREEK = {
    "α": "a", "β": "v", "γ": "g", "δ": "d", "ε": "e", "ζ": "z", "η": "i", "θ": "th", "ι": "i", "κ": "k",
    "λ": "l", "μ": "m", "ν": "n", "ξ": "x", "ο": "o", "π": "p", "ρ": "r", "σ": "s", "ς": "s", "τ": "t",
    "υ": "y", "φ": "f", "χ": "ch", "ψ": "ps", "ω": "o",
}  # fmt: skip
_TABLE = _LATIN | _CYRILLIC | _GREEK
_LONG = "ー"  # the prolonged sound mark
_SYLLABLE = re.compile(r"(?:HIRAGANA|KATAKANA) LETTER (?:SMALL )?([A-Z]+)|HANGUL SYLLABLE ([A-Z]+)")
_APOSTROPHES = re.compile("['’ʼ`]")
_MAX_TITLE = 200  # characters of a title that are used


def derived_name(title: str) -> str | None:
    """A valid persona name for `title`; None if no letter of it can be transliterated."""
    text = unicodedata.normalize("NFKC", _APOSTROPHES.sub("", title[:_MAX_TITLE]))
    ascii_text = "".join(map(_letters, text))
    name = re.sub(r"[^A-Za-z0-9_]+", "-", ascii_text).strip("-_")
    if not name:
        return None
    if not name[0].isalpha():
        name = f"persona-{name}"
    return name[:MAX_NAME].rstrip("-_")


def fallback_name(title: str, stem: str) -> str:
    """A name for a `title` without such letters: from the file's stem, or a digest of the title."""
    digest = hashlib.blake2b(title.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return derived_name(stem) or f"persona-{digest}"


def _letters(char: str) -> str:
    """A character in ASCII letters, a space if it has none."""
    if char.isascii():
        return char
    if char == _LONG:
        return ""
    known = _TABLE.get(char.lower())
    if known is not None:
        return known.capitalize() if char.isupper() else known
    syllable = _SYLLABLE.match(unicodedata.name(char, ""))
    if syllable is not None:
        return (syllable.group(1) or syllable.group(2)).lower()
    base = unicodedata.normalize("NFKD", char)
    if base[0].lower() in _TABLE:  # an accented letter of a table
        return _letters(base[0])
    kept = "".join(part for part in base if part.isascii() and part.isprintable())
    return kept or (" " if not unicodedata.combining(char) else "")
