"""Option types of `mpg train` alone. None leaves a value to the size of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpg_cli.cli import completers

_BY_SIZE = "by the size of the model"

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the persona.", show_default=False)]
Data = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="JSONL or a JSON list of pairs, as {prompt, chosen, rejected}; repeatable.",
        show_default="required",
    ),
]
Sft = Annotated[
    bool,
    typer.Option(
        "--sft", help="The data is single replies, as {prompt, response} or {messages}: imitate them."
    ),
]
PersonaDir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder that gets the persona file and the adapter.",
        show_default="the user's persona folder",
    ),
]
Description = Annotated[str | None, typer.Option(metavar="TEXT", help="What the persona is like.")]
Prompt = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="System prompt, for models without an adapter of this persona."),
]
License = Annotated[
    str | None, typer.Option("--license", metavar="ID", help="Licence of the persona, as CC0-1.0.")
]
Source = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="Where it comes from.", show_default="the data's file name"),
]
Loss = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="ipo (bounded margin), sigmoid (DPO) or another of TRL's preference losses.",
        autocompletion=completers.choice("ipo", "sigmoid"),
        show_default=_BY_SIZE,
    ),
]
Beta = Annotated[
    float | None,
    typer.Option(
        metavar="B",
        help="How tightly the adapter is held to the base; with ipo the margin is 1/(2B) nats a reply.",
        show_default="0.1",
    ),
]
Likelihood = Annotated[
    float | None,
    typer.Option(
        metavar="W",
        help="Weight of the likelihood of the chosen reply beside the loss.",
        show_default=_BY_SIZE,
    ),
]
Rank = Annotated[int | None, typer.Option(metavar="R", help="Rank of the adapter.", show_default=_BY_SIZE)]
Alpha = Annotated[
    float | None,
    typer.Option(metavar="A", help="The adapter counts alpha / rank.", show_default="twice the rank"),
]
Targets = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,…", help="Layers to adapt, as q_proj,v_proj.", show_default="every linear layer"
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(metavar="X", help="At its height; it rises and falls.", show_default=_BY_SIZE),
]
Epochs = Annotated[
    float | None, typer.Option(metavar="N", help="Passes over the data.", show_default=_BY_SIZE)
]
BatchSize = Annotated[int | None, typer.Option(metavar="N", help="Rows a step.", show_default="16")]
MicroBatch = Annotated[
    int | None,
    typer.Option(metavar="N", help="Rows at a time in memory, at most.", show_default=_BY_SIZE),
]
MaxLength = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Tokens of prompt and reply; longer replies are cut.", show_default=_BY_SIZE
    ),
]
EvalSplit = Annotated[
    float,
    typer.Option(metavar="X", help="Share of the data, by prompts, held out for the test at the end."),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Decides split, order and start of the adapter.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop if any row of the data is bad.")]
Force = Annotated[
    bool,
    typer.Option(
        "--force", help="Replace the persona's adapter for this model; start an unfinished run over."
    ),
]
FormatName = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="text|json",
        help="How the summary is printed.",
        autocompletion=completers.choice("text", "json"),
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No notices and no progress.")]
