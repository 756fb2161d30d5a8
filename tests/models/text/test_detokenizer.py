"""Text as it comes: pieces add up to the whole, characters stay whole, stop strings never leak."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpg_cli.models.text.detokenizer import Detokenizer, ReplyText, StopStrings
from tests.support.tokenizers import byte_tokenizer, metaspace_tokenizer

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


@pytest.mark.parametrize("stop", [">", "end", MARK[1:]])
def test_a_stop_string_never_has_part_of_the_name_of_a_special_token(stop: str) -> None:
    ids = [NAMED.eos_token_id, *NAMED("one")["input_ids"]]
    assert said([stop], ids) == ("one", "one", False)
    scanner = StopStrings([MARK], [MARK])  # its characters as text, not the token
    assert scanner.push(f"a{MARK}b") == "a"
    assert scanner.found


UNITS = ["a", "b", "<x>", "<xy>"]  # characters, and names of special tokens


@given(
    st.lists(st.sampled_from(UNITS), max_size=10),
    st.lists(st.lists(st.sampled_from(UNITS), min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_what_is_shown_is_the_text_before_the_first_stop(stream: list[str], stops: list[list[str]]) -> None:
    """With the special tokens that it names, or in the text without any; by a search in the whole."""
    scanner, text = StopStrings(["".join(stop) for stop in stops], UNITS[2:]), ""
    for n, unit in enumerate(stream):
        text += scanner.push(unit) if len(unit) == 1 else scanner.push_special(unit)
        whole = stream[: n + 1]
        plain = [place for place, one in enumerate(whole) if len(one) == 1]
        found = [at for stop in stops for at in range(len(whole)) if whole[at : at + len(stop)] == stop]
        found += [
            plain[at]
            for stop in stops
            for at in range(len(plain))
            if [whole[place] for place in plain[at : at + len(stop)]] == stop
        ]
        assert scanner.found is bool(found)
        if found:
            assert text == "".join(one for one in whole[: min(found)] if len(one) == 1)
            return
    assert text + scanner.flush() == "".join(one for one in stream if len(one) == 1)


def test_a_reply_continues_its_prefill() -> None:
    shown, whole, found = said(["Sure"], NAMED(", here")["input_ids"], "Sure")
    assert (shown, whole, found) == (", here", "Sure, here", False)


def test_a_space_after_the_prefill_is_kept() -> None:
    """Tokenizers with a mark for spaces drop it at the start of what they decode."""
    tokenizer = metaspace_tokenizer()
    text = ReplyText(tokenizer, [], frozenset(), "the")
    text.push(tokenizer("the cat")["input_ids"][1:])
    text.flush()
    assert text.whole == "the cat"
