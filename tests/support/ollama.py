"""Folders of models as Ollama lays them out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
LIST = "application/vnd.ollama.manifest.list.v2+json"


def blob(folder: Path, content: bytes) -> str:
    """Write a blob; returns its digest, `sha256:…`."""
    digest = hashlib.sha256(content).hexdigest()
    path = folder / "blobs" / f"sha256-{digest}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return f"sha256:{digest}"


def manifest(folder: Path, layers: Sequence[tuple[str, bytes]]) -> dict[str, Any]:
    """A manifest with these layers, (kind, content), whose blobs are written."""

    def layer(kind: str, content: bytes) -> dict[str, Any]:
        media = f"application/vnd.ollama.image.{kind}"
        return {"mediaType": media, "digest": blob(folder, content), "size": len(content)}

    config = {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": blob(folder, b"{}")}
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": [layer(*one) for one in layers],
    }


def named(folder: Path, name: str, content: dict[str, Any] | bytes, root: str = "manifests") -> Path:
    """Write a manifest under HOST/NAMESPACE/MODEL/TAG; returns its file."""
    file = folder / root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return file


def pulled(folder: Path, name: str, layers: Sequence[tuple[str, bytes]]) -> Path:
    """A model as `ollama pull` leaves it, `name` without the host; returns the file of its manifest."""
    return named(folder, f"registry.ollama.ai/{name}", manifest(folder, layers))
