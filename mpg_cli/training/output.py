"""The finished adapter and its persona file, written so that nothing half-done ever has the final name.

All is written and checked beside the final places; then two renames make it public.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mpg_cli.personas.adapter_shapes import CONFIG_FILE, WEIGHTS_FILE
from mpg_cli.personas.persona_file import Destination


def clean_config(config: Mapping[str, Any], base: str, revision: str | None) -> dict[str, Any]:
    """PEFT's configuration without empty fields and without a path: the base is named by its id."""
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    plain |= {"base_model_name_or_path": base, "revision": revision, "inference_mode": True}
    plain.pop("runtime_config", None)
    return {key: plain[key] for key in sorted(plain) if plain[key] not in (None, {}, [])}


def publish(
    where: Destination,
    config: Mapping[str, Any],
    tensors: Mapping[str, Any],
    persona: str,
    check: Callable[[Path], None],
) -> None:
    """Write adapter and persona file; `check` judges the adapter's folder before it gets its name.

    An adapter that is there already is replaced, a persona file behind a link in its place. Raises what
    `check` raises, and OSError.
    """
    from safetensors.torch import save

    parent, name = where.adapter.parent, where.name
    staged, aside = parent / f".{name}.new", parent / f".{name}.old"
    file = where.file.resolve()
    staged_file = file.with_name(f".{file.name}.new")
    try:
        _remove(staged)
        staged.mkdir(parents=True)
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
        _write(staged / CONFIG_FILE, text.encode())
        ordered = {key: tensors[key].contiguous() for key in sorted(tensors)}
        _write(staged / WEIGHTS_FILE, save(ordered, metadata={"format": "pt"}))
        _write(staged_file, persona.encode())
        if file.exists():
            shutil.copymode(file, staged_file)
        check(staged)
        _remove(aside)
        if where.adapter.exists():
            os.replace(where.adapter, aside)
        os.replace(staged, where.adapter)
        try:
            os.replace(staged_file, file)
        except BaseException:
            _remove(where.adapter)
            raise
    finally:
        if aside.exists() and not where.adapter.exists():
            os.replace(aside, where.adapter)
        for left in (staged, aside, staged_file):
            _remove(left)


def _write(file: Path, content: bytes) -> None:
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
