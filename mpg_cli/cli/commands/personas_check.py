"""`mpg personas check`: every mistake in persona files, and whether their adapters fit a model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpg_cli.cli import options
from mpg_cli.errors import ExitCode, MpgError, UsageError
from mpg_cli.io import signals
from mpg_cli.io.terminal import Streams, clean
from mpg_cli.io.text import visible

if TYPE_CHECKING:
    from mpg_cli.models.load.meta_model import MetaModel
    from mpg_cli.personas.inspection import Found, Report
    from mpg_cli.personas.matching import Match
    from mpg_cli.personas.registry import Registry

EPILOG = """\b
Examples:
  mpg personas check
  mpg personas check personas/ extra.yaml
  mpg personas check personas/ --model mpg-tiny
\b
Each mistake is a line FILE:LINE: KEY: what is wrong. With --model the adapters for it are read and compared
with the shapes of the model; its weights are not loaded, and nothing but its config.json is fetched.
\b
Exit status: 0 all is right, 2 a persona file is wrong, 1 an adapter is damaged, not there or does not fit."""


def check(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH",
            help="Persona files and folders of them.",
            show_default="every folder that is searched",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="ID|DIR", help="Compare the adapters for this model with its shapes.", show_default=False
        ),
    ] = None,
    persona_dir: options.PersonaDir = None,
) -> None:
    """Check persona files and their adapters."""
    from mpg_cli.personas import inspection, registry

    streams = Streams.current()
    known = registry.load_default(persona_dir or [])
    files = list(_files(paths, known))
    folders = list(dict.fromkeys(file.parent for file in files)) if paths else []
    report = inspection.inspect(files, registry.Registry.load([*folders, *known.directories]))
    _tell(streams, report.problems)
    damaged = _damaged(report)
    _tell(streams, damaged.values())
    unfit, note = _compare(report, model, damaged, streams) if model is not None else (0, "")
    count = len(report.problems) + len(damaged) + unfit
    streams.stdout.write(f"{_summary(report, count)}{note}\n")
    if report.problems:
        raise typer.Exit(ExitCode.USAGE)
    if count:
        raise typer.Exit(ExitCode.FAILURE)


def _files(paths: Sequence[Path] | None, known: Registry) -> Iterator[Path]:
    """Each file once. Raises UsageError for a path that is not there or a folder without persona files."""
    from mpg_cli.personas.registry import persona_files

    seen: set[str] = set()
    for path in paths or known.directories:
        path = path.expanduser()
        if not path.exists():
            if paths:
                raise UsageError(f"{visible(str(path))}: no such file or folder")
            continue
        try:
            found = persona_files(path) if path.is_dir() else [path]
        except OSError as error:
            raise UsageError(f"{visible(str(path))} cannot be read: {error.strerror}") from None
        if paths and not found:
            raise UsageError(f"{visible(str(path))} holds no persona files", hint="they end in .yaml or .yml")
        for file in found:
            if (real := os.path.realpath(file)) not in seen:
                seen.add(real)
                yield file


def _damaged(report: Report) -> dict[str, str]:
    """What is wrong with adapters on this disk as files, by where they stand."""
    from mpg_cli.personas.importing.adapter_files import base_of, local_adapter

    found: dict[str, str] = {}
    for one in report.adapters:
        path = one.entry.resolved_path()
        try:
            if one.entry.checkpoint is not None:
                if path is not None and not (path / "config.json").is_file():
                    found[one.where] = f"{one.where}: {visible(str(path))} has no config.json"
            elif path is not None:
                if not path.is_dir():
                    raise UsageError(f"{one.where}: {visible(str(path))} is no folder")
                what = f"{one.where}: the adapter '{visible(str(path), 100)}'"
                base_of(local_adapter(path, what), one.where)
        except MpgError as error:
            found[one.where] = error.message
    return found


class _Unread(Exception):
    """An adapter that is not compared: it is on the hub, or its files are damaged, which was told."""


class _Comparer:
    """Compares adapters of one persona with the shapes of a model; `where` is the place of the last one."""

    def __init__(
        self, name: str, adapters: Iterable[Found], damaged: Mapping[str, str], model: MetaModel
    ) -> None:
        self.name = name
        self.places = {one.entry: one.where for one in adapters}
        self.where = ""
        self._damaged, self._model = damaged, model

    def __call__(self, match: Match) -> None:
        """Raises what `check_entry` does, and _Unread."""
        from mpg_cli.models.load.meta_model import check_entry
        from mpg_cli.personas.matching import state

        signals.check()
        self.where = self.places[match.entry]
        if self.where in self._damaged or state(match.entry) == "hub":
            raise _Unread
        check_entry(match.entry, self.name, self._model)


def _compare(report: Report, model: str, damaged: dict[str, str], streams: Streams) -> tuple[int, str]:
    """Compare the adapters for the model with its shapes: how many do not fit, and a note for the summary."""
    from mpg_cli.personas.base import find_base
    from mpg_cli.personas.choice import choose

    unfit: list[str] = []
    passed: list[str] = []
    fitting = away = 0
    with streams.status(f"reading the shapes of {model}") as status:
        from mpg_cli.models.load.meta_model import load_meta_model  # torch loads here

        skeleton, base = load_meta_model(model), find_base(model)
        for persona, adapters in groupby(report.adapters, lambda one: one.persona):
            compare = _Comparer(persona.name, adapters, damaged, skeleton)
            status.update(f"comparing {persona.name}")
            try:
                choice = choose(persona, base, compare)
            except _Unread:
                away += compare.where not in damaged
            except MpgError as error:
                unfit.append(f"{compare.where}: {error.message}")
            else:
                fitting += choice.taken is not None
                passed += [f"{compare.places[m.entry]}: {m.words} is not used: {y}" for m, y in choice.passed]
    _tell(streams, [*unfit, *passed])
    compared = fitting + len(unfit)
    counted = f"{fitting} of {compared} adapters for {visible(model)} fit"
    note = counted if compared else f"none here is used on {visible(model)}"
    return len(unfit), f"; {note}" + (f", {away} on the hub are not fetched and not checked" if away else "")


def _tell(streams: Streams, problems: Iterable[str]) -> None:
    for problem in problems:
        streams.stdout.write(clean(problem) + "\n")
    streams.stdout.flush()


def _summary(report: Report, problems: int) -> str:
    counts = (
        _count(report.files, "file"),
        _count(report.personas, "persona"),
        _count(len(report.adapters), "adapter"),
    )
    outcome = _count(problems, "problem") if problems else "all right"
    return f"{', '.join(counts)}: {outcome}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
