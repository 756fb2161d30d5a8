"""What a persona file may say. One document is one `Persona`; all that is wrong with it is one error."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal, cast

from mpg_cli.errors import ExpressionError, PersonaError
from mpg_cli.io.safe_yaml import Document, KeyPath, kind_of, read
from mpg_cli.io.text import did_you_mean, visible
from mpg_cli.personas import base_digest, expression
from mpg_cli.personas.hub_id import is_repository

Use = Literal["auto", "adapter", "prompt", "both"]

MAX_PROBLEMS = 20  # told of one document
USES: tuple[Use, ...] = ("auto", "adapter", "prompt", "both")

KEYS = (
    "name",
    "description",
    "prompt",
    "adapters",
    "parts",
    "use",
    "weight",
    "tags",
    "license",
    "source",
    "extensions",
)
_NOT_IN_COMPOSITES = ("prompt", "adapters", "use")
_PLACES = ("path", "repo", "checkpoint")
_ENTRY_KEYS = ("base", "base_digest", *_PLACES, "revision", "subfolder")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]*")


@dataclass(frozen=True)
class AdapterEntry:
    """Where the expert for one base model lies: exactly one of `path`, `repo` and `checkpoint`.

    `base_digest` tells the base from other models whatever its name is. `folder` is the folder of the persona
    file; local places are relative to it and stay inside.
    """

    base: str
    folder: Path
    path: str | None = None
    repo: str | None = None
    checkpoint: str | None = None
    revision: str | None = None
    subfolder: str | None = None
    base_digest: str | None = None

    @property
    def place(self) -> str:
        """What the file says about where it lies."""
        return self.path or self.repo or self.checkpoint or ""

    def resolved_path(self) -> Path | None:
        """The local folder, symbolic links followed; None for a repository of the hub.

        A `checkpoint` is local if that folder exists. Whether a `path` exists is for the loader to say.
        Raises PersonaError for a place outside of the folder of the persona file.
        """
        place = self.path if self.path is not None else self.checkpoint
        if place is None:
            return None
        inside = confined(self.folder, place)
        return inside if self.path is not None or inside.is_dir() else None


@dataclass(frozen=True)
class Persona:
    """One persona of a file: an expert with a prompt and adapters, or a composite with `parts`."""

    name: str
    file: Path
    line: int
    description: str = ""
    prompt: str | None = None
    adapters: tuple[AdapterEntry, ...] = ()
    use: Use = "auto"
    weight: float = 1.0
    tags: tuple[str, ...] = ()
    license: str | None = None
    source: str | None = None
    extensions: Mapping[str, Any] = field(default_factory=dict, hash=False)
    parts: str | None = None

    @property
    def where(self) -> str:
        """`FILE:LINE`, for messages."""
        return f"{visible(str(self.file))}:{self.line}"


def load_file(file: Path) -> tuple[Persona, ...]:
    """Personas of `file`. Raises one PersonaError with everything that is wrong in any document."""
    personas: list[Persona] = []
    problems: list[str] = []
    for document in read(file):
        try:
            personas.append(parse_document(document))
        except PersonaError as error:
            problems.append(error.message)
    if problems:
        raise PersonaError("\n".join(problems))
    return tuple(personas)


def parse_document(document: Document) -> Persona:
    """The persona of one document. Raises one PersonaError, a line for each thing that is wrong."""
    fields = _Fields(document)
    persona = _persona(fields)
    if fields.problems:
        rest = len(fields.problems) - MAX_PROBLEMS
        more = [f"{document.where(())}: and {rest} more mistakes"] if rest > 0 else []
        raise PersonaError("\n".join(fields.problems[:MAX_PROBLEMS] + more))
    return persona


def confined(folder: Path, place: str) -> Path:
    """`place` inside `folder`, symbolic links followed. Raises PersonaError if it leads outside."""
    if reason := _unsafe(place):
        raise PersonaError(f"'{visible(place, 100)}' {reason}")
    try:
        root = folder.resolve()
        inside = (root / place).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name too long, a null byte
        raise PersonaError(
            f"'{visible(place, 100)}' cannot be followed: {visible(str(error), 200)}"
        ) from None
    if not inside.is_relative_to(root):
        raise PersonaError(f"'{visible(place, 100)}' leads outside of the folder of the persona file")
    return inside


def _unsafe(place: str) -> str | None:
    """Why `place` is no relative path that stays below where it starts, on any system; or None."""
    if PurePosixPath(place).is_absolute() or PureWindowsPath(place).anchor:
        return "must be relative to the persona file, not absolute"
    if ".." in PureWindowsPath(place).parts:
        return "must not contain '..'"
    if place.startswith("~"):
        return "must be relative to the persona file: ~ is not expanded"
    return None


class _Fields:
    """Typed access to a document that notes what is wrong instead of stopping at it."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[str] = []

    def wrong(self, path: KeyPath, message: str) -> None:
        self.problems.append(f"{self.document.where(path)}: {message}")

    def only(self, data: Mapping[str, Any], path: KeyPath, known: tuple[str, ...]) -> None:
        for key in data:
            if key not in known:
                # A file that is no persona file at all is not worth a comparison for each of its keys.
                few = len(self.problems) < MAX_PROBLEMS
                close = (did_you_mean(key, known, 1) if few else "") or f"; known are {', '.join(known)}"
                self.wrong((*path, key), f"unknown key{close}")

    def text(self, data: Mapping[str, Any], path: KeyPath, key: str) -> str | None:
        """Text without the white space around it; None, and noted if wrong, where there is none."""
        if key not in data:
            return None
        value = data[key]
        if not isinstance(value, str):
            quotes = "" if isinstance(value, (list, dict)) else "; put it in quotes"
            self.wrong((*path, key), f"must be text, not {kind_of(value)}{quotes}")
            return None
        if not value.strip():
            self.wrong((*path, key), "is empty; leave the key out")
            return None
        return value.strip()

    def checked(
        self, data: Mapping[str, Any], path: KeyPath, key: str, check: Callable[[str], str | None]
    ) -> str | None:
        """As `text`, where `check` says what is wrong with it."""
        value = self.text(data, path, key)
        reason = None if value is None else check(value)
        if reason:
            self.wrong((*path, key), reason)
        return value

    def weight(self, data: Mapping[str, Any], path: KeyPath, key: str) -> float:
        value = data.get(key, 1.0)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.wrong((*path, key), f"must be a number, not {kind_of(value)}")
        elif not (math.isfinite(value) and abs(value) <= expression.MAX_TERM_WEIGHT):
            self.wrong((*path, key), f"must be within ±{expression.MAX_TERM_WEIGHT}")
        else:
            return float(value)
        return 1.0

    def items(self, data: Mapping[str, Any], path: KeyPath, key: str) -> list[Any]:
        value = data.get(key, [])
        if isinstance(value, list):
            return value
        self.wrong((*path, key), f"must be a list, not {kind_of(value)}")
        return []


def _persona(fields: _Fields) -> Persona:
    """The persona as far as it can be read; `fields.problems` says whether it may be used."""
    data = fields.document.data
    fields.only(data, (), KEYS)
    if "name" not in data:
        fields.wrong(("name",), "is missing")
    name = fields.checked(data, (), "name", _bad_name) or ""
    prompt = fields.text(data, (), "prompt")
    adapters = _adapters(fields)
    use = fields.checked(data, (), "use", _bad_use) or "auto"
    parts = fields.checked(data, (), "parts", _bad_parts)
    if "parts" in data:
        for key in _NOT_IN_COMPOSITES:
            if key in data:
                fields.wrong((key,), "cannot stand beside parts")
    else:
        _check_use(fields, use)
    return Persona(
        name=name,
        file=fields.document.file,
        line=fields.document.lines.get(("name",), fields.document.line),
        description=" ".join((fields.text(data, (), "description") or "").split()),
        prompt=prompt,
        adapters=adapters,
        use=cast(Use, use),
        weight=fields.weight(data, (), "weight"),
        tags=_tags(fields),
        license=fields.text(data, (), "license"),
        source=fields.text(data, (), "source"),
        extensions=_extensions(fields),
        parts=parts,
    )


def _check_use(fields: _Fields, use: str) -> None:
    """A persona that is no composite needs what its `use` takes."""
    data = fields.document.data
    if "prompt" not in data and "adapters" not in data:
        fields.wrong((), "a persona needs a prompt, adapters or parts")
        return
    for key, uses in (("prompt", ("prompt", "both")), ("adapters", ("adapter", "both"))):
        if use in uses and key not in data:
            fields.wrong(("use",), f"'{use}' needs the key {key}")


def _adapters(fields: _Fields) -> tuple[AdapterEntry, ...]:
    data = fields.document.data
    items = fields.items(data, (), "adapters")
    if data.get("adapters") == []:
        fields.wrong(("adapters",), "is empty; leave the key out")
    entries: list[AdapterEntry] = []
    for index, item in enumerate(items):
        if isinstance(item, dict):
            entries.append(_entry(fields, item, ("adapters", index)))
        else:
            fields.wrong(("adapters", index), f"must be a mapping, not {kind_of(item)}")
    return tuple(entries)


def _entry(fields: _Fields, item: dict[str, Any], at: KeyPath) -> AdapterEntry:
    folder = fields.document.file.parent

    def bad_place(place: str) -> str | None:
        try:
            confined(folder, place)
        except PersonaError as error:
            return error.message
        return None

    fields.only(item, at, _ENTRY_KEYS)
    if "base" not in item:
        fields.wrong((*at, "base"), "is missing: the model that this adapter is for")
    places = [key for key in _PLACES if key in item]
    if len(places) != 1:
        found = " and ".join(places) or "none of them"
        fields.wrong(at, f"needs exactly one of {', '.join(_PLACES)}, and has {found}")
    if "path" in item:
        for key in ("revision", "subfolder"):
            if key in item:
                fields.wrong((*at, key), "belongs to a repository, not to a path")
    return AdapterEntry(
        base=fields.text(item, at, "base") or "",
        folder=folder,
        path=fields.checked(item, at, "path", bad_place),
        repo=fields.checked(item, at, "repo", _bad_repo),
        checkpoint=fields.checked(item, at, "checkpoint", bad_place),
        revision=fields.checked(item, at, "revision", _bad_revision),
        subfolder=fields.checked(item, at, "subfolder", _unsafe),
        base_digest=fields.checked(item, at, "base_digest", _bad_digest),
    )


def _tags(fields: _Fields) -> tuple[str, ...]:
    tags = fields.items(fields.document.data, (), "tags")
    for index, tag in enumerate(tags):
        if not isinstance(tag, str) or not tag.strip():
            fields.wrong(
                ("tags", index), "is empty" if isinstance(tag, str) else f"must be text, not {kind_of(tag)}"
            )
    return tuple(tag.strip() for tag in tags if isinstance(tag, str))


def _extensions(fields: _Fields) -> Mapping[str, Any]:
    value = fields.document.data.get("extensions", {})
    if isinstance(value, dict):
        return value
    fields.wrong(("extensions",), f"must be a mapping, not {kind_of(value)}")
    return {}


def _bad_name(name: str) -> str | None:
    if not expression.NAME.fullmatch(name):
        return f"'{visible(name, 60)}' is no name: a letter, then letters, digits, - and _"
    return None if len(name) <= expression.MAX_NAME else f"longer than {expression.MAX_NAME} characters"


def _bad_use(use: str) -> str | None:
    if use in USES:
        return None
    return f"'{visible(use, 60)}' is none of {', '.join(USES)}{did_you_mean(use, USES, 1)}"


def _bad_parts(parts: str) -> str | None:
    try:
        expression.parse(parts)
    except ExpressionError as error:
        return error.message
    return None


def _bad_repo(repo: str) -> str | None:
    if is_repository(repo):
        return None
    return f"'{visible(repo, 100)}' is no repository of the hub, which are OWNER/NAME"


def _bad_digest(digest: str) -> str | None:
    if base_digest.PATTERN.fullmatch(digest):
        return None
    return f"'{visible(digest, 60)}' is no digest as mpg train writes it: 24 hexadecimal digits"


def _bad_revision(revision: str) -> str | None:
    if _REVISION.fullmatch(revision) and ".." not in revision:
        return None
    return f"'{visible(revision, 100)}' is no commit, tag or branch"
