"""The notices of a training run, apart from its progress."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from mpg_cli.errors import UsageError
from mpg_cli.training.run import PHASES

if TYPE_CHECKING:
    from pathlib import Path

    from mpg_cli.models.load.loader import LoadedModel
    from mpg_cli.personas.persona_file import Destination, Texts
    from mpg_cli.personas.schema import Persona
    from mpg_cli.training.data import Problem
    from mpg_cli.training.run import RunFolder
    from mpg_cli.training.settings import Settings
    from mpg_cli.training.trainer import Trained

COLUMNS = 20  # listed in a notice


class Say(Protocol):
    """Writes a line for the user."""

    def __call__(self, text: str, *, dim: bool = False) -> None: ...


class Notices:
    """Notices for the user, suppressed by `quiet`."""

    def __init__(self, say: Say, *, quiet: bool) -> None:
        self._say = say
        self._quiet = quiet

    def say(self, text: str, *, dim: bool = False) -> None:
        """One notice."""
        if not self._quiet:
            self._say(f"mpg: {text}", dim=dim)

    def problems(self, problems: Sequence[Problem], *, strict: bool) -> None:
        """Report the rows that are left out. Raises UsageError if `strict`."""
        from mpg_cli.training.data import describe_problems

        if not problems:
            return
        lines = "\n".join(describe_problems(problems))
        count = f"{_count(len(problems), 'row')} of the data"
        if strict:
            raise UsageError(
                f"{count} cannot be used:\n{lines}", hint="correct them, or leave out --strict to skip them"
            )
        self.say(f"{count} left out:\n{lines}")

    def unread(self, columns: Sequence[str]) -> None:
        """Report columns of the data that were not read."""
        from mpg_cli.io.text import visible

        if columns:
            names = ", ".join(visible(name, 40) for name in columns[:COLUMNS])
            rest = f" and {len(columns) - COLUMNS} more" if columns[COLUMNS:] else ""
            self.say(f"columns of the data that are not used: {names}{rest}")

    def plan(self, loaded: LoadedModel, settings: Settings) -> None:
        """Report device, dtype and settings."""
        dtype = str(loaded.dtype.value).removeprefix("torch.")
        reasons = f"({loaded.device.reason}), {dtype} ({loaded.dtype.reason})"
        self.say(f"{loaded.device.value} {reasons}", dim=True)
        for notice in loaded.notices:
            self.say(notice)
        phases = []
        if settings.contrast:
            phases.append(f"imitation of the rejected replies, {_count(settings.contrast, 'epoch')}")
        if settings.imitation:
            epochs = _count(settings.imitation, "epoch")
            phases.append(f"of the chosen ones, {epochs}, rate {settings.imitation_rate:g}")
        if settings.epochs:
            loss = "likelihood of the responses"
            if settings.method == "dpo":
                loss = f"loss {settings.loss}, β {settings.beta:g}, likelihood {settings.likelihood:g}"
            phases.append(f"{loss}, {_count(settings.epochs, 'epoch')}, rate {settings.learning_rate:g}")
        rest = [f"rank {settings.rank}", f"batch {settings.batch_size}", f"seed {settings.seed}"]
        if settings.strength != 1:
            rest.append(f"strength {settings.strength:g}")
        self.say("; ".join([*phases, ", ".join(rest)]), dim=True)

    def resuming(self, checkpoint: Path | None, run: RunFolder) -> None:
        """Report damaged checkpoints, and the one the run resumes from, if any."""
        for dropped in run.dropped:
            what = _place(dropped, run)
            self.say(f"{what} cannot be loaded: its checkpoint was damaged and is deleted")
        place = checkpoint or _last_finished(run)
        if place is not None:
            self.say(f"resuming at {_place(place, run)}")

    def stopped(self, run: RunFolder, *, force: bool) -> None:
        """Report how to resume after an interruption; shown even if quiet, because the user has to act."""
        last = run.last_checkpoint() or _last_finished(run)
        if last is not None:
            same = "the same command without --force" if force else "the same command"
            self._say(f"mpg: stopped; {_place(last, run)} is kept, and {same} resumes from there")

    def library_stopped(self, done: int, total: int) -> None:
        """Report how to go on after an interruption of several runs; shown even if quiet."""
        self._say(f"mpg: {done} of {_count(total, 'persona')} are done, and the same command goes on")

    def lengths(self, trained: Trained, longest: int) -> None:
        """Report rows that exceed the maximum length."""
        if trained.too_long:
            prompts = _count(trained.too_long, "prompt")
            self.say(f"left out, no room for a reply in {longest} tokens: {prompts} (--max-length)")
        if trained.cut:
            self.say(f"cut at {longest} tokens: {_count(trained.cut, 'row')} (--max-length)")

    def library_hides(self, names: Sequence[str], where: Destination) -> None:
        """Report the personas of other folders that new ones of their names hide."""
        if names:
            verb = "comes before its namesake" if len(names) == 1 else "come before their namesakes"
            self.say(
                f"in {where.folder}, {', '.join(names)} {verb} in folders that are searched later; "
                "adapters there for other models are still used"
            )

    def hides(self, other: Persona, where: Destination, texts: Texts) -> None:
        """Report the persona that the new one hides or extends, and the models that lose an adapter."""
        from mpg_cli.personas.persona_file import same_base

        prompt = texts.prompt
        if texts.extends:
            models = ", ".join(entry.base for entry in other.adapters)
            self.say(f"the new {where.name} comes before the one of {other.where} and extends it: {models}")
            return
        text = f"the new {where.name} hides the one of {other.where}"
        if other.adapters:
            adapters = "adapters" if other.adapters[1:] else "an adapter"
            text += f", which has {adapters} for {', '.join(entry.base for entry in other.adapters)}"
        lost = [entry.base for entry in other.adapters if not same_base(entry, where)]
        if lost:
            used = "is used through its prompt" if prompt else "cannot be used, because it has no prompt"
            text += f"; on {', '.join(lost)} the new one {used}"
        self.say(text)

    def found(self, persona: Persona, where: Destination) -> None:
        """Report if another persona is found first under the name, or the adapter is not used."""
        if os.path.realpath(persona.file) != os.path.realpath(where.file):
            self.say(
                f"{persona.where} also has a persona {persona.name} and is searched first; "
                f"use the new one with --persona-dir {where.folder}"
            )
        elif persona.use == "prompt":
            self.say(f"{persona.where} has `use: prompt`, so the adapter is not used")


def _place(checkpoint: Path, run: RunFolder) -> str:
    """`step 12`, after a finished phase `step 12 of the imitation` or of the preference."""
    if checkpoint.name in PHASES:
        return f"the end of the {checkpoint.name}"
    following = dict(zip(PHASES, (*PHASES[1:], "preference"), strict=True))
    last = _last_finished(run)
    phase = "" if last is None else f" of the {following[last.name]}"
    return f"step {checkpoint.name.rpartition('-')[2]}{phase}"


def _last_finished(run: RunFolder) -> Path | None:
    return next(reversed(run.finished.values()), None)


def _count(number: float, what: str) -> str:
    return f"{number:g} {what}{'' if number == 1 else 's'}"
