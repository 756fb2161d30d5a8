"""Option types shared by the commands: one flag, its values and its one line of help each.

Defaults belong to the commands. Every option with a long name can also be set by MPG_NAME and in the
config file; `mpg_cli.cli.app` sees to that. Explicit metavars keep `--help` the same under every Typer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mpg_cli.cli import completers

# What is said, and by whom
PromptFile = Annotated[
    Path | None, typer.Option("--prompt-file", metavar="FILE", help="Read the prompt from a file.")
]
Messages = Annotated[
    str | None,
    typer.Option(
        metavar="FILE.json", help="A conversation instead of a prompt: [{role, content}, …], - for stdin."
    ),
]
Persona = Annotated[
    list[str] | None,
    typer.Option(
        "--persona",
        "-p",
        metavar="EXPR",
        help="Personas to blend: NAME[:WEIGHT] + …; repeat to add.",
        autocompletion=completers.expression,
    ),
]
Adapter = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATH|REPO[:WEIGHT]",
        help="A LoRA adapter as one more expert: a PEFT folder, or OWNER/NAME[/FOLDER][@REVISION] of the "
        "hub; repeatable.",
    ),
]
Strength = Annotated[float, typer.Option(metavar="X", help="Scales every weight of the blend.")]
PersonaDir = Annotated[
    list[Path] | None,
    typer.Option(metavar="DIR", help="A folder of persona files, searched first; repeatable."),
]
System = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="System text before that of the personas, for every expert."),
]
Prefill = Annotated[
    str | None, typer.Option(metavar="TEXT", help="The reply begins with this text and goes on from there.")
]
Raw = Annotated[bool, typer.Option("--raw", help="Skip the chat template: the model continues the prompt.")]
TemplateArg = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="A switch of the chat template, as enable_thinking=false; repeatable.",
        autocompletion=completers.choice("enable_thinking=false", "enable_thinking=true"),
    ),
]

# The model
Model = Annotated[
    str,
    typer.Option(
        metavar="ID|DIR",
        help="Model of the hub or a folder with config and safetensors.",
        autocompletion=completers.model,
    ),
]
Revision = Annotated[
    str | None, typer.Option(metavar="REV", help="Branch, tag or commit of a model of the hub.")
]
Device = Annotated[
    str,
    typer.Option(
        metavar="auto|cuda|cuda:N|mps|cpu",
        help="Where the model runs.",
        autocompletion=completers.choice("auto", "cpu", "cuda", "mps"),
    ),
]
DType = Annotated[
    Literal["auto", "bfloat16", "float16", "float32"],
    typer.Option("--dtype", metavar="auto|bfloat16|float16|float32", help="Precision of the model."),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Compile the forward pass: a minute or two at the start (on CUDA seconds), faster passes after.",
    ),
]

# How the reply is sampled
MaxTokens = Annotated[
    int | None,
    typer.Option(metavar="N", help="Longest reply.", show_default="256 or what the context leaves"),
]
Temperature = Annotated[
    float, typer.Option(metavar="T", help="0 always takes the likeliest token, above 1 is wilder.")
]
TopK = Annotated[int, typer.Option(metavar="K", help="Sample from the K likeliest tokens; 0 is off.")]
TopP = Annotated[
    float, typer.Option(metavar="P", help="Sample from the likeliest tokens that hold P together; 1 is off.")
]
MinP = Annotated[float, typer.Option(metavar="P", help="Drop tokens below P times the likeliest; 0 is off.")]
RepetitionPenalty = Annotated[
    float,
    typer.Option(
        metavar="X",
        help="Above 1: tokens of the prompt and the reply become less likely, as in transformers; 1 is off.",
    ),
]
PresencePenalty = Annotated[
    float,
    typer.Option(metavar="X", help="Above 0: tokens that the reply has become less likely; 0 is off."),
]
FrequencyPenalty = Annotated[
    float,
    typer.Option(metavar="X", help="The same, each time that the reply has the token; 0 is off."),
]
LogitBias = Annotated[
    list[str] | None,
    typer.Option(metavar="ID:BIAS", help="Added to the logit of a token, -100 to 100; repeatable."),
]
Stop = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TEXT",
        help="End before this text, which may be a special token such as <|im_end|>; repeatable.",
    ),
]
StopTokenId = Annotated[
    list[int] | None,
    typer.Option(metavar="ID", help="End before this token; repeatable."),
]
Seed = Annotated[
    int | None,
    typer.Option(metavar="N", help="The same seed gives the same reply.", show_default="drawn and reported"),
]
Samples = Annotated[int, typer.Option("-n", metavar="N", help="How many replies.")]
SequenceId = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="Repeat one reply: K is sample K of -n, '\"K\"' or other text the line of a batch with that id.",
    ),
]

# The blend and the way to it
Target = Annotated[
    Literal["product", "mixture"],
    typer.Option(metavar="product|mixture", help="Blend every token, or let one persona speak each token."),
]
Rule = Annotated[
    Literal["exact", "threshold", "block"],
    typer.Option(
        metavar="exact|threshold|block",
        help="How drafts are judged: losslessly with the same text for any drafter, as in the paper, or "
        "losslessly with longer chunks kept.",
    ),
]
Drafter = Annotated[
    str,
    typer.Option(
        metavar="auto|merged|folded|reference|persona:NAME|lookup|model:PATH|none",
        help="Who drafts: all personas merged, the same in a copy of the weights (faster, needs memory), "
        "the plain model, one persona, what was said before, "
        "a smaller model with the same tokenizer, or nobody. auto: whoever mpg tune found fastest for the "
        "blend, where that leaves the text as it is, else merged.",
        autocompletion=completers.drafter,
    ),
]
ChunkSize = Annotated[
    str,
    typer.Option(
        metavar="auto|N",
        help="Tokens drafted at a time, 0 to 64; auto: what mpg tune found, else it follows the acceptance "
        "of the reply. Under the exact rule it changes the speed only.",
        autocompletion=completers.choice("auto"),
    ),
]
ThresholdHow = Annotated[
    str | None,
    typer.Option(
        "--threshold",
        metavar="max|Q|fixed:X",
        help="With --rule threshold: largest recent log-ratio, its quantile Q, or always X.",
        show_default="max",
        autocompletion=completers.choice("max"),
    ),
]
ThresholdWindow = Annotated[
    int | None,
    typer.Option(metavar="N", help="With --rule threshold: over how many recent chunks.", show_default="64"),
]
Candidates = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="With --rule threshold: drafts side by side; the longest kept stays.",
        show_default="1",
    ),
]
Ahead = Annotated[
    int | None,
    typer.Option(
        metavar="W", help="With --rule threshold: chunks drafted ahead for one pass.", show_default="1"
    ),
]

# What is shown
FormatName = Annotated[
    Literal["auto", "live", "plain", "json", "events"],
    typer.Option(
        "--format",
        metavar="auto|live|plain|json|events",
        help="auto: live on a terminal, plain on a pipe; json: one object a reply; events: one an event.",
    ),
]
ShowStats = Annotated[
    bool | None,
    typer.Option(
        "--stats/--no-stats",
        help="Statistics on stderr after each reply.",
        show_default="on when stderr is a terminal",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No notices and no statistics.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="More statistics.")]
Output = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Write there instead of stdout. It grows in FILE.part and is moved to FILE at the end; "
        "an interruption keeps the text so far.",
    ),
]
Explain = Annotated[
    bool,
    typer.Option(
        "--explain",
        help="After each reply show what each persona contributed to each token, on stderr; json and "
        "events carry the numbers.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Load everything, show what would run, generate nothing.")
]
