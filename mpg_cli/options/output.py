"""What of a reply is shown, and where. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mpg_cli.options.option import option


@dataclass(frozen=True)
class NoticeOptions:
    """How much is said on stderr."""

    stats: bool | None = option(
        None,
        "--stats/--no-stats",
        help="Statistics on stderr after each reply.",
        shown="on when stderr is a terminal",
    )
    quiet: bool = option(False, short="-q", help="No notices and no statistics.")
    verbose: bool = option(False, short="-v", help="More statistics.")

    def shown(self, otherwise: bool) -> bool:
        """Whether statistics are shown; `otherwise` where nothing was said of it."""
        return self.stats if self.stats is not None else self.verbose or otherwise


@dataclass(frozen=True)
class FormatOptions:
    """In which form replies are written."""

    format: Literal["auto", "live", "plain", "json", "events"] = option(
        "auto",
        help="auto: live on a terminal, plain on a pipe; json: one object a reply; events: one an event.",
    )


@dataclass(frozen=True)
class OutputOptions:
    """Where replies are written, and what beside them."""

    output: Path | None = option(
        None,
        metavar="FILE",
        help="Write there instead of stdout. It grows in FILE.part and is moved to FILE at the end; "
        "an interruption keeps the text so far.",
        in_config=False,
    )
    explain: bool = option(
        False,
        help="After each reply show the log-ratio contribution of each persona to each token, on stderr; "
        "json and events carry the numbers.",
    )
    dry_run: bool = option(
        False, help="Load everything, show what would run, generate nothing.", in_config=False
    )
