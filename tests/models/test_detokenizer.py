"""Text as it comes: pieces add up to the whole, characters stay whole, stop strings never leak."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpg_cli.models.detokenizer import Detokenizer, ReplyText, StopStrings
from tests.models.words import byte_tokenizer, metaspace_tokenizer

TOKENIZER = byte_tokenizer()


def pieces(ids: list[int]) -> list[str]:
    detokenizer = Detokenizer(TOKENIZER)
    return [*(detokenizer.push(i) for i in ids), detokenizer.flush()]


@settings(deadline=None, max_examples=100)
@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_pieces_add_up(text: str) -> None:
    got = pieces(TOKENIZER(text)["input_ids"])
    assert "".join(got) == text
    assert all("\ufffd" not in piece for piece in got) or "\ufffd" in text


def test_a_character_of_several_bytes_comes_whole() -> None:
    assert pieces(TOKENIZER("a😀é")["input_ids"]) == ["a", "", "", "", "😀", "", "é", ""]


def test_invalid_bytes_come_out_in_the_end() -> None:
    broken = TOKENIZER("😀")["input_ids"][:3]
    assert "".join(pieces([*broken, *TOKENIZER("ok")["input_ids"]])).endswith("ok")
    assert pieces(broken)[-1] != ""


def test_special_tokens_are_not_text() -> None:
    assert "".join(pieces([*TOKENIZER("a")["input_ids"], TOKENIZER.eos_token_id])) == "a"


@pytest.mark.parametrize(
    "stops, stream, shown, found",
    [
        (["END"], ["a E", "N", "D b"], "a ", True),
        (["END"], ["a E", "N", "X"], "a ENX", False),
        (["aab"], ["aa", "aab"], "aa", True),
        (["\n\n", "\nQ"], ["x\n", "Q"], "x", True),
        (["late", "a"], ["lat", "e"], "l", True),
        ([], ["a", "b"], "ab", False),
    ],
)
def test_stop_strings(stops: list[str], stream: list[str], shown: str, found: bool) -> None:
    scanner = StopStrings(stops)
    text = ""
    for piece in stream:
        text += scanner.push(piece)
        if scanner.found:
            break
        assert not any(stop in text for stop in stops)
    assert scanner.found is found
    assert text + scanner.flush() == shown


@given(
    st.lists(st.text("ab", max_size=3), max_size=8),
    st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=3),
)
def test_streaming_finds_what_a_search_in_the_whole_finds(stream: list[str], stops: list[str]) -> None:
    whole = "".join(stream)
    scanner, text = StopStrings(stops), ""
    for n, piece in enumerate(stream):
        text += scanner.push(piece)
        so_far = "".join(stream[: n + 1])
        places = [so_far.find(stop) for stop in stops if stop in so_far]
        assert scanner.found is bool(places)
        if places:
            assert text == so_far[: min(places)]
            return
    assert text + scanner.flush() == whole


NAMED = byte_tokenizer(extra=3)
MARK = NAMED.eos_token  # special: no text of a reply


def said(stops: list[str], ids: list[int], prefill: str = "") -> tuple[str, str, bool]:
    """What is shown on the way, the whole, and whether a stop string was found."""
    text = ReplyText(NAMED, stops, frozenset(), prefill)
    shown = ""
    for id_ in ids:
        shown += text.push([id_])[0]
        if text.stopped:
            break
    return shown + text.flush(), text.whole, text.stopped


def test_a_stop_string_may_be_a_special_token() -> None:
    ids = [*NAMED("one")["input_ids"], NAMED.eos_token_id, *NAMED("two")["input_ids"]]
    assert said([], ids) == ("onetwo", "onetwo", False)
    assert said([MARK], ids) == ("one", "one", True)


def test_a_stop_string_may_reach_over_a_special_token() -> None:
    ids = [*NAMED("one")["input_ids"], NAMED.eos_token_id, *NAMED("two")["input_ids"]]
    assert said([f"e{MARK}tw"], ids) == ("on", "on", True)
    assert said([f"e{MARK}x"], ids) == ("onetwo", "onetwo", False)


def test_a_stop_string_is_never_shown_though_a_special_token_stands_in_it() -> None:
    ids = [*NAMED("one")["input_ids"], NAMED.eos_token_id, *NAMED("two")["input_ids"]]
    assert said(["onetwo"], ids) == ("", "", True)
    assert said(["etw"], ids) == ("on", "on", True)
    assert said(["ex", f"{MARK}two"], ids) == ("one", "one", True)


def test_a_special_token_that_stops_is_no_token_of_the_reply() -> None:
    text = ReplyText(NAMED, [MARK], frozenset())
    text.push([*NAMED("one")["input_ids"], NAMED.eos_token_id])
    assert (text.stopped, text.ids) == (True, NAMED("one")["input_ids"])


def test_a_stop_string_may_end_with_the_end_token() -> None:
    text = ReplyText(NAMED, [f"ne{MARK}"], frozenset({NAMED.eos_token_id}))
    text.push([*NAMED("one")["input_ids"], NAMED.eos_token_id])
    assert (text.stopped, text.whole + text.flush()) == (True, "o")


@given(
    st.lists(st.tuples(st.text("ab", min_size=1, max_size=3), st.booleans()), max_size=8),
    st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_what_is_shown_is_the_text_before_the_first_stop(
    stream: list[tuple[str, bool]], stops: list[str]
) -> None:
    """With the hidden pieces or without them; by a search in the whole after each piece."""
    scanner, text = StopStrings(stops), ""
    for n, (piece, shown) in enumerate(stream):
        text += scanner.push(piece, shown=shown)
        chars = [(c, visible) for more, visible in stream[: n + 1] for c in more]
        views = [list(range(len(chars))), [i for i, (_, visible) in enumerate(chars) if visible]]
        found = [
            view["".join(chars[i][0] for i in view).find(stop)]
            for view in views
            for stop in stops
            if stop in "".join(chars[i][0] for i in view)
        ]
        assert scanner.found is bool(found)
        if found:
            assert text == "".join(c for c, visible in chars[: min(found)] if visible)
            return
    assert text + scanner.flush() == "".join(piece for piece, shown in stream if shown)


def test_a_reply_goes_on_from_its_prefill() -> None:
    shown, whole, found = said(["Sure"], NAMED(", here")["input_ids"], "Sure")
    assert (shown, whole, found) == (", here", "Sure, here", False)


def test_a_space_after_the_prefill_is_kept() -> None:
    """Tokenizers with a mark for spaces drop it at the start of what they decode."""
    tokenizer = metaspace_tokenizer()
    text = ReplyText(tokenizer, [], frozenset(), "the")
    text.push(tokenizer("the cat")["input_ids"][1:])
    text.flush()
    assert text.whole == "the cat"
