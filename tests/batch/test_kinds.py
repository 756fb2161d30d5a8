"""Files of other formats are refused with one message that names format and remedy."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpg_cli.batch.kinds import await_first_line, check_first_lines
from mpg_cli.batch.lines import InputFormat
from mpg_cli.errors import UsageError
from mpg_cli.io.lines import raw_lines

ROWS = [{"id": "a", "prompt": "Hi"}, {"id": "b", "prompt": "Ho"}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
TEXT = LINES.decode()


def read(raw: bytes, format_: InputFormat = "jsonl") -> bytes:
    return b"".join(filter(None, check_first_lines(raw_lines(io.BytesIO(raw)), "my file", format_)))


@pytest.mark.parametrize(
    "raw, message, hint",
    [
        (TEXT.encode("utf-16"), "is UTF-16", "iconv -f UTF-16 -t UTF-8 'my file'"),
        (TEXT.encode("utf-16-le"), "is UTF-16", "iconv -f UTF-16LE"),
        (TEXT.encode("utf-16-be"), "is UTF-16", "iconv -f UTF-16BE"),
        (("\n" + TEXT).encode("utf-16-le"), "is UTF-16", "iconv"),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), "is UTF-16", "iconv"),
        (TEXT.encode("utf-32"), "is UTF-32", "iconv -f UTF-32"),
        (TEXT.encode("utf-32-be"), "is UTF-32", "iconv -f UTF-32BE"),
        (
            gzip.compress(LINES, mtime=0),
            "is a gzip archive, not lines of text",
            "unpack it: gunzip -c 'my file' > lines.jsonl",
        ),
        (b"PK\x03\x04\x14\0\0\0", "is a zip archive", "unzip -p"),
        (b"PAR1\x15\x04\x15", "is a Parquet file", "pandas.read_parquet"),
        (json.dumps(ROWS).encode(), "is a JSON list", "jq -c '.[]' 'my file' > lines.jsonl"),
        (json.dumps(ROWS, indent=1).encode(), "is a JSON list", "jq"),
        (b"\xef\xbb\xbf \n[\n", "is a JSON list", "jq"),
        (json.dumps(ROWS[0], indent=1).encode(), "has JSON objects over several lines", "jq -c . 'my file'"),
        (b'{"id": "a",\n "prompt": "Hi"}\n', "has JSON objects over several lines", "jq"),
        (
            b'{"data": [{"prompt": "Hi"}]}',
            "is one JSON object with its rows in data",
            "jq -c '.data[]' 'my file'",
        ),
        (
            json.dumps({"rows": ROWS}, indent=1).encode(),
            "is one JSON object with its rows in rows",
            "'.rows[]'",
        ),
        (
            b'{"data": [\n{"prompt": "Hi"},\n{"prompt": "Ho"}\n], "id": "set"}',
            "is one JSON object with its rows in data",
            "'.data[]'",
        ),
        (
            json.dumps({"data": [{"role": "user", "content": "Hi"}]}, indent=1).encode(),
            "has JSON objects over several lines",
            "jq -c .",
        ),
        (b'{"messages": [\n{"role": "user"}\n]}\n{\n', "has JSON objects over several lines", "jq -c ."),
        (b'{"prompt":{"0":"Hi","1":"Ho"}}', "is a table by columns", "pandas.read_json('my file').to_json("),
        (
            b"{'id': 'a', 'prompt': \"Hi\"}\n",
            "is written as Python, not as JSON",
            "< 'my file' > lines.jsonl",
        ),
        (b"\n<!DOCTYPE html>\n<html>", "is a web page, not JSON", "download the file itself"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer", "git lfs pull"),
        (b"\x89PNG\r\n\x1a\n", "is a PNG picture, not lines of text", ""),
        (b"id,prompt\n1,Hello\n", "is CSV", "pandas.read_csv"),
        (b'"prompt"\t"persona"\nHello\tnoir\n', "is TSV", "sep='\\t'"),
        (
            b"How are you?\nWhat now?\n",
            "has no JSON objects; it begins with 'How are you?'",
            "--input-format text",
        ),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_one_message_for_what_is_no_lines(raw: bytes, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(raw)
    assert refused.value.message.startswith(f"my file {message}")
    assert hint in (refused.value.hint or "")


@pytest.mark.parametrize(
    "raw",
    [
        LINES,
        b"\xef\xbb\xbf" + LINES,
        b"\n \n" + LINES,
        b"no JSON\n" + LINES,  # one wrong line stops nothing
        b'{"id": "torn", "prom\n' + LINES,
        b"{}\n[\n",
        b'{"data": ["Hi", "Ho"]}\n',
        b'{"data": [{"role": "user", "content": "Hi"}]}\n',
        b'{"data": [{"value": "Hi", "from": "human"}], "id": 1}\n',
        b'{"examples": [{"q": 1}], "prompt": "Q", "response": "R"}\n',
        b'{"logit_bias": {"0": -100}, "prompt": "Q"}\n',
        b'{"meta": {"0": 1}, "prompt": "Q"}\n',
        b'{"id": "torn", "prompt": "x",\n' + LINES,
        b'{"id": "torn", "prompt":\n' + LINES,
        b'{"id": "torn", "messages": [\n' + LINES,
        b'{"id": "torn", "prompt": "in a text,\n' + LINES,
        b'{"messages": [{"role": "user", "content": "Hi"}]}\n',
        b"\n",
        b"",
    ],
    ids=str,
)
def test_lines_come_as_they_are(raw: bytes) -> None:
    assert read(raw) == raw


def test_the_remedy_makes_a_new_file() -> None:
    with pytest.raises(UsageError) as refused:
        list(check_first_lines(slow(b"[\n"), "data/lines.jsonl"))
    assert refused.value.hint == "write one object per line: jq -c '.[]' data/lines.jsonl > new-lines.jsonl"
    with pytest.raises(UsageError) as refused:
        list(check_first_lines(slow(gzip.compress(LINES, mtime=0)), "stdin"))
    assert refused.value.hint == "unpack it: gunzip -c FILE > lines.jsonl"


@pytest.mark.skipif(shutil.which("sh") is None, reason="no shell")
def test_what_python_wrote_is_converted_as_the_hint_says(tmp_path: Path) -> None:
    file = tmp_path / "it's.txt"
    file.write_text("".join(f"{row!r}\n" for row in ROWS))
    with pytest.raises(UsageError) as refused:
        list(check_first_lines(raw_lines(io.BytesIO(file.read_bytes())), str(file)))
    command = str(refused.value.hint).removeprefix("convert it: ").replace("python", sys.executable, 1)
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    assert (tmp_path / "lines.jsonl").read_bytes() == LINES


def test_text_may_begin_as_it_likes() -> None:
    for raw in (b"[INST] Hi\n", b"{\nHi\n", b"prompt, please\n", "Grüße\n".encode()):
        assert read(raw, "text") == raw
    with pytest.raises(UsageError, match="is UTF-16"):
        read("Hello\n".encode("utf-16-le"), "text")


def slow(*lines: bytes | None) -> Iterator[bytes | None]:
    yield from lines


def test_the_lines_of_a_pipe_are_known_before_any_work() -> None:
    assert list(await_first_line(check_first_lines(slow(None, None, LINES), "stdin"))) == [LINES]
    with pytest.raises(UsageError, match="stdin is a JSON list"):
        await_first_line(check_first_lines(slow(None, b"[\n"), "stdin"))
    began = time.monotonic()
    lines = check_first_lines(slow(*[None] * 10, b"[\n"), "stdin")
    late = await_first_line(lines, seconds=0.05)  # too late for this check: they are checked as they arrive
    assert time.monotonic() - began < 1
    with pytest.raises(UsageError, match="stdin is a JSON list"):
        list(late)


def test_nothing_to_read_is_the_end(tmp_path: Path) -> None:
    assert list(filter(None, await_first_line(check_first_lines(slow(), "stdin")))) == []
