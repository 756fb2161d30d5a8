"""`mpg eval style`: how much of each persona the replies of a blend show, and at what cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mpg_cli.cli import options
from mpg_cli.cli.commands import eval_options as own
from mpg_cli.engine.messages import check_text
from mpg_cli.engine.request import Request
from mpg_cli.errors import UsageError
from mpg_cli.io.terminal import Streams
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import DEFAULT_MODEL, ModelOptions
from mpg_cli.sampling.params import Sampling

if TYPE_CHECKING:
    from mpg_cli.evaluation.prompts import EvalPrompt

EPILOG = f"""\b
Examples:
  mpg eval style -p INTJ+pirate
  mpg eval style -p INTJ+pirate --judge classifier --prompts mine.txt -o replies.jsonl
  mpg eval style -p mine+yours --markers words.yaml --format json
  mpg eval style -p pirate --model Qwen/Qwen3-8B --judge-url http://localhost:8000/v1 --judge-model judge
  mpg eval style --data roles.jsonl --model Qwen/Qwen3-8B --judge-url URL --judge-model NAME
\b
{own.JUDGES}
\b
Fluency is the mean log-probability of the reply's tokens under the base, after the prompt without a persona.
distinct-n is the share of different n-grams, self-BLEU how much the replies repeat each other.
\b
--data has role-playing lines {{"profile": "…", "personality": "…", "reference_answer": "…"}}: both texts are
experts of the line's own blend, with a "question" if it has one. The reference answer is shown to an external
judge and gives a BLEU. See docs/eval.md.
\b
Exit status: 0 done, 2 wrong usage, 1 the model, an adapter, the judge or the run failed, 130 interrupted,
143 terminated."""


def style(
    ctx: typer.Context,
    persona: options.Persona = None,
    adapter: options.Adapter = None,
    strength: options.Strength = 1.0,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE.jsonl", help="Role-playing lines instead of personas and prompts."),
    ] = None,
    data_weights: Annotated[
        str, typer.Option(metavar="P:Q", help="With --data: weights of profile and personality.")
    ] = "1:1",
    ask: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="With --data: what a line without a question is asked.",
            show_default="Tell me about yourself.",
        ),
    ] = None,
    prompts: own.Prompts = None,
    count: own.Count = None,
    system: options.System = None,
    raw: options.Raw = False,
    template_arg: options.TemplateArg = None,
    model: options.Model = DEFAULT_MODEL,
    revision: options.Revision = None,
    device: options.Device = "auto",
    dtype: options.DType = "auto",
    persona_dir: options.PersonaDir = None,
    max_tokens: own.MaxTokens = own.LONGEST,
    temperature: options.Temperature = 1.0,
    top_k: options.TopK = 0,
    top_p: options.TopP = 1.0,
    min_p: options.MinP = 0.0,
    repetition_penalty: options.RepetitionPenalty = 1.0,
    seed: own.Seed = 0,
    target: options.Target = "product",
    rule: options.Rule = "exact",
    drafter: options.Drafter = "merged",
    chunk_size: options.ChunkSize = "auto",
    threshold: options.ThresholdHow = None,
    threshold_window: options.ThresholdWindow = None,
    candidates: options.Candidates = None,
    ahead: options.Ahead = None,
    judge: own.WhoJudges = "auto",
    markers: own.MarkersFile = None,
    train_texts: own.TrainTexts = None,
    judge_url: own.JudgeUrl = None,
    judge_model: own.JudgeModel = None,
    output: own.Output = None,
    format_: Annotated[
        Literal["text", "json"],
        typer.Option("--format", metavar="text|json", help="Bars and numbers, or one JSON object."),
    ] = "text",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notices.")] = False,
) -> None:
    """Measure how much of each persona the replies of a blend show.

    The blend replies to a set of prompts, a judge looks for each of its personas, and fluency, diversity,
    length and speed are measured.
    """
    from mpg_cli.cli.commands import blending, values
    from mpg_cli.evaluation.study import Study, style
    from mpg_cli.render.style import write_style

    streams = Streams.current()
    if data is None:
        for flag, name in (("--data-weights", "data_weights"), ("--ask", "ask")):
            if blending.on_command_line(ctx, name):
                raise UsageError(f"{flag} belongs to --data", hint="leave it out")
        blend = blending.read_blend(persona or [], persona_dir or [], strength, adapters_given=bool(adapter))
        adapters = values.adapters(adapter or [], strength)
        blending.check_weights(target, blend, adapters)
        personas = own.personas_of(blend, adapters)
        asked = own.read_asked(prompts, count, personas)
    else:
        for flag, given in (("--persona", persona), ("--adapter", adapter), ("--prompts", prompts)):
            if given:
                raise UsageError(f"{flag} does not go with --data, whose lines have their own")
        blend, adapters = None, ()
        asked = _roles(data, data_weights, strength, ask, count, target)
        personas = dict(asked[0].personas)
    if not personas:
        raise UsageError("no persona of the blend has a positive weight: there is nothing to look for")
    if data is not None and judge in ("markers", "classifier"):
        raise UsageError(
            f"--judge {judge} does not know the personas of --data", hint="use --judge-url, or none"
        )
    who = own.read_judge(
        judge,
        tuple(personas),
        markers=markers,
        train_texts=train_texts,
        url=judge_url,
        model=judge_model,
        default="markers" if data is None else "none",
    )
    scheme = blending.read_scheme(
        ctx,
        target=target,
        rule=rule,
        drafter=values.drafter(drafter, tuple(personas)),
        chunk_size=chunk_size,
        threshold=threshold,
        threshold_window=threshold_window,
        candidates=candidates,
        ahead=ahead,
    )
    request = Request(
        model=ModelOptions(model, revision, device, dtype),
        prompting=Prompting(
            "?",
            system=None if system is None else check_text("--system", system),
            raw=raw,
            template_args=values.template_args(template_arg or []),
        ),
        sampling=Sampling(max_tokens, temperature, top_k, top_p, min_p, repetition_penalty),
        scheme=scheme,
        blend=blend,
        adapters=adapters,
        seed=seed,
    )
    if not quiet and (notice := blending.default_model_notice(ctx, model)):
        streams.say(f"mpg: {notice}")
    study = Study(asked, request, tuple(personas), who, output)
    with own.running(study, streams, quiet=quiet) as under_way:
        found = style(under_way)
    if format_ == "json":
        streams.stdout.write(json.dumps(found.as_json(), ensure_ascii=False) + "\n")
    else:
        write_style(streams.stdout, found, color=streams.color and streams.stdout_tty)


def _roles(
    data: Path, weights: str, strength: float, ask: str | None, count: int | None, target: str
) -> tuple[EvalPrompt, ...]:
    """The lines of --data."""
    from mpg_cli.cli.commands import values
    from mpg_cli.evaluation.roleplay import ASK, PERSONAS, read_roleplay

    both = values.two_weights("--data-weights", weights, strength)
    if target == "mixture" and min(both) < 0:
        raise UsageError("a mixture has no negative weights", hint="use --target product")
    if max(both) <= 0:
        raise UsageError(f"--data-weights {weights}: one of {', '.join(PERSONAS)} must be above 0")
    asked = ASK if ask is None else check_text("--ask", ask)
    if not asked.strip():
        raise UsageError("--ask is empty", hint="say something, the model answers it")
    return read_roleplay(data, both, asked, count)
