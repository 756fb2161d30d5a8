"""`mpg generate`: flags to a request, the request to a session, its events to a renderer."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from mpg_cli import options, signals
from mpg_cli.errors import ExitCode, UsageError
from mpg_cli.render import ChosenFormat, choose_format, make_renderer
from mpg_cli.render.commentary import Commentary
from mpg_cli.render.description import write_description
from mpg_cli.render.output import OutputFile
from mpg_cli.render.terminal import Streams
from mpg_cli.request import (
    DEFAULT_MODEL,
    GenerateRequest,
    ModelChoice,
    Prompting,
    Sampling,
    Scheme,
    TargetName,
)
from mpg_cli.sampling.thresholds import Threshold

if TYPE_CHECKING:
    from mpg_cli.personas.registry import Blend

EPILOG = """\b
Examples:
  mpg generate -p pirate "How do I make tea?"
  mpg generate -p INTJ:0.7+pirate --model Qwen/Qwen3-0.6B "Plan my week"
  mpg generate -p pirate -p INTJ:-0.5 --seed 7 "Once more, with feeling"
  mpg generate --adapter adapters/poet:0.8 --prompt-file letter.txt --output reply.txt
  git log -5 | mpg generate -p pirate --system "Summarise." --format json
\b
stdout carries the reply and nothing else; notices and statistics go to stderr.
Every option with a long name can be set by MPG_NAME (MPG_MODEL, MPG_MAX_TOKENS) and in config.yaml:
option before environment before file before default.
\b
Exit status: 0 done, 2 wrong usage, 1 the model, an adapter or the run failed, 130 interrupted,
143 terminated."""


def generate(
    ctx: typer.Context,
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPT", help="What to say; - or nothing reads it from stdin.", show_default=False
        ),
    ] = None,
    persona: options.Persona = None,
    adapter: options.Adapter = None,
    strength: options.Strength = 1.0,
    system: options.System = None,
    prompt_file: options.PromptFile = None,
    messages: options.Messages = None,
    raw: options.Raw = False,
    template_arg: options.TemplateArg = None,
    model: options.Model = DEFAULT_MODEL,
    revision: options.Revision = None,
    device: options.Device = "auto",
    dtype: options.DType = "auto",
    persona_dir: options.PersonaDir = None,
    max_tokens: options.MaxTokens = None,
    temperature: options.Temperature = 1.0,
    top_k: options.TopK = 0,
    top_p: options.TopP = 1.0,
    min_p: options.MinP = 0.0,
    repetition_penalty: options.RepetitionPenalty = 1.0,
    stop: options.Stop = None,
    seed: options.Seed = None,
    samples: options.Samples = 1,
    sequence_id: options.SequenceId = None,
    target: options.Target = "product",
    rule: options.Rule = "exact",
    drafter: options.Drafter = "merged",
    chunk_size: options.ChunkSize = "auto",
    threshold: options.ThresholdHow = None,
    threshold_window: options.ThresholdWindow = None,
    candidates: options.Candidates = None,
    ahead: options.Ahead = None,
    format_: options.FormatName = "auto",
    stats: options.ShowStats = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    output: options.Output = None,
    dry_run: options.DryRun = False,
) -> None:
    """Reply to a prompt as a blend of personas.

    The personas are combined at every token of the reply. Drafted chunks are checked by all of them in one
    pass; with the default rule the text is exactly that of checking token by token, only sooner.
    """
    from mpg_cli.commands import prompts, values

    streams = Streams.current()
    quiet = quiet and not verbose
    chosen = choose_format(format_, streams, to_file=output is not None)

    if rule != "threshold":
        for name in ("threshold", "threshold_window", "candidates", "ahead"):
            flag = "--" + name.replace("_", "-")
            if _on_command_line(ctx, name):
                raise UsageError(
                    f"{flag} belongs to --rule threshold", hint=f"add --rule threshold or leave out {flag}"
                )
    if drafter == "none" and chunk_size not in ("auto", "0") and _on_command_line(ctx, "chunk_size"):
        raise UsageError(
            "--drafter none drafts nothing, --chunk-size does not go with it", hint="leave one out"
        )

    choice = ModelChoice(model, revision, device, dtype)
    sampling = Sampling(
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        stop=tuple(values.check_text("--stop", text) for text in stop or ()),
    )
    blend = _blend(persona or [], persona_dir or [], strength, adapters_given=bool(adapter))
    adapters = values.adapters(adapter or [], strength)
    names = [expert.persona.name for expert in blend.experts] if blend else []
    _check_weights(target, blend, adapters)
    scheme = Scheme(
        target=target,
        rule=rule,
        drafter=values.drafter(drafter, [*names, *(path.resolve().name for path, _ in adapters)]),
        chunk_size=values.chunk_size(chunk_size),
        threshold=values.threshold(threshold, threshold_window, candidates, ahead)
        if rule == "threshold"
        else Threshold(),
    )
    system = None if system is None else values.check_text("--system", system)
    arguments = values.template_args(template_arg or [])
    sequence = values.sequence_id(sequence_id)
    text, turns = prompts.read_prompt(prompt, prompt_file, messages, streams)
    request = GenerateRequest(
        model=choice,
        prompting=Prompting(text, turns, system, raw, arguments),
        sampling=sampling,
        scheme=scheme,
        blend=blend,
        adapters=adapters,
        seed=seed,
        samples=samples,
        sequence_id=sequence,
    )

    machine = chosen in ("json", "events")
    commentary = Commentary(
        streams,
        stats=stats if stats is not None else verbose or (streams.stderr_tty and not machine),
        quiet=quiet,
        verbose=verbose,
        samples=1 if machine else samples,
        seed=not machine,  # it is in the objects
        drawn=seed is None,
    )
    with OutputFile(output) if output is not None else nullcontext() as stream:
        if model == DEFAULT_MODEL and not _chosen(ctx, "model"):
            commentary.notice(
                f"{DEFAULT_MODEL} speaks, a tiny demonstration model; "
                "choose a real one with --model, such as --model Qwen/Qwen3-0.6B"
            )
        ended_by = _perform(request, chosen, commentary, stream, dry_run=dry_run)
    if ended_by is not None:
        raise typer.Exit(ended_by)


def _perform(
    request: GenerateRequest,
    chosen: ChosenFormat,
    commentary: Commentary,
    file: TextIO | None,
    *,
    dry_run: bool,
) -> ExitCode | None:
    """Load, then reply or describe; the exit code of the signal that ended it early, if one did."""
    streams = commentary.streams
    with streams.status(f"loading {request.model.name}", shown=not commentary.quiet) as status:
        from mpg_cli.session import Session  # torch loads here

        session = Session.open(request, status.update)
        signals.check()
    if dry_run:
        for notice in session.notices:
            commentary.notice(notice.message)
        machine = chosen in ("json", "events")
        write_description(file or streams.stdout, session.describe(request), as_json=machine)
        return None
    renderer = make_renderer(chosen, streams, commentary, file=file)
    with signals.Graceful(session.stop) as graceful:
        renderer.render(session.replies(request))
    return graceful.exit_code


def _blend(
    expressions: list[str], directories: list[Path], strength: float, *, adapters_given: bool
) -> Blend | None:
    """The personas of all `--persona` together; None where only adapters are blended."""
    from mpg_cli.personas import expression, registry

    if not expressions:
        if adapters_given:
            return None
        raise UsageError(
            "a persona is missing",
            hint="add --persona NAME, for instance -p pirate, or --adapter PATH",
        )
    terms = [term for text in expressions for term in expression.parse(text)]
    return registry.resolve(terms, registry.load_default(directories), strength)


def _check_weights(target: TargetName, blend: Blend | None, adapters: tuple[tuple[Path, float], ...]) -> None:
    """A blend of nothing is none, and a mixture cannot take anything away."""
    if blend is None and not adapters:
        raise UsageError("nothing is left in the blend: every weight is zero")
    if target == "mixture":
        negative = [
            *(blend.negative if blend else ()),
            *(str(path) for path, weight in adapters if weight < 0),
        ]
        if negative:
            raise UsageError(
                f"a mixture has no negative weights, {', '.join(negative)} has one",
                hint="use --target product, where a negative weight pushes a persona away",
            )


def _on_command_line(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _chosen(ctx: typer.Context, name: str) -> bool:
    """Whether flag, environment or config file set the parameter."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"
