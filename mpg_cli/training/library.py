"""`mpg train --library`: an adapter of every persona of the persona data, for one model, one after the other.

A persona whose adapter is done for this data, these settings and this base is kept; the one that was
interrupted goes on where it stopped. The manifest beside the adapters says which those are.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpg_cli.errors import ExitCode, UsageError
from mpg_cli.io import signals
from mpg_cli.io.files import write_atomic
from mpg_cli.io.text import did_you_mean, visible
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas import persona_data, persona_file
from mpg_cli.personas.base import find_base
from mpg_cli.personas.persona_file import Destination, Texts
from mpg_cli.training import data as data_of
from mpg_cli.training import workflow
from mpg_cli.training.data import Data
from mpg_cli.training.manifest import Manifest, digest_of, versions
from mpg_cli.training.notices import Notices
from mpg_cli.training.rows import Method, Row, Turn
from mpg_cli.training.run import CONTRAST, RunFolder
from mpg_cli.training.settings import Choices, Settings, difference
from mpg_cli.training.summary import Summary
from mpg_cli.training.watch import Display
from mpg_cli.training.workflow import TrainRequest

if TYPE_CHECKING:
    from mpg_cli.models.load.loader import LoadedModel
    from mpg_cli.training.heard import Judge, Listener

SOURCE = "trained with mpg on the persona data of the library"
LICENSE = "CC0-1.0"  # of the persona data

NEUTRAL = "neutral"  # replies that are contrasted with a persona's; others are those of CONTRASTS

Bar = Callable[[str], AbstractContextManager[Display]]  # the progress of one run, by its label


@dataclass(frozen=True)
class Run:
    """The run of one persona, with all that determines its result; `done` if its adapter is there."""

    request: TrainRequest
    plan: dict[str, Any]
    settings: Settings
    base_digest: str | None
    done: bool

    @property
    def name(self) -> str:
        return self.request.where.name

    @property
    def where(self) -> Destination:
        return self.request.where

    @property
    def against(self) -> str | None:
        """Whose replies are contrasted with those of the persona; None: there is no contrast."""
        return None if self.settings.of_contrast is None else self.request.against

    @property
    def named(self) -> bool:
        """Whether the persona's file has an adapter for this model."""
        existing = self.request.existing
        return existing is not None and any(
            persona_file.same_base(one, self.where) for one in existing.adapters
        )


@dataclass(frozen=True)
class Library:
    """The runs of a library in order, and the manifest that they write to."""

    runs: tuple[Run, ...]
    manifest: Manifest

    @property
    def left(self) -> int:
        """Personas that are not done."""
        return sum(not run.done for run in self.runs)


def chosen_names(wanted: Sequence[str]) -> tuple[str, ...]:
    """The personas of the data with these names, ignoring case; all without names. Raises UsageError."""
    known = {name.lower(): name for name in persona_data.NAMES}
    for name in wanted:
        if name.lower() not in known:
            close = did_you_mean(name, persona_data.NAMES)
            raise UsageError(
                f"--personas: there is no persona data of '{visible(name, 60)}'{close}",
                hint=f"choose from {', '.join(persona_data.NAMES)}",
            )
    return tuple(dict.fromkeys(known[name.lower()] for name in wanted)) or persona_data.NAMES


def pairs(name: str, method: Method) -> tuple[Row, ...]:
    """The training rows of a persona: its replies over the neutral ones, those of a pole also over its
    opposite's; with "sft" its replies alone.
    """
    own, opposite = persona_data.replies(name), persona_data.OPPOSITES.get(name)
    others = persona_data.replies(opposite) if opposite else {}
    rows: list[Row] = []
    for prompt in persona_data.prompts():
        turns = tuple(Turn(message.role, message.content) for message in prompt.messages)
        where, reply = f"persona data, {name}:{prompt.id}", own[prompt.id]
        if method == "sft":
            rows.append(Row(turns, (reply,), where))
            continue
        rejected = (prompt.neutral, others.get(prompt.id))
        rows += [Row(turns, (reply, other), where) for other in rejected if other is not None]
    return tuple(rows)


def _imitated(other: str) -> tuple[Row, ...]:
    """The replies of a persona, or the neutral ones, as rows to imitate."""
    if other != NEUTRAL:
        return pairs(other, "sft")
    rows = pairs(persona_data.CHARACTERS[0], "dpo")
    return tuple(replace(row, replies=row.replies[1:]) for row in rows)


def read_library(
    folder: Path,
    names: Sequence[str],
    model: ModelOptions,
    choices: Choices,
    template_args: dict[str, Any],
    notices: Notices,
) -> tuple[TrainRequest, ...]:
    """The requests of all personas. Raises UsageError for every error found without the model."""
    requests: list[TrainRequest] = []
    hidden: list[str] = []
    for name in chosen_names(names):
        where = workflow.destination(folder, name, model.name)
        placed = workflow.place(where, Texts(), SOURCE, force=True)
        if placed.existing is None and placed.texts.license is None:
            placed = replace(placed, texts=replace(placed.texts, license=LICENSE))
        if placed.other is not None and persona_file.hides(placed.where, placed.other):
            hidden.append(name)
        requests.append(
            TrainRequest(
                placed.where,
                placed.existing,
                placed.texts,
                model,
                choices,
                Data(pairs(name, choices.method)),
                template_args,
                strict=False,
                force=False,
                against=persona_data.CONTRASTS.get(name, NEUTRAL),
            )
        )
    notices.library_hides(hidden, requests[0].where)
    return tuple(requests)


def open_library(requests: Sequence[TrainRequest], loaded: LoadedModel, *, force: bool) -> Library:
    """The runs for the loaded model, and which of them are done.

    Raises UsageError for adapters and unfinished runs of other data or settings, unless `force`; their
    runs then start over.
    """
    first = requests[0].where
    manifest = Manifest.read(first.adapter.parent, first.base)
    digest = find_base(loaded.id, loaded.revision).digest
    runs = []
    for request in requests:
        settings = workflow.settings_for(request, loaded)
        plan = workflow.plan(request, loaded, settings)
        done = manifest.is_done(request.where.name, plan, digest, request.where.adapter)
        runs.append(Run(request, plan, settings, digest, done))
    other = {run.name: why for run in runs if not run.done and (why := _of_another(run, manifest))}
    if other and not force:
        (name, why), *rest = other.items()
        alike = f"; likewise {', '.join(one for one, _ in rest)}" if rest else ""
        raise UsageError(
            f"{name} has {why}{alike}",
            hint="--force trains again what differs and keeps what does not; or choose another --persona-dir",
        )
    for run in runs:
        if run.where.run.exists():
            with RunFolder(run.where.run) as folder:
                killed = run.done and folder.plan == run.plan  # before it was removed
                if killed or run.name in other:
                    folder.remove()
    return Library(tuple(runs), manifest)


def _of_another(run: Run, manifest: Manifest) -> str | None:
    """What is in the way of a run that is not done: made of other data, settings or another base."""
    where, entry = run.where, manifest.entry(run.name)
    if where.unfinished:
        begun = RunFolder(where.run).plan
        changed = None if begun is None else difference(begun, run.plan)
        return f"an unfinished run with other settings: {changed}" if changed else None
    if not where.adapter.exists():
        return None
    if entry is None:
        changed = "the manifest does not have it"
    else:
        files = "its file was changed, or the weights of the base"
        changed = difference(entry["plan"], run.plan) or files
    return f"an adapter for {where.base} that this command would not make: {changed}"


def train_library(library: Library, loaded: LoadedModel, notices: Notices, bar: Bar) -> Library | ExitCode:
    """Train what is not done; returns the exit code if a signal ended it. Raises as `workflow.perform`."""
    runs = list(library.runs)
    kept = [run.name for run in runs if run.done]
    if kept:
        notices.say(f"done already: {', '.join(kept)}")
    with _said_where(notices, runs), contextlib.ExitStack() as held:
        wanted = [run for run in runs if not run.done]
        if wanted:
            notices.plan(loaded, wanted[0].settings)
        folders = {  # locked now: another process that has one is found before anything is trained
            run.against: held.enter_context(RunFolder(run.where.adapter.with_name(f".{run.against}")))
            for run in {run.against: run for run in wanted}.values()
            if run.against is not None
        }
        contrasts: dict[str | None, Path | None] = {None: None}
        for at, run in enumerate(runs):
            if run.done:
                if not run.named:  # its file was deleted
                    _write_file(run)
                continue
            if run.against is not None and run.against not in contrasts:
                progress = bar(_replies_of(run.against))
                found = _contrast(run, run.against, folders[run.against], loaded, notices, progress)
                if isinstance(found, ExitCode):
                    notices.library_stopped(sum(one.done for one in runs), len(runs))
                    return found
                contrasts[run.against] = found
            label = f"{run.name}, {at + 1} of {len(runs)}"
            notices.say(label)
            ready = workflow.encode(run.request, loaded, time.monotonic())

            def record(summary: Summary, run: Run = run) -> None:
                library.manifest.record(run.name, _entry(run, loaded, summary))

            outcome = workflow.perform(
                run.request, ready, notices, bar(label), record, contrasts[run.against]
            )
            if isinstance(outcome, ExitCode):
                notices.library_stopped(sum(one.done for one in runs), len(runs))
                return outcome
            runs[at] = replace(run, done=True)
            del ready, outcome
            gc.collect()  # trainers are full of cycles, which hold optimisers
    return replace(library, runs=tuple(runs))


def _replies_of(other: str) -> str:
    """A contrast, in words."""
    return "the neutral replies" if other == NEUTRAL else f"the replies of {other}"


def _contrast(
    run: Run,
    other: str,
    folder: RunFolder,
    loaded: LoadedModel,
    notices: Notices,
    progress: AbstractContextManager[Display],
) -> Path | ExitCode:
    """The adapter that imitates the replies of `other`, for all personas; trained where it is not there.

    It is kept in this folder, for runs of other personas. Raises as `workflow.perform`.
    """
    from mpg_cli.training.trainer import Job, train_contrast

    settings = run.settings.of_contrast
    assert settings is not None
    rows = _imitated(other)
    ready = workflow.encode(replace(run.request, data=Data(rows)), loaded, time.monotonic())
    trained, _ = data_of.hold_out(ready.rows, settings.eval_split, settings.seed)
    plan = settings.as_dict() | {
        **{key: run.plan[key] for key in ("base", "revision", "dtype", "template-args")},
        "base-digest": run.base_digest,
        "data": Data(rows).digest,
    }
    resume = folder.begin(plan, force=folder.plan != plan)
    if done := folder.finished.get(CONTRAST):
        return done
    notices.say(_replies_of(other))
    notices.resuming(resume, folder)
    job = Job(loaded, settings, ready.of(trained), (), folder, resume)
    return workflow.run_job(train_contrast, job, notices, progress, force=False)


def listen_to_library(
    library: Library,
    count: int,
    load: Callable[[], Listener],
    judges: Callable[[Sequence[str]], Callable[[str], Judge | str]],
    notices: Notices,
) -> None:
    """Sample replies of each persona to prompts of the tuning set, and record how many show it.

    What is recorded for as many prompts is kept. `judges`, called with the names of the personas, gives the
    judge of each, or why there is none.
    """
    prompts = tuple(
        tuple(Turn(message.role, message.content) for message in prompt.messages)
        for prompt in persona_data.tuning()
        if len(prompt.messages) == 1  # a model without a chat template takes no more
    )[:count]
    entries = {run.name: library.manifest.entry(run.name) or {} for run in library.runs}
    known = {name: entry.get("heard") or {} for name, entry in entries.items()}
    missing = [
        run
        for run in library.runs
        if known[run.name].get("prompts") != len(prompts) or known[run.name].get("after") is None
    ]
    if not missing or not prompts:
        return
    from mpg_cli.training.heard import Hearing, advice

    with _said_where(notices, library.runs), load() as listener:
        judge_of = judges([run.name for run in missing])
        for run in missing:
            notices.say(f"listening to {run.name}", dim=True)
            hearing = Hearing(prompts, judge_of(run.name), run.request.template_args)
            heard = listener.listen(run.where.adapter, hearing)
            library.manifest.record(run.name, entries[run.name] | {"heard": heard.as_dict()})
            if words := advice(heard, run.settings):
                notices.say(f"{run.name}: {words}")


def _write_file(run: Run) -> None:
    """Write the file of a persona whose adapter is done. Raises UsageError."""
    request = run.request
    text = persona_file.persona_text(run.where, request.texts, request.existing, run.base_digest)
    write_atomic(run.where.file, text)


def _entry(run: Run, loaded: LoadedModel, summary: Summary) -> dict[str, Any]:
    """The manifest's entry of a finished run."""
    import torch

    facts = summary.as_dict()
    return {
        "plan": run.plan,
        "base_digest": run.base_digest,
        "library": persona_data.digest(),
        "versions": versions(),
        "device": str(loaded.device.value),
        "threads": torch.get_num_threads(),
        "weights": digest_of(run.where.adapter),
        **{fact: facts[fact] for fact in ("rows", "steps", "seconds", "train", "held_out")},
        "heard": None,
    }


@contextmanager
def _said_where(notices: Notices, runs: Sequence[Run]) -> Iterator[None]:
    """Report how many personas are done if a signal ends the block."""
    try:
        yield
    except (KeyboardInterrupt, signals.Terminated):
        notices.library_stopped(sum(run.done for run in runs), len(runs))
        raise
