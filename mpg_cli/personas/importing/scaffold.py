"""The text of a new persona file: given fields, and comments for the rest. Always valid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mpg_cli.errors import PersonaError, UsageError
from mpg_cli.io import safe_yaml
from mpg_cli.io.text import HARMFUL, visible
from mpg_cli.io.yaml_text import scalar, to_yaml
from mpg_cli.options.personas import NewOptions
from mpg_cli.personas import expression, schema
from mpg_cli.personas.base import base_name
from mpg_cli.personas.importing.adapter_files import base_of, find_adapter, full_precision
from mpg_cli.personas.importing.draft import DraftAdapter, LocalAdapter
from mpg_cli.personas.importing.place import Imported
from mpg_cli.personas.persona_file import Destination, check_name
from mpg_cli.personas.registry import Registry, resolve, search_path

_COMMENTS = """\
# adapters:                  # experts by base model; the best match for the model is used
#   - base: Qwen/Qwen3-0.6B
#     path: adapters/NAME      # a PEFT folder beside this file; or repo: OWNER/NAME of the hub
# use: auto                  # auto | adapter | prompt | both
"""
_ABOUT = """\
# weight: 1.0                # multiplies the persona's weight in expressions
# tags: [character]
# license: CC0-1.0
# source: where it comes from
"""


def make(name: str, wanted: NewOptions, folder: Path) -> Imported:
    """The persona of that name, to be written to `folder`. Raises UsageError."""
    check_name(name)
    _check_flags(wanted)
    if wanted.parts is not None:
        _check_parts(wanted.parts, name, folder)
    adapter, notice = _adapter(wanted.adapter, wanted.base) if wanted.adapter is not None else (None, None)
    where = Destination(folder, name, adapter.base if adapter else "")
    text = "".join(_lines(name, wanted, adapter.entry(where.adapter_path) if adapter else None))
    try:
        schema.parse_document(safe_yaml.parse(text, where.file)[0])
    except PersonaError as error:
        raise UsageError(f"the result is not a valid persona:\n{error.message}") from None
    return Imported(where, text, adapter.local if adapter else None, (notice,) if notice else ())


def _adapter(place: str, base: str | None) -> tuple[DraftAdapter, str | None]:
    """The adapter for the model `base` (by default the adapter's own base), and a notice about the base."""
    found = find_adapter(place, None, "--adapter")
    own = base_of(found, "--adapter") if isinstance(found, LocalAdapter) else None
    base = base or own
    if not base:
        raise UsageError("the adapter's configuration names no base model", hint="add --base ID")
    base, notice = full_precision(base_name(base) or base)
    return DraftAdapter(base, found), notice


def _check_flags(wanted: NewOptions) -> None:
    for flag, value in (("--prompt", wanted.prompt), ("--adapter", wanted.adapter)):
        if wanted.parts is not None and value is not None:
            raise UsageError(f"--parts makes a composite and conflicts with {flag}", hint="leave one out")
    if wanted.base is not None and wanted.adapter is None:
        raise UsageError("--base needs --adapter", hint="add --adapter PATH or leave out --base")
    for flag, value in (
        ("--prompt", wanted.prompt),
        ("--description", wanted.description),
        ("--base", wanted.base),
    ):
        if value is not None and not value.strip():
            raise UsageError(f"{flag} is empty", hint="leave it out")
        if value is not None and (bad := HARMFUL.search(value)):
            raise UsageError(f"{flag} has the control character {visible(bad.group())}")


def _check_parts(parts: str, name: str, folder: Path) -> None:
    """Raise UsageError if a part is unknown or the new persona itself."""
    terms = expression.parse(parts)
    if name.lower() in {term.name.lower() for term in terms}:
        raise UsageError(f"a composite cannot contain itself: {name}")
    resolve(terms, Registry.load([folder, *search_path()]))


def _lines(name: str, wanted: NewOptions, entry: dict[str, str] | None) -> Iterator[str]:
    """The pieces of the file."""
    yield f"name: {scalar(name)}\n"
    if wanted.description:
        yield f"description: {scalar(' '.join(wanted.description.split()))}\n"
    else:
        yield "# description: what the persona is like, in a line\n"
    if wanted.parts is not None:
        terms = " + ".join(expression.format_expression([term]) for term in expression.parse(wanted.parts))
        yield f"parts: {scalar(terms)}                # a composite has no prompt and no adapters\n"
    else:
        yield from _expert(name, wanted, entry)
    yield _ABOUT


def _expert(name: str, wanted: NewOptions, entry: dict[str, str] | None) -> Iterator[str]:
    if wanted.prompt:
        yield "# The system prompt, for models without an adapter of this persona.\n"
        yield to_yaml({"prompt": wanted.prompt.strip()})
    elif entry is None:
        yield "# The system prompt. Describe the speaker and the style, with examples of words.\n"
        yield f"prompt: You are {name}. You answer in your own voice.\n"
    else:
        yield "# prompt: You are …          # for models without an adapter of this persona\n"
    if entry is None:
        yield _COMMENTS.replace("NAME", name, 1)
    else:
        yield to_yaml({"adapters": [entry]})
        yield "# use: auto                  # auto | adapter | prompt | both\n"
