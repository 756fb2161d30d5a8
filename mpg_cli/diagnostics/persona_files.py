"""Check persona files: find them, find damaged adapters, compare adapters with the shapes of a model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from mpg_cli.errors import MpgError, UsageError
from mpg_cli.io import signals
from mpg_cli.io.text import visible
from mpg_cli.personas.base import find_base
from mpg_cli.personas.choice import choose
from mpg_cli.personas.importing.adapter_files import base_of, local_adapter
from mpg_cli.personas.inspection import Found, Report
from mpg_cli.personas.matching import Match, state
from mpg_cli.personas.registry import Registry, persona_files

if TYPE_CHECKING:
    from mpg_cli.models.load.meta_model import MetaModel


def files_of(paths: Sequence[Path], known: Registry) -> Iterator[Path]:
    """Each file of these paths once; without paths, of every folder of the search path.

    Raises UsageError for a path that does not exist or a folder without persona files.
    """
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
            raise UsageError(
                f"{visible(str(path))} holds no persona files", hint="give a folder with .yaml or .yml files"
            )
        for file in found:
            if (real := os.path.realpath(file)) not in seen:
                seen.add(real)
                yield file


def damaged(report: Report) -> dict[str, str]:
    """Faults in the files of local adapters, by the place of their entry."""
    found: dict[str, str] = {}
    for one in report.adapters:
        path = one.entry.resolved_path()
        try:
            if one.entry.checkpoint is not None:
                if path is not None and not (path / "config.json").is_file():
                    found[one.where] = f"{one.where}: {visible(str(path))} has no config.json"
            elif path is not None:
                if not path.exists():
                    raise UsageError(f"{one.where}: {visible(str(path))} does not exist")
                what = f"{one.where}: the adapter '{visible(str(path), 100)}'"
                base_of(local_adapter(path, what), one.where)
        except MpgError as error:
            found[one.where] = error.message
    return found


@dataclass(frozen=True)
class Comparison:
    """The comparison of adapters with the shapes of a model."""

    unfit: tuple[str, ...]  # messages on adapters that do not fit
    passed: tuple[str, ...]  # messages on adapters that are not used
    fitting: int
    remote: int  # on the hub, not compared

    def note(self, model: str) -> str:
        """A one-line summary."""
        compared = self.fitting + len(self.unfit)
        counted = f"{self.fitting} of {compared} adapters for {visible(model)} fit"
        note = counted if compared else f"no local adapter is used on {visible(model)}"
        return note + (
            f", {self.remote} on the hub are not downloaded and not checked" if self.remote else ""
        )


def compare(
    report: Report, model: str, damage: Mapping[str, str], progress: Callable[[str], None]
) -> Comparison:
    """Compare the adapters for the model with its shapes; `progress` gets status texts. Raises ModelError."""
    from mpg_cli.models.load.meta_model import load_meta_model  # torch loads here

    shapes, base = load_meta_model(model), find_base(model)
    unfit: list[str] = []
    passed: list[str] = []
    fitting = remote = 0
    for persona, adapters in groupby(report.adapters, lambda one: one.persona):
        comparer = _Comparer(persona.name, adapters, damage, shapes)
        progress(f"comparing {persona.name}")
        try:
            choice = choose(persona, base, comparer)
        except _NotCompared:
            remote += comparer.where not in damage
        except MpgError as error:
            unfit.append(f"{comparer.where}: {error.text}")
        else:
            fitting += choice.taken is not None
            passed += [
                f"{comparer.places[m.entry]}: {m.words} is not used: {reason}" for m, reason in choice.passed
            ]
    return Comparison(tuple(unfit), tuple(passed), fitting, remote)


class _NotCompared(Exception):
    """An adapter that is not compared: it is on the hub, or its files are damaged (see `damaged`)."""


class _Comparer:
    """Compares adapters of one persona with the shapes of a model; `where` is the place of the latest."""

    def __init__(
        self, name: str, adapters: Iterable[Found], damage: Mapping[str, str], model: MetaModel
    ) -> None:
        self.name = name
        self.places = {one.entry: one.where for one in adapters}
        self.where = ""
        self._damage, self._model = damage, model

    def __call__(self, match: Match) -> None:
        """Raises the errors of `check_entry`, and _NotCompared."""
        from mpg_cli.models.load.meta_model import check_entry

        signals.check()
        self.where = self.places[match.entry]
        if self.where in self._damage or state(match.entry) == "hub":
            raise _NotCompared
        check_entry(match.entry, self.name, self._model)
