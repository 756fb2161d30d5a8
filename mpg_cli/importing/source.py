"""A file to import, or stdin, and which format it is of: told by its content, not by its name."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import BinaryIO

from mpg_cli.errors import UsageError
from mpg_cli.importing import card, charx
from mpg_cli.importing.card_prompt import USER, draft_of_card
from mpg_cli.importing.draft import Draft
from mpg_cli.importing.gguf import BASE_HINT
from mpg_cli.importing.keep import one_line
from mpg_cli.importing.modelfile_persona import draft_of_modelfile
from mpg_cli.importing.png import SIGNATURE
from mpg_cli.personas.text import visible

MAX_FILE = 64 << 20  # read at once
MAX_ZIP = 512 << 20  # on disk; of it only the card is read

_KINDS = "character cards (.png, .json, .charx) and Ollama Modelfiles can be imported"
_OTHERS = (
    (b"GIF8", "a GIF picture"),
    (b"RIFF", "a WebP picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"%PDF", "a PDF file"),
)


def read_draft(file: str, stdin: BinaryIO, *, user: str = USER, base: str | None = None) -> Draft:
    """The persona in `file`, `-` for stdin. Raises UsageError for whatever is wrong with it."""
    if file == "-":
        return _draft(io.BytesIO(_limited(stdin, "stdin")), "stdin", None, user, base)
    path = Path(os.path.expanduser(file))
    where = visible(file)
    try:
        with path.open("rb") as stream:
            regular = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
            source: BinaryIO = stream if regular else io.BytesIO(_limited(stream, where))
            return _draft(source, where, path, user, base)
    except IsADirectoryError:
        raise UsageError(f"{where} is a folder", hint=_KINDS) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else visible(str(error), 100)
        raise UsageError(f"{where} cannot be read: {reason}") from None


def _draft(source: BinaryIO, where: str, path: Path | None, user: str, base: str | None) -> Draft:
    name = one_line(path.name, 100) if path else "stdin"
    head = source.read(1024)
    picture = next((what for magic, what in _OTHERS if head.startswith(magic)), None)
    if head.startswith(b"PK") or (head.startswith(b"\xff\xd8\xff") and charx.is_zip(source)):
        if source.seek(0, os.SEEK_END) > MAX_ZIP:
            raise UsageError(f"{where}: larger than {MAX_ZIP >> 20} MiB")
        return draft_of_card(card.from_charx(source, where), name, user)
    if head.startswith(b"GGUF"):
        raise UsageError(f"{where}: a GGUF file holds weights and no persona; {BASE_HINT}")
    if picture is not None:
        raise UsageError(
            f"{where}: {picture} holds no character card", hint=f"download the original; {_KINDS}"
        )
    source.seek(0)
    data = _limited(source, where)
    if not data.strip():
        raise UsageError(f"{where} is empty")
    if data.startswith(SIGNATURE):
        return draft_of_card(card.from_png(data, where), name, user)
    suffix = path.suffix.lower() if path else ""
    if suffix in (".png", ".apng"):
        raise UsageError(f"{where}: not a PNG file, though it is called one")
    if suffix == ".charx":
        raise UsageError(f"{where}: not a zip file, which a .charx file is")
    if suffix == ".json" or data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        return draft_of_card(card.from_json(data, where), name, user)
    if suffix in (".yaml", ".yml"):
        raise UsageError(
            f"{where}: a YAML file needs no import",
            hint="put a persona file in a persona folder, or name its folder with --persona-dir",
        )
    if b"\0" in data[:1024]:
        raise UsageError(f"{where}: neither a character card nor a Modelfile", hint=_KINDS)
    return draft_of_modelfile(data, where, path, base)


def _limited(stream: BinaryIO, where: str) -> bytes:
    data = stream.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise UsageError(f"{where}: larger than {MAX_FILE >> 20} MiB")
    return data
