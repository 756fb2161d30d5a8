"""The description of a run by `--dry-run`, or of a model, as text or JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TextIO

from mpg_cli.io.terminal import clean
from mpg_cli.io.text import size_text
from mpg_cli.render.jsonl import write_line
from mpg_cli.render.tally import DEFAULT_SAMPLING, sampling_words


def write_run(out: TextIO, run: Mapping[str, Any], *, as_json: bool) -> None:
    """Write the description of a run; the text has one line for its sampling."""
    if not as_json:
        words = sampling_words(run["sampling"], run["sampling_from"]) or DEFAULT_SAMPLING
        run = {key: value for key, value in run.items() if key != "sampling_from"} | {"sampling": words}
    write_description(out, run, as_json=as_json)


def write_description(out: TextIO, description: Mapping[str, object], *, as_json: bool) -> None:
    """Write one JSON object, or aligned lines: one per field and one per item of a list."""
    if as_json:
        write_line(out, dict(description))
        return
    width = max((len(key) for key in description), default=0)
    for key, value in description.items():
        items = value if isinstance(value, list | tuple) else [value]
        for i, item in enumerate(items or [None]):
            label = key.replace("_", " ") if i == 0 else ""
            out.write(clean(f"{label:<{width}}  {_words(item)}").replace("\n", " ") + "\n")
    out.flush()


def _words(item: object) -> str:
    if isinstance(item, Mapping):
        return ", ".join(_field(key, value) for key, value in item.items() if value is not None)
    return "none" if item is None else str(item)


def _field(key: str, value: object) -> str:
    """A field such as `prompt tokens 9`; bytes in a readable unit."""
    if "_bytes" in key and isinstance(value, int):
        key, value = key.replace("_bytes", ""), size_text(value)
    return f"{key.replace('_', ' ')} {value}"
