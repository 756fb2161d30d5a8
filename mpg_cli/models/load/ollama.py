"""Models that Ollama has on this disk: from `ollama:NAME[:TAG]` to a GGUF file. Torch-free.

Ollama keeps a manifest for each model, manifests/HOST/NAMESPACE/MODEL/TAG: JSON with layers, each a file
blobs/sha256-…. The layer of type `…image.model` is a GGUF file. Newer versions link manifests from
manifests-v2, where the host of its library is ollama.com, and one name can have a manifest for each runner
(https://github.com/ollama/ollama, manifest/). Names are looked up in the listing, so none leads elsewhere.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpg_cli.errors import ModelError
from mpg_cli.io.text import did_you_mean, visible

PREFIX = "ollama:"
MAX_MANIFEST_BYTES = 4 << 20
_PLACES = (  # of a user, and of the service as different systems install it
    "~/.ollama/models",
    "/usr/share/ollama/.ollama/models",
    "/var/lib/ollama/.ollama/models",
    "/var/lib/ollama/models",
    "/var/lib/ollama",
    "/var/snap/ollama/common/models",
)
_ROOTS = ("manifests-v2", "manifests")
_LIBRARY = ("registry.ollama.ai", "library")
_HOSTS = ("ollama.com", "registry.ollama.ai")  # two names of one host
_TAG = "latest"
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_NAME = re.compile(
    rf"(?:(?:(?P<host>{_PART}(?::\d+)?)/)?(?P<owner>{_PART})/)?(?P<model>{_PART})(?::(?P<tag>{_PART}))?"
)
_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")
_LAYER = "application/vnd.ollama.image."
_LIST = "application/vnd.ollama.manifest.list.v2+json"
_RUNNERS = ("", "ollama", "llamacpp")  # those that run GGUF files
_LISTED = 10  # names in a hint


@dataclass(frozen=True)
class OllamaModel:
    """A model of Ollama: `path` is its GGUF file, `digest` the SHA-256 of that file in hexadecimal."""

    id: str  # ollama:NAME:TAG
    path: Path
    digest: str
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Name:
    host: str
    owner: str
    model: str
    tag: str

    @property
    def untagged(self) -> str:
        """The name without its tag, as Ollama shows it."""
        if (self.host, self.owner) == _LIBRARY:
            return self.model
        return f"{self.owner}/{self.model}" if self.host == _LIBRARY[0] else self._full

    @property
    def _full(self) -> str:
        return f"{self.host}/{self.owner}/{self.model}"

    @property
    def key(self) -> tuple[str, str]:
        """Equal for equal names; Ollama ignores case."""
        return self._full.lower(), self.tag.lower()

    def __str__(self) -> str:
        return f"{self.untagged}:{self.tag}"


def is_ollama(name: str) -> bool:
    """Whether the name of a model is one of Ollama's."""
    return name.startswith(PREFIX)


def names() -> list[str]:
    """The ids of all models of Ollama on this disk that this user may list, sorted."""
    found: dict[tuple[str, str], str] = {}
    for folder in _folders():
        found |= {name.key: f"{PREFIX}{name}" for name in _manifests(folder, [])}
    return sorted(found.values())


def find_blob(name: str) -> OllamaModel:
    """The model `ollama:NAME[:TAG]`; NAME is MODEL, USER/MODEL or HOST/USER/MODEL, TAG `latest` by default.

    Raises ModelError where Ollama has no such model here, its files cannot be read or its weights are not one
    GGUF file.
    """
    wanted = _parse(name)
    folders = _folders()
    if not folders:
        looked = os.environ.get("OLLAMA_MODELS", "").strip() or ", ".join(_PLACES)
        raise ModelError(
            f"{name}: there are no models of Ollama here (looked in {visible(looked, 300)})",
            hint=f"fetch it with `ollama pull {wanted}`, or set OLLAMA_MODELS to Ollama's folder of models",
        )
    here: list[_Name] = []
    denied: list[Path] = []
    for folder in folders:
        for found, file in _manifests(folder, denied).items():
            here.append(found)
            if found.key == wanted.key:
                return _model(found, folder, file)
    if denied:
        raise _denied(f"{name} may be in {denied[0]}, which", denied[0])
    tags = sorted(one.tag for one in here if one.key[0] == wanted.key[0])
    pull = f"fetch it with `ollama pull {wanted}`"
    if tags:
        raise ModelError(
            f"Ollama's {wanted.untagged} has no tag '{wanted.tag}' on this disk"
            f"{did_you_mean(wanted.tag, tags)}",
            hint=f"choose from {', '.join(tags[:_LISTED])}; or {pull}",
        )
    known = sorted({str(one) for one in here})
    close = did_you_mean(wanted.untagged, sorted({one.untagged for one in here}))
    listed = f"it has {', '.join(known[:_LISTED])}" if known else "it has none yet"
    raise ModelError(
        f"Ollama has no model {wanted.untagged} in {', '.join(map(str, folders))}{close}",
        hint=f"{listed}{', …' if len(known) > _LISTED else ''}; {pull}",
    )


def _parse(name: str) -> _Name:
    found = _NAME.fullmatch(name.removeprefix(PREFIX))
    if found is None or ".." in name:
        raise ModelError(
            f"'{visible(name, 100)}' is not a model of Ollama",
            hint="give ollama:NAME[:TAG], where NAME is MODEL, USER/MODEL or HOST/USER/MODEL, "
            "as `ollama list` shows them",
        )
    return _Name(
        _host(found["host"] or _LIBRARY[0]),
        found["owner"] or _LIBRARY[1],
        found["model"],
        found["tag"] or _TAG,
    )


def _host(host: str) -> str:
    return _LIBRARY[0] if host.lower() in _HOSTS else host


def _folders() -> list[Path]:
    """The folders of models that exist: OLLAMA_MODELS, else the default places."""
    given = os.environ.get("OLLAMA_MODELS", "").strip().strip("\"'")
    places = [Path(os.path.expanduser(place)) for place in ([given] if given else _PLACES)]
    roots = ("",) if given else (*_ROOTS, "blobs")
    here = [place for place in places if any(_may_exist(place / root) for root in roots)]
    return list({os.path.realpath(place): place for place in reversed(here)}.values())[::-1]


def _may_exist(path: Path) -> bool:
    """Whether the path exists, or lies in a folder that may not be read."""
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _manifests(folder: Path, denied: list[Path]) -> dict[_Name, Path]:
    """The manifests of a folder by name, those in manifests-v2 first; adds unreadable folders to `denied`."""
    found: dict[tuple[str, str], tuple[_Name, Path]] = {}
    for root in _ROOTS:
        files = [folder / root]
        for _ in ("host", "namespace", "model", "tag"):
            files = [entry for place in files for entry in _entries(place, denied)]
        for file in files:
            host, owner, model, tag = file.parts[-4:]
            name = _Name(_host(host), owner, model, tag)
            if _NAME.fullmatch(str(name)):
                found.setdefault(name.key, (name, file))
    return dict(found.values())


def _entries(folder: Path, denied: list[Path]) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except PermissionError:
        denied.append(folder)
    except OSError:  # there is no such folder
        pass
    return []


def _model(name: _Name, folder: Path, file: Path) -> OllamaModel:
    """The model of a manifest, once its weights can be opened."""
    manifest = _read_manifest(name, file)
    if manifest.get("mediaType") == _LIST:
        manifest = _of_runner(name, folder, manifest)
    layers = _layers(name, manifest)
    kinds = [kind for kind, _ in layers]
    models = list(dict.fromkeys(digest for kind, digest in layers if kind == "model"))
    hint = "choose a model with weights in GGUF, or the same model of the Hugging Face hub"
    if not models:
        if "tensor" in kinds:
            raise ModelError(f"{PREFIX}{name} has its weights as single tensors, not as GGUF", hint=hint)
        raise ModelError(f"{PREFIX}{name} has no weights here: it runs on Ollama's servers", hint=hint)
    if len(models) > 1:
        raise ModelError(
            f"{PREFIX}{name} has weights in {len(models)} files, must be one GGUF file", hint=hint
        )
    path = _blob(folder, models[0])
    _read(name, f"{PREFIX}{name}: its weights {visible(str(path))}", path, 1)
    return OllamaModel(f"{PREFIX}{name}", path, models[0], tuple(_notices(name, folder, layers)))


def _read_manifest(name: _Name, file: Path) -> dict[str, Any]:
    what = f"{PREFIX}{name}: its manifest {visible(str(file))}"
    content = _read(name, what, file, MAX_MANIFEST_BYTES + 1)
    if len(content) > MAX_MANIFEST_BYTES:
        raise ModelError(f"{what} is larger than {MAX_MANIFEST_BYTES >> 20} MiB", hint=_again(name))
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise ModelError(f"{what} is damaged", hint=_again(name))
    return data


def _of_runner(name: _Name, folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest, of a list of them, for a runner of GGUF files: in the list itself or in a blob."""
    listed = manifest.get("manifests")
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict) and str(one.get("runner") or "").lower() in _RUNNERS:
            if isinstance(one.get("layers"), list):
                return one
            return _read_manifest(name, _blob(folder, _digest(name, one)))
    raise ModelError(
        f"{PREFIX}{name} has no weights in GGUF", hint="use the same model of the Hugging Face hub"
    )


def _layers(name: _Name, manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Kind and digest of every layer of Ollama's media types, such as ("model", "3f2…")."""
    layers = manifest.get("layers")
    found = []
    for layer in layers if isinstance(layers, list) else ():
        kind = str(layer.get("mediaType") or "") if isinstance(layer, dict) else ""
        if kind.startswith(_LAYER):
            found.append((kind.removeprefix(_LAYER), _digest(name, layer)))
    return found


def _digest(name: _Name, layer: Mapping[str, Any]) -> str:
    found = _DIGEST.fullmatch(str(layer.get("digest")))
    if found is None:
        raise ModelError(
            f"{PREFIX}{name}: its manifest is damaged: a digest is not SHA-256", hint=_again(name)
        )
    return found[1].lower()


def _blob(folder: Path, digest: str) -> Path:
    return folder / "blobs" / f"sha256-{digest}"


def _read(name: _Name, what: str, path: Path, size: int) -> bytes:
    """The first `size` bytes of a file. Raises ModelError, whose message begins with `what`."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe may never end
            raise ModelError(f"{what} is not a file", hint=_again(name))
        with path.open("rb") as stream:
            return stream.read(size)
    except PermissionError:
        raise _denied(what, path) from None
    except FileNotFoundError:
        raise ModelError(f"{what} is missing", hint=_again(name)) from None
    except OSError as error:
        raise ModelError(f"{what} cannot be read: {error.strerror}", hint=_again(name)) from None


def _notices(name: _Name, folder: Path, layers: Sequence[tuple[str, str]]) -> Iterator[str]:
    kinds = {kind for kind, _ in layers}
    for kind, digest in layers:
        if kind == "adapter":
            path = _blob(folder, digest)
            yield f"{PREFIX}{name} has a LoRA adapter, which is not applied; add it with --adapter {path}"
    if "projector" in kinds:
        yield f"{PREFIX}{name} also reads pictures; its text model alone is used"
    if not kinds.isdisjoint({"system", "messages"}):
        yield (
            f"{PREFIX}{name} has a persona (SYSTEM or MESSAGE), which is not applied; import it with "
            f"`ollama show --modelfile {name} > Modelfile` and `mpg personas import Modelfile`"
        )


def again(identity: str) -> str:
    """How to fetch the model of that id again."""
    return f"fetch it again with `ollama pull {identity.removeprefix(PREFIX)}`"


def _again(name: _Name) -> str:
    return again(str(name))


def _denied(what: str, path: Path) -> ModelError:
    return ModelError(
        f"{what} may not be read by this user",
        hint="it belongs to the user of Ollama's service: join its group (sudo usermod -aG ollama $USER, "
        f"then log in again), or let others read it (sudo chmod -R o+rX {path})",
    )
