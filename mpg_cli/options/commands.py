"""Options that one command has for itself. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mpg_cli.options import readers
from mpg_cli.options.option import option

MAX_BATCH = 4096  # prompts that run together


@dataclass(frozen=True)
class BatchOptions:
    """`mpg batch`: where lines come from and replies go, and how many run together."""

    input: Path = option(argument=True, metavar="INPUT", help="JSONL, - for stdin.")
    output: Path | None = option(
        None, short="-o", metavar="FILE", help="Append replies there; else to stdout.", in_config=False
    )
    input_format: Literal["jsonl", "text"] = option(
        "jsonl", help="text: a prompt on every line.", in_config=False
    )
    batch_size: int | None = option(
        None,
        metavar="auto|B",
        read=readers.auto_or_number("--batch-size", 1, MAX_BATCH),
        text="auto",
        low=1,
        high=MAX_BATCH,
        help="Prompts that run together; auto fits the memory.",
        in_config=False,
    )
    max_experts: int | None = option(
        None,
        metavar="N",
        low=1,
        help="Adapters and checkpoints in memory at a time.",
        shown="all",
        in_config=False,
    )
    strict: bool = option(False, help="Check every line first; any bad one stops the run.", in_config=False)
    force_restart: bool = option(False, help="Replace an output that is there.", in_config=False)
    retry_errors: bool = option(False, help="Try lines again that failed before.", in_config=False)
    format: Literal["auto", "json"] = option("auto", help="json: the summary as an object on stderr.")

    @property
    def output_file(self) -> Path | None:
        """The file that replies are appended to; None for stdout."""
        return None if self.output is None or str(self.output) == "-" else self.output


@dataclass(frozen=True)
class ChatOptions:
    """`mpg chat`: the saved chat it goes on with, and the history of typed lines."""

    load: Path | None = option(
        None,
        metavar="FILE",
        help="Go on with a chat that /save wrote; options given here replace what it holds.",
        in_config=False,
    )
    history: bool = option(True, "--history/--no-history", help="Remember typed lines for the next chat.")


@dataclass(frozen=True)
class CompareOptions:
    """`mpg compare`: a blend for each column, and the layout."""

    personas: tuple[str, ...] = option(
        (),
        "--persona",
        short="-p",
        metavar="EXPR",
        help="The blend of one column: NAME[:WEIGHT] + …; repeat for more columns.",
        complete="expression",
    )
    adapters: tuple[str, ...] = option(
        (),
        "--adapter",
        metavar="PATH|REPO[:WEIGHT]",
        help="A LoRA adapter as a column of its own.",
        in_config=False,
    )
    format: Literal["auto", "columns", "plain", "json"] = option(
        "auto", help="auto: columns on a terminal, plain on a pipe; json: one object a reply."
    )


@dataclass(frozen=True)
class ExplainOptions:
    """`mpg explain`: where the explanation goes."""

    html: Path | None = option(
        None,
        metavar="FILE",
        help="Also write a page for a browser; it needs no network.",
        in_config=False,
    )
    format: Literal["auto", "terminal", "json"] = option(
        "auto",
        help="auto: colours on a terminal, JSON on a pipe; terminal: on a pipe signs instead of colours.",
    )


@dataclass(frozen=True)
class TuneOptions:
    """`mpg tune`: what is tried, for how long, and what is reported."""

    prompts: Path | None = option(
        None,
        metavar="FILE",
        help="Prompts to try, one a line.",
        shown="8 built in",
        in_config=False,
    )
    drafters: tuple[str, ...] = option(
        (),
        "--drafter",
        metavar="merged|folded|reference|persona:NAME|lookup|model:PATH",
        help="Try these drafters only.",
        shown="all but models",
        complete="drafter",
    )
    max_bias: float = option(
        0.02,
        metavar="X",
        low=0,
        help="With --rule threshold: the largest bias bound that is chosen.",
        in_config=False,
    )
    seconds: float = option(
        30.0,
        metavar="S",
        low=0,
        above=True,
        high=3600,
        help="About how long to measure, on top of loading.",
        in_config=False,
    )
    plot: Path | None = option(
        None, metavar="FILE.svg|png", help="Draw speed against chunk size.", in_config=False
    )
    format: Literal["text", "json"] = option("text", help="A table, or one JSON object.")
