"""Converts HTML and Markdown, as in creators' notes, to plain paragraphs."""

from __future__ import annotations

import html
import re

_MAX_TEXT = 1 << 16  # characters that are converted
_INVISIBLE = re.compile(r"<(style|script)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)", re.IGNORECASE | re.DOTALL)
_BLOCK = re.compile(
    r"</?(?:p|div|h[1-6]|[uod]l|li|table|tr|center|section|blockquote|details|summary|hr)\b[^<>]*>",
    re.IGNORECASE,
)
_BREAK = re.compile(r"<br\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_RULE = re.compile(r"^[ \t]*[-=*_~]{3,}[ \t]*$", re.M)
_IMAGE = re.compile(r"!\[[^\[\]\n]*\]\([^()\n]*\)")
_LINK = re.compile(r"\[([^\[\]\n]*)\]\([^()\n]*\)")
_MARK = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]+|>[ \t]*|[-+*][ \t]+)|(?<!\w)[*_~`]+(?=\S)|(?<=\S)[*_~`]+(?!\w)", re.M
)
_PARAGRAPHS = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
_ADDRESS = re.compile(r"https?://\S+")


def paragraphs(text: str) -> list[str]:
    """The visible paragraphs of `text` that have words (no rules, no pictures)."""
    text = _INVISIBLE.sub("", text[:_MAX_TEXT].replace("\r\n", "\n"))
    text = _TAG.sub("", _BREAK.sub("\n", _BLOCK.sub("\n\n", text)))
    text = html.unescape(_LINK.sub(r"\1", _IMAGE.sub("", text)))
    found = map(str.strip, _PARAGRAPHS.split(_MARK.sub("", _RULE.sub("\n", text))))
    return [part for part in found if any(map(str.isalnum, _ADDRESS.sub("", part)))]
