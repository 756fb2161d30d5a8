"""Prompts from arguments, files and stdin."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.cli.prompts import parse_messages, read_prompting
from mpg_cli.errors import UsageError
from mpg_cli.options.prompt import PromptOptions
from tests.support.replies import streams


def test_a_missing_prompt_at_a_terminal_is_an_error() -> None:
    at_terminal = replace(streams(), stdin_tty=True)
    with pytest.raises(UsageError, match="a prompt is missing") as caught:
        read_prompting(PromptOptions(), at_terminal)
    assert caught.value.hint is not None
    assert "pipe it in" in caught.value.hint


def test_a_system_turn_only_comes_first() -> None:
    turns = [{"role": r, "content": "x"} for r in ("user", "system", "user")]
    with pytest.raises(UsageError, match=r"--messages\[1\] is a system turn after"):
        parse_messages(json.dumps(turns))
    assert len(parse_messages(json.dumps(turns[1:]))) == 2


@pytest.mark.parametrize(
    "beside", [{}, {"model": "gpt-x", "stream": False, "n": 1, "temperature": None}], ids=str
)
def test_messages_may_stand_in_a_request(beside: dict[str, Any]) -> None:
    turns = [{"role": "system", "content": "Rhyme."}, {"role": "user", "content": "Hi"}]
    assert parse_messages(json.dumps({**beside, "messages": turns})) == tuple(turns)


def test_nul_bytes_are_no_text(tmp_path: Path) -> None:
    file = tmp_path / "utf16.txt"
    file.write_bytes("Hello".encode("utf-16-le"))
    with pytest.raises(UsageError, match="NUL bytes"):
        read_prompting(PromptOptions(prompt_file=file), streams())
