"""Cleaning text, knowing the terminal, and the spinner."""

from __future__ import annotations

import io
import time

import pytest

from mpg_cli.io.terminal import Status, Streams, clean


def test_clean_keeps_text_newlines_and_tabs() -> None:
    text = "[/foo] [bold]:smile: \t日本 é\n👩‍🚀 ~"
    assert clean(text) == text


def test_clean_removes_every_control() -> None:
    controls = [*range(0x20), *range(0x7F, 0xA0), 0x61C, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
    kept = clean("".join(map(chr, controls)))
    assert kept == "\t\n"


def test_the_environment_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Streams.current({"TERM": "xterm"}).color
    assert not Streams.current({"TERM": "xterm", "NO_COLOR": "1"}).color
    assert Streams.current({"TERM": "xterm", "NO_COLOR": ""}).color
    dumb = Streams.current({"TERM": "dumb"})
    assert not dumb.color
    assert not dumb.movable


def test_a_closed_stdout_is_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    current = Streams.current()
    current.stdout.write("nobody reads this")
    assert not current.stdout_tty


def test_a_stream_with_a_poor_encoding_does_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    current = Streams.current()
    current.stdout.write("aé\ud800")
    current.stdout.flush()
    assert raw.getvalue() == b"a??"


def test_the_spinner_shows_and_leaves_nothing() -> None:
    stream = io.StringIO()
    with Status(stream, "loading\x1b[2J x", shown=True, delay=0) as status:
        time.sleep(0.15)
        status.update("")
        time.sleep(0.15)
    assert "| loading[2J x" in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")


@pytest.mark.parametrize(("shown", "delay"), [(False, 0.0), (True, 30.0)])
def test_the_spinner_stays_silent(shown: bool, delay: float) -> None:
    """Where stderr is no terminal, and where the work is done at once."""
    stream = io.StringIO()
    with Status(stream, "loading", shown=shown, delay=delay):
        pass
    assert stream.getvalue() == ""
