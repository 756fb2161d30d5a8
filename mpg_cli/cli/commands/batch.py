"""`mpg batch`: a file of prompts to a file of replies, resumable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mpg_cli.cli import options
from mpg_cli.engine.messages import check_text
from mpg_cli.engine.request import Request
from mpg_cli.errors import ExitCode, UsageError
from mpg_cli.io.terminal import Streams
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import DEFAULT_MODEL, ModelOptions
from mpg_cli.sampling.params import Sampling

EPILOG = """\b
Examples:
  mpg batch prompts.jsonl -o replies.jsonl -p INTJ+pirate
  mpg batch questions.txt --input-format text -p noir --seed 7 -o replies.jsonl
  cat prompts.jsonl | mpg batch - -p bard > replies.jsonl
\b
A line: {"id"?, "prompt" | "messages", "persona"?, "system"?, "seed"?, "max_tokens"?, "temperature"?, ...,
"metadata"?}, or a line of an OpenAI batch file. The same command goes on where an earlier run stopped;
a line's reply depends neither on the batch size nor on the order.
\b
Exit status: 0 every line answered, 1 some line failed or the run did, 2 wrong usage, 130 interrupted,
143 terminated."""

Input = Annotated[Path, typer.Argument(metavar="INPUT", help="JSONL, - for stdin.", show_default=False)]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Append replies there; else to stdout.")
]
InputFormat = Annotated[
    Literal["jsonl", "text"], typer.Option(metavar="jsonl|text", help="text: a prompt on every line.")
]
BatchSize = Annotated[
    str, typer.Option(metavar="auto|B", help="Prompts that run together; auto fits the memory.")
]
MaxExperts = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Adapters and checkpoints kept at a time.", show_default="all"),
]
Strict = Annotated[bool, typer.Option("--strict", help="Check every line first; any bad one stops the run.")]
ForceRestart = Annotated[bool, typer.Option("--force-restart", help="Replace an output that is there.")]
RetryErrors = Annotated[bool, typer.Option("--retry-errors", help="Try lines again that failed before.")]
FormatName = Annotated[
    Literal["auto", "json"],
    typer.Option("--format", metavar="auto|json", help="json: the summary as an object on stderr."),
]


def batch(
    ctx: typer.Context,
    input_: Input,
    output: Output = None,
    input_format: InputFormat = "jsonl",
    persona: options.Persona = None,
    adapter: options.Adapter = None,
    strength: options.Strength = 1.0,
    system: options.System = None,
    raw: options.Raw = False,
    template_arg: options.TemplateArg = None,
    model: options.Model = DEFAULT_MODEL,
    revision: options.Revision = None,
    device: options.Device = "auto",
    dtype: options.DType = "auto",
    compile: options.Compile = False,
    persona_dir: options.PersonaDir = None,
    max_tokens: options.MaxTokens = None,
    temperature: options.Temperature = 1.0,
    top_k: options.TopK = 0,
    top_p: options.TopP = 1.0,
    min_p: options.MinP = 0.0,
    repetition_penalty: options.RepetitionPenalty = 1.0,
    presence_penalty: options.PresencePenalty = 0.0,
    frequency_penalty: options.FrequencyPenalty = 0.0,
    logit_bias: options.LogitBias = None,
    stop: options.Stop = None,
    stop_token_id: options.StopTokenId = None,
    seed: options.Seed = None,
    target: options.Target = "product",
    rule: options.Rule = "exact",
    drafter: options.Drafter = "auto",
    chunk_size: options.ChunkSize = "auto",
    threshold: options.ThresholdHow = None,
    threshold_window: options.ThresholdWindow = None,
    candidates: options.Candidates = None,
    ahead: options.Ahead = None,
    batch_size: BatchSize = "auto",
    max_experts: MaxExperts = None,
    strict: Strict = False,
    force_restart: ForceRestart = False,
    retry_errors: RetryErrors = False,
    format_: FormatName = "auto",
    quiet: options.Quiet = False,
) -> None:
    """Reply to every prompt of a file.

    Prompts run together through one loaded model, and each reply is written as soon as it is there. Lines
    may name their own personas, system text, seed and sampling fields.
    """
    from mpg_cli.cli.commands import blending, values
    from mpg_cli.cli.commands.batch_run import BatchRun, Blends

    sampling = Sampling(
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        presence_penalty=presence_penalty,
        frequency_penalty=frequency_penalty,
        logit_bias=values.logit_bias(logit_bias or []),
        stop=tuple(check_text("--stop", text) for text in stop or ()),
        stop_token_ids=tuple(stop_token_id or ()),
    )
    own = bool(persona or adapter)
    blend = (
        blending.read_blend(persona or [], persona_dir or [], strength, adapters_given=bool(adapter))
        if own
        else None
    )
    adapters = values.adapters(adapter or [], strength)
    if own:
        blending.check_weights(target, blend, adapters)
    scheme = blending.read_scheme(
        ctx,
        target=target,
        rule=rule,
        drafter=drafter if drafter.startswith("persona:") else values.drafter(drafter, []),
        chunk_size=chunk_size,
        threshold=threshold,
        threshold_window=threshold_window,
        candidates=candidates,
        ahead=ahead,
    )
    system = None if system is None else check_text("--system", system)
    defaults = Request(
        model=ModelOptions(model, revision, device, dtype, compile),
        prompting=Prompting("?", None, system, raw, values.template_args(template_arg or [])),
        sampling=sampling,
        scheme=scheme,
        blend=blend,
        adapters=adapters,
        seed=seed,
    )
    if not quiet and (notice := blending.default_model_notice(ctx, model)):
        Streams.current().say(f"mpg: {notice}")
    place = None if output is None or str(output) == "-" else output
    run = BatchRun(
        defaults=defaults,
        blends=Blends(defaults, persona_dir or [], strength),
        input_=input_,
        input_format=input_format,
        output=place,
        batch_size=_batch_size(batch_size),
        max_experts=max_experts,
        strict=strict,
        quiet=quiet,
    )
    code = run.perform(force_restart=force_restart, retry_errors=retry_errors, as_json=format_ == "json")
    if code != ExitCode.OK:
        raise typer.Exit(code)


def _batch_size(text: str) -> int | None:
    if text == "auto":
        return None
    try:
        size = int(text)
    except ValueError:
        size = 0
    if not 1 <= size <= 4096:
        raise UsageError(f"--batch-size {text!r} is none", hint="give auto, or a number from 1 to 4096")
    return size
