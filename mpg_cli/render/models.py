"""The output of `mpg models`: local models as a table, lines or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mpg_cli.io.terminal import Streams, clean
from mpg_cli.io.text import size_text
from mpg_cli.models.load.catalogue import ModelInfo
from mpg_cli.personas import overview
from mpg_cli.personas.base import find_base
from mpg_cli.personas.registry import Registry
from mpg_cli.render.description import write_description

WIDTH = 160  # columns outside a terminal
MIN_ID = 24  # columns of a model's id; other columns are cut first
COLUMNS = ("", "model", "family", "size", "context", "adapters", "checkpoints", "prompts")
_LEFT = ("", "model", "family")


def row(info: ModelInfo, registry: Registry, in_use: str) -> dict[str, Any]:
    """The JSON record of a model; `in_use` is the id of the default model."""
    own = str(info.folder) if info.source == "folder" else info.id
    base = find_base(own, None if info.source == "folder" else info.revision)
    return {
        "id": info.id,
        "in_use": info.id == in_use,
        "source": info.source,
        "folder": str(info.folder),
        "revision": info.revision,
        "architecture": info.architecture,
        "dtype": info.dtype,
        "parameters": info.parameters,
        "size_bytes": info.size,
        "context": info.context,
        "problem": info.problem,
        "experts": overview.kinds(registry, base),
    }


def write_all(streams: Streams, rows: Sequence[Mapping[str, Any]], shown: str) -> None:
    """Write a table with problems below, tab-separated lines (id first), or one JSON list."""
    if shown == "json":
        streams.stdout.write(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
    elif shown == "plain":
        for row in rows:
            cells = [row["id"], "*" if row["in_use"] else "", *_cells(row), row["problem"] or ""]
            streams.stdout.write("\t".join(clean(cell).replace("\t", " ") for cell in cells) + "\n")
    else:
        _write_table(streams, rows)


def write_one(streams: Streams, row: Mapping[str, Any], *, as_json: bool) -> None:
    """Write one model with the names of the experts that fit it."""
    if as_json:
        streams.stdout.write(json.dumps(row, ensure_ascii=False, indent=1) + "\n")
        return
    experts = {
        f"{kind} experts": f"{len(names)}: {', '.join(names)}"
        for kind, names in row["experts"].items()
        if names
    }
    facts = {
        "model": row["id"] + (" (in use)" if row["in_use"] else ""),
        "source": row["source"],
        "folder": row["folder"],
        "revision": row["revision"],
        "architecture": row["architecture"],
        "dtype": row["dtype"],
        "parameters": _count(row["parameters"]),
        "disk": size_text(row["size_bytes"]),
        "context": row["context"],
        "problem": row["problem"],
    }
    known = {key: value for key, value in facts.items() if value is not None}
    write_description(streams.stdout, known | experts, as_json=False)


def _write_table(streams: Streams, rows: Sequence[Mapping[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = None if streams.stdout_tty else WIDTH
    console = Console(
        file=streams.stdout, no_color=not (streams.color and streams.stdout_tty), highlight=False, width=width
    )
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    longest = max((len(row["id"]) for row in rows), default=0)
    for title in COLUMNS:
        table.add_column(
            title,
            justify="left" if title in _LEFT else "right",
            overflow="fold" if title == "model" else "ellipsis",
            no_wrap=title != "model",
            min_width=min(longest, MIN_ID) if title == "model" else None,
        )
    for row in rows:
        family, parameters, disk, *rest = _cells(row)
        size = parameters or disk  # number of parameters if known, else size on disk
        mark = "*" if row["in_use"] else ""
        cells = [mark, row["id"], family.removesuffix("ForCausalLM"), size, *rest]
        table.add_row(*(Text(clean(cell)) for cell in cells), style="dim" if row["problem"] else None)
    console.print(table)
    for row in rows:
        if row["problem"]:
            console.print(Text(clean(f"{row['id']}: {row['problem']}")), soft_wrap=True)


def _cells(row: Mapping[str, Any]) -> list[str]:
    """The columns from architecture to prompts."""
    experts = row["experts"]
    return [
        row["architecture"] or "",
        _count(row["parameters"]) or "",
        size_text(row["size_bytes"]),
        str(row["context"] or ""),
        str(len(experts["adapter"]) + len(experts["both"])),
        str(len(experts["checkpoint"])),
        str(len(experts["prompt"])),
    ]


def _count(number: int | None) -> str | None:
    """A number such as `1.6 M`."""
    if number is None:
        return None
    for limit, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {unit}"
    return str(number)
