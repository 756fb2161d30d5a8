"""What is called like a repository of the Hugging Face hub. Torch-free."""

from __future__ import annotations

import re

PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
REPOSITORY = rf"{PART}/{PART}"
ADDRESS = r"(?:(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/|hf://)"  # what stands before it

_ID = re.compile(rf"(?:{PART}/)?{PART}")
_NAMED = re.compile(rf"{ADDRESS}?(?P<id>{REPOSITORY})/?")


def is_repository(text: str) -> bool:
    """Whether the text can be the id of a repository: OWNER/NAME, or NAME as the oldest have it."""
    return _ID.fullmatch(text) is not None and ".." not in text


def repository(text: str) -> str | None:
    """The OWNER/NAME that the text is, or is the address of; None for anything else."""
    found = _NAMED.fullmatch(text)
    return found["id"] if found and ".." not in text else None
