"""The runs of `mpg train`: one persona, or those of the library, from the options to a report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import typer

from mpg_cli.errors import ExitCode, MpgError
from mpg_cli.io.terminal import Streams
from mpg_cli.options.model import ModelOptions
from mpg_cli.options.personas import PlaceOptions
from mpg_cli.options.training import AboutOptions, DataOptions, LibraryOptions
from mpg_cli.render.training import Progress
from mpg_cli.training import library as libraries
from mpg_cli.training import library_table, workflow
from mpg_cli.training.notices import Notices
from mpg_cli.training.settings import Choices

Report = tuple[str, dict[str, Any]]  # as text and as an object


@dataclass(frozen=True)
class TrainRun:
    """The options that both kinds share; `heard` is the number of prompts that are answered at the end."""

    data: DataOptions
    model: ModelOptions
    template_args: dict[str, Any]
    place: PlaceOptions
    choices: Choices
    heard: int
    quiet: bool

    def persona(self, name: str, about: AboutOptions) -> Report:
        """Train one persona on --data. Raises typer.Exit if a signal ended the run with a checkpoint."""
        streams, notices = Streams.current(), self._notices
        model = workflow.base_model(self.place.folder, name, self.model)
        where = workflow.destination(self.place.folder, name, model.name)
        request = workflow.read_request(
            where, model, self.data, about, self.choices, self.template_args, notices
        )
        if model.notice:
            notices.say(model.notice)
        with streams.status(f"loading {model.name}", shown=not self.quiet) as status:
            ready = workflow.prepare(request, status.update)
        notices.plan(ready.loaded, ready.settings)
        outcome = workflow.perform(request, ready, notices, Progress(streams, quiet=self.quiet))
        if isinstance(outcome, ExitCode):
            raise typer.Exit(outcome)
        if self.heard:
            from mpg_cli.training.heard import Listener, advice

            hearing = workflow.hearing(request, ready, self.heard)
            del ready  # its model makes room for the one that replies
            try:
                with (
                    streams.status("listening to replies", shown=not self.quiet),
                    Listener.load(model) as listener,
                ):
                    heard = listener.listen(outcome.where.adapter, hearing)
            except MpgError as error:  # the adapter is written
                notices.say(f"whether it is heard is not known: {error.text}")
            else:
                outcome = replace(outcome, heard=heard)
                if words := advice(heard, outcome.settings):
                    notices.say(words)
        return outcome.as_text(), outcome.as_dict()

    def library(self, options: LibraryOptions) -> Report:
        """Train the personas of the library. Raises typer.Exit if a signal ended it with a checkpoint."""
        streams, notices = Streams.current(), self._notices
        model = self.model.resolved()
        requests = libraries.read_library(
            self.place.folder, options.personas, model, self.choices, self.template_args, notices
        )
        if model.notice:
            notices.say(model.notice)
        with streams.status(f"loading {model.name}", shown=not self.quiet):
            loaded = workflow.load(model)
        opened = libraries.open_library(requests, loaded, force=self.data.force)
        outcome = libraries.train_library(
            opened, loaded, notices, lambda label: Progress(streams, quiet=self.quiet, label=label)
        )
        del loaded  # as above
        if isinstance(outcome, ExitCode):
            raise typer.Exit(outcome)
        if self.heard:
            from mpg_cli.cli.library_judges import library_judges
            from mpg_cli.training.heard import Listener

            libraries.listen_to_library(
                outcome, self.heard, lambda: Listener.load(model), library_judges, notices
            )
        report = {
            "base": requests[0].where.base,
            "manifest": str(outcome.manifest.file),
            "personas": library_table.table(outcome),
        }
        return library_table.as_text(outcome), report

    @property
    def _notices(self) -> Notices:
        return Notices(Streams.current().message, quiet=self.quiet)
