"""Zips with a card: only card.json at the root is read, and hostile ones are refused."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import warnings
import zipfile

import pytest

from mpg_cli.errors import UsageError
from mpg_cli.personas.importing import charx as reader
from tests.support.cards import charx, v3

CARD = json.dumps(v3()).encode()


def read(data: bytes) -> bytes:
    return reader.card_json(io.BytesIO(data), "x.charx")


def refused(data: bytes) -> str:
    with pytest.raises(UsageError) as error:
        read(data)
    assert error.value.message.startswith("x.charx: ")
    return error.value.message


def test_the_card_is_read_among_assets() -> None:
    assets = {f"assets/icon/images/{k}.png": b"x" for k in range(50)}
    assert read(charx({**assets, "card.json": CARD})) == CARD
    assert read(charx({"card.json": CARD}, zipfile.ZIP_STORED)) == CARD


def test_a_zip_behind_a_picture_is_read() -> None:
    data = b"\xff\xd8\xff\xe0 a picture" + charx({"card.json": CARD})
    assert reader.is_zip(io.BytesIO(data))
    assert read(data) == CARD
    assert not reader.is_zip(io.BytesIO(b"\xff\xd8\xff\xe0 a picture"))


@pytest.mark.parametrize(
    "name", ["../evil", "assets/../../evil", "/etc/passwd", "..\\evil", "C:\\evil", "\\\\host\\evil"]
)
def test_paths_that_lead_outside_are_refused(name: str) -> None:
    assert "unsafe path" in refused(charx({"card.json": CARD, name: b"x"}))


def test_a_card_elsewhere_is_no_card() -> None:
    message = refused(charx({"data/card.json": CARD}))
    assert message == "x.charx: the zip has no card.json at its root; it has 'data/card.json'"
    assert refused(charx({"readme": b""})) == "x.charx: the zip has no card.json at its root"


def test_two_cards_are_refused() -> None:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("card.json", CARD)
        archive.writestr("card.json", b"{}")
    assert "2 entries card.json" in refused(file.getvalue())


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    data = charx({"card.json": b"[" + b" " * (7 << 20) + b"]"})
    assert "unpacks to more than 200 times its size" in refused(data)
    data = charx({"card.json": b" " * (60 << 20)})
    tracemalloc.start()
    assert "larger than 8 MiB" in refused(data)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_a_bomb_that_lies_about_its_size_is_refused() -> None:
    honest = charx({"card.json": b" " * (60 << 20)})
    size = struct.pack("<L", 60 << 20)
    assert honest.count(size) == 2  # in both headers
    tracemalloc.start()
    message = refused(honest.replace(size, struct.pack("<L", 100)))
    assert "damaged" in message  # it ends after 100 bytes, with another checksum
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


def test_a_bomb_among_the_assets_is_left_alone() -> None:
    data = charx({"card.json": CARD, "assets/other/x": bytes(60 << 20)})
    tracemalloc.start()
    assert read(data) == CARD
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_too_many_entries_are_refused_before_they_are_listed() -> None:
    data = charx({f"{k:05}": b"" for k in range(10_001)} | {"card.json": CARD})
    assert "more than 10000 entries" in refused(data)
    at = data.rfind(b"PK\5\6")
    lying = data[: at + 8] + struct.pack("<HH", 1, 1) + data[at + 12 :]
    assert "more than 10000 entries" in refused(lying)


def test_an_encrypted_card_is_refused() -> None:
    data = bytearray(charx({"card.json": CARD}))
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.find(signature) + flags] |= 1
    assert refused(bytes(data)) == "x.charx: card.json is encrypted"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_of_packing_are_refused(method: int) -> None:
    assert "unsupported" in refused(charx({"card.json": CARD}, method))


def test_a_link_is_no_card() -> None:
    file = io.BytesIO()
    entry = zipfile.ZipInfo("card.json")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    assert "unsupported" in refused(file.getvalue())


def test_a_wrong_checksum_is_found() -> None:
    data = charx({"card.json": CARD}, zipfile.ZIP_STORED)
    assert "damaged" in refused(data.replace(b"Wise.", b"Vile."))


def test_the_64_bit_kind_is_refused() -> None:
    data = charx({"card.json": CARD})
    at = data.rfind(b"PK\5\6")
    locator = b"PK\6\7" + bytes(16)
    assert "ZIP64" in refused(data[:at] + locator + data[at:])


@pytest.mark.parametrize("cut", [0, 3, 30, 100, -1, -22])
def test_a_zip_that_is_cut_off_is_refused(cut: int) -> None:
    assert "zip" in refused(charx({"card.json": CARD})[:cut])
