"""The page of explained replies, as text: complete, escaped, without network, readable in both themes."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from mpg_cli.explain.attribution import Token
from mpg_cli.render.explain_html import write_page
from mpg_cli.render.palette import HUES
from tests.render.explained import HOSTILE, TOKENS, explained_reply, luminance


class Page(HTMLParser):
    """Elements with their attributes, and the text of each."""

    VOID = frozenset({"meta", "rect", "line"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[int] = []
        self.feed(html)
        self.close()
        assert not self._open, "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))
        if tag not in self.VOID:
            self._open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        assert self.elements[self._open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        for place in self._open:
            self.elements[place][2].append(data)

    def texts(self, tag: str, name: str = "") -> list[str]:
        """The texts of the elements of a kind, and of a class where one is named."""
        return ["".join(text) for _, text in self.all(tag, name)]

    def all(self, tag: str, name: str = "") -> list[tuple[dict[str, str | None], list[str]]]:
        found = [(attrs, text) for kind, attrs, text in self.elements if kind == tag]
        return [each for each in found if not name or name in (each[0].get("class") or "").split()]


def test_every_token_is_there_with_its_numbers() -> None:
    page = Page(write_page([explained_reply()], "Hello"))
    spans = page.all("span", "t")
    assert [attrs["id"] for attrs, _ in spans] == [f"r0t{i}" for i in range(len(TOKENS))]
    assert "".join(page.texts("p", "words")) == "Aye, mate. 🙂 Plan it."
    rows = [attrs["id"] for attrs, _ in page.all("tr") if "id" in attrs]
    assert rows == [f"r0n{i}" for i in range(len(TOKENS))]
    cells = page.texts("td")
    assert "corrected: the draft was “ friend”" in cells
    assert "corrected: the draft was the end" in cells
    assert {"+0.300", "−1.500", "drafted and accepted", "not drafted"} <= set(cells)


def test_classes_tell_the_strongest_persona_and_where_a_token_comes_from() -> None:
    page = Page(write_page([explained_reply()], "Hello"))
    classes = [(attrs["class"] or "").split() for attrs, _ in page.all("span", "t")]
    assert classes[0] == ["t", "accepted", "p1", "s9"]
    assert classes[1] == ["t", "bonus"]
    assert classes[2] == ["t", "corrected", "p1", "s6"]
    assert classes[5] == ["t", "accepted", "p0", "s1", "part"]


def test_a_sentence_has_a_bar_for_every_persona() -> None:
    page = Page(write_page([explained_reply()], "Hello"))
    assert len(page.all("table", "bars")) == 2
    assert len(page.all("rect")) == 4
    widths = [float(attrs["width"] or 0) for attrs, _ in page.all("rect")]
    x = [float(attrs["x"] or 0) for attrs, _ in page.all("rect")]
    assert max(widths) + max(w for w, left in zip(widths, x, strict=True) if left == 0) == pytest.approx(
        200, abs=0.02
    ), "the longest to the left and to the right share the picture"


def test_nothing_hostile_is_more_than_text() -> None:
    tokens = (Token(1, HOSTILE, "accepted", (0.0, 3.0)),)
    html = write_page([explained_reply(tokens, names=(HOSTILE, 'x" onclick="alert(1)'))], HOSTILE)
    page = Page(html)
    assert {tag for tag, _, _ in page.elements} & {"img", "link", "iframe", "a", "object"} == set()
    assert len(page.all("script")) == 1
    assert not any(name.startswith("on") for _, attrs, _ in page.elements for name in attrs)
    assert not any("style" in attrs for _, attrs, _ in page.elements), "the policy would drop it"
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", html)
    shown = HOSTILE.replace("\x1b", "").replace("\u202e", "")
    assert page.texts("p", "asked") == [shown]
    assert shown in page.texts("td")


def test_it_needs_nothing_from_elsewhere() -> None:
    html = write_page([explained_reply()], "See https://example.org")
    page = Page(html)
    assert "http" not in html.replace("https://example.org", "").replace("http-equiv", "")
    assert "url(" not in html
    assert "@import" not in html
    assert not any({"src", "href", "action"} & set(attrs) for _, attrs, _ in page.elements)


def test_the_policy_allows_its_own_script_and_style_only() -> None:
    page = Page(write_page([explained_reply()], "Hello"))
    policy = next(a["content"] for a, _ in page.all("meta") if a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        (content,) = page.texts(tag)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy


def test_language_title_and_settings() -> None:
    html = write_page([explained_reply()], "Hello")
    page = Page(html)
    assert page.all("html")[0][0]["lang"] == "en"
    assert page.texts("title") == ["INTJ:0.7+pirate: contributions of each persona to each token"]
    assert page.all("div", "reply")[0][0]["lang"] == "", "nobody knows the language of a reply"
    facts = page.texts("dd")
    assert {"mpg-tiny", "product", "exact", "merged", "75% (3 of 4 evaluated)", "42", "stop"} <= set(facts)
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_several_samples_share_colours_and_keep_their_ids_apart() -> None:
    page = Page(write_page([explained_reply(), explained_reply()], "Hello"))
    ids = [attrs["id"] for _, attrs, _ in page.elements if attrs.get("id")]
    assert len(ids) == len(set(ids))
    assert len(page.texts("h2")) == 2
    assert len(page.all("button")) == 2


def test_personas_beyond_the_colours_are_grey() -> None:
    names = tuple(f"p{i}" for i in range(10))
    tokens = tuple(
        Token(i, f" w{i}", "accepted", tuple(2.0 + i if k == i else 0.0 for k in range(10)))
        for i in range(10)
    )
    page = Page(write_page([explained_reply(tokens, names=names)], "Hello"))
    assert [(a["class"] or "").split()[2] for a, _ in page.all("span", "t")][:3] == ["px", "px", "p0"]
    assert len(page.all("button")) == len(HUES)


def test_a_mixture_shows_shares() -> None:
    tokens = (Token(1, "Aye", "accepted", (0.1, 0.9)),)
    page = Page(write_page([explained_reply(tokens, unit="share")], "Hello"))
    assert {"0.100", "0.900"} <= set(page.texts("td"))
    assert "most exceeds its share" in "".join(page.texts("p", "key"))


def blended(color: str, page: str, share: float) -> str:
    pairs = ((int(color[i : i + 2], 16), int(page[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in pairs)


@pytest.mark.parametrize("hue", HUES, ids=lambda hue: hue.name)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_is_read_on_the_strongest_tint(hue: object, theme: str) -> None:
    """WCAG AA on the card of both themes."""
    style = Page(write_page([explained_reply()], "Hello")).texts("style")[0]
    values = style.split(":root")[1 if theme == "light" else 2]
    card, ink, full = (re.search(rf"--{name}: (#?\w+)", values)[1] for name in ("card", "ink", "full"))  # type: ignore[index]
    card = "#ffffff" if card == "#fff" else card
    tint = luminance(blended(getattr(hue, theme), card, int(full) / 100))
    low, high = sorted((tint, luminance(ink)))
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_what_the_reply_was_begun_with_stands_before_it() -> None:
    page = Page(write_page([explained_reply(prefill="Well, <b>")], "Hello"))
    assert page.texts("p", "words")[0].startswith("Well, <b>Aye, mate.")
