"""`mpg tune`: finds and saves the fastest drafter and chunk size of a blend on this machine."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from mpg_cli.cli.groups import Pick, with_groups
from mpg_cli.cli.requests import RequestOptions, read_request
from mpg_cli.io import signals
from mpg_cli.io.terminal import Streams
from mpg_cli.options.commands import TuneOptions
from mpg_cli.options.report import QuietOptions

EPILOG = """\b
Examples:
  mpg tune -p INTJ+pirate
  mpg tune -p INTJ+pirate --prompts prompts.txt --plot speed.svg
  mpg tune -p pirate --rule threshold --max-bias 0.1
  mpg tune -p pirate --model Qwen/Qwen3-0.6B --drafter merged --drafter none --format json
\b
The result is saved in the cache folder and used by --drafter auto and --chunk-size auto, the defaults, for
the same model, experts, weights, target, rule, device and precision. It changes only the speed under the
rules exact and block; under exact a seed gives the same text."""

NOT_TUNED = (
    *("prompt", "prompt_file", "messages", "prefill", "raw", "template_arg", "max_tokens"),
    *("presence_penalty", "frequency_penalty", "logit_bias", "stop", "stop_token_id"),
    *("samples", "sequence_id", "drafter", "chunk_size", "candidates", "ahead"),
)


@with_groups
def tune(
    ctx: typer.Context,
    request_options: Annotated[RequestOptions, Pick(without=NOT_TUNED)],
    tuning: TuneOptions,
    notices: QuietOptions,
) -> None:
    """Find the fastest drafter and chunk size for a blend.

    Measures the time of a step of each drafter and of a pass over all personas, and the acceptance rates;
    predicts the speed of every chunk size, runs the best few, and saves the result.
    """
    from mpg_cli.personas.blending import Experts  # not needed for completion and --help
    from mpg_cli.render import tuning as report
    from mpg_cli.render.bar import Bar
    from mpg_cli.tuning import plan

    streams, quiet = Streams.current(), notices.quiet
    if tuning.plot is not None:
        report.check_plot(tuning.plot)
    request = read_request(ctx, request_options.with_prompt(plan.PROMPTS[0]), streams)
    names = Experts(request.blend, request.adapters).names
    drafters = plan.drafters(tuning.drafters, names, request.scheme)
    prompts = plan.prompts(tuning.prompts, request_options.prompt.system)
    request = plan.measured_request(request)
    if not quiet and (notice := request.model.notice):
        streams.message(f"mpg: {notice}")
    with streams.status(f"loading {request.model.name}", shown=not quiet) as status:
        from mpg_cli.engine.profile import write_profile  # torch loads here
        from mpg_cli.tuning.tuner import Tuner

        bench, messages = plan.open_bench(request, prompts, drafters, status.update)
        signals.check()
    for message in () if quiet else messages:
        streams.message(f"mpg: {message}")
    with Bar(streams, shown=not quiet) as bar:
        tried = plan.distinct_drafters(drafters, bench.experts)
        profile = Tuner(bench, tried, tuning.max_bias, tuning.seconds).run(bar.show)
    file = write_profile(profile)
    if tuning.plot is not None:
        report.write_plot(tuning.plot, profile)
    if tuning.format == "json":
        streams.stdout.write(json.dumps(report.as_json(profile, file), ensure_ascii=False) + "\n")
    else:
        report.write_report(streams.stdout, profile, color=streams.color and streams.stdout_tty)
