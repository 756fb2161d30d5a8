"""In which form commands that report write, and whether they say more on stderr. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mpg_cli.options.option import option


@dataclass(frozen=True)
class ReportFormat:
    """A report, for a person or for a program."""

    format: Literal["text", "json"] = option("text", help="For a person, or one JSON object.")


@dataclass(frozen=True)
class ListFormat:
    """A list of things with their properties."""

    format: Literal["auto", "table", "plain", "json"] = option(
        "auto", help="auto: table on a terminal, plain (tabs between the columns) on a pipe."
    )

    def on(self, terminal: bool) -> Literal["table", "plain", "json"]:
        """The form on a terminal or a pipe."""
        return ("table" if terminal else "plain") if self.format == "auto" else self.format


@dataclass(frozen=True)
class TreeFormat:
    """One thing and what it is made of."""

    format: Literal["auto", "tree", "plain", "json"] = option(
        "auto", help="auto: tree on a terminal, plain on a pipe."
    )

    def on(self, terminal: bool) -> Literal["tree", "plain", "json"]:
        """The form on a terminal or a pipe."""
        return ("tree" if terminal else "plain") if self.format == "auto" else self.format


@dataclass(frozen=True)
class QuietOptions:
    """Whether progress and notices are shown."""

    quiet: bool = option(False, short="-q", help="No progress and no notices.")
