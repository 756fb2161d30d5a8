"""The sections of `mpg doctor` in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from mpg_cli.config.key import Keys
from mpg_cli.diagnostics import engine, library, machine, places, software
from mpg_cli.diagnostics import network as hub
from mpg_cli.diagnostics.check import Check
from mpg_cli.errors import UsageError
from mpg_cli.io.terminal import Streams
from mpg_cli.models.load import catalogue
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.registry import Registry

Look = Callable[[], Iterable[Check]]


def sections(
    model: ModelOptions, registry: Registry, keys: Keys, streams: Streams, *, network: bool, self_check: bool
) -> Iterator[tuple[str, Look]]:
    """The name and the checks of each section; network and engine only on request."""
    with suppress(UsageError):  # smollm2 is not here, which its check reports
        model = model.resolved()
    info = catalogue.find(model.name)
    yield "software", software.look
    yield "machine", lambda: machine.look(info, model.device, model.dtype)
    yield "files", lambda: places.look(registry.directories, keys)
    yield "model", lambda: library.look_at_model(model, info)
    yield "personas", lambda: library.look(registry)
    yield "terminal", lambda: machine.look_at_terminal(streams)
    if network:
        yield "network", hub.look
    if self_check:
        yield "engine", lambda: engine.look(model.device)
