"""Checks and display of text from users and files: control characters, escapes, spelling suggestions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from mpg_cli.errors import UsageError

# C0 except tab and newline, DEL, C1, bidirectional controls, lone surrogates: they change how a terminal
# displays the surrounding text, and none of them belongs in a name or a prompt.
HARMFUL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

_MAX_MISSPELT = 64  # characters; difflib is quadratic


def visible(text: str, limit: int | None = None) -> str:
    """`text` on one line, with unprintable characters escaped, cut after `limit`."""
    cut = limit is not None and len(text) > limit
    shown = "".join(c if c.isprintable() else _escape(c) for c in text[:limit])
    return shown + "…" if cut else shown


def size_text(count: int) -> str:
    """Bytes in a decimal unit, as on the hub: `98.4 MB`."""
    for limit, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= limit:
            return f"{count / limit:.3g} {unit}"
    return f"{count} B"


def width(text: str) -> int:
    """The width of printable `text` in terminal cells: two for wide characters, none for combining marks."""
    return sum(_cells(char) for char in text)


def codepoint(char: str) -> str:
    """The code point and name of `char`, such as `U+00A0 NO-BREAK SPACE`."""
    return f"U+{ord(char):04X} {unicodedata.name(char, '')}".rstrip()


def check_text(name: str, text: str) -> str:
    """Return `text`. Raises UsageError for lone surrogates, which come from input that was not UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(f"{name} is not UTF-8 text", hint="convert it, for instance with iconv") from None
    return text


def nearest(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Up to `most` of the `known` names that `name` may be a misspelling of, ignoring case."""
    import difflib  # needed only for unknown names

    spelling = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name[:_MAX_MISSPELT].lower(), spelling, n=most, cutoff=0.6)
    return [spelling[match] for match in close]


def did_you_mean(name: str, known: Iterable[str], most: int = 3) -> str:
    """`; did you mean X?`, or "" if no name is similar."""
    close = nearest(name, known, most)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def _cells(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
