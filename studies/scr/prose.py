"""Paragraphs of the page."""

from __future__ import annotations

import textwrap


def prose(text: str, indent: str = "") -> str:
    """A paragraph, filled; lines after the first begin with the indent."""
    return textwrap.fill(" ".join(text.split()), 108, subsequent_indent=indent)
