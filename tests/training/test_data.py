"""Reading data: usable rows, and a problem with file and line for every other row."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.errors import UsageError
from mpg_cli.training.data import (
    MIN_ROWS,
    Data,
    Problem,
    Row,
    Turn,
    check_enough,
    describe_problems,
    hold_out,
    read_data,
)

GOOD = {"prompt": "Hi", "chosen": "Arr!", "rejected": "Hello."}
USER = {"role": "user", "content": "Hi"}
SYSTEM = {"role": "system", "content": "Be brief."}


def said(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def written(folder: Path, *lines: Any, name: str = "prefs.jsonl") -> Path:
    file = folder / name
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    file.write_text("\n".join(text) + "\n", encoding="utf-8")
    return file


def rows_of(data: Data) -> list[tuple[tuple[Turn, ...], tuple[str, ...]]]:
    assert data.problems == ()
    return [(row.prompt, row.replies) for row in data.rows]


def test_texts_and_messages_are_the_same_pair(tmp_path: Path) -> None:
    """Also as the published files have it: the replies' messages repeat the prompt."""
    file = written(
        tmp_path,
        GOOD,
        {"prompt": [USER], "chosen": [said("Arr!")], "rejected": [said("Hello.")]},
        {"prompt": "Hi", "chosen": [USER, said("Arr!")], "rejected": [USER, said("Hello.")], "score": 1},
    )
    assert rows_of(read_data([file], "dpo")) == [((Turn("user", "Hi"),), ("Arr!", "Hello."))] * 3


def test_a_list_is_read_as_lines_are(tmp_path: Path) -> None:
    rows = [GOOD, {"prompt": [SYSTEM, USER], "chosen": "a", "rejected": "b"}]
    listed = tmp_path / "prefs.json"
    listed.write_text("\ufeff\n " + json.dumps(rows, indent=2))
    lines = written(tmp_path, *rows)
    assert rows_of(read_data([listed], "dpo")) == rows_of(read_data([lines], "dpo"))
    assert [row.where for row in read_data([listed], "dpo").rows] == [f"{listed}:3", f"{listed}:8"]
    assert read_data([listed], "dpo").digest == read_data([lines], "dpo").digest
    assert len(read_data([listed, lines], "dpo").rows) == 4


@pytest.mark.parametrize(
    ("row", "kind", "message"),
    [
        ({"chosen": "a", "rejected": "b"}, "no prompt", "prompt is missing"),
        ({"prompt": "x", "chosen": "a"}, "no rejected", "rejected is missing"),
        (GOOD | {"chosen": "  \n"}, "empty chosen", "chosen is empty"),
        (GOOD | {"prompt": []}, "empty prompt", "prompt is empty"),
        (GOOD | {"chosen": [USER, said("")]}, "empty chosen", "chosen is empty"),
        (GOOD | {"rejected": "Arr! "}, "chosen = rejected", "chosen and rejected are the same"),
        (GOOD | {"chosen": 7}, "wrong chosen", "chosen must be text or a list of messages"),
        (GOOD | {"chosen": [7]}, "wrong chosen", "chosen[0] must be an object with role"),
        (GOOD | {"chosen": [said("x") | {"content": []}]}, "wrong chosen", "chosen[0].content must be text"),
        (GOOD | {"chosen": [USER]}, "wrong turns", "chosen ends with a turn of user, not of the assistant"),
        (
            GOOD | {"chosen": [SYSTEM, USER, said("x")]},
            "wrong turns",
            "the turns before the reply in chosen differ from the prompt",
        ),
        (GOOD | {"prompt": [said("x")]}, "wrong turns", "prompt ends with a turn of assistant"),
        (
            GOOD | {"prompt": [USER, said("x"), SYSTEM, USER]},
            "wrong turns",
            "prompt[2] is a system turn after other turns; merge it into the first",
        ),
        (GOOD | {"prompt": "a\0b"}, "NUL", "prompt contains a NUL character"),
        (GOOD | {"prompt": [SYSTEM | {"content": "\ud800"}, USER]}, "not UTF-8", "prompt contains half"),
        ([GOOD], "not JSON", "a row must be an object"),
        ("7", "no object", "a row must be an object with prompt, chosen, rejected"),
        ('{"prompt": "x",', "not JSON", "not JSON: "),
        ('{"prompt": "x", "chosen": "a", "chosen": "b"}', "a key twice", "the key 'chosen' occurs twice in"),
        (
            '{"prompt": [{"role": "user", "content": "x", "content": "y"}], "chosen": "a", "rejected": "b"}',
            "a key twice",
            "the key 'content' occurs twice in one object",
        ),
        ('{"prompt": "\\ud800", "chosen": "a", "rejected": "b"}', "not UTF-8", "prompt contains half"),
        ("[" * 100_000, "not JSON", "cannot be parsed"),
    ],
)
def test_a_bad_row_is_named_and_the_rest_is_used(tmp_path: Path, row: Any, kind: str, message: str) -> None:
    file = written(tmp_path, GOOD, row, "", GOOD)
    data = read_data([file], "dpo")
    assert len(data.rows) == 2
    (problem,) = data.problems
    assert problem.where == f"{file}:2"
    assert problem.message.startswith(message)
    assert problem.kind == kind or isinstance(row, list)


def test_a_line_that_is_not_utf8(tmp_path: Path) -> None:
    file = tmp_path / "prefs.jsonl"
    file.write_bytes(json.dumps(GOOD).encode() + b'\n{"prompt": "\xff"}\n')
    assert [p.message for p in read_data([file], "dpo").problems] == ["not UTF-8: byte 0xff"]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('[%s,\n%s,\n{"prompt": x}]', 3, "not JSON: Expecting value; the rest of the file is skipped"),
        ("[%s,\n%s", 2, "not JSON: a comma or ] is missing; the rest of the file is skipped"),
        ("[%s]\n[%s]", 2, "not JSON: text after the ] of the list; the rest of the file is skipped"),
        ("[%s\n%s]", 2, "not JSON: a comma or ] is missing; the rest of the file is skipped"),
    ],
)
def test_a_broken_list_gives_what_came_before(tmp_path: Path, text: str, line: int, message: str) -> None:
    file = tmp_path / "prefs.json"
    file.write_text(text % (json.dumps(GOOD), json.dumps(GOOD)))
    data = read_data([file], "dpo")
    assert 1 <= len(data.rows) <= 2
    assert [(p.where, p.message) for p in data.problems] == [(f"{file}:{line}", message)]


@pytest.mark.parametrize("text", ["", "\n \n", "[]", " [ ] "])
def test_an_empty_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "prefs.json"
    file.write_text(text)
    with pytest.raises(UsageError, match="holds no data"):
        read_data([file], "dpo")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_data([tmp_path / "none.jsonl"], "dpo")


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (gzip.compress(b"{}", mtime=0), "prefs is a gzip archive", "unpack it: gunzip -c"),
        ("{}".encode("utf-16"), "prefs is UTF-16, not UTF-8", "convert it: iconv -f UTF-16 -t UTF-8"),
        (b"PAR1\x15\x04", "prefs is a Parquet file", "in Python: pandas.read_parquet("),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer", "git lfs pull"),
        (json.dumps(GOOD, indent=1).encode(), "prefs has JSON objects over several lines", "jq -c . "),
        (json.dumps({"data": [GOOD]}).encode(), "with its rows in data, not", "jq -c '.data[]' "),
        (b"prompt\tresponse\nHi\tArr!\n", "prefs is TSV", "pandas.read_csv("),
        (repr(GOOD).encode(), "is written as Python, not as JSON", "ast.literal_eval"),
        (b"Hi\nArr!\n", "has no JSON objects; it begins with 'Hi'", "a row is an object on its line"),
    ],
)
def test_a_file_of_another_kind_is_one_message(
    tmp_path: Path, content: bytes, message: str, hint: str
) -> None:
    (tmp_path / "prefs").write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        read_data([tmp_path / "prefs"], "dpo")
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("count", [1, 3])
def test_what_only_begins_like_a_file_of_another_kind_is_read(tmp_path: Path, count: int) -> None:
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Arr!"}]
    for row in (
        {"data": said},
        {"examples": [{"q": 1}], "prompt": "Hi", "response": "Arr!"},
        {"meta": {"0": 1}, "prompt": "Hi", "response": "Arr!"},
    ):
        data = read_data([written(tmp_path, *[row] * count)], "sft")
        assert [row.replies for row in data.rows] == [("Arr!",)] * count


def test_a_first_line_that_is_torn_is_one_problem(tmp_path: Path) -> None:
    file = tmp_path / "torn.jsonl"
    file.write_text('{"prompt": "Hi",\n' + f"{json.dumps(GOOD)}\n" * 2)
    data = read_data([file], "dpo")
    assert (len(data.rows), [problem.where for problem in data.problems]) == (2, [f"{file}:1"])


def test_a_table_gets_a_hint_how_to_convert_it(tmp_path: Path) -> None:
    file = tmp_path / "prefs.CSV"
    file.write_text("said,reply\nHi,Arr!\n")
    with pytest.raises(UsageError, match="is CSV, not one JSON object per line") as caught:
        read_data([file], "sft")
    assert caught.value.hint is not None
    assert "pandas.read_csv(" in caught.value.hint


def test_columns_that_nothing_reads_are_named_once(tmp_path: Path) -> None:
    rows = [GOOD | {"id": 1}, GOOD | {"id": 2, "source": "x", "url": None}, {"broken": 1}]
    assert read_data([written(tmp_path, *rows)], "dpo").unread == ("id", "source")


def test_text_after_an_empty_list_is_reported(tmp_path: Path) -> None:
    (problem,) = read_data([written(tmp_path, "[]", GOOD)], "dpo").problems
    assert problem.where.endswith(":2")


def test_a_dash_gets_a_hint_how_to_read_a_pipe() -> None:
    with pytest.raises(UsageError) as caught:
        read_data([Path("-")], "dpo")
    assert caught.value.hint == "use --data /dev/stdin to read from a pipe"


def test_plain_responses(tmp_path: Path) -> None:
    file = written(tmp_path, {"prompt": "Hi", "response": "Arr!"}, GOOD)
    data = read_data([file], "sft")
    assert [row.replies for row in data.rows] == [("Arr!",)]
    assert [problem.message for problem in data.problems] == [
        "response is missing (found: prompt, chosen, rejected); "
        "leave out --sft to train on pairs of chosen and rejected"
    ]


def test_many_problems_are_counted_by_kind() -> None:
    problems = [Problem(f"f:{n}", "empty chosen" if n % 2 else "no prompt", f"m{n}") for n in range(14)]
    lines = describe_problems(problems)
    assert lines[0] == "f:0: m0"
    assert lines[10:] == ["and 4 more: 2 × no prompt, 2 × empty chosen"]
    alike = [Problem(f"f:{n}", "no prompt", "prompt is missing") for n in range(14)]
    assert describe_problems(alike) == ["f:0: prompt is missing", "and 13 more: 13 × no prompt"]
    assert describe_problems(alike[:1]) == ["f:0: prompt is missing"]


def test_too_little_data_is_refused() -> None:
    check_enough(MIN_ROWS, "dpo", 3)
    with pytest.raises(UsageError, match="9 usable pairs; 3 more cannot be used, at least 10 are needed"):
        check_enough(9, "dpo", 3)
    with pytest.raises(UsageError) as caught:
        check_enough(0, "sft", 3)
    assert caught.value.hint == 'give one JSON object per line: {"prompt": …, "response": …}'


def rows(prompts: Iterable[str]) -> list[Row]:
    return [Row((Turn("user", p),), (f"{n}", "x"), f"f:{n}") for n, p in enumerate(prompts)]


@pytest.mark.parametrize("seed", range(5))
def test_no_prompt_is_on_both_sides_of_the_split(seed: int) -> None:
    data = rows(f"p{n % 13}" for n in range(60))
    train, held = hold_out(data, 0.2, seed)
    assert sorted(row.where for row in train + held) == sorted(row.where for row in data)
    assert not {row.prompt for row in train} & {row.prompt for row in held}
    assert 4 <= len(held) <= 12
    assert hold_out(data, 0.2, seed) == (train, held)


def test_no_conversation_is_on_both_sides_of_the_split() -> None:
    data = [
        Row((*row.prompt, Turn("assistant", "b"), Turn("user", "c"))[: 1 + 2 * later], row.replies, row.where)
        for row in rows(f"p{n}" for n in range(20))
        for later in (0, 1)
    ]
    train, held = hold_out(data, 0.2, 0)
    assert len(held) == 8
    assert not {row.where for row in train} & {row.where for row in held}


def test_a_single_prompt_is_split_by_rows() -> None:
    train, held = hold_out(rows(["same"] * 20), 0.1, 0)
    assert (len(train), len(held)) == (18, 2)


def test_prompts_with_many_rows_are_split_by_rows() -> None:
    train, held = hold_out(rows(["a"] * 50 + ["b"] * 50), 0.1, 0)
    assert (len(train), len(held)) == (90, 10)


def test_nothing_is_held_out_on_demand() -> None:
    assert hold_out(rows("abc"), 0, 0)[1] == []
