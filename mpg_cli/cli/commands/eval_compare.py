"""`mpg eval compare`: a blend against the other ways to get several personas out of one model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

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

EPILOG = f"""\b
Examples:
  mpg eval compare -p I+N+pirate
  mpg eval compare -p INTJ+pirate --judge classifier -o replies.jsonl --plot methods.svg
  mpg eval compare -p mine+yours --markers words.yaml --format csv
\b
The methods: base (no persona), single:NAME (one persona alone, at weight 1), prompts (the system prompts of
all personas joined, no adapter), merged (one model with the weighted sum of all adapters in its weights),
merged 1/K (the same with the weights divided by the number of personas), mixture, threshold (the product by
the rule of the paper), exact (the product by the exact rule: ours). All reply to the same prompts with the
same seeds and the same sampling; what exact says is held against token-by-token decoding.
\b
{own.JUDGES}
\b
Exit status: 0 done, 2 wrong usage, 1 the model, an adapter, the judge or the run failed, 130 interrupted,
143 terminated."""


def compare(
    ctx: typer.Context,
    persona: options.Persona = None,
    adapter: options.Adapter = None,
    strength: options.Strength = 1.0,
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
    drafter: options.Drafter = "merged",
    chunk_size: options.ChunkSize = "auto",
    judge: own.WhoJudges = "auto",
    markers: own.MarkersFile = None,
    train_texts: own.TrainTexts = None,
    judge_url: own.JudgeUrl = None,
    judge_model: own.JudgeModel = None,
    output: own.Output = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg|png", help="Draw presence against fluency.")
    ] = None,
    format_: Annotated[
        Literal["text", "json", "csv"],
        typer.Option("--format", metavar="text|json|csv", help="A table, one JSON object, or CSV."),
    ] = "text",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notices.")] = False,
) -> None:
    """Compare a blend with the other ways to get its personas out of one model.

    A table of presence, fluency and speed, and the difference between ours and the best other method.
    """
    from mpg_cli.cli.commands import blending, values
    from mpg_cli.evaluation.study import Study, compare
    from mpg_cli.render import comparison as report
    from mpg_cli.render.tuning import check_plot

    streams = Streams.current()
    if plot is not None:
        check_plot(plot)
    blend = blending.read_blend(persona or [], persona_dir or [], strength, adapters_given=bool(adapter))
    adapters = values.adapters(adapter or [], strength)
    blending.check_weights("product", blend, adapters)
    own.check_names(blend, adapters)
    personas = own.personas_of(blend, adapters)
    if not personas:
        raise UsageError("no persona of the blend has a positive weight: there is nothing to look for")
    if judge == "none":
        raise UsageError("a comparison needs a judge", hint="choose markers, classifier or external")
    asked = own.read_asked(prompts, count, personas)
    who = own.read_judge(
        judge,
        tuple(personas),
        markers=markers,
        train_texts=train_texts,
        url=judge_url,
        model=judge_model,
    )
    scheme = blending.read_scheme(
        ctx,
        target="product",
        rule="exact",
        drafter=values.drafter(drafter, tuple(personas)),
        chunk_size=chunk_size,
        threshold=None,
        threshold_window=None,
        candidates=None,
        ahead=None,
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
        found = compare(under_way)
    if plot is not None:
        report.write_plot(plot, found)
    if format_ == "json":
        streams.stdout.write(json.dumps(found.as_json(), ensure_ascii=False) + "\n")
    elif format_ == "csv":
        report.write_csv(streams.stdout, [found])
    else:
        report.write_comparison(streams.stdout, found, color=streams.color and streams.stdout_tty)
