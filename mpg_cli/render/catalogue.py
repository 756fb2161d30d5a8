"""The output of `mpg personas list`: a table, lines of tab-separated fields, or JSON."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from mpg_cli.io.terminal import Streams
from mpg_cli.io.text import visible
from mpg_cli.io.text import width as cell_width
from mpg_cli.personas import overview
from mpg_cli.personas.base import find_base
from mpg_cli.personas.model_name import last_part
from mpg_cli.personas.overview import Row, place
from mpg_cli.personas.registry import Registry

if TYPE_CHECKING:
    from rich.table import Table

    from mpg_cli.personas.schema import Persona

ListFormat = Literal["table", "plain", "json"]


@dataclass(frozen=True)
class Catalogue:
    """The personas found, with their experts for a model; `shadowed` pairs a hidden persona with the file
    that hides it.
    """

    model: str
    rows: tuple[Row, ...]
    shadowed: tuple[tuple[Persona, Path], ...]
    problems: tuple[str, ...]
    searched: tuple[Path, ...]


def catalogue_of(known: Registry, model: str, tags: Sequence[str]) -> Catalogue:
    """The personas with all of the tags, for the model. Raises UsageError for an unknown tag."""
    rows = tuple(overview.rows(known, find_base(model), overview.tagged(known, known.personas, tags)))
    shadowed = overview.tagged(known, known.shadowed, tags)
    broken = [row.problem for row in rows if row.problem is not None]
    return Catalogue(
        model=model,
        rows=rows,
        shadowed=tuple((one, overview.hidden_by(known, one)) for one in shadowed),
        problems=(*(problem.message for problem in known.problems), *broken),
        searched=known.directories,
    )


def write_catalogue(streams: Streams, catalogue: Catalogue, chosen: ListFormat) -> None:
    """Print the catalogue. Problems of files are included in JSON only; the caller prints them to stderr."""
    out = streams.stdout
    if chosen == "json":
        out.write(json.dumps(_as_json(catalogue)) + "\n")
    elif chosen == "plain":
        for fields in _lines(catalogue):
            out.write("\t".join(map(visible, fields)) + "\n")
    else:
        _write_table(streams, catalogue)
    out.flush()


def _lines(catalogue: Catalogue) -> list[tuple[str, ...]]:
    """The fields name, experts, parts, tags, file, hidden by, description, models with adapters."""
    found: list[tuple[str, ...]] = [
        (
            row.persona.name,
            row.experts,
            row.persona.parts or "",
            ",".join(row.persona.tags),
            str(row.persona.file),
            "",
            row.persona.description,
            ",".join(_bases(row.persona)),
        )
        for row in catalogue.rows
    ]
    hidden = [
        (one.name, "", one.parts or "", ",".join(one.tags), str(one.file), str(by), one.description, "")
        for one, by in catalogue.shadowed
    ]
    return [*found, *hidden]


def _write_table(streams: Streams, catalogue: Catalogue) -> None:
    from rich.console import Console
    from rich.text import Text

    out: TextIO = streams.stdout
    console = Console(file=out, no_color=not streams.color, highlight=False, width=_width(out))
    console.print(_table(catalogue.rows, f"on {visible(catalogue.model, 30)}", console.width))
    for one, by in catalogue.shadowed:
        console.print(Text(f"shadowed: {one.name} of {place(one.file)}, by {place(by)}"))
    counts = Counter(base for row in catalogue.rows for base in _bases(row.persona))
    console.print()
    if counts:
        models = ", ".join(f"{visible(base, 40)} ({count})" for base, count in counts.items())
        console.print(Text(f"models with adapters: {models}", style="dim"))
    folders = ", ".join(map(_folder, catalogue.searched))
    console.print(Text(f"searched, first to last: {folders}", style="dim"))


def _width(out: TextIO) -> int | None:
    """The width of a table; None for the terminal's."""
    return None if out.isatty() else 160


def _folder(folder: Path) -> str:
    shown = visible(os.path.join(os.curdir, folder))
    label = place(folder / "x").rpartition("/")[0]
    name = f"{label} = {shown}" if label in ("library", "user") else shown
    return name if folder.is_dir() else f"{name} (missing)"


def _table(rows: Sequence[Row], on_model: str, width: int) -> Table:
    """The table; on a narrow terminal the description is cut, then tags and files are left out."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    columns = [column for column in _COLUMNS if width >= column.needs]
    titles = [on_model if column.title == "on" else column.title for column in columns]
    widths = [
        min(max(map(cell_width, [title, *map(column.cell, rows)])), column.most)
        for title, column in zip(titles, columns, strict=True)
    ]
    rest = width - sum(widths) - 2 * len(columns)
    for title, column, own in zip(titles, columns, widths, strict=True):
        cells = max(_MIN_DESCRIPTION, own + rest) if column.cell is _summary else own
        table.add_column(title, no_wrap=True, overflow="ellipsis", width=cells)
    for row in rows:
        table.add_row(*(Text(column.cell(row)) for column in columns))
    return table


_MIN_DESCRIPTION = 8  # cells


def _bases(persona: Persona) -> tuple[str, ...]:
    """The models that the persona has adapters for."""
    return tuple(dict.fromkeys(last_part(entry.base) for entry in persona.adapters))


def _summary(row: Row) -> str:
    """The parts of a composite and the description."""
    return visible(
        " ".join(filter(None, [(row.persona.parts or "").replace(" ", ""), row.persona.description]))
    )


@dataclass(frozen=True)
class _Column:
    title: str
    cell: Callable[[Row], str]
    most: int  # maximum width in cells
    needs: int = 0  # minimum width of the terminal to show the column


_COLUMNS = (
    _Column("persona", lambda row: row.persona.name, 24),
    _Column("on", lambda row: row.experts, 30),
    _Column("description", _summary, 20),
    _Column("tags", lambda row: visible(", ".join(row.persona.tags)), 16, needs=90),
    _Column("from", lambda row: place(row.persona.file), 30, needs=75),
)


def _as_json(catalogue: Catalogue) -> dict[str, Any]:
    return {
        "model": catalogue.model,
        "personas": [{**_persona(row.persona), "experts": _experts(row)} for row in catalogue.rows],
        "shadowed": [{**_persona(one), "shadowed_by": str(by)} for one, by in catalogue.shadowed],
        "problems": list(catalogue.problems),
        "searched": [str(folder) for folder in catalogue.searched],
    }


def _persona(persona: Persona) -> dict[str, Any]:
    return {
        "name": persona.name,
        "description": persona.description,
        "parts": persona.parts,
        "adapters": list(_bases(persona)),
        "tags": list(persona.tags),
        "file": str(persona.file),
        "line": persona.line,
    }


def _experts(row: Row) -> Any:
    """The experts of a persona, the one in use first; for a composite the number of parts by kind."""
    if row.problem is not None:
        return None
    if row.persona.parts is not None:
        return dict(row.parts)
    return [{"kind": one.kind, "used": one.used, "state": one.state, **one.basis} for one in row.available]
