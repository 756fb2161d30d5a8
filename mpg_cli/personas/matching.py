"""Matches the entries of a persona with a model, by names and file headers. Torch-free.

Names rank the entries, shapes rule some out; only loading shows for certain whether an adapter fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from mpg_cli.errors import PersonaError
from mpg_cli.io.text import visible
from mpg_cli.personas.adapter_folder import gguf_file
from mpg_cli.personas.adapter_place import is_gguf_file
from mpg_cli.personas.adapter_shapes import CONFIG_FILE, WEIGHTS_FILE, fits
from mpg_cli.personas.base import Base
from mpg_cli.personas.model_name import is_generic
from mpg_cli.personas.schema import AdapterEntry, Persona

ExpertKind = Literal["adapter", "prompt", "both", "checkpoint"]
State = Literal["here", "hub", "missing"]
By = Literal["digest", "name", "family", "configuration", "shapes"]  # best first
_REASONS: dict[By, str] = {
    "digest": "by the digest of its base",
    "name": "by name and shapes",
    "family": "by family name and shapes",
    "configuration": "by the name in the model's configuration and shapes",
    "shapes": "by shapes alone",
}


@dataclass(frozen=True)
class Match:
    """An entry that may be for the model, and the evidence.

    `named`: its base is a name of the model; `differs`: its base digest differs from the model's.
    """

    entry: AdapterEntry
    by: By
    named: bool
    differs: bool = False

    @property
    def certain(self) -> bool:
        """Whether it is certainly for this model, so that a misfit is an error."""
        return self.by in ("digest", "name") and self.named and not self.differs

    @property
    def words(self) -> str:
        """`adapter made for org/big`."""
        kind = "adapter" if self.entry.checkpoint is None else "checkpoint"
        return f"{kind} made for {visible(self.entry.base, 80)}"

    @property
    def reason(self) -> str | None:
        """The reason for using it, in words; None if it is certain."""
        if self.certain:
            return None
        differs = "; the model's weights differ from those that it was trained on" if self.differs else ""
        return _REASONS[self.by] + differs


@dataclass(frozen=True)
class Fit:
    """The kind of expert of a persona on a model (None without one), and the entry used."""

    kind: ExpertKind | None
    match: Match | None = None


def ranked(persona: Persona, base: Base) -> tuple[Match, ...]:
    """The entries that may be for the model, best first.

    An equal base digest comes first; a different one excludes nothing, but the name is no longer certain.
    Then come the model's own names, names of its family, and the name in its configuration if its own are
    generic. If the persona requires an adapter, the rest may match by shapes alone. Among equal matches that
    are not certain, local files come before downloads.
    """
    found = [
        Match(entry, by, base.has_name(entry.base), _differs(entry, base))
        for entry in persona.adapters
        if (by := _by(entry, persona, base)) is not None
    ]

    def rank(match: Match) -> tuple[int, bool]:
        return get_args(By).index(match.by), not match.certain and state(match.entry) == "hub"

    return tuple(sorted(found, key=rank))


def best(persona: Persona, base: Base) -> Match | None:
    """The first entry that may fit, by the files on this disk."""
    return next((match for match in ranked(persona, base) if may_fit(match, base)), None)


def may_fit(match: Match, base: Base) -> bool:
    """Whether an entry is certain or not ruled out by its files; a match by shapes needs fitting files."""
    fitting = True if match.certain else entry_fits(match.entry, base)
    return match.by != "shapes" if fitting is None else fitting


def fit(persona: Persona, base: Base) -> Fit:
    """The expert of a persona (not a composite) on the model."""
    match = best(persona, base) if persona.use != "prompt" else None
    if match is None:
        return Fit("prompt" if persona.prompt and persona.use in ("auto", "prompt") else None)
    if match.entry.checkpoint is not None:
        return Fit("checkpoint", match)
    return Fit("both" if persona.use == "both" and persona.prompt else "adapter", match)


def fitting_by_shapes(persona: Persona, base: Base) -> tuple[AdapterEntry, ...]:
    """Local adapters that fit the model by shapes only, and that `ranked` leaves out."""
    matched = [match.entry for match in ranked(persona, base)]
    return tuple(entry for entry in persona.adapters if entry not in matched and entry_fits(entry, base))


def entry_fits(entry: AdapterEntry, base: Base) -> bool | None:
    """Whether an adapter fits by its files; None if they are on the hub or inconclusive."""
    where = state(entry)
    if where != "here":
        return None if where == "hub" else False
    found = _found(entry)
    if entry.checkpoint is not None or base.tensors is None or found is None:
        return None
    return fits(found, base.tensors)


def state(entry: AdapterEntry) -> State:
    """Whether the entry's files are on this disk (`here`), to be downloaded (`hub`), or `missing`.

    An adapter needs its configuration and weights, or is a GGUF file; one on the hub counts as local if the
    cache has all of it.
    """
    try:
        if _found(entry) is not None:
            return "here"
        return "missing" if entry.resolved_path() is not None else "hub"
    except PersonaError:
        return "missing"


def _by(entry: AdapterEntry, persona: Persona, base: Base) -> By | None:
    """The evidence for the entry; a generic name needs fitting shapes too."""
    if entry.base_digest is not None and entry.base_digest == base.digest:
        return "digest"
    if base.has_name(entry.base):
        return "family" if "/" not in entry.base and is_generic(entry.base) else "name"
    if base.is_of_family(entry.base):
        return "family"
    if base.is_configured_as(entry.base):
        return "configuration"
    return "shapes" if persona.use == "adapter" and entry.checkpoint is None else None


def _differs(entry: AdapterEntry, base: Base) -> bool:
    return entry.base_digest is not None and base.digest not in (None, entry.base_digest)


_ADAPTER_FILES = (CONFIG_FILE, WEIGHTS_FILE)
_MODEL_FILES = ("config.json",)


def _found(entry: AdapterEntry) -> Path | None:
    """The local folder of an entry's files, if complete, or its GGUF file.

    Raises PersonaError for a forbidden place.
    """
    wanted = _ADAPTER_FILES if entry.checkpoint is None else _MODEL_FILES
    path = entry.resolved_path()
    if path is not None:
        if entry.checkpoint is None and (file := gguf_file(path)) is not None:
            return file
        return path if all((path / name).is_file() for name in wanted) else None
    repo, inside = entry.repo or entry.checkpoint or "", (entry.subfolder or "").strip("/")
    if is_gguf_file(inside):
        folder = _cached(repo, entry.revision, [inside])
        return folder / inside.rpartition("/")[2] if folder is not None else None
    prefix = f"{inside}/" if inside and entry.checkpoint is None else ""
    return _cached(repo, entry.revision, [prefix + name for name in wanted])


def _cached(repo: str, revision: str | None, names: Sequence[str]) -> Path | None:
    """The folder of the files in the hub cache, if it has all of them."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = [try_to_load_from_cache(repo, name, revision=revision) for name in names]
    except (HFValidationError, OSError, ValueError):
        return None
    places = [Path(place).parent for place in found if isinstance(place, str)]
    return places[0] if len(places) == len(names) else None
