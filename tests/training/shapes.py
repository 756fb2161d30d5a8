"""Rows in the layouts of public data sets, and their parsed form."""

from __future__ import annotations

from typing import Any

from mpg_cli.training.columns import read_row
from mpg_cli.training.rows import Method

Message = dict[str, Any]
PAIR = {"chosen": "Arr!", "rejected": "No."}
SYSTEM = {"role": "system", "content": "Be kind."}
HUMAN = {"from": "human", "value": "Hi"}


def user(content: str = "Hi") -> Message:
    return {"role": "user", "content": content}


def said(content: str = "Arr!", **beside: Any) -> Message:
    return {"role": "assistant", "content": content} | beside


def gpt(value: str = "Arr!") -> Message:
    return {"from": "gpt", "value": value}


def spoken(*texts: str) -> str:
    """As hh-rlhf writes a dialogue."""
    speakers = ("Human", "Assistant") * len(texts)
    return "".join(f"\n\n{speaker}: {text}" for speaker, text in zip(speakers, texts, strict=False))


def read(row: Message, method: Method) -> tuple[list[str], tuple[str, ...], tuple[int, ...], tuple[str, ...]]:
    """Prompt as `role: text`, replies, indices of imitated earlier replies, columns not read."""
    found, unread = read_row(row, method, "f:1")
    return [f"{turn.role}: {turn.content}" for turn in found.prompt], found.replies, found.imitated, unread
