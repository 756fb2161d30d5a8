"""What `mpg train` says on stderr beside its progress."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mpg_cli.errors import UsageError
from mpg_cli.io.terminal import Streams

if TYPE_CHECKING:
    from pathlib import Path

    from mpg_cli.models.load.loader import LoadedModel
    from mpg_cli.personas.persona_file import Destination
    from mpg_cli.personas.schema import Persona
    from mpg_cli.training.data import Problem
    from mpg_cli.training.run import RunFolder
    from mpg_cli.training.settings import Settings
    from mpg_cli.training.trainer import Trained

COLUMNS = 20  # that a notice names


class Notices:
    """Lines on stderr, none where `quiet`."""

    def __init__(self, streams: Streams, *, quiet: bool) -> None:
        self._streams = streams
        self._quiet = quiet

    def say(self, text: str, *, dim: bool = False) -> None:
        """One notice."""
        if not self._quiet:
            self._streams.say(f"mpg: {text}", dim=dim)

    def problems(self, problems: Sequence[Problem], *, strict: bool) -> None:
        """Rows that are left out. Raises UsageError with them if `strict`."""
        from mpg_cli.training.data import describe_problems

        if not problems:
            return
        lines = "\n".join(describe_problems(problems))
        count = f"{_count(len(problems), 'row')} of the data"
        if strict:
            raise UsageError(f"{count} cannot be used:\n{lines}", hint="correct them, or leave out --strict")
        self.say(f"{count} left out:\n{lines}")

    def unread(self, columns: Sequence[str]) -> None:
        """Columns of the data that nothing is learnt from."""
        from mpg_cli.io.text import visible

        if columns:
            names = ", ".join(visible(name, 40) for name in columns[:COLUMNS])
            rest = f" and {len(columns) - COLUMNS} more" if columns[COLUMNS:] else ""
            self.say(f"columns of the data that are not trained on: {names}{rest}")

    def plan(self, loaded: LoadedModel, settings: Settings) -> None:
        """Where and how the training runs."""
        dtype = str(loaded.dtype.value).removeprefix("torch.")
        reasons = f"({loaded.device.reason}), {dtype} ({loaded.dtype.reason})"
        self.say(f"{loaded.device.value} {reasons}", dim=True)
        for notice in loaded.notices:
            self.say(notice)
        loss = "likelihood of the responses"
        if settings.method == "dpo":
            loss = f"loss {settings.loss}, β {settings.beta:g}, likelihood {settings.likelihood:g}"
        self.say(
            f"{loss}; rank {settings.rank}, rate {settings.learning_rate:g}, "
            f"{_count(settings.epochs, 'epoch')}, batch {settings.batch_size}, seed {settings.seed}",
            dim=True,
        )

    def resuming(self, checkpoint: Path | None, run: RunFolder) -> None:
        """Which checkpoints are damaged, and from which one the run goes on, if from any."""
        for dropped in run.dropped:
            self.say(f"step {_step(dropped)} cannot be loaded, its checkpoint is damaged and dropped")
        if checkpoint is not None:
            self.say(f"resuming at step {_step(checkpoint)}")

    def stopped(self, run: RunFolder, *, force: bool) -> None:
        """After an interruption: how to go on. Said even where quiet: it is about the user's next step."""
        last = run.last_checkpoint()
        if last is not None:
            same = "the same command without --force" if force else "the same command"
            self._streams.say(f"mpg: stopped; step {_step(last)} is kept, and {same} resumes from there")

    def lengths(self, trained: Trained, longest: int) -> None:
        """What did not fit into the maximum length."""
        if trained.too_long:
            prompts = _count(trained.too_long, "prompt")
            self.say(f"left out with no room for a reply in {longest} tokens: {prompts} (--max-length)")
        if trained.cut:
            self.say(f"cut at {longest} tokens: {_count(trained.cut, 'row')} (--max-length)")

    def hides(self, other: Persona, where: Destination, prompt: str | None) -> None:
        """What the new persona takes the place of, and which models lose an adapter by it."""
        from mpg_cli.personas.persona_file import same_base

        text = f"the new {where.name} hides the one of {other.where}"
        if other.adapters:
            adapters = "adapters" if other.adapters[1:] else "an adapter"
            text += f", which has {adapters} for {', '.join(entry.base for entry in other.adapters)}"
        lost = [entry.base for entry in other.adapters if not same_base(entry, where)]
        if lost:
            speaks = "speaks through its prompt" if prompt else "cannot speak, for it has no prompt"
            text += f"; on {', '.join(lost)} the new one {speaks}"
        self.say(text)

    def found(self, persona: Persona, where: Destination) -> None:
        """Whether the new persona is the one that is found under its name."""
        if os.path.realpath(persona.file) != os.path.realpath(where.file):
            self.say(
                f"{persona.where} has a persona {persona.name} too and is searched first; "
                f"--persona-dir {where.folder} finds the new one"
            )
        elif persona.use == "prompt":
            self.say(f"{persona.where} says `use: prompt`, so the adapter is not used")


def _step(checkpoint: Path) -> str:
    return checkpoint.name.rpartition("-")[2]


def _count(number: float, what: str) -> str:
    return f"{number:g} {what}{'' if number == 1 else 's'}"
