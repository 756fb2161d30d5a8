"""Explanations on terminals: colours on dark and light, signs without colour, nothing hostile."""

from __future__ import annotations

import io
import re

import pytest
from rich.cells import cell_len
from rich.text import Text

from mpg_cli.engine.events import Finished
from mpg_cli.explain.attribution import Token
from mpg_cli.render.explain_terminal import write_explanation
from mpg_cli.render.palette import HUES
from tests.render.explained import HOSTILE, explained_reply, luminance
from tests.support.screen import Screen

ANSI = re.compile(r"\x1b\[[\d;]*m")


def drawn(reply: Finished, *, tty: bool = False, color: bool = False) -> str:
    to = io.StringIO()
    write_explanation(to, reply.explanation, reply.spec.experts, tty=tty, color=color)
    return to.getvalue()


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    for name in ("COLORTERM", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


def style_of(output: str, word: str) -> str:
    """The style that a word has, without its colours' names."""
    text = Text.from_ansi(output)
    at = text.plain.index(word)
    return " ".join(str(span.style) for span in text.spans if span.start <= at < span.end)


def test_without_colour_signs_say_the_same() -> None:
    lines = drawn(explained_reply()).splitlines()
    assert lines[:3] == [
        "[a INTJ 1]  [b pirate 1]",
        "[a ...]: the persona that contributed most; ! strong; ~corrected draft, +not drafted, else accepted",
        "",
    ]
    assert lines[3] == "[b Aye!]+, [b ~mate]."
    assert lines[7].startswith("[a +🙂 ~Plan it.]")
    assert not ANSI.search("".join(lines))


def test_what_the_reply_was_begun_with_stands_before_it() -> None:
    begun = explained_reply(prefill="Well\x1b[31m, ")
    assert drawn(begun).splitlines()[3] == "Well[31m, [b Aye!]+, [b ~mate]."
    output = drawn(begun, tty=True, color=True)
    assert "dim" in style_of(output, "Well")
    assert "Well[31m, Aye, mate." in Text.from_ansi(output).plain


def test_colours_show_persona_and_strength() -> None:
    output = drawn(explained_reply(), tty=True, color=True)
    assert "bold" in style_of(output, "Aye")
    assert " on " in style_of(output, "Aye"), "a strong contribution is a block"
    assert "bold" in style_of(output, "mate")
    assert "underline" in style_of(output, "mate")
    assert " on " not in style_of(output, "mate")
    assert style_of(output, "Plan") != style_of(output, "mate")
    assert "italic" in style_of(output, "🙂")
    assert "[b" not in ANSI.sub("", output)


def test_a_sentence_has_a_bar_for_every_persona() -> None:
    lines = ANSI.sub("", drawn(explained_reply(), tty=True, color=True)).splitlines()
    bars = [line for line in lines if re.search(r"[+-]\d+\.\d\d$", line)]
    assert [line.split()[0] for line in bars] == ["INTJ", "pirate"] * 2
    assert [line.split()[-1] for line in bars] == ["+0.31", "+3.28", "+2.50", "-1.20"]
    assert bars[1].count("█") == 24, "the largest is full"
    assert "░" in bars[3], "one against the sentence"


def test_no_color_keeps_the_terminal_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    output = drawn(explained_reply(), tty=True, color=False)
    assert "[b Aye!]" in output
    assert "\x1b" not in output


def test_sixteen_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    output = drawn(explained_reply(), tty=True, color=True)
    assert not re.search(r"[34]8;[25];", output)
    assert re.search(r"\x1b\[[\d;]*4[1-7]m", output)


def test_hostile_text_reaches_no_terminal() -> None:
    token = Token(1, HOSTILE + "\x9b2J\a", "accepted", (0.0, 3.0))
    reply = explained_reply((token,), names=("\x1b[2J[red]", "pi\nrate"))
    for color in (True, False):
        screen = Screen(60).feed(drawn(reply, tty=True, color=color))  # raises at any other control
        assert "[b]bold[/b]" in "".join(screen.lines)
        assert ":smile:" in "".join(screen.lines)


def test_twelve_personas_share_eight_colours() -> None:
    names = tuple(f"p{i}" for i in range(12))
    tokens = tuple(
        Token(i, f" w{i}", "accepted", tuple(2.0 + i if k == i else 0.0 for k in range(12)))
        for i in range(12)
    )
    output = drawn(explained_reply(tokens, names=names))
    assert "and 4 more with smaller contributions" in " ".join(output.split())
    assert "[h w11!]" in output
    assert "\nw0 w1 w2 w3 [a w4!] [b w5!]" in output
    assert len(re.findall(r"[+-]\d+\.\d\d$", output, re.MULTILINE)) == len(HUES)


def test_shares_of_a_mixture() -> None:
    tokens = (Token(1, "Aye", "accepted", (0.1, 0.9)), Token(2, ".", "bonus", (0.5, 0.5)))
    output = drawn(explained_reply(tokens, unit="share"))
    assert "exceeds its share most" in output
    assert "1.4 tokens" in output


def test_lines_fit_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    tokens = tuple(Token(i, " 日本語", "accepted", (2.0, 0.1)) for i in range(30))
    for color in (True, False):
        lines = ANSI.sub("", drawn(explained_reply(tokens), tty=True, color=color)).splitlines()
        assert max(map(cell_len, lines)) <= 50


def test_an_empty_reply_is_marked() -> None:
    assert "The reply is empty." in drawn(explained_reply(()))


@pytest.mark.parametrize("hue", HUES, ids=lambda hue: hue.name)
def test_ink_is_read_on_black_on_white_and_under_white(hue: object) -> None:
    ink = luminance(hue.ink)  # type: ignore[attr-defined]
    assert (ink + 0.05) / 0.05 >= 4, "on black"
    assert 1.05 / (ink + 0.05) >= 4, "on white, and white on it"
