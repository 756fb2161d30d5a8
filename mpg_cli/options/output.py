"""Options of the output: format, file, notices. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mpg_cli.options.option import option


@dataclass(frozen=True)
class NoticeOptions:
    """What is printed on stderr."""

    stats: bool | None = option(
        None,
        "--stats/--no-stats",
        help="Print statistics on stderr after each reply.",
        shown="on if stderr is a terminal",
    )
    quiet: bool = option(False, short="-q", help="Print no notices and no statistics.")
    verbose: bool = option(False, short="-v", help="Print more statistics.")

    def shown(self, otherwise: bool) -> bool:
        """Whether statistics are shown; `otherwise` is the default."""
        return self.stats if self.stats is not None else self.verbose or otherwise


@dataclass(frozen=True)
class FormatOptions:
    """The format of replies."""

    format: Literal["auto", "live", "plain", "json", "events"] = option(
        "auto",
        help="auto: live on a terminal, plain on a pipe; json: one object per reply; events: one per event.",
    )


@dataclass(frozen=True)
class OutputOptions:
    """The output file, explanations and --dry-run."""

    output: Path | None = option(
        None,
        metavar="FILE",
        help="Write to FILE instead of stdout. The text goes to FILE.part, which is renamed to FILE at the "
        "end; an interrupted run keeps the text so far.",
        in_config=False,
    )
    explain: bool = option(
        False,
        help="After each reply show the log-ratio contribution of each persona to each token, on stderr; "
        "json and events include the numbers.",
    )
    dry_run: bool = option(
        False, help="Load the model and the experts, describe the run, generate nothing.", in_config=False
    )
