"""`mpg models get smollm2`, and the name `smollm2` afterwards."""

from __future__ import annotations

import json

import pytest

from tests.support.cli import Cli


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
