"""Which expert a persona becomes on a model. Torch-free: no weights are read.

Names rank the entries, shapes decide among them: whether an adapter fits is certain only once it is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from mpg_cli.errors import PersonaError
from mpg_cli.io.text import visible
from mpg_cli.personas.adapter_shapes import CONFIG_FILE, WEIGHTS_FILE, fits
from mpg_cli.personas.base import Base
from mpg_cli.personas.model_name import says_nothing
from mpg_cli.personas.schema import AdapterEntry, Persona

ExpertKind = Literal["adapter", "prompt", "both", "checkpoint"]
State = Literal["here", "hub", "missing"]
By = Literal["digest", "name", "family", "configuration", "shapes"]  # the better one first
_REASONS: dict[By, str] = {
    "digest": "by the digest of its base",
    "name": "by name and shapes",
    "family": "by family name and shapes",
    "configuration": "by the name in the model's configuration and shapes",
    "shapes": "by shapes alone",
}


@dataclass(frozen=True)
class Match:
    """An entry that may be for the model, and what speaks for it.

    `named`: its base is a name of the model; `differs`: the digest of its base is not the model's.
    """

    entry: AdapterEntry
    by: By
    named: bool
    differs: bool = False

    @property
    def certain(self) -> bool:
        """Whether it is for this model, so that one that does not fit is an error."""
        return self.by in ("digest", "name") and self.named and not self.differs

    @property
    def words(self) -> str:
        """`adapter made for org/big`."""
        kind = "adapter" if self.entry.checkpoint is None else "checkpoint"
        return f"{kind} made for {visible(self.entry.base, 80)}"

    @property
    def reason(self) -> str | None:
        """Why it is taken, in words; None where it is certain."""
        if self.certain:
            return None
        differs = (
            "; the model's files have other numbers than those that it was made on" if self.differs else ""
        )
        return _REASONS[self.by] + differs


@dataclass(frozen=True)
class Fit:
    """What a persona becomes: its kind of expert (None: it has none for the model) and the entry used."""

    kind: ExpertKind | None
    match: Match | None = None


def ranked(persona: Persona, base: Base) -> tuple[Match, ...]:
    """The entries that may be for the model, the best first.

    A digest of the base confirms; one that differs refutes nothing, but makes the name less than certain.
    Then names count: the model's own, those of its family, and that of its configuration where they say
    nothing. Where the persona insists on an adapter, shapes alone may decide about the others. Between equals
    that are not certain, what is here comes before what must be fetched.
    """
    found = [
        Match(entry, by, base.goes_by(entry.base), _differs(entry, base))
        for entry in persona.adapters
        if (by := _by(entry, persona, base)) is not None
    ]

    def rank(match: Match) -> tuple[int, bool]:
        return get_args(By).index(match.by), not match.certain and state(match.entry) == "hub"

    return tuple(sorted(found, key=rank))


def best(persona: Persona, base: Base) -> Match | None:
    """The first entry that may fit, as far as the files on this disk tell."""
    return next((match for match in ranked(persona, base) if may_fit(match, base)), None)


def may_fit(match: Match, base: Base) -> bool:
    """Whether an entry is certain, or not ruled out by its files; shapes alone must be seen to fit."""
    fitting = True if match.certain else entry_fits(match.entry, base)
    return match.by != "shapes" if fitting is None else fitting


def fit(persona: Persona, base: Base) -> Fit:
    """The expert that a persona, no composite, becomes on the model."""
    match = best(persona, base) if persona.use != "prompt" else None
    if match is None:
        return Fit("prompt" if persona.prompt and persona.use in ("auto", "prompt") else None)
    if match.entry.checkpoint is not None:
        return Fit("checkpoint", match)
    return Fit("both" if persona.use == "both" and persona.prompt else "adapter", match)


def of_other_names(persona: Persona, base: Base) -> tuple[AdapterEntry, ...]:
    """Adapters on this disk that fit the model by their shapes, though nothing else speaks for them."""
    mine = [match.entry for match in ranked(persona, base)]
    return tuple(entry for entry in persona.adapters if entry not in mine and entry_fits(entry, base))


def entry_fits(entry: AdapterEntry, base: Base) -> bool | None:
    """Whether an adapter fits by its files; None where they are on the hub or do not tell."""
    where = state(entry)
    if where != "here":
        return None if where == "hub" else False
    folder = _folder(entry)
    if entry.checkpoint is not None or base.tensors is None or folder is None:
        return None
    return fits(folder, base.tensors)


def state(entry: AdapterEntry) -> State:
    """Whether what the entry names is on this disk (`here`), must be fetched (`hub`), or is not there.

    A folder counts as an adapter with its configuration and weights, and a repository as fetched where the
    hub's cache has them.
    """
    try:
        if _folder(entry) is not None:
            return "here"
        return "missing" if entry.resolved_path() is not None else "hub"
    except PersonaError:
        return "missing"


def _by(entry: AdapterEntry, persona: Persona, base: Base) -> By | None:
    """What speaks for the entry; a name that many models have must be backed by shapes."""
    if entry.base_digest is not None and entry.base_digest == base.digest:
        return "digest"
    if base.goes_by(entry.base):
        return "family" if "/" not in entry.base and says_nothing(entry.base) else "name"
    if base.is_of_family(entry.base):
        return "family"
    if base.is_configured_as(entry.base):
        return "configuration"
    return "shapes" if persona.use == "adapter" and entry.checkpoint is None else None


def _differs(entry: AdapterEntry, base: Base) -> bool:
    return entry.base_digest is not None and base.digest not in (None, entry.base_digest)


_ADAPTER_FILES = (CONFIG_FILE, WEIGHTS_FILE)
_MODEL_FILES = ("config.json",)


def _folder(entry: AdapterEntry) -> Path | None:
    """Where the files of an entry lie on this disk. Raises PersonaError for a place that is not allowed."""
    wanted = _ADAPTER_FILES if entry.checkpoint is None else _MODEL_FILES
    path = entry.resolved_path()
    if path is not None:
        return path if all((path / name).is_file() for name in wanted) else None
    prefix = f"{entry.subfolder.strip('/')}/" if entry.subfolder else ""
    repo = entry.repo or entry.checkpoint or ""
    names = [prefix + name for name in wanted] if entry.checkpoint is None else wanted
    return _cached(repo, entry.revision, names)


def _cached(repo: str, revision: str | None, names: Sequence[str]) -> Path | None:
    """The folder of the files in the hub's cache, if all are there."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = [try_to_load_from_cache(repo, name, revision=revision) for name in names]
    except (HFValidationError, OSError, ValueError):
        return None
    places = [Path(place).parent for place in found if isinstance(place, str)]
    return places[0] if len(places) == len(names) else None
