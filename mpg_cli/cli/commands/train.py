"""`mpg train`: data and flags to one run, and its outcome to a persona that `mpg generate` finds."""

from __future__ import annotations

import importlib.util
import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mpg_cli.cli import options
from mpg_cli.cli.commands import train_options as own
from mpg_cli.cli.commands.train_notices import Notices
from mpg_cli.errors import ExitCode, MpgError, NumericsError, UsageError
from mpg_cli.io import signals
from mpg_cli.io.terminal import Streams
from mpg_cli.options.model import DEFAULT_MODEL, ModelOptions

if TYPE_CHECKING:
    from mpg_cli.models.load.loader import LoadedModel
    from mpg_cli.personas.persona_file import Destination, Texts
    from mpg_cli.personas.schema import Persona
    from mpg_cli.training.data import Data
    from mpg_cli.training.rows import Method
    from mpg_cli.training.settings import Choices, Settings
    from mpg_cli.training.summary import Summary
    from mpg_cli.training.trainer import Job, Trained

EPILOG = """\b
Examples:
  mpg train grump --data prefs.jsonl --model Qwen/Qwen3-0.6B
  mpg train grump --data prefs.jsonl --loss sigmoid --beta 0.2 --epochs 1 --rank 32
  mpg train bard --sft --data sonnets.jsonl --description "Speaks in verse." --license CC0-1.0
\b
It needs TRL and PEFT: pip install 'mpg-cli[train]'. Chosen and rejected should differ in the persona and in
nothing else. Bad rows are named and left out. An interrupted run keeps its last checkpoint: the same command
without --force resumes it, with --force it starts over. The summary goes to stdout, the rest to stderr.
\b
Exit status: 0 done, 2 wrong usage or data, 1 the model or the run failed, 130 interrupted,
143 terminated."""


@dataclass(frozen=True)
class _Request:
    """What one `mpg train` asks for, checked as far as it can be without the model."""

    where: Destination
    existing: Persona | None
    texts: Texts
    model: ModelOptions
    choices: Choices
    data: Data
    template_args: dict[str, Any]
    strict: bool
    force: bool


def train(
    ctx: typer.Context,
    name: own.Name,
    data: own.Data = None,
    sft: own.Sft = False,
    model: options.Model = DEFAULT_MODEL,
    revision: options.Revision = None,
    device: options.Device = "auto",
    dtype: options.DType = "auto",
    template_arg: options.TemplateArg = None,
    persona_dir: own.PersonaDir = None,
    description: own.Description = None,
    prompt: own.Prompt = None,
    license_: own.License = None,
    source: own.Source = None,
    loss: own.Loss = None,
    beta: own.Beta = None,
    likelihood: own.Likelihood = None,
    rank: own.Rank = None,
    alpha: own.Alpha = None,
    targets: own.Targets = None,
    learning_rate: own.LearningRate = None,
    epochs: own.Epochs = None,
    batch_size: own.BatchSize = None,
    micro_batch: own.MicroBatch = None,
    max_length: own.MaxLength = None,
    eval_split: own.EvalSplit = 0.1,
    seed: own.Seed = 0,
    strict: own.Strict = False,
    force: own.Force = False,
    format_: own.FormatName = "text",
    quiet: own.Quiet = False,
) -> None:
    """Train a persona from preferences.

    A LoRA adapter learns to tell the chosen from the rejected replies (DPO, IPO and the like) and is written
    with a persona file, so that `mpg generate --persona NAME` speaks with it at once.
    """
    streams = Streams.current()
    notices = Notices(streams, quiet=quiet)
    as_json = _as_json(ctx, format_)
    _require_extra()
    from mpg_cli.cli.commands import values
    from mpg_cli.config.paths import persona_dir as user_personas
    from mpg_cli.personas import persona_file
    from mpg_cli.personas.base import base_name
    from mpg_cli.training import data as data_of
    from mpg_cli.training.settings import Choices

    persona_file.check_name(name)
    method: Method = "sft" if sft else "dpo"
    choices = Choices(
        method=method,
        loss=loss,
        beta=beta,
        likelihood=likelihood,
        rank=rank,
        alpha=alpha,
        targets=tuple(part.strip() for part in (targets or "").split(",") if part.strip()),
        learning_rate=learning_rate,
        epochs=epochs,
        batch_size=batch_size,
        micro_batch=micro_batch,
        max_length=max_length,
        eval_split=eval_split,
        seed=seed,
    )
    template_args = values.template_args(template_arg or [])
    folder = persona_dir.expanduser() if persona_dir else user_personas()
    where = persona_file.Destination(folder, name, base_name(model) or model)
    texts = persona_file.Texts(
        description=_text("--description", description),
        prompt=_text("--prompt", prompt),
        license=_text("--license", license_),
        source=_text("--source", source),
    )
    existing = persona_file.check_destination(where, texts, force=force)
    if not data:
        raise UsageError("data is missing", hint="add --data FILE, JSONL of {prompt, chosen, rejected}")
    other = persona_file.namesake(where) if existing is None else None
    if other is not None:
        texts = persona_file.carried(texts, other)
    if existing is None and texts.source is None:
        files = ", ".join(file.name for file in data)
        texts = replace(texts, source=_text("--data", f"trained with mpg on {files}"))
    persona_file.persona_text(where, texts, existing)  # what cannot be written shows before the work
    rows = data_of.read_data(data, method)
    notices.problems(rows.problems, strict=strict)
    notices.unread(rows.unread)
    data_of.check_enough(len(rows.rows), method, len(rows.problems))
    if model == DEFAULT_MODEL and _origin(ctx, "model") == "DEFAULT":
        notices.say(
            f"{DEFAULT_MODEL} is trained, a tiny demonstration model; "
            "choose a real one with --model, such as --model Qwen/Qwen3-0.6B"
        )
    if other is not None and persona_file.hides(where, other):
        notices.hides(other, where, texts.prompt)
    request = _Request(
        where=where,
        existing=existing,
        texts=texts,
        model=ModelOptions(model, revision, device, dtype),
        choices=choices,
        data=rows,
        template_args=template_args,
        strict=strict,
        force=force,
    )
    summary = _perform(request, streams, notices, quiet=quiet)
    shown = json.dumps(summary.as_dict(), ensure_ascii=False) if as_json else summary.as_text()
    streams.stdout.write(shown + "\n")


def _perform(request: _Request, streams: Streams, notices: Notices, *, quiet: bool) -> Summary:
    """Load, train, write. Raises typer.Exit with the signal's code if one ended it early."""
    began = time.monotonic()
    with streams.status(f"loading {request.model.name}", shown=not quiet) as status:
        from mpg_cli.training import conversation
        from mpg_cli.training import data as data_of
        from mpg_cli.training.base_model import load_base  # torch loads here
        from mpg_cli.training.run import RunFolder
        from mpg_cli.training.summary import Summary
        from mpg_cli.training.trainer import Job

        loaded = load_base(request.model)
        signals.check()
        status.update("preparing the data")
        settings = _settings(request, loaded)
        made, used, refused = conversation.examples(
            request.data.rows,
            loaded.tokenizer,
            loaded.end_tokens,
            request.template_args,
            loaded.vocabulary.size,
        )
    notices.plan(loaded, settings)
    notices.problems(refused, strict=request.strict)
    left_out = len(request.data.problems) + len(refused)
    data_of.check_enough(len(used), settings.method, left_out)
    train_rows, held_rows = data_of.hold_out(used, settings.eval_split, settings.seed)
    example_of = {id(row): example for row, example in zip(used, made, strict=True)}
    with RunFolder(request.where.run) as run:
        job = Job(
            loaded=loaded,
            settings=settings,
            train=[example_of[id(row)] for row in train_rows],
            held_out=[example_of[id(row)] for row in held_rows],
            run=run,
            resume=run.begin(_plan(request, loaded, settings), force=request.force),
        )
        notices.resuming(job.resume, run)
        trained = _train(job, streams, notices, quiet=quiet, force=request.force)
        _publish(request, loaded, trained)
        run.remove()
    notices.lengths(trained, settings.max_length)
    return Summary(
        where=request.where,
        settings=settings,
        rows={
            "read": len(used) + left_out,
            "left_out": left_out,
            "too_long": trained.too_long,
            "cut": trained.cut,
            "trained": len(used) - trained.too_long - trained.held_out_rows,
            "held_out": trained.held_out_rows,
        },
        steps=trained.steps,
        resumed_at=trained.resumed_at,
        seconds=time.monotonic() - began,
        train=trained.figures,
        held_out=trained.held_out,
        use=_use(request, notices),
    )


def _settings(request: _Request, loaded: LoadedModel) -> Settings:
    from mpg_cli.training import settings, targets

    return settings.resolve(
        request.choices,
        sum(parameter.numel() for parameter in loaded.model.parameters()),
        getattr(loaded.config.get_text_config(), "max_position_embeddings", None),
        targets.choose_targets(loaded.model, request.choices.targets, loaded.id),
    )


def _plan(request: _Request, loaded: LoadedModel, settings: Settings) -> dict[str, Any]:
    """All that must be the same for an unfinished run to go on; no path of the machine."""
    return settings.as_dict() | {
        "base": request.where.base,
        "revision": loaded.revision,
        "dtype": str(loaded.dtype.value).removeprefix("torch."),
        "template-args": request.template_args,
        "data": request.data.digest,
    }


def _train(job: Job, streams: Streams, notices: Notices, *, quiet: bool, force: bool) -> Trained:
    """Run to the end; a first Ctrl-C or SIGTERM ends it with a checkpoint, a second one at once."""
    from mpg_cli.render.training import Progress
    from mpg_cli.training.trainer import train as run_training
    from mpg_cli.training.watch import Watch

    try:
        with Progress(streams, quiet=quiet) as progress:
            watch = Watch(progress)
            with signals.Graceful(watch.stop) as graceful:
                trained = run_training(job, watch)
    except (KeyboardInterrupt, signals.Terminated):
        notices.stopped(job.run, force=force)
        raise
    except NumericsError:
        job.run.remove()  # to go on from it would end in the same place
        raise
    if trained is None:
        notices.stopped(job.run, force=force)
        raise typer.Exit(graceful.exit_code or ExitCode.INTERRUPTED)
    return trained


def _publish(request: _Request, loaded: LoadedModel, trained: Trained) -> None:
    """Adapter and persona file, checked by the reader that `mpg generate` uses."""
    from mpg_cli.models.load.adapter import read_adapter
    from mpg_cli.models.load.adapter_fit import fit_adapter
    from mpg_cli.personas.base import find_base
    from mpg_cli.personas.persona_file import persona_text
    from mpg_cli.training import output

    where = request.where
    digest = find_base(loaded.id, loaded.revision).digest

    def check(folder: Path) -> None:
        fit_adapter(read_adapter(folder, where.name), trained.base_model)

    try:
        output.publish(
            where,
            output.clean_config(trained.config, where.base, loaded.revision),
            trained.tensors,
            persona_text(where, request.texts, request.existing, digest),
            check,
        )
    except OSError as error:
        raise MpgError(
            f"the adapter cannot be written to {where.folder}: {error.strerror or error}",
            hint="the run is kept: the same command, without --force, goes on from its end",
        ) from None


def _use(request: _Request, notices: Notices) -> tuple[str, ...]:
    """The command that speaks as the new persona."""
    from mpg_cli.personas.registry import load_default

    where = request.where
    words = ["mpg", "generate", "--persona", where.name]
    if request.model.name != DEFAULT_MODEL:
        words += ["--model", request.model.name]
    registry = load_default()
    searched = {os.path.realpath(folder) for folder in registry.directories}
    if os.path.realpath(where.folder) not in searched:
        words += ["--persona-dir", str(where.folder)]
        registry = load_default([where.folder])
    notices.found(registry.get(where.name), where)
    return (*words, "…")


def _require_extra() -> None:
    missing = [name for name in ("trl", "peft") if importlib.util.find_spec(name) is None]
    if missing:
        raise MpgError(
            f"training needs {' and '.join(missing)}, which {'are' if missing[1:] else 'is'} not installed",
            hint="pip install 'mpg-cli[train]'",
        )


def _text(flag: str, text: str | None) -> str | None:
    from mpg_cli.engine.messages import check_text

    return None if text is None or not text.strip() else check_text(flag, text)


def _as_json(ctx: typer.Context, chosen: str) -> bool:
    """The config's `format` may be one that only `mpg generate` has."""
    if chosen not in ("text", "json") and _origin(ctx, "format_") == "COMMANDLINE":
        raise UsageError("--format must be text or json")
    return chosen == "json"


def _origin(ctx: typer.Context, name: str) -> str:
    source = ctx.get_parameter_source(name)
    return source.name if source is not None else "DEFAULT"
