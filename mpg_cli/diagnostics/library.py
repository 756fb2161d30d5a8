"""Check the personas, their adapters and the model in use."""

from __future__ import annotations

from collections.abc import Iterator

from mpg_cli.config.named_models import GET_SMOLLM2, SMOLLM2
from mpg_cli.diagnostics.check import Check
from mpg_cli.models.load.catalogue import ModelInfo, is_remote
from mpg_cli.options.model import ModelOptions
from mpg_cli.personas.matching import state
from mpg_cli.personas.registry import Registry

SECTION = "personas"


def look(registry: Registry) -> Iterator[Check]:
    """Check the personas of the search path and every adapter they name."""
    composites = sum(persona.parts is not None for persona in registry.personas)
    count = len(registry.personas)
    yield Check(SECTION, "found", "ok" if count else "problem", f"{count}, {composites} of them composites")
    for problem in registry.problems:
        yield Check(
            SECTION, "broken file", "problem", problem.message, "find the error with mpg personas check"
        )
    for hidden in registry.shadowed:
        yield Check(
            SECTION,
            "hidden",
            "note",
            f"{hidden.name} of {hidden.where}: hidden by a file that is searched first",
        )
    here = missing = fetchable = 0
    for persona in registry.personas:
        for entry in persona.adapters:
            found = state(entry)
            here, fetchable = here + (found == "here"), fetchable + (found == "hub")
            if found == "missing":
                missing += 1
                place = f"{persona.name}: {entry.place} (for {entry.base})"
                text = f"{place} does not exist, named by {persona.where}"
                yield Check(SECTION, "adapter", "problem", text, "put the adapter there, or remove the entry")
            elif found == "hub":
                text = f"{persona.name}: {entry.place} (for {entry.base}) is downloaded at its first use"
                yield Check(SECTION, "adapter", "note", text)
    if not missing:
        yield Check(SECTION, "adapters", "ok", f"{here} here, {fetchable} to download, none missing")


def look_at_model(model: ModelOptions, info: ModelInfo | None) -> Iterator[Check]:
    """Check the model in use (None: not on this disk)."""
    chosen = ", chosen by auto" if model.automatic else ""
    if info is None and model.name == SMOLLM2:
        yield Check("model", "in use", "problem", f"{SMOLLM2} is not on this disk", f"get it: {GET_SMOLLM2}")
    elif info is None:
        text = f"{model.name} is not on this disk"
        if is_remote(model.name):
            yield Check("model", "in use", "note", text, "it is downloaded at its first use")
        else:
            yield Check("model", "in use", "problem", text, "give another one with --model")
    elif info.problem:
        yield Check(
            "model",
            "in use",
            "problem",
            f"{info.id}: {info.problem}",
            "list the models on this disk with mpg models",
        )
    else:
        length = f", context {info.context}" if info.context else ""
        about = f"{info.id}: {info.architecture}, {info.parameters:,} parameters{length}{chosen}"
        yield Check("model", "in use", "ok", about)
