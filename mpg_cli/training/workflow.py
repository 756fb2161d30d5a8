"""`mpg train` from its options to its summary: check, load, train, publish."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mpg_cli.config.named_models import BUNDLED
from mpg_cli.errors import ExitCode, MpgError, NumericsError, UsageError
from mpg_cli.io import signals
from mpg_cli.options.model import ModelOptions
from mpg_cli.options.training import AboutOptions, DataOptions
from mpg_cli.personas import persona_file
from mpg_cli.personas.base import base_name, find_base
from mpg_cli.personas.model_name import is_commit
from mpg_cli.personas.persona_file import Destination, Texts
from mpg_cli.personas.registry import load_default
from mpg_cli.personas.schema import Persona
from mpg_cli.training import data as data_of
from mpg_cli.training.data import Data
from mpg_cli.training.notices import Notices
from mpg_cli.training.settings import Choices, Settings, resolve
from mpg_cli.training.summary import Summary
from mpg_cli.training.watch import Display, Watch

if TYPE_CHECKING:
    from mpg_cli.models.load.loader import LoadedModel
    from mpg_cli.training.conversation import Example
    from mpg_cli.training.data import Problem
    from mpg_cli.training.heard import Hearing
    from mpg_cli.training.rows import Row
    from mpg_cli.training.trainer import Job, Trained

T = TypeVar("T")


@dataclass(frozen=True)
class TrainRequest:
    """The request of one adapter, checked as far as possible without the model.

    `against` says whose replies are contrasted with the chosen ones, where they are not the rejected ones.
    """

    where: Destination
    existing: Persona | None
    texts: Texts
    model: ModelOptions
    choices: Choices
    data: Data
    template_args: dict[str, Any]
    strict: bool
    force: bool
    against: str | None = None


def check_extra() -> None:
    """Raise MpgError if the packages of the extra `train` are not installed."""
    missing = [name for name in ("trl", "peft") if importlib.util.find_spec(name) is None]
    if missing:
        raise MpgError(
            f"training needs {' and '.join(missing)}, which {'are' if missing[1:] else 'is'} not installed",
            hint="pip install 'mpg-cli[train]'",
        )


def read_request(
    where: Destination,
    model: ModelOptions,
    options: DataOptions,
    about: AboutOptions,
    choices: Choices,
    template_args: dict[str, Any],
    notices: Notices,
) -> TrainRequest:
    """Read the data and build the request. Raises UsageError for every error found without the model."""
    persona_file.check_name(where.name)
    if not options.data:
        raise UsageError("missing option '--data'", hint="see mpg train --help")
    texts = Texts(
        description=_text(about.description),
        prompt=_text(about.prompt),
        license=_text(about.license),
        source=_text(about.source),
    )
    files = ", ".join(file.name for file in options.data)
    about_it = place(where, texts, f"trained with mpg on {files}", force=options.force)
    where, existing, texts, other = about_it.where, about_it.existing, about_it.texts, about_it.other
    data = data_of.read_data(options.data, choices.method)
    notices.problems(data.problems, strict=options.strict)
    notices.unread(data.unread)
    data_of.check_enough(len(data.rows), choices.method, len(data.problems))
    if other is not None and persona_file.hides(where, other):
        notices.hides(other, where, texts)
    return TrainRequest(
        where, existing, texts, model, choices, data, template_args, options.strict, options.force
    )


@dataclass(frozen=True)
class Placed:
    """A checked destination: the persona that is there, or the texts of a new one and its namesake."""

    where: Destination
    existing: Persona | None
    texts: Texts
    other: Persona | None


def place(where: Destination, texts: Texts, source: str, *, force: bool) -> Placed:
    """Check that the persona file can be written. Raises UsageError."""
    existing = persona_file.check_destination(where, texts, force=force)
    if existing is not None and existing.file != where.file:
        where = replace(where, shared=existing.file)
    other = persona_file.namesake(where) if existing is None else None
    if other is not None:
        texts = persona_file.filled_from(texts, other)
    if existing is None and texts.source is None:
        texts = replace(texts, source=_text(source))
    persona_file.persona_text(where, texts, existing)  # fails now if the file could not be written later
    return Placed(where, existing, texts, other)


def base_model(folder: Path, name: str, model: ModelOptions) -> ModelOptions:
    """The model to train on: with `auto` that of an unfinished run for mpg-tiny. Raises UsageError."""
    model = model.resolved()
    if model.automatic and destination(folder, name, BUNDLED).unfinished:
        return replace(model, name=BUNDLED, revision=None)
    return model


def destination(folder: Path, name: str, model: str) -> Destination:
    """The destination of the adapter for this model."""
    return Destination(folder, name, base_name(model) or model)


def settings_for(request: TrainRequest, loaded: LoadedModel) -> Settings:
    """The settings for the model. Raises UsageError, ModelError."""
    from mpg_cli.training import targets

    return resolve(
        request.choices,
        sum(parameter.numel() for parameter in loaded.model.parameters()),
        getattr(loaded.config.get_text_config(), "max_position_embeddings", None),
        targets.choose_targets(loaded.model, request.choices.targets, loaded.id),
    )


@dataclass(frozen=True)
class Prepared:
    """The loaded model, the settings for it, and the encoded data."""

    loaded: LoadedModel
    settings: Settings
    examples: list[Example]
    rows: list[Row]  # one per example
    refused: list[Problem]
    began: float  # time.monotonic()

    def of(self, rows: Sequence[Row]) -> list[Example]:
        """The examples of some of the rows."""
        made = {id(row): example for row, example in zip(self.rows, self.examples, strict=True)}
        return [made[id(row)] for row in rows]


def prepare(request: TrainRequest, say: Callable[[str], None]) -> Prepared:
    """Load the model and encode the data. Raises ModelError, UsageError."""
    began = time.monotonic()
    loaded = load(request.model)
    say("preparing the data")
    return encode(request, loaded, began)


def load(model: ModelOptions) -> LoadedModel:
    """The model to train on. Raises ModelError, UsageError."""
    from mpg_cli.training.base_model import load_base  # torch loads here

    loaded = load_base(model)
    signals.check()
    return loaded


def encode(request: TrainRequest, loaded: LoadedModel, began: float) -> Prepared:
    """The settings for the model, and the data as its tokens. Raises UsageError, ModelError."""
    from mpg_cli.training import conversation

    settings = settings_for(request, loaded)
    made, used, refused = conversation.examples(
        request.data.rows, loaded.tokenizer, loaded.end_tokens, request.template_args, loaded.vocabulary.size
    )
    return Prepared(loaded, settings, made, used, refused, began)


def perform(
    request: TrainRequest,
    ready: Prepared,
    notices: Notices,
    progress: AbstractContextManager[Display],
    record: Callable[[Summary], None] = lambda summary: None,
    contrast: Path | None = None,
) -> Summary | ExitCode:
    """Train and publish; returns the exit code if a signal ended the run with a checkpoint.

    `record` gets the summary before the finished run is deleted; `contrast` is an adapter that has imitated
    the rejected replies. Raises UsageError, NumericsError,
    ModelError, MpgError.
    """
    from mpg_cli.training.run import RunFolder
    from mpg_cli.training.trainer import Job, train

    settings, used = ready.settings, ready.rows
    notices.problems(ready.refused, strict=request.strict)
    left_out = len(request.data.problems) + len(ready.refused)
    data_of.check_enough(len(used), settings.method, left_out)
    train_rows, held_rows = data_of.hold_out(used, settings.eval_split, settings.seed)
    with RunFolder(request.where.run) as run:
        job = Job(
            loaded=ready.loaded,
            settings=settings,
            train=ready.of(train_rows),
            held_out=ready.of(held_rows),
            run=run,
            resume=run.begin(plan(request, ready.loaded, settings), force=request.force),
            contrast=contrast,
        )
        notices.resuming(job.resume, run)
        trained = run_job(train, job, notices, progress, force=request.force)
        if isinstance(trained, ExitCode):
            return trained
        _publish(request, ready.loaded, trained)
        summary = Summary(
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
            seconds=time.monotonic() - ready.began,
            train=trained.figures,
            held_out=trained.held_out,
            use=_use(request, notices),
        )
        record(summary)
        run.remove()
    notices.lengths(trained, settings.max_length)
    return summary


def hearing(request: TrainRequest, ready: Prepared, count: int) -> Hearing:
    """What to listen to after the run: held-out prompts, and a judge trained on the rest of the data."""
    from mpg_cli.training.heard import LENGTH, Hearing
    from mpg_cli.training.text_judge import text_judge

    settings = ready.settings
    trained, held_out = data_of.hold_out(ready.rows, settings.eval_split, settings.seed)
    prompts = tuple(
        dict.fromkeys(
            row.prompt
            for row, example in zip(held_out, ready.of(held_out), strict=True)
            if len(example.prompt) + LENGTH <= settings.max_length
        )
    )
    return Hearing(prompts[:count], text_judge(trained, held_out), request.template_args)


def plan(request: TrainRequest, loaded: LoadedModel, settings: Settings) -> dict[str, Any]:
    """Everything that must be equal to resume an unfinished run; no local paths."""
    against = {} if request.against is None or not settings.contrast else {"against": request.against}
    return settings.as_dict() | {
        **against,
        "base": request.where.base,
        "revision": loaded.revision,
        "dtype": str(loaded.dtype.value).removeprefix("torch."),
        "template-args": request.template_args,
        "data": request.data.digest,
    }


def run_job(
    train: Callable[[Job, Watch], T | None],
    job: Job,
    notices: Notices,
    progress: AbstractContextManager[Display],
    *,
    force: bool,
) -> T | ExitCode:
    """`train` to the end; a first Ctrl-C or SIGTERM stops with a checkpoint, a second one immediately."""
    try:
        with progress as display:
            watch = Watch(display)
            with signals.Graceful(watch.stop) as graceful:
                trained = train(job, watch)
    except (KeyboardInterrupt, signals.Terminated):
        notices.stopped(job.run, force=force)
        raise
    except NumericsError:
        job.run.remove()  # resuming would diverge again
        raise
    if trained is None:
        notices.stopped(job.run, force=force)
        return graceful.exit_code or ExitCode.INTERRUPTED
    return trained


def _publish(request: TrainRequest, loaded: LoadedModel, trained: Trained) -> None:
    """Write adapter and persona file, after a check with the reader of `mpg generate`."""
    from mpg_cli.models.load.adapter import read_adapter
    from mpg_cli.models.load.adapter_fit import fit_adapter
    from mpg_cli.training import output

    where = request.where
    digest = find_base(loaded.id, loaded.revision).digest
    revision = loaded.revision if is_commit(loaded.revision) else None

    def check(folder: Path) -> None:
        fit_adapter(read_adapter(folder, where.name), trained.base_model)

    try:
        output.publish(
            where,
            output.clean_config(trained.config, where.base, revision),
            trained.tensors,
            persona_file.persona_text(where, request.texts, request.existing, digest),
            check,
        )
    except OSError as error:
        raise MpgError(
            f"the adapter cannot be written to {where.folder}: {error.strerror or error}",
            hint="fix the cause, then repeat the command without --force: the finished run is kept",
        ) from None


def _use(request: TrainRequest, notices: Notices) -> tuple[str, ...]:
    """The command that uses the new persona."""
    where, model = request.where, request.model.name
    options = persona_file.options_to_find(where.folder, None if request.model.automatic else model)
    registry = load_default([where.folder] if "--persona-dir" in options else [])
    notices.found(registry.get(where.name), where)
    return "mpg", "generate", "--persona", where.name, *options, "…"


def _text(text: str | None) -> str | None:
    return text if text and text.strip() else None
