"""Files that are no lines: one message that names what they are and what to do."""

from __future__ import annotations

import gzip
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpg_cli.batch.feed import raw_lines
from mpg_cli.batch.kinds import begun, known
from mpg_cli.batch.lines import InputFormat
from mpg_cli.errors import UsageError

ROWS = [{"id": "a", "prompt": "Hi"}, {"id": "b", "prompt": "Ho"}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
TEXT = LINES.decode()


def read(raw: bytes, format_: InputFormat = "jsonl") -> bytes:
    return b"".join(filter(None, known(raw_lines(io.BytesIO(raw)), "my file", format_)))


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
        (gzip.compress(LINES, mtime=0), "is gzip", "gunzip -c 'my file' | mpg batch -"),
        (b"PK\x03\x04\x14\0\0\0", "is a zip file", "unzip -p"),
        (b"PAR1\x15\x04\x15", "is Parquet", "pandas.read_parquet"),
        (json.dumps(ROWS).encode(), "is a JSON list", "jq -c '.[]' 'my file' > lines.jsonl"),
        (json.dumps(ROWS, indent=1).encode(), "is a JSON list", "jq"),
        (b"\xef\xbb\xbf \n[\n", "is a JSON list", "jq"),
        (json.dumps(ROWS[0], indent=1).encode(), "has a JSON object over several lines", "jq -c . 'my file'"),
        (b'{"id": "a",\n "prompt": "Hi"}\n', "has a JSON object over several lines", "jq"),
        (b"id,prompt\n1,Hello\n", "is CSV", "pandas.read_csv"),
        (b'"prompt"\t"persona"\nHello\tnoir\n', "is TSV", "sep='\\t'"),
        (
            b"How are you?\nWhat now?\n",
            "holds no JSON objects: it begins with 'How are you?'",
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
        b"\n",
        b"",
    ],
    ids=str,
)
def test_lines_come_as_they_are(raw: bytes) -> None:
    assert read(raw) == raw


def test_text_may_begin_as_it_likes() -> None:
    for raw in (b"[INST] Hi\n", b"{\nHi\n", b"prompt, please\n", "Grüße\n".encode()):
        assert read(raw, "text") == raw
    with pytest.raises(UsageError, match="is UTF-16"):
        read("Hello\n".encode("utf-16-le"), "text")


def slow(*lines: bytes | None) -> Iterator[bytes | None]:
    yield from lines


def test_the_lines_of_a_pipe_are_known_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(begun(known(slow(None, None, LINES), "stdin"))) == [LINES]
    with pytest.raises(UsageError, match="stdin is a JSON list"):
        begun(known(slow(None, b"[\n"), "stdin"))
    monkeypatch.setattr("mpg_cli.batch.kinds.MOMENT", 0.05)
    began = time.monotonic()
    late = begun(known(slow(*[None] * 10, b"[\n"), "stdin"))  # nobody waits for them, they are looked at then
    assert time.monotonic() - began < 1
    with pytest.raises(UsageError, match="stdin is a JSON list"):
        list(late)


def test_nothing_to_read_is_the_end(tmp_path: Path) -> None:
    assert list(filter(None, begun(known(slow(), "stdin")))) == []
