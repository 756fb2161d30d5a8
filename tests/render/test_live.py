"""The live view on a real pseudo-terminal, seen through a small terminal."""

from __future__ import annotations

import json
import re
import signal
import time

import pytest

from mpg_cli.render.wrap import wrap
from tests.support.screen import Screen, Terminal

DRAW = """
import json, sys, time
from mpg_cli.render.commentary import Commentary
from mpg_cli.render.live import LiveRenderer
from mpg_cli.io.terminal import Streams
from tests.support.replies import reply

pieces, options = json.loads(sys.argv[1]), json.loads(sys.argv[2])

def events():
    for event in reply(pieces, threshold=options.get("threshold", False)):
        yield event
        if event.type == "text":
            time.sleep(options.get("pause", 0))

streams = Streams.current()
stats = options.get("stats", False)
LiveRenderer(streams, Commentary(streams, stats=stats, quiet=not stats)).render(events())
print("END")
"""

# A command that, like `mpg generate`, loads and draws a reply; it runs until it is stopped.
COMMAND = """
import sys, time
from dataclasses import replace
import typer
from mpg_cli.cli.app import app, main
from mpg_cli.io import signals
from mpg_cli.io.terminal import Streams
from mpg_cli.render import choose_format, make_renderer
from mpg_cli.render.commentary import Commentary
from tests.support.replies import reply

reasons = []

def hang():
    # A signal that comes between Python's last look and the sleep itself is handled after the sleep.
    for _ in range(1200):
        time.sleep(0.05)

def load(what):
    if "slow-start" in what:
        hang()
    if "deaf" in what:
        try:
            hang()
        except BaseException:
            if "confused" in what:
                raise RuntimeError("half an import")

def replies(what):
    *events, finished = reply(["All the words ", "so far"])
    yield from events
    if "stuck" in what:
        hang()
    while not reasons:
        time.sleep(0.02)
    yield replace(finished, finish_reason=reasons[0])

@app.command()
def talk(what: str):
    streams = Streams.current()
    commentary = Commentary(streams, stats=True)
    with streams.status("loading fake", shown=True):
        load(what)
        signals.check()
    renderer = make_renderer(choose_format("auto", streams, to_file=False), streams, commentary)
    with signals.Graceful(reasons.append) as graceful:
        renderer.render(replies(what))
    if graceful.exit_code is not None:
        raise typer.Exit(graceful.exit_code)

sys.exit(main(["talk", sys.argv[1]]))
"""


def draw(pieces: list[str], columns: int = 40, rows: int = 8, **options: object) -> tuple[Screen, str]:
    """The final screen of a reply drawn live, and the raw output."""
    terminal = Terminal(DRAW, json.dumps(pieces), json.dumps(options), columns=columns, rows=rows)
    output = terminal.finish()
    assert terminal.process.returncode == 0, output
    screen = Screen(columns).feed(output)
    assert screen.cursor_visible
    return screen, output


def lines_of(text: str, columns: int) -> list[str]:
    lines = [part.rstrip() for line in text.split("\n") for part in wrap(line, columns)]
    return [*lines, "END"]


@pytest.mark.parametrize(
    "text",
    [
        "Hello",
        "[/foo] [link=http://x]y[/link] [bold]:smile: http://x 'a' 12",
        "日本語のテキストは幅が広いので、" * 8,
        "word " * 100 + "\n\nend",
        "x" * 700,
        "\n".join(f"line {i}" for i in range(40)),
        "👩‍🚀 and é, done\n",
        "",
    ],
    ids=["short", "markup", "wide", "long", "unbroken", "tall", "emoji", "empty"],
)
def test_the_text_stays_and_nothing_else(text: str) -> None:
    """Whatever is drawn meanwhile: the screen ends with the wrapped text, more than a screen or not."""
    pieces = [text[i : i + 7] for i in range(0, len(text), 7)]
    screen, output = draw(pieces)
    expected = lines_of(text.removesuffix("\n"), 40) if text else ["END"]
    assert screen.lines == expected
    assert "\x1b[?25l" in output


def test_the_status_line_is_shown_meanwhile() -> None:
    _, output = draw(["one ", "two ", "three"], columns=100, pause=0.2)
    assert "67% accepted" in output
    assert "tokens/s" in output
    assert "INTJ 0.7, pirate 1" in output


def test_the_status_of_the_threshold_rule() -> None:
    _, output = draw(["one ", "two ", "three"], columns=120, pause=0.2, threshold=True)
    assert re.search(r"m 0\.40, 100% clipped, κ \d", output)


def test_the_live_part_is_two_lines_at_most() -> None:
    """However long the line in progress and however narrow the terminal: never more than one row up."""
    _, output = draw(["x" * 50] * 20, columns=20, rows=3, pause=0.02)
    ups = [int(n or 1) for n in re.findall(r"\x1b\[(\d*)A", output)]
    assert ups.count(1) > 3
    assert max(ups) <= 2  # leaving goes up over both


def test_the_whole_reply_is_not_drawn_again_and_again() -> None:
    """Four thousand characters in one burst cost about themselves; flicker-free drawing is capped in time."""
    text = "some words " * 400
    _, output = draw([text[i : i + 4] for i in range(0, len(text), 4)])
    assert len(output) < 8 * len(text)


def test_statistics_follow_the_text() -> None:
    screen, _ = draw(["Hello", " you"], columns=100)
    assert screen.lines == ["Hello you", "END"]
    shown, _ = draw(["Hello", " you"], columns=100, stats=True)
    assert shown.lines[0] == "Hello you"
    assert shown.lines[1].startswith("67% accepted")
    assert shown.lines[-1] == "END"


def test_control_characters_do_not_reach_the_terminal() -> None:
    _, output = draw(["a\x1b]0;title\x07b\x1b[2Jc\x9b2J\u202ed\rE\n"])
    assert "a]0;titleb[2Jc2JdE" in output
    assert "\x1b[2J" not in output
    assert "\x07" not in output


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_the_text_and_restores_the_terminal(number: signal.Signals, code: int) -> None:
    terminal = Terminal(COMMAND, "hi", columns=60)
    terminal.read_until("so far")
    terminal.signal(number)
    output = terminal.finish()
    assert terminal.process.returncode == code
    assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l")
    screen = Screen(60).feed(output.replace("\x1b[2m", "").replace("\x1b[22m", ""))
    assert screen.cursor_visible
    assert screen.lines[0] == "All the words so far"
    assert "interrupted" in "".join(screen.lines[1:])
    assert "reading the prompt" not in "".join(screen.lines)


def test_the_echo_of_ctrl_c_does_not_wrap() -> None:
    """The status fills the line; an echo that wraps would move the cursor off the lines to be erased."""
    terminal = Terminal(COMMAND, "hi", columns=40)
    terminal.read_until("so far")
    terminal.read_until("…")
    terminal.write("\x03")
    terminal.read_until("^C")
    terminal.signal(signal.SIGINT)
    output = terminal.finish().replace("\x1b[2m", "").replace("\x1b[22m", "")
    shown = Screen(40).feed(output).lines
    assert shown[0] == "All the words so far"
    assert not any("All" in line or "^C" in line for line in shown[1:])


def _closed(terminal: Terminal, seconds: float) -> bool:
    """Whether the program lets go of the terminal within this time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not terminal._read(0.1):
            return True
    return False


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_at_once(number: signal.Signals, code: int) -> None:
    terminal = Terminal(COMMAND, "stuck", columns=60)
    terminal.read_until("so far")
    terminal.signal(number)
    terminal.signal(number)
    if not _closed(terminal, 3):  # signals that come before the first is handled arrive as one
        terminal.signal(number)
    output = terminal.finish(seconds=10)
    assert terminal.process.returncode == code
    assert Screen(60).feed(output).lines == ["All the words so far"]
    assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("prompt", ["slow-start", "deaf", "deaf and confused"])
def test_a_signal_while_loading_ends_at_once(number: signal.Signals, code: int, prompt: str) -> None:
    """Even where an import swallows it or fails for another reason because of it."""
    terminal = Terminal(COMMAND, prompt, columns=60)
    terminal.read_until("loading fake")
    terminal.signal(number)
    output = terminal.finish(seconds=10)
    assert terminal.process.returncode == code
    assert Screen(60).feed(output).lines == []


def test_a_dumb_terminal_gets_plain_text() -> None:
    terminal = Terminal(COMMAND, "hi", columns=60, TERM="dumb")
    terminal.read_until("so far")
    terminal.signal(signal.SIGINT)
    output = terminal.finish()
    assert "\x1b" not in output
    assert output.startswith("All the words so far\r\n")
