"""Lines of --data: role-playing lines become two experts, open questions prompts; wrong lines are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.errors import UsageError
from mpg_cli.evaluation.data_lines import read_data
from mpg_cli.evaluation.prompts import EvalPrompt, open_prompts
from mpg_cli.evaluation.roleplay import roleplay_prompts

LINE = {"profile": "A baker in Lyon.", "personality": "Shy and kind.", "reference_answer": "I bake."}
OPEN = {"instruction": "Name a colour.", "input": "", "output": "Blue."}


def written(folder: Path, *lines: object) -> Path:
    file = folder / "lines.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return file


def prompts(file: Path, *how: Any) -> tuple[EvalPrompt, ...]:
    found = read_data(file)
    assert found.kind == "roles"
    return roleplay_prompts(found.lines, (1.0, 0.5), *how)


def any_prompts(file: Path) -> tuple[EvalPrompt, ...]:
    found = read_data(file)
    if found.kind == "roles":
        return roleplay_prompts(found.lines, (1.0, 1.0))
    return open_prompts(found.lines, {})


def test_each_text_is_an_expert_of_the_lines_own_blend(tmp_path: Path) -> None:
    first, second = prompts(
        written(tmp_path, LINE, {**LINE, "question": "What now?", "id": "b"}), "Who are you?"
    )
    assert (first.id, first.prompt, first.reference) == ("1", "Who are you?", "I bake.")
    assert (second.id, second.prompt) == ("b", "What now?")
    assert first.blend is not None
    assert [(e.persona.name, e.persona.prompt, e.weight) for e in first.blend.experts] == [
        ("profile", "A baker in Lyon.", 1.0),
        ("personality", "Shy and kind.", 0.5),
    ]
    assert dict(first.personas) == {"profile": "A baker in Lyon.", "personality": "Shy and kind."}


def test_an_open_question_is_a_prompt_for_the_personas_of_the_blend(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        {"instruction": " Translate. ", "input": "Guten Tag", "output": "Good day"},
        OPEN,
        {"instruction": "Why?", "output": " ", "id": 7},
    )
    found = read_data(file)
    assert found.kind == "questions"
    asked = open_prompts(found.lines, {"pirate": "A sailor."})
    assert [(one.id, one.prompt, one.reference) for one in asked] == [
        ("1", "Translate.\nGuten Tag", "Good day"),
        ("2", "Name a colour.", "Blue."),
        ("7", "Why?", None),
    ]
    assert all(one.blend is None and dict(one.personas) == {"pirate": "A sailor."} for one in asked)


@pytest.mark.parametrize("line", [LINE, OPEN])
@pytest.mark.parametrize("how", [{}, {"indent": 2}, {"indent": "\t"}])
def test_a_list_holds_the_same_as_lines(tmp_path: Path, line: dict[str, Any], how: dict[str, Any]) -> None:
    lines = [line, {**line, "id": "x"}, {**line, "id": 9}]
    by_line = read_data(written(tmp_path, *lines))
    file = tmp_path / "list.json"
    file.write_text("\ufeff" + json.dumps(lines, **how), encoding="utf-8")
    as_list = read_data(file)
    assert as_list.kind == by_line.kind
    assert [(one.id, one.data) for one in as_list.lines] == [(one.id, one.data) for one in by_line.lines]
    assert [one.id for one in as_list.lines] == ["1", "x", "9"]
    assert len(read_data(file, 2).lines) == 2


def test_lines_without_an_id_differ_where_a_list_is_on_one_line(tmp_path: Path) -> None:
    assert [one.id for one in read_data(written(tmp_path, json.dumps([OPEN, OPEN, OPEN]))).lines] == [*"123"]


@pytest.mark.parametrize(
    "lines, message",
    [
        ([""], "lines.jsonl has no lines"),
        (["[]"], "lines.jsonl has no lines"),
        ([LINE, "{"], "lines.jsonl:2: not JSON"),
        ([LINE, '{"profile": "x", "profile": "y"}'], "lines.jsonl:2: the key 'profile' occurs twice"),
        (["x"], "lines.jsonl has no JSON objects; it begins with 'x'"),
        ([LINE, {"profile": "x"}], "lines.jsonl:2: personality is missing"),
        ([{**LINE, "profile": 3}], "lines.jsonl:1: profile must be text"),
        ([{**LINE, "personalty": "x"}], "unknown key 'personalty'; did you mean personality?"),
        ([{**LINE, "id": "a"}, {**LINE, "id": "a"}], "has the id a twice"),
        ([{**LINE, "id": True}], "id must be text or a number"),
        (
            [["x"]],
            "lines.jsonl:1: must be an object {profile, personality, reference_answer} or {instruction",
        ),
        ([json.dumps([LINE, "x"], indent=0)], "lines.jsonl:7: must be an object"),
        ([{"prompt": "x"}], "lines.jsonl:1: must be an object {profile, personality, reference_answer} or"),
        ([LINE, OPEN], "lines.jsonl:2: is an open question, the line before is a role-playing line"),
        ([OPEN, "", LINE], "lines.jsonl:3: is a role-playing line, the line before is an open question"),
        ([json.dumps([OPEN, LINE], indent=0)], "lines.jsonl:7: is a role-playing line"),
        ([{**LINE, "instruction": "x"}], "unknown key 'instruction' (choose from profile, personality, "),
        ([OPEN, {"instructoin": "x"}], "lines.jsonl:2: unknown key 'instructoin'; did you mean instruction?"),
        ([{"instruction": "x"}], "lines.jsonl:1: output is missing"),
        ([{**OPEN, "instruction": ""}], "lines.jsonl:1: instruction must be text"),
        ([{**OPEN, "input": 3}], "lines.jsonl:1: input must be text"),
        ([{**OPEN, "output": ["Blue."]}], "lines.jsonl:1: output must be text"),
        ([json.dumps([OPEN])[:-1]], "lines.jsonl:1: not JSON: a comma or ] is missing"),
    ],
)
def test_wrong_lines(tmp_path: Path, lines: list[object], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        any_prompts(written(tmp_path, *lines))
    assert message in raised.value.message


def test_another_encoding_is_named_with_its_remedy(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_bytes(json.dumps(OPEN).encode("utf-16"))
    with pytest.raises(UsageError, match=r"--data .*lines\.jsonl is UTF-16, not UTF-8") as raised:
        read_data(file)
    assert "iconv -f UTF-16" in (raised.value.hint or "")
    file.write_bytes(json.dumps(OPEN).encode() + b'\n{"instruction": "\xff"}\n')
    with pytest.raises(UsageError, match=r"lines\.jsonl:2: not UTF-8: byte 0xff"):
        read_data(file)


def test_the_first_lines_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--count 3 must be between 1 and 2, the number of lines"):
        read_data(written(tmp_path, OPEN, OPEN), 3)


def test_a_line_ends_at_a_newline_only(tmp_path: Path) -> None:
    file = written(
        tmp_path, json.dumps({**LINE, "question": "a\u2028b\u2029c\x85d"}, ensure_ascii=False) + "\r"
    )
    (one,) = prompts(file)
    assert one.prompt == "a\u2028b\u2029c\x85d"
