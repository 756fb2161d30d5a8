"""Write the finished adapter and its persona file atomically.

Both are written and checked beside their final paths; then two renames put them in place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mpg_cli.io.files import staged_folder, swapped_in, write_atomic
from mpg_cli.personas.adapter_shapes import CONFIG_FILE, WEIGHTS_FILE
from mpg_cli.personas.persona_file import Destination


def clean_config(config: Mapping[str, Any], base: str, revision: str | None) -> dict[str, Any]:
    """PEFT's configuration without empty fields and local paths: the base is named by its id."""
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
    """Write the adapter and the text of its persona file.

    `check` validates the adapter's folder before it is renamed. An existing adapter is replaced; a persona
    file behind a symbolic link is replaced at its target. Raises the errors of `check`, and OSError.
    """
    from safetensors.torch import save

    ordered = {key: tensors[key].contiguous() for key in sorted(tensors)}
    with staged_folder(where.adapter) as staged:
        (staged / CONFIG_FILE).write_text(
            json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8"
        )
        (staged / WEIGHTS_FILE).write_bytes(save(ordered, metadata={"format": "pt"}))
        check(staged)
        with swapped_in(staged, where.adapter):
            write_atomic(where.file, persona, error=None)
