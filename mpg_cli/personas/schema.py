"""The schema of persona files. A document is one `Persona`; all its errors are reported as one."""

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
from mpg_cli.personas.adapter_place import is_repository

Use = Literal["auto", "adapter", "prompt", "both"]

MAX_PROBLEMS = 20  # reported per document
USES: tuple[Use, ...] = ("auto", "adapter", "prompt", "both")

KEYS = (
    "name",
    "description",
    "prompt",
    "adapters",
    "parts",
    "use",
    "extends",
    "weight",
    "tags",
    "license",
    "source",
    "extensions",
)
_NOT_IN_COMPOSITES = ("prompt", "adapters", "use", "extends")
_PLACES = ("path", "repo", "checkpoint")
_ENTRY_KEYS = ("base", "base_digest", *_PLACES, "revision", "subfolder")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]*")


@dataclass(frozen=True)
class AdapterEntry:
    """The location of the expert for one base model: exactly one of `path`, `repo` and `checkpoint`.

    `base_digest` identifies the base independent of its name. `folder` is the folder of the persona file;
    local paths are relative to it and must stay inside.
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
        """The location as written in the file."""
        return self.path or self.repo or self.checkpoint or ""

    def resolved_path(self) -> Path | None:
        """The local folder, symbolic links followed; None for a repository of the hub.

        A `checkpoint` is local if the folder exists; a `path` need not exist. Raises PersonaError for a path
        outside of the folder of the persona file.
        """
        place = self.path if self.path is not None else self.checkpoint
        if place is None:
            return None
        inside = confined(self.folder, place)
        return inside if self.path is not None or inside.is_dir() else None


@dataclass(frozen=True)
class Persona:
    """A persona: an expert with a prompt or adapters, or a composite with `parts`.

    One that `extends` its namesake in a folder searched later has the adapters of that one, too.
    """

    name: str
    file: Path
    line: int
    description: str = ""
    prompt: str | None = None
    adapters: tuple[AdapterEntry, ...] = ()
    use: Use = "auto"
    extends: bool = False
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
    """The personas of `file`. Raises one PersonaError with the errors of all documents."""
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
    """The persona of one document. Raises one PersonaError with a line per error."""
    fields = _Fields(document)
    persona = _persona(fields)
    if fields.problems:
        rest = len(fields.problems) - MAX_PROBLEMS
        more = [f"{document.where(())}: and {rest} more errors"] if rest > 0 else []
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
        raise PersonaError(f"'{visible(place, 100)}' is outside of the folder of the persona file")
    return inside


def _unsafe(place: str) -> str | None:
    """Why `place` is not a relative path without `..` on any system; None if it is."""
    if PurePosixPath(place).is_absolute() or PureWindowsPath(place).anchor:
        return "must be relative to the persona file, not absolute"
    if ".." in PureWindowsPath(place).parts:
        return "must not contain '..'"
    if place.startswith("~"):
        return "must be relative to the persona file: ~ is not expanded"
    return None


class _Fields:
    """Typed access to a document that collects errors instead of raising."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[str] = []

    def wrong(self, path: KeyPath, message: str) -> None:
        self.problems.append(f"{self.document.where(path)}: {message}")

    def only(self, data: Mapping[str, Any], path: KeyPath, known: tuple[str, ...]) -> None:
        for key in data:
            if key not in known:
                # Skip suggestions for files with many unknown keys, which are not persona files.
                few = len(self.problems) < MAX_PROBLEMS
                close = (did_you_mean(key, known, 1) if few else "") or f" (choose from {', '.join(known)})"
                self.wrong((*path, key), f"unknown key{close}")

    def text(self, data: Mapping[str, Any], path: KeyPath, key: str) -> str | None:
        """Stripped text; None if it is missing or invalid (then an error is recorded)."""
        if key not in data:
            return None
        value = data[key]
        if not isinstance(value, str):
            quotes = "" if isinstance(value, (list, dict)) else "; put it in quotes"
            self.wrong((*path, key), f"must be text, not {kind_of(value)}{quotes}")
            return None
        if not value.strip():
            self.wrong((*path, key), "is empty; remove the key")
            return None
        return value.strip()

    def checked(
        self, data: Mapping[str, Any], path: KeyPath, key: str, check: Callable[[str], str | None]
    ) -> str | None:
        """As `text`, with `check` returning an error message or None."""
        value = self.text(data, path, key)
        reason = None if value is None else check(value)
        if reason:
            self.wrong((*path, key), reason)
        return value

    def flag(self, data: Mapping[str, Any], path: KeyPath, key: str) -> bool:
        value = data.get(key, False)
        if not isinstance(value, bool):
            self.wrong((*path, key), f"must be true or false, not {kind_of(value)}")
        return value is True

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
    """The persona, valid only if `fields.problems` is empty."""
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
                fields.wrong((key,), "is not allowed with parts")
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
        extends=fields.flag(data, (), "extends"),
        weight=fields.weight(data, (), "weight"),
        tags=_tags(fields),
        license=fields.text(data, (), "license"),
        source=fields.text(data, (), "source"),
        extensions=_extensions(fields),
        parts=parts,
    )


def _check_use(fields: _Fields, use: str) -> None:
    """Check that a persona (not a composite) has the keys that its `use` needs."""
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
        fields.wrong(("adapters",), "is empty; remove the key")
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
        fields.wrong((*at, "base"), "is missing: the base model of this adapter")
    places = [key for key in _PLACES if key in item]
    if len(places) != 1:
        found = " and ".join(places) or "none of them"
        fields.wrong(at, f"needs exactly one of {', '.join(_PLACES)}, but has {found}")
    if "path" in item:
        for key in ("revision", "subfolder"):
            if key in item:
                fields.wrong((*at, key), "is only for a repository, not for a path")
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
        return (
            f"'{visible(name, 60)}' is not a valid name: it must be a letter, then letters, digits, - and _"
        )
    return None if len(name) <= expression.MAX_NAME else f"longer than {expression.MAX_NAME} characters"


def _bad_use(use: str) -> str | None:
    if use in USES:
        return None
    return f"unknown value '{visible(use, 60)}' (choose from {', '.join(USES)}){did_you_mean(use, USES, 1)}"


def _bad_parts(parts: str) -> str | None:
    try:
        expression.parse(parts)
    except ExpressionError as error:
        return error.text
    return None


def _bad_repo(repo: str) -> str | None:
    if is_repository(repo):
        return None
    return f"'{visible(repo, 100)}' is not a hub repository OWNER/NAME"


def _bad_digest(digest: str) -> str | None:
    if base_digest.PATTERN.fullmatch(digest):
        return None
    return f"'{visible(digest, 60)}' is not a digest of mpg train, which has 24 hexadecimal digits"


def _bad_revision(revision: str) -> str | None:
    if _REVISION.fullmatch(revision) and ".." not in revision:
        return None
    return f"'{visible(revision, 100)}' is not a commit, tag or branch"
