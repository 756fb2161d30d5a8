"""Filled paragraphs for the page."""

from __future__ import annotations

import textwrap


def prose(text: str, indent: str = "") -> str:
    """A filled paragraph; lines after the first are indented."""
    return textwrap.fill(" ".join(text.split()), 108, subsequent_indent=indent)
