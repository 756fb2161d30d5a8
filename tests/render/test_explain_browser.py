"""The page of explained replies in a real browser: hover, keys, both themes, no error and no network."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpg_cli.explain.attribution import Token
from mpg_cli.render.explain_html import write_page
from tests.render.browser import Browser, find_browser
from tests.render.explained import HOSTILE, TOKENS, explained_reply

pytestmark = pytest.mark.skipif(
    find_browser() is None, reason="no Chromium is installed (apt-get install chromium)"
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_browser()
    assert program is not None
    browser = Browser(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "why.html"
    file.write_text(write_page([explained_reply()], "Hello"), encoding="utf-8")
    return file


@pytest.fixture
def browser(running: Browser, page: Path) -> Iterator[Browser]:
    """The browser with the page; it must not complain and load nothing else."""
    running.complaints.clear()
    running.requests.clear()
    running.theme("light")
    running.open("about:blank")
    running.open(page.as_uri())
    yield running
    assert running.complaints == []
    assert set(running.requests) <= {page.as_uri(), "about:blank"}


TIP = "document.getElementById('tip').hidden ? null : document.getElementById('tip').innerText"


def test_the_script_ran_and_found_every_token(browser: Browser) -> None:
    assert browser.ask("document.documentElement.dataset.tokens") == str(len(TOKENS))
    assert browser.ask("document.querySelectorAll('.t').length") == len(TOKENS)
    assert browser.ask(TIP) is None


def test_hover_shows_what_every_persona_added(browser: Browser) -> None:
    browser.point("#r0t2")
    shown = browser.ask(TIP)
    for said in ("mate", "token 2 · corrected: the draft was “ friend”", "+0.300", "×1.35", "+0.800"):
        assert said in shown
    assert "+1.100" in shown, "the sum"
    assert browser.ask("document.querySelector('#tip tr.most th').innerText") == "pirate"
    box = browser.ask("(b => [b.left, b.top, b.right, b.bottom])(tip.getBoundingClientRect())")
    assert 0 <= box[0] < box[2] <= 1000
    assert 0 <= box[1] < box[3] <= 900
    browser.point("h1")
    assert browser.ask(TIP) is None


def test_keys_move_from_token_to_token(browser: Browser) -> None:
    browser.ask("document.querySelector('.t').focus()")
    assert "Aye" in browser.ask(TIP)
    browser.press("ArrowRight")
    browser.press("ArrowRight")
    assert browser.ask("document.activeElement.id") == "r0t2"
    assert browser.ask("document.activeElement.getAttribute('aria-describedby')") == "tip"
    browser.press("End")
    assert browser.ask("document.activeElement.id") == f"r0t{len(TOKENS) - 1}"
    assert browser.ask("document.querySelectorAll('.t[tabindex=\"0\"]').length") == 1, "one stop of Tab"
    browser.press("Escape")
    assert browser.ask(TIP) is None


def test_a_link_to_a_token_shows_it(browser: Browser, page: Path) -> None:
    browser.open(page.as_uri() + "#r0t2")
    assert "mate" in browser.ask(TIP), "a link within the page"
    browser.open("about:blank")
    browser.open(page.as_uri() + "#r0t7")
    assert "Plan" in browser.ask(TIP)
    assert "−1.500" in browser.ask(TIP)


def test_a_persona_alone_recolours_the_reply(browser: Browser) -> None:
    classes = "[...document.querySelectorAll('.t')].map(t => t.className)"
    before = browser.ask(classes)
    browser.point(".chips button", click=True)
    alone = browser.ask(classes)
    assert alone[0] == "t accepted p0 s0"
    assert alone[2] == "t corrected p0 s3"
    assert alone[5] == "t accepted part p0 s1"
    assert browser.ask("document.querySelector('.chips button').getAttribute('aria-pressed')") == "true"
    browser.point(".chips button", click=True)
    assert browser.ask(classes) == before


@pytest.mark.parametrize("theme, bright", [("light", True), ("dark", False)])
def test_both_themes(browser: Browser, theme: str, bright: bool) -> None:
    browser.theme(theme)
    pixels = first_row(browser.picture())
    assert all((sum(pixel) > 384) == bright for pixel in pixels)
    tints = browser.ask("[...document.querySelectorAll('.t')].map(t => getComputedStyle(t).backgroundColor)")
    assert len(set(tints)) >= 5, tints
    assert tints[0] != tints[1]


def test_what_is_hostile_does_nothing(running: Browser, tmp_path: Path) -> None:
    tokens = tuple(Token(i, HOSTILE, "corrected", (0.0, 3.0)) for i in range(3))
    file = tmp_path / "hostile.html"
    reply = explained_reply(tokens, names=(HOSTILE, "\"']}x"))
    file.write_text(write_page([reply], HOSTILE), encoding="utf-8")
    running.complaints.clear()
    running.requests.clear()
    running.open(file.as_uri())
    running.point("#r0t1")
    assert "onerror=alert(1)" in running.ask(TIP)
    running.point(".chips button", click=True)
    assert running.ask("document.querySelectorAll('img').length") == 0
    assert running.complaints == []
    assert set(running.requests) == {file.as_uri()}


def test_a_narrow_screen_has_no_sideways_scroll(browser: Browser) -> None:
    browser.resize(360, 640)
    try:
        assert browser.ask("document.documentElement.scrollWidth") <= 360
    finally:
        browser.resize(1000, 900)


def first_row(png: bytes) -> list[tuple[int, ...]]:
    """The pixels of a picture's first row, which needs no row above it."""
    width, _, depth, kind = struct.unpack(">IIBB", png[16:26])
    assert (depth, kind) in {(8, 2), (8, 6)}
    step = 3 if kind == 2 else 4
    data, place = b"", 8
    while place < len(png):
        length, name = struct.unpack(">I4s", png[place : place + 8])
        data += png[place + 8 : place + 8 + length] if name == b"IDAT" else b""
        place += length + 12
    filtered, *row = zlib.decompress(data)[: width * step + 1]
    if filtered in (1, 4):  # each byte is a difference to the pixel on its left
        for at in range(step, len(row)):
            row[at] = (row[at] + row[at - step]) & 255
    elif filtered == 3:
        for at in range(step, len(row)):
            row[at] = (row[at] + row[at - step] // 2) & 255
    return [tuple(row[at : at + 3]) for at in range(0, len(row), step)]
