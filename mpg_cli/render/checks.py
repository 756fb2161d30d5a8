"""The output of `mpg doctor`: a list of checks with marks."""

from __future__ import annotations

from collections.abc import Sequence

from mpg_cli.diagnostics.check import Check, anonymous
from mpg_cli.io.terminal import Streams, clean

_MARKS = {"ok": "✓", "note": "·", "warning": "!", "problem": "✗"}
_PLAIN = {"ok": "ok", "note": "--", "warning": "!!", "problem": "XX"}
_COLOURS = {"ok": "32", "note": "2", "warning": "33", "problem": "31"}
_NAME = 22  # columns


class Writer:
    """Writes the checks of each section under its title."""

    def __init__(self, streams: Streams) -> None:
        self._out = streams.stdout
        self._color = streams.color and streams.stdout_tty
        encoding = (getattr(self._out, "encoding", None) or "").lower().replace("-", "")
        self._marks = _MARKS if encoding == "utf8" else _PLAIN

    def write(self, section: Sequence[Check]) -> None:
        """A line for each check, and one for its hint."""
        if section:
            self._out.write(f"{section[0].section}\n")
        for check in section:
            self._write(check)
        self._out.flush()

    def _write(self, check: Check) -> None:
        mark = self._marks[check.status]
        if self._color:
            mark = f"\x1b[{_COLOURS[check.status]}m{mark}\x1b[0m"
        first, *more = clean(anonymous(check.message)).splitlines() or [""]
        self._out.write(f"  {mark} {check.name:<{_NAME}}  {first}\n")
        for line in [*more, *([f"→ {check.hint}"] if check.hint else [])]:
            self._out.write(f"    {'':<{_NAME}}  {clean(anonymous(line))}\n")

    def end(self, checks: Sequence[Check]) -> None:
        """Write the number of problems and warnings."""
        problems = sum(check.status == "problem" for check in checks)
        warnings = sum(check.status == "warning" for check in checks)
        counts = [
            f"{n} {word}{'' if n == 1 else 's'}" for n, word in ((problems, "problem"), (warnings, "warning"))
        ]
        self._out.write(f"\n{' and '.join(counts)} in {len(checks)} checks\n")
