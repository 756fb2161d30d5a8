"""`mpg tune`: measures a blend on this machine and remembers the fastest drafter and chunk size."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mpg_cli.cli import completers, options
from mpg_cli.engine.messages import check_text
from mpg_cli.engine.request import Request
from mpg_cli.errors import UsageError
from mpg_cli.io import signals
from mpg_cli.io.lines import read_prompts
from mpg_cli.io.terminal import Streams
from mpg_cli.io.text import visible
from mpg_cli.models.text.prompting import Prompting
from mpg_cli.options.model import DEFAULT_MODEL, ModelOptions
from mpg_cli.render.bar import Bar
from mpg_cli.sampling.params import Sampling

if TYPE_CHECKING:
    from mpg_cli.engine.profile import Profile
    from mpg_cli.models.experts import Expert

PROMPTS = (
    "How should I spend my weekend?",
    "What makes a good friend?",
    "Help me write a short letter to my landlord about a broken heater.",
    "I have an exam tomorrow and cannot sleep. What should I do?",
    "Explain how a bicycle stays upright.",
    "Tell me about a place that you would like to visit.",
    "How do I cook rice?",
    "Is it better to plan a trip or to just go?",
)
SECONDS, LONGEST = 30.0, 3600.0
TOKENS = 64  # of a reply that is run

EPILOG = """\b
Examples:
  mpg tune -p INTJ+pirate
  mpg tune -p INTJ+pirate --prompts prompts.txt --plot speed.svg
  mpg tune -p pirate --rule threshold --max-bias 0.1
  mpg tune -p pirate --model Qwen/Qwen3-0.6B --drafter merged --drafter none --format json
\b
What it finds is kept in the cache folder. --drafter auto and --chunk-size auto, the defaults, read it for the
same model, experts, weights, target, rule, device and precision. Under the rules exact and block only the
speed changes; under exact not even the text of a seed does."""


def tune(
    ctx: typer.Context,
    persona: options.Persona = None,
    adapter: options.Adapter = None,
    strength: options.Strength = 1.0,
    system: options.System = None,
    model: options.Model = DEFAULT_MODEL,
    revision: options.Revision = None,
    device: options.Device = "auto",
    dtype: options.DType = "auto",
    compile: options.Compile = False,
    persona_dir: options.PersonaDir = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Prompts to try, one a line.", show_default=f"{len(PROMPTS)} of its own"
        ),
    ] = None,
    temperature: options.Temperature = 1.0,
    top_k: options.TopK = 0,
    top_p: options.TopP = 1.0,
    min_p: options.MinP = 0.0,
    repetition_penalty: options.RepetitionPenalty = 1.0,
    target: options.Target = "product",
    rule: options.Rule = "exact",
    drafter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="merged|folded|reference|persona:NAME|lookup|model:PATH",
            help="Try these drafters only; repeatable.",
            show_default="all but models",
            autocompletion=completers.drafter,
        ),
    ] = None,
    threshold: options.ThresholdHow = None,
    threshold_window: options.ThresholdWindow = None,
    max_bias: Annotated[
        float,
        typer.Option(metavar="X", help="With --rule threshold: the largest bias bound that is chosen."),
    ] = 0.02,
    seconds: Annotated[
        float, typer.Option(metavar="S", help="About how long to measure, on top of loading.")
    ] = SECONDS,
    seed: options.Seed = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg|png", help="Draw speed against chunk size.")
    ] = None,
    format_: Annotated[
        Literal["text", "json"],
        typer.Option("--format", metavar="text|json", help="A table, or one JSON object."),
    ] = "text",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notices.")] = False,
) -> None:
    """Find the fastest drafter and chunk size for a blend.

    It measures what a step of each drafter and a pass over all personas cost and how much is accepted,
    predicts the speed of every chunk size, runs the best few, and keeps the result.
    """
    from mpg_cli.cli.commands import blending, values
    from mpg_cli.render import tuning as report

    streams = Streams.current()
    if not 0 < seconds <= LONGEST:
        raise UsageError(f"--seconds {seconds:g} must be above 0 and at most {LONGEST:g}")
    if not max_bias >= 0:
        raise UsageError(f"--max-bias {max_bias:g} must be 0 or more")
    if plot is not None:
        report.check_plot(plot)
    blend = blending.read_blend(persona or [], persona_dir or [], strength, adapters_given=bool(adapter))
    adapters = values.adapters(adapter or [], strength)
    names = [expert.persona.name for expert in blend.experts] if blend else []
    names += [place.name for place, _ in adapters]
    blending.check_weights(target, blend, adapters)
    scheme = blending.read_scheme(
        ctx,
        target=target,
        rule=rule,
        drafter="none",
        chunk_size="auto",
        threshold=threshold,
        threshold_window=threshold_window,
        candidates=None,
        ahead=None,
    )
    drafters = _drafters(drafter, names, rule)
    text = None if system is None else check_text("--system", system)
    lines = PROMPTS if prompts is None else read_prompts(prompts, f"--prompts {visible(str(prompts))}")
    asked = [Prompting(line, system=text) for line in lines]
    request = Request(
        model=ModelOptions(model, revision, device, dtype, compile),
        prompting=asked[0],
        sampling=Sampling(TOKENS, temperature, top_k, top_p, min_p, repetition_penalty),
        scheme=scheme,
        blend=blend,
        adapters=adapters,
        seed=0 if seed is None else seed,
    )
    if not quiet and (notice := blending.default_model_notice(ctx, model)):
        streams.say(f"mpg: {notice}")
    profile, file = _perform(request, asked, drafters, max_bias, seconds, streams, quiet)
    if plot is not None:
        report.write_plot(plot, profile)
    if format_ == "json":
        streams.stdout.write(json.dumps(report.as_json(profile, file), ensure_ascii=False) + "\n")
    else:
        report.write_report(streams.stdout, profile, color=streams.color and streams.stdout_tty)


def _perform(
    request: Request,
    prompts: list[Prompting],
    drafters: list[str],
    max_bias: float,
    seconds: float,
    streams: Streams,
    quiet: bool,
) -> tuple[Profile, Path]:
    """Load, measure, write the profile."""
    from dataclasses import replace

    with streams.status(f"loading {request.model.name}", shown=not quiet) as status:
        from mpg_cli.engine.profile import write_profile  # torch loads from here on
        from mpg_cli.engine.session import Session, open_drafter
        from mpg_cli.tuning.measure import Bench
        from mpg_cli.tuning.tuner import Tuner

        session = Session.open(request, status.update)
        models = [name for name in drafters if name.startswith("model:")]
        smaller = None
        if models:
            drawn = replace(request, scheme=replace(request.scheme, drafter=models[0]))
            smaller = open_drafter(drawn, session.loaded, status.update)
        signals.check()
    if not quiet:
        for notice in session.notices:
            streams.say(f"mpg: {notice.message}")
    session.close()
    bench = Bench(request, session.loaded, session.experts, prompts, smaller)
    with Bar(streams, shown=not quiet) as progress:
        tried = _foldable(drafters, session.experts)
        profile = Tuner(bench, tried, max_bias, seconds).run(progress.show)
    return profile, write_profile(profile)


def _drafters(asked: list[str] | None, names: list[str], rule: str) -> list[str]:
    """The drafters to try: those asked for, or all that need no further model."""
    from mpg_cli.cli.commands import values

    if asked:
        found = list(dict.fromkeys(values.drafter(text, names) for text in asked))
        if "auto" in found:
            raise UsageError("--drafter auto is what tuning finds", hint="name those to try, or leave it out")
        if sum(name.startswith("model:") for name in found) > 1:
            raise UsageError("--drafter names two models", hint="try them one at a time")
        if rule == "threshold" and "lookup" in found:
            raise UsageError("--drafter lookup does not go with --rule threshold", hint="leave one out")
        return [name for name in found if name != "none"]  # token-by-token decoding is always tried
    free = [] if rule == "threshold" else ["lookup"]
    return ["merged", "folded", "reference", *(f"persona:{name}" for name in dict.fromkeys(names)), *free]


def _foldable(drafters: list[str], experts: Sequence[Expert]) -> list[str]:
    """Without an adapter there is nothing to fold: the folded drafter would be the merged one again."""
    if "merged" not in drafters or any(expert.adapter is not None for expert in experts):
        return drafters
    return [name for name in drafters if name != "folded"]
