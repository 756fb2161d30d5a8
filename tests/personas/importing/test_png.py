"""Text in pictures: what is read, and that damaged or hostile pictures are refused with a sentence."""

from __future__ import annotations

import tracemalloc
import zlib

import pytest

from mpg_cli.errors import UsageError
from mpg_cli.personas.importing import png as reader
from tests.support.cards import HEAD, PIXELS, SIGNATURE, TAIL, chunk, png, text


def read(data: bytes) -> dict[str, list[bytes]]:
    return reader.text_chunks(data, ("chara", "ccv3"), "x.png")


def refused(data: bytes) -> str:
    with pytest.raises(UsageError) as error:
        read(data)
    assert error.value.message.startswith("x.png: ")
    return error.value.message


def test_all_three_kinds_of_text_are_read() -> None:
    packed = b"\0" + zlib.compress(b"two")
    data = png(
        text("chara", b"one"),
        chunk(b"zTXt", b"chara\0" + packed),
        chunk(b"iTXt", b"ccv3\0\0\0en\0title\0three"),
        chunk(b"iTXt", b"ccv3\0\1\0\0\0" + zlib.compress(b"four")),
        text("Comment", b"no"),
    )
    assert read(data) == {"chara": [b"one", b"two"], "ccv3": [b"three", b"four"]}


def test_keywords_are_matched_without_case_and_after_the_pixels_too() -> None:
    data = SIGNATURE + HEAD + PIXELS + text("Chara", b"one") + TAIL + b"left over"
    assert read(data) == {"chara": [b"one"]}


def test_a_wrong_checksum_is_refused_for_text_only() -> None:
    good = png(chunk(b"tIME", b"1234567", crc=1), text("chara", b"one"))
    assert read(good) == {"chara": [b"one"]}
    for kind in (b"tEXt", b"zTXt", b"iTXt"):
        assert "checksum" in refused(png(chunk(kind, b"Comment\0one", crc=1)))


def test_an_altered_byte_is_found() -> None:
    assert "checksum" in refused(png(text("chara", b"one")).replace(b"one", b"two"))


@pytest.mark.parametrize("cut", [9, 20, len(SIGNATURE + HEAD), -1, -8, -13])
def test_a_picture_that_is_cut_off_is_refused(cut: int) -> None:
    message = refused(png(text("chara", b"one"))[:cut])
    assert "cut off" in message or "longer than the file" in message


@pytest.mark.parametrize("length", [2**32 - 1, 2**31, 1 << 20])
def test_a_chunk_longer_than_the_file_is_refused_without_memory_for_it(length: int) -> None:
    tracemalloc.start()
    assert "longer than the file" in refused(png(chunk(b"tEXt", b"chara\0", length=length)))
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_what_does_not_begin_as_a_picture_is_refused() -> None:
    assert refused(b"GIF89a") == "x.png: not a PNG file"
    assert "not a valid PNG" in refused(SIGNATURE + PIXELS + TAIL)
    assert "not a valid PNG" in refused(png(chunk(b"a\0b\xff", b"")))


@pytest.mark.parametrize(
    "bomb",
    [
        chunk(b"zTXt", b"chara\0\0" + zlib.compress(bytes(40 << 20), 9)),
        chunk(b"iTXt", b"ccv3\0\1\0\0\0" + zlib.compress(bytes(40 << 20), 9)),
    ],
    ids=["zTXt", "iTXt"],
)
def test_a_text_that_unpacks_without_end_is_refused_in_little_memory(bomb: bytes) -> None:
    data = png(bomb)
    assert len(data) < 1 << 20
    tracemalloc.start()
    assert "larger than 24 MiB" in refused(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 << 20


def test_many_texts_that_are_too_large_together_are_refused_in_little_memory() -> None:
    bomb = chunk(b"zTXt", b"chara\0\0" + zlib.compress(bytes(5 << 20), 9))
    tracemalloc.start()
    assert "larger than 24 MiB" in refused(png(bomb * 100))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60 << 20


def test_a_bomb_under_another_keyword_is_not_even_unpacked() -> None:
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50 << 20), 9))
    tracemalloc.start()
    assert read(png(bomb, text("chara", b"one"))) == {"chara": [b"one"]}
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    "bad, message",
    [
        (chunk(b"tEXt", b"chara"), "unterminated keyword"),
        (chunk(b"zTXt", b"chara\0\0garbage"), "cannot be decompressed"),
        (chunk(b"zTXt", b"chara\0\0" + zlib.compress(b"one" * 99)[:-6]), "cut off"),
        (chunk(b"zTXt", b"chara\0\1" + zlib.compress(b"one")), "unknown compression"),
        (chunk(b"zTXt", b"chara\0"), "unknown compression"),
        (chunk(b"iTXt", b"chara\0\2\0\0\0one"), "not valid iTXt"),
        (chunk(b"iTXt", b"chara\0\0\0en"), "not valid iTXt"),
        (chunk(b"iTXt", b"chara\0\1\1\0\0" + zlib.compress(b"one")), "unknown compression"),
    ],
)
def test_damaged_texts_are_reported(bad: bytes, message: str) -> None:
    assert message in refused(png(bad))


def test_no_end_of_empty_chunks() -> None:
    assert "more than 65536 chunks" in refused(png(chunk(b"aaAa", b"") * 70_000))
