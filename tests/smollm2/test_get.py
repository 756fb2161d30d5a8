"""`mpg models get smollm2`, and the name `smollm2` afterwards."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.support.cli import Cli

README = Path(__file__).parents[2] / "README.md"


def test_got_once(mpg: Cli, smollm2: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # a second download would fail
    code, _, err = mpg("models", "get", smollm2)
    assert code == 0, err


def test_auto_takes_it(mpg: Cli) -> None:
    code, out, err = mpg("generate", "-p", "pirate", "--format", "json", "--dry-run", "Hi")
    assert code == 0, err
    assert json.loads(out)["model"] == "smollm2"


def test_lists_it(mpg: Cli, smollm2: str) -> None:
    code, out, err = mpg("models", "list", "--format", "json")
    assert code == 0, err
    assert smollm2 in [model["id"] for model in json.loads(out)]


def test_replies_as_the_readme_shows(mpg: Cli) -> None:
    """The first words; in float32, which is not the default on every processor."""
    text = README.read_text(encoding="utf-8")
    found = re.search(
        r"\nmpg models get smollm2\nmpg (generate [^\n]+)\n```.+?```text\n(.+?)```", text, re.DOTALL
    )
    assert found
    code, out, err = mpg(*shlex.split(found[1]), "--max-tokens", "24", "--dtype", "float32")
    assert code == 0, err
    assert len(out.split()) > 8
    assert " ".join(found[2].split()).startswith(" ".join(out.split()))
