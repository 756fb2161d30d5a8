"""Options of commands that print reports: formats and --quiet. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mpg_cli.options.option import option


@dataclass(frozen=True)
class ReportFormat:
    """The format of a report."""

    format: Literal["text", "json"] = option("text", help="Readable text, or one JSON object.")


@dataclass(frozen=True)
class ListFormat:
    """The format of a list."""

    format: Literal["auto", "table", "plain", "json"] = option(
        "auto", help="auto: table on a terminal, plain (tab-separated) on a pipe."
    )

    def on(self, terminal: bool) -> Literal["table", "plain", "json"]:
        """The form on a terminal or a pipe."""
        return ("table" if terminal else "plain") if self.format == "auto" else self.format


@dataclass(frozen=True)
class TreeFormat:
    """The format of a persona with its parts."""

    format: Literal["auto", "tree", "plain", "json"] = option(
        "auto", help="auto: tree on a terminal, plain on a pipe."
    )

    def on(self, terminal: bool) -> Literal["tree", "plain", "json"]:
        """The form on a terminal or a pipe."""
        return ("tree" if terminal else "plain") if self.format == "auto" else self.format


@dataclass(frozen=True)
class QuietOptions:
    """Whether to print progress and notices."""

    quiet: bool = option(False, short="-q", help="Print no progress and no notices.")
