"""Text from users and their files: which characters are harmful, how to show them, what was meant."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from mpg_cli.errors import UsageError

# C0 but tab and newline, DEL, C1, the bidirectional controls, lone surrogates: they change what a
# terminal shows of the text around them, and none of them belongs into a name or a prompt.
HARMFUL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

_LONGEST_NAME = 64  # more is never a misspelling, and difflib is quadratic


def visible(text: str, limit: int | None = None) -> str:
    """`text` on one line, with whatever is not printable written as an escape, cut after `limit`."""
    cut = limit is not None and len(text) > limit
    shown = "".join(c if c.isprintable() else _escape(c) for c in text[:limit])
    return shown + "…" if cut else shown


def width(text: str) -> int:
    """Terminal cells that printable `text` takes: wide characters two, combining marks none."""
    return sum(_cells(char) for char in text)


def codepoint(char: str) -> str:
    """`char` by number and name, such as `U+00A0 NO-BREAK SPACE`."""
    return f"U+{ord(char):04X} {unicodedata.name(char, '')}".rstrip()


def check_text(name: str, text: str) -> str:
    """Text that was not UTF-8 where it came from holds lone surrogates: refuse it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(f"{name} is not UTF-8 text", hint="convert it, for instance with iconv") from None
    return text


def nearest(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Up to `most` of `known` that `name` may be a misspelling of, without regard to case."""
    import difflib  # only a wrong name needs it

    spelling = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name[:_LONGEST_NAME].lower(), spelling, n=most, cutoff=0.6)
    return [spelling[match] for match in close]


def did_you_mean(name: str, known: Iterable[str], most: int = 3) -> str:
    """`; did you mean X?`, or nothing when no name comes near."""
    close = nearest(name, known, most)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def _cells(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
