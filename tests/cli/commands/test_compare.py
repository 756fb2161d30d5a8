"""`mpg compare` on a tiny model: one column a persona, each with the text that generate gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cli import Cli


@pytest.fixture
def mpg(in_world: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setenv("MPG_MAX_TOKENS", "8")
    return in_world


def test_every_persona_is_a_column_with_the_text_of_generate(mpg: Cli, world: Path) -> None:
    columns = ["-p", "bold", "-p", "terse+bold:0.5", "-p", "full", "--adapter", f"{world / 'calm'}:0.5"]
    code, out, err = mpg("compare", "Hello", *columns, "--seed", "3", "-n", "2", "--format", "json")
    assert code == 0, err
    found = [json.loads(line) for line in out.splitlines()]
    assert [(r["persona"], r["sequence"]) for r in found] == [
        (persona, k) for persona in ("bold", "terse+bold:0.5", "full", "calm:0.5") for k in (0, 1)
    ]
    for at in range(4):
        own = columns[2 * at : 2 * at + 2]
        code, out, err = mpg("generate", "Hello", *own, "--seed", "3", "-n", "2", "--format", "json")
        assert code == 0, err
        assert [json.loads(line)["token_ids"] for line in out.splitlines()] == [
            r["token_ids"] for r in found[2 * at : 2 * at + 2]
        ]


def test_a_pipe_gets_blocks_and_all_share_a_drawn_seed(mpg: Cli) -> None:
    code, out, err = mpg("compare", "Hello", "-p", "bold", "-p", "calm")
    assert code == 0, err
    heads = [line for line in out.splitlines() if line.startswith("== ")]
    assert [head.split(" · ")[0] for head in heads] == ["== bold", "== calm"]
    seeds = {head.rpartition("seed ")[2] for head in heads}
    assert len(seeds) == 1
    assert seeds.pop().isdigit()


def test_columns_can_be_requested(mpg: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    code, out, err = mpg("compare", "Hello", "-p", "bold", "-p", "calm", "--format", "columns")
    assert code == 0, err
    assert out.splitlines()[0].split() == ["bold", "│", "calm"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["Hello", "-p", "bold"], "at least two personas"),
        (["Hello", "-p", "bold", "-p", "nobody"], "unknown persona 'nobody'"),
        (["Hello", "-p", "bold", "-p", "calm:-1", "--target", "mixture"], "not allow negative weights"),
        (["Hello", "-p", "bold", "-p", "calm", "--drafter", "persona:bold"], "is not in the blend"),
        (["", "-p", "bold", "-p", "calm"], "the prompt is empty"),
        (["Hello", "-p", "bold", "-p", "calm", "--top-p", "2"], "--top-p"),
    ],
)
def test_wrong_usage_is_reported_before_anything_loads(mpg: Cli, argv: list[str], message: str) -> None:
    code, out, err = mpg("compare", *argv)
    assert (code, out) == (2, "")
    assert message in err


def test_what_is_done_is_shown_although_a_later_persona_fails(mpg: Cli, world: Path) -> None:
    entry = f"{{base: {world / 'base'}, path: nowhere}}"
    (world / "broken.yaml").write_text(f"name: broken\nadapters: [{entry}]\n")
    try:
        code, out, err = mpg("compare", "Hello", "-p", "bold", "-p", "broken", "--format", "columns")
    finally:
        (world / "broken.yaml").unlink()
    assert code == 1
    assert "nowhere" in err
    assert out.startswith("bold")
