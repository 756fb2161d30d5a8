"""Options of single commands. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mpg_cli.options import readers
from mpg_cli.options.option import option

MAX_BATCH = 4096  # prompts in a batch


@dataclass(frozen=True)
class BatchOptions:
    """`mpg batch`: input, output, batch size and error handling."""

    input: Path = option(argument=True, metavar="INPUT", help="JSONL, - for stdin.")
    output: Path | None = option(
        None, short="-o", metavar="FILE", help="Append replies to FILE instead of stdout.", in_config=False
    )
    input_format: Literal["jsonl", "text"] = option(
        "jsonl", help="text: one prompt per line.", in_config=False
    )
    batch_size: int | None = option(
        None,
        metavar="auto|B",
        read=readers.auto_or_number("--batch-size", 1, MAX_BATCH),
        text="auto",
        low=1,
        high=MAX_BATCH,
        help="Number of prompts in a batch; auto: as many as fit in memory.",
        in_config=False,
    )
    max_experts: int | None = option(
        None,
        metavar="N",
        low=1,
        help="Maximum number of adapters and checkpoints in memory.",
        shown="all",
        in_config=False,
    )
    strict: bool = option(False, help="Check all lines first and stop if one is invalid.", in_config=False)
    force_restart: bool = option(False, help="Replace an existing output.", in_config=False)
    retry_errors: bool = option(False, help="Retry the lines that failed in an earlier run.", in_config=False)
    format: Literal["auto", "json"] = option(
        "auto", help="json: print the summary as a JSON object on stderr."
    )

    @property
    def output_file(self) -> Path | None:
        """The file that replies are appended to; None for stdout."""
        return None if self.output is None or str(self.output) == "-" else self.output


@dataclass(frozen=True)
class ChatOptions:
    """`mpg chat`: the saved chat to resume, and the input history."""

    load: Path | None = option(
        None,
        metavar="FILE",
        help="Resume a chat written by /save; options of the command line override the saved ones.",
        in_config=False,
    )
    history: bool = option(True, "--history/--no-history", help="Keep typed lines for the next chat.")


@dataclass(frozen=True)
class CompareOptions:
    """`mpg compare`: the blend of each column, and the layout."""

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
        "auto", help="auto: columns on a terminal, plain on a pipe; json: one object per reply."
    )


@dataclass(frozen=True)
class ExplainOptions:
    """`mpg explain`: where the explanation goes."""

    html: Path | None = option(
        None,
        metavar="FILE",
        help="Also write a self-contained HTML page.",
        in_config=False,
    )
    format: Literal["auto", "terminal", "json"] = option(
        "auto",
        help="auto: terminal on a terminal, json on a pipe; terminal on a pipe has marks instead of colours.",
    )


@dataclass(frozen=True)
class TuneOptions:
    """`mpg tune`: the prompts and drafters to measure, the time limit and the report."""

    prompts: Path | None = option(
        None,
        metavar="FILE",
        help="Prompts to measure with, one per line.",
        shown="8 built-in prompts",
        in_config=False,
    )
    drafters: tuple[str, ...] = option(
        (),
        "--drafter",
        metavar="merged|folded|reference|persona:NAME|lookup|model:PATH",
        help="Measure only these drafters.",
        shown="all except models",
        complete="drafter",
    )
    max_bias: float = option(
        0.02,
        metavar="X",
        low=0,
        help="With --rule threshold: the largest acceptable bias bound.",
        in_config=False,
    )
    seconds: float = option(
        30.0,
        metavar="S",
        low=0,
        above=True,
        high=3600,
        help="Approximate time to measure, without loading.",
        in_config=False,
    )
    plot: Path | None = option(
        None, metavar="FILE.svg|png", help="Plot speed against chunk size.", in_config=False
    )
    format: Literal["text", "json"] = option("text", help="A table, or one JSON object.")
