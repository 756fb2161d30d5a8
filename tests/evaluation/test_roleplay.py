"""Role-playing lines: profile and personality become two experts, wrong lines are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mpg_cli.errors import UsageError
from mpg_cli.evaluation.roleplay import read_roleplay

LINE = {"profile": "A baker in Lyon.", "personality": "Shy and kind.", "reference_answer": "I bake."}


def written(folder: Path, *lines: object) -> Path:
    file = folder / "roles.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return file


def test_each_text_is_an_expert_of_the_lines_own_blend(tmp_path: Path) -> None:
    first, second = read_roleplay(
        written(tmp_path, LINE, {**LINE, "question": "What now?", "id": "b"}), (1.0, 0.5), "Who are you?"
    )
    assert (first.id, first.prompt, first.reference) == ("1", "Who are you?", "I bake.")
    assert (second.id, second.prompt) == ("b", "What now?")
    assert first.blend is not None
    assert [(e.persona.name, e.persona.prompt, e.weight) for e in first.blend.experts] == [
        ("profile", "A baker in Lyon.", 1.0),
        ("personality", "Shy and kind.", 0.5),
    ]
    assert dict(first.personas) == {"profile": "A baker in Lyon.", "personality": "Shy and kind."}


@pytest.mark.parametrize(
    "lines, message",
    [
        ([""], "has no line"),
        (["{"], "roles.jsonl:1: not JSON"),
        ([LINE, {"profile": "x"}], "roles.jsonl:2: personality is missing"),
        ([{**LINE, "profile": 3}], "profile must be text"),
        ([{**LINE, "personalty": "x"}], "unknown key 'personalty'; did you mean personality?"),
        ([{**LINE, "id": "a"}, {**LINE, "id": "a"}], "has the id a twice"),
        ([["x"]], "must be an object"),
    ],
)
def test_wrong_lines(tmp_path: Path, lines: list[object], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_roleplay(written(tmp_path, *lines), (1.0, 1.0))
    assert message in raised.value.message


def test_a_line_ends_at_a_newline_only(tmp_path: Path) -> None:
    file = written(
        tmp_path, json.dumps({**LINE, "question": "a\u2028b\u2029c\x85d"}, ensure_ascii=False) + "\r"
    )
    (one,) = read_roleplay(file, (1.0, 1.0))
    assert one.prompt == "a\u2028b\u2029c\x85d"
