"""Reads card.json from a `.charx` file (a zip) without unpacking anything to disk."""

from __future__ import annotations

import os
import re
import stat
import struct
import zipfile
import zlib
from typing import BinaryIO

from mpg_cli.errors import UsageError
from mpg_cli.io.text import visible
from mpg_cli.personas.importing.json_text import MAX_BYTES

CARD = "card.json"
MAX_ENTRIES = 10_000
MAX_DIRECTORY = 4 << 20  # bytes of the central directory
MAX_RATIO = 200  # of uncompressed to compressed size: about 10 for text, 1000 for a zip bomb
_SMALL = 1 << 16  # bytes up to which the ratio is not checked

_END = struct.Struct("<4s4H2LH")
_ZIP64_LOCATOR = 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGED = "download it again"


def is_zip(file: BinaryIO) -> bool:
    """Whether `file` ends with a zip's end record; pictures with an appended zip are cards too."""
    return _end(file) is not None


def card_json(file: BinaryIO, where: str) -> bytes:
    """The bytes of card.json at the root of the zip. Raises UsageError."""
    _check_directory(file, where)
    try:
        with zipfile.ZipFile(file) as archive:
            return _read(archive, _entry(archive.infolist(), where), where)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        RuntimeError,  # encrypted, or an unsupported compression
        ValueError,
        struct.error,
    ) as error:
        reason = visible(str(error), 200) or "cut off"
        raise UsageError(f"{where}: the zip is damaged: {reason}", hint=_DAMAGED) from None


def _end(file: BinaryIO) -> tuple[int, ...] | None:
    """The zip's end record: its offset, number of entries, bytes of the directory; None if it is missing."""
    size = file.seek(0, os.SEEK_END)
    first = max(0, size - _END.size - 0xFFFF)
    file.seek(first)
    tail = file.read(size - first)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + _END.size > len(tail):
        return None
    fields = _END.unpack_from(tail, at)
    return first + at, fields[4], fields[5]


def _check_directory(file: BinaryIO, where: str) -> None:
    """Check the size of the directory before Python reads it. Raises UsageError."""
    end = _end(file)
    if end is None:
        raise UsageError(f"{where}: not a zip file, as a .charx file must be")
    start, entries, directory = end
    file.seek(max(0, start - _ZIP64_LOCATOR))
    if file.read(4) == b"PK\6\7":
        raise UsageError(f"{where}: a ZIP64 file, too large for a character card")
    if entries > MAX_ENTRIES or directory > MAX_DIRECTORY:
        raise UsageError(f"{where}: the zip has more than {MAX_ENTRIES} entries")


def _entry(entries: list[zipfile.ZipInfo], where: str) -> zipfile.ZipInfo:
    """The entry of the card. Raises UsageError for suspicious entries."""
    if len(entries) > MAX_ENTRIES:
        raise UsageError(f"{where}: the zip has more than {MAX_ENTRIES} entries")
    for entry in entries:
        if _leads_outside(entry.orig_filename) or _leads_outside(entry.filename):
            name = visible(entry.orig_filename, 100)
            raise UsageError(f"{where}: the zip has an entry with an unsafe path: '{name}'")
    cards = [entry for entry in entries if entry.filename == CARD]
    if not cards:
        near = next((e.filename for e in entries if e.filename.lower().endswith(CARD)), None)
        found = f"; it has '{visible(near, 100)}'" if near else ""
        raise UsageError(f"{where}: the zip has no {CARD} at its root{found}")
    if len(cards) > 1:
        raise UsageError(f"{where}: the zip has {len(cards)} entries {CARD}")
    card = cards[0]
    if card.flag_bits & 0x1:
        raise UsageError(f"{where}: {CARD} is encrypted", hint="unpack it and import the card.json")
    if stat.S_ISLNK(card.external_attr >> 16) or card.compress_type not in _METHODS:
        raise UsageError(f"{where}: {CARD} is stored in an unsupported way")
    if card.file_size > MAX_BYTES:
        raise UsageError(f"{where}: {CARD} is larger than {MAX_BYTES >> 20} MiB")
    if card.file_size > max(_SMALL, MAX_RATIO * card.compress_size):
        raise UsageError(f"{where}: {CARD} unpacks to more than {MAX_RATIO} times its size")
    return card


def _leads_outside(name: str) -> bool:
    parts = re.split(r"[/\\]", name)
    return ".." in parts or parts[0] == "" or re.match(r"[A-Za-z]:", name) is not None


def _read(archive: zipfile.ZipFile, card: zipfile.ZipInfo, where: str) -> bytes:
    content = bytearray()
    with archive.open(card) as stream:
        # Read to the end, where zipfile verifies the checksum; the declared size may be false.
        while piece := stream.read(1 << 16):
            content += piece
            if len(content) > MAX_BYTES:
                raise UsageError(f"{where}: {CARD} is larger than {MAX_BYTES >> 20} MiB")
    return bytes(content)
