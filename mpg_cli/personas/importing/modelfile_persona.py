"""Converts an Ollama Modelfile to a persona: SYSTEM and MESSAGE to the prompt, ADAPTER to the adapter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mpg_cli.errors import UsageError
from mpg_cli.io.gguf_header import SUFFIX, gguf_files, is_gguf
from mpg_cli.io.text import visible
from mpg_cli.personas.adapter_place import repository
from mpg_cli.personas.base import base_name
from mpg_cli.personas.importing.adapter_files import base_of, find_adapter, full_precision, local_path
from mpg_cli.personas.importing.draft import Draft, DraftAdapter, LocalAdapter
from mpg_cli.personas.importing.modelfile import Instruction, parse_modelfile
from mpg_cli.personas.importing.parameters import as_flags, read_parameters
from mpg_cli.personas.importing.sanitize import one_line, without_controls

_OLLAMA = "ollama:"
_SPEAKERS = {"user": "User", "assistant": "Assistant"}
_OF_GGUF = re.compile(r"[-_.]gguf$", re.IGNORECASE)  # repositories of GGUF files
_MAX_DESCRIPTION = 160
_MAX_LICENSE = 100


def draft_of_modelfile(raw: bytes, where: str, path: Path | None, chosen: str | None) -> Draft:
    """The persona of a Modelfile at `path` (None: stdin); `chosen` is the value of --base, if given.

    Raises UsageError.
    """
    instructions = parse_modelfile(raw, where)
    of: dict[str, list[Instruction]] = {}
    for instruction in instructions:
        of.setdefault(instruction.name, []).append(instruction)
    folder = None if path is None else path.parent
    base = _base(of["from"][-1], folder, chosen)
    adapter, base = _adapter(of.get("adapter", []), folder, base, where)
    prompt = _prompt(instructions) or None
    if prompt is None and adapter is None:
        raise UsageError(f"{where}: no SYSTEM, MESSAGE or ADAPTER, so it has no persona", hint=base.notice)
    parameters = read_parameters(of.get("parameter", []), where)
    licenses = [i.value for i in of.get("license", [])]
    return Draft(
        title=_title(path),
        prompt=prompt,
        description=one_line((prompt or "").split("\n\n")[0], _MAX_DESCRIPTION),
        license=next((one_line(line, _MAX_LICENSE) for text in licenses for line in _lines(text)), None),
        source=f"Ollama Modelfile, FROM {one_line(of['from'][-1].value, 100)}",
        adapter=adapter,
        model=base.choice,
        extensions={"ollama": _kept(of, parameters)},
        notices=tuple(_notices(of, parameters, base.notice)),
    )


@dataclass(frozen=True)
class _Base:
    """The model of FROM: `name` for the persona file, `choice` for --model; or a notice if unsupported.

    `local` is the name of a GGUF file or of a model of Ollama, for an adapter that names no base.
    """

    name: str | None = None
    choice: str | None = None
    notice: str | None = None
    local: str | None = None


def _base(line: Instruction, folder: Path | None, chosen: str | None) -> _Base:
    """The model of --base, or else of FROM if mpg supports it."""
    value = line.value
    path = local_path(chosen or value, folder if chosen is None else None)
    if path is not None and path.is_dir() and (path / "config.json").is_file():
        return _Base(base_name(str(path)), str(path))
    if path is not None and (len(gguf_files(path)) == 1 or is_gguf(path)):
        return _Base(choice=str(path), local=base_name(str(path.resolve())))
    if chosen is not None:
        return _Base(chosen, chosen) if chosen.startswith(_OLLAMA) else _named(chosen)
    repo = repository(value.partition(":")[0] if "://" not in value else value)
    if repo is not None and ":" not in value.rpartition("/")[2] and not _OF_GGUF.search(repo):
        return _named(repo)
    if value.startswith((".", "/", "~")) or value.lower().endswith(SUFFIX):
        return _Base(
            notice=f"FROM '{visible(value, 100)}' is neither a GGUF file nor a folder with a safetensors "
            "model: generate with another one, for instance --model Qwen/Qwen3-0.6B"
        )
    name = f"{_OLLAMA}{value}" if ":" in value.rpartition("/")[2] else f"{_OLLAMA}{value}:latest"
    return _Base(choice=name, local=name)


def _named(name: str) -> _Base:
    """The model of that id, or the full-precision model for a quantised one."""
    plain, notice = full_precision(name)
    return _Base(plain, plain if notice is None or "/" in plain else None, notice)


def _adapter(
    lines: Sequence[Instruction], folder: Path | None, base: _Base, where: str
) -> tuple[DraftAdapter | None, _Base]:
    """The adapter and its base: `base` if it has a name, else the base in the adapter's configuration."""
    if not lines:
        return None, base
    at = f"{where}:{lines[-1].line}"
    if len(lines) > 1:
        raise UsageError(
            f"{at}: there is more than one ADAPTER, but a persona has one per model",
            hint="import a persona for each and blend them: mpg generate -p one+two",
        )
    found = find_adapter(lines[0].value, folder, at)
    own = base_of(found, at) if isinstance(found, LocalAdapter) else None
    if base.name is None and own is not None:
        base = _named(own)
        if "/" not in own:  # a folder's name without its path
            base = replace(base, choice=None)
    name = base.name or base.local
    if name is None:
        raise UsageError(
            f"{at}: the base model of the adapter is unknown: FROM names none that mpg supports",
            hint="give the model that it was trained on, for instance --base Qwen/Qwen3-0.6B",
        )
    return DraftAdapter(name, found), base


def _prompt(instructions: Sequence[Instruction]) -> str:
    """The system text (the last SYSTEM, as in Ollama), then the turns as an example conversation."""
    system = [i.value for i in instructions if i.name == "system"][-1:]
    messages = [i for i in instructions if i.name == "message"]
    system += [i.value for i in messages if i.key == "system"]
    turns = [f"{_SPEAKERS[i.key]}: {i.value.strip()}" for i in messages if i.key in _SPEAKERS]
    parts = [*system, "\n".join(["An example conversation:", *turns]) if turns else ""]
    return "\n\n".join(part for part in (without_controls(part).strip() for part in parts) if part)


def _kept(of: dict[str, list[Instruction]], parameters: dict[str, Any]) -> dict[str, Any]:
    """All instructions as plain data, without the adapter."""
    kept: dict[str, Any] = {}
    for name, lines in of.items():
        if name == "message":
            kept["messages"] = [{"role": i.key, "content": i.value} for i in lines]
        elif name == "parameter":
            kept["parameters"] = parameters
        elif name != "adapter":  # a path on the author's machine
            values = [i.value for i in lines]
            kept[name] = values[0] if len(values) == 1 else values
    return kept


def _notices(
    of: dict[str, list[Instruction]], parameters: dict[str, Any], base_notice: str | None
) -> list[str]:
    notices = [base_notice] if base_notice else []
    flags, without = as_flags(parameters)
    if flags:
        notices.append(f"sampling parameters are not part of a persona; give mpg generate: {flags}")
    if without:
        shown = ", ".join(visible(name, 40) for name in without[:10])
        notices.append(f"parameters without an option in mpg: {shown}")
    if "template" in of:
        notices.append("TEMPLATE is not used; mpg uses the model's own chat template")
    unused = [name.upper() for name in ("draft", "renderer", "parser", "requires") if name in of]
    if unused:
        notices.append(
            f"{', '.join(unused)} is not used" if len(unused) == 1 else f"not used: {', '.join(unused)}"
        )
    return notices


def _title(path: Path | None) -> str:
    """A name from mario.Modelfile, Modelfile.mario, or the folder of a plain Modelfile."""
    if path is None:
        return ""
    parts = [part for part in path.name.split(".") if part.lower() not in ("modelfile", "txt")]
    return parts[0] if parts and parts[0] else path.resolve().parent.name


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]
