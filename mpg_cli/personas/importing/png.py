"""Reads the text chunks (tEXt, zTXt, iTXt) of PNG and APNG files, checking lengths, checksums and sizes."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator

from mpg_cli.errors import UsageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 65_536
MAX_TEXT = 24 << 20  # total bytes of all texts, uncompressed

_TEXT_TYPES = (b"tEXt", b"zTXt", b"iTXt")
_DAMAGED = "the picture is damaged or was edited; download it again"


def text_chunks(data: bytes, wanted: Collection[str], where: str) -> dict[str, list[bytes]]:
    """The texts of a PNG under the `wanted` keywords (in lower case), in the order of the file.

    Keywords are compared ignoring case, as in all readers of character cards. Raises UsageError for a damaged
    or invalid PNG.
    """
    found: dict[str, list[bytes]] = {}
    room = MAX_TEXT
    for kind, content in _chunks(data, where):
        if kind not in _TEXT_TYPES:
            continue
        keyword, separator, rest = content.partition(b"\0")
        name = keyword.decode("latin-1").lower()
        if name not in wanted:
            continue
        if not separator:
            raise UsageError(f"{where}: the text '{name}' has an unterminated keyword", hint=_DAMAGED)
        text = _text(kind, rest, name, where, room)
        room -= len(text)
        if room < 0:
            raise UsageError(f"{where}: the text '{name}' is larger than {MAX_TEXT >> 20} MiB")
        found.setdefault(name, []).append(text)
    return found


def _chunks(data: bytes, where: str) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each text chunk, with verified checksums."""
    if not data.startswith(SIGNATURE):
        raise UsageError(f"{where}: not a PNG file")
    at = len(SIGNATURE)
    for count in range(MAX_CHUNKS):
        if at + 12 > len(data):
            raise UsageError(f"{where}: the PNG file is cut off", hint=_DAMAGED)
        length = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        end = at + 8 + length
        if not (kind.isalpha() and kind.isascii()) or (count == 0 and kind != b"IHDR"):
            raise UsageError(f"{where}: not a valid PNG file, at byte {at}", hint=_DAMAGED)
        if end + 4 > len(data):
            raise UsageError(f"{where}: a chunk of the PNG file is longer than the file", hint=_DAMAGED)
        if kind == b"IEND":
            return
        if kind in _TEXT_TYPES:
            checksum = int.from_bytes(data[end : end + 4], "big")
            if zlib.crc32(data[at + 4 : end]) != checksum:
                raise UsageError(f"{where}: the checksum of the text at byte {at} is wrong", hint=_DAMAGED)
            yield kind, data[at + 8 : end]
        at = end + 4
    raise UsageError(f"{where}: the PNG file has more than {MAX_CHUNKS} chunks")


def _text(kind: bytes, rest: bytes, name: str, where: str, room: int) -> bytes:
    """The uncompressed text after keyword and NUL, cut to just above `room` bytes."""
    packed = kind == b"zTXt"
    if kind == b"iTXt":
        # flag, method, language NUL, translated keyword NUL, text
        packed, method = rest[:1] == b"\1", rest[1:2]
        parts = rest[2:].split(b"\0", 2)
        if rest[:1] not in (b"\0", b"\1") or len(parts) < 3:
            raise UsageError(f"{where}: the text '{name}' is not valid iTXt", hint=_DAMAGED)
        rest = method + parts[2]
    elif not packed:
        rest = b"\0" + rest
    if packed and rest[:1] != b"\0":
        raise UsageError(f"{where}: the text '{name}' has an unknown compression", hint=_DAMAGED)
    return _unpacked(rest[1:], name, where, room) if packed else rest[1:]


def _unpacked(packed: bytes, name: str, where: str, room: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(packed, room + 1)
    except zlib.error:
        raise UsageError(f"{where}: the text '{name}' cannot be decompressed", hint=_DAMAGED) from None
    if len(text) <= room and not stream.eof:
        raise UsageError(f"{where}: the text '{name}' is cut off", hint=_DAMAGED)
    return text
