"""The output of `mpg config`."""

from __future__ import annotations

from typing import Any

from mpg_cli.io.terminal import Streams, clean


def write_setting(streams: Streams, value: Any, note: str = "", *, name: str = "") -> None:
    """Write a value, after its name if given."""
    write_line(streams, (f"{name}: " if name else "") + _shown(value) + note)


def write_unset(streams: Streams, name: str, default: str) -> None:
    """Write an option that is not set, with a description of its default."""
    write_line(streams, f"# {name}:" + (f" {default}" if default else ""))


def write_line(streams: Streams, text: str) -> None:
    """Write a line, without control characters on a terminal."""
    streams.stdout.write((clean(text) if streams.stdout_tty else text) + "\n")


def _shown(value: Any) -> str:
    from mpg_cli.io.yaml_text import scalar

    if isinstance(value, list):
        return str(value[0]) if len(value) == 1 else "[" + ", ".join(map(scalar, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
