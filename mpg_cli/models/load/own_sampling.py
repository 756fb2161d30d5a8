"""The sampling that a model asks for, by its file generation_config.json or a table. Torch-free.

Only what the file says counts: transformers' GenerationConfig would fill in defaults of its class. As in vLLM
the values hold whether or not `do_sample` is there; `do_sample: false` is temperature 0.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mpg_cli.errors import RangeError
from mpg_cli.io.text import visible
from mpg_cli.models.load.checkpoint import read_json
from mpg_cli.options.option import build, options_of
from mpg_cli.personas.model_name import last_part
from mpg_cli.sampling.params import OWN, Sampling

FILE = "generation_config.json"
TABLE = "table"  # the origin of values from MEASURED
NEUTRAL = "default"

# By a part of the model's name. Measured on the smallest of the family: docs/own-sampling.md; expert_min_p by
# `python -m studies.library`.
MEASURED: Mapping[str, Sampling] = MappingProxyType(
    {"smollm2": Sampling(temperature=0.8, min_p=0.1, expert_min_p=0.2, repetition_penalty=1.1)}
)

# Keys of GGUF metadata, as llama.cpp's converter writes them.
_METADATA = {
    "general.sampling.temp": "temperature",
    "general.sampling.top_k": "top_k",
    "general.sampling.top_p": "top_p",
    "general.sampling.min_p": "min_p",
    "general.sampling.penalty_repeat": "repetition_penalty",
}


@dataclass(frozen=True)
class OwnSampling:
    """The values that a model sets, the place that sets them, and messages about it for the user."""

    values: Sampling = field(default_factory=Sampling)
    place: str = NEUTRAL
    notices: tuple[str, ...] = ()

    def origins(self, given: Sampling, by: Mapping[str, str]) -> dict[str, str]:
        """The origin of each value of `given.over(self.values)`.

        That is `by` where it is given (default: "option"), else `place` or "default".
        """
        found = {}
        for name in OWN:
            if getattr(given, name) is not None:
                found[name] = by.get(name, "option")
            else:
                found[name] = NEUTRAL if getattr(self.values, name) is None else self.place
        return found


def own_sampling(folder: Path, names: Collection[str]) -> OwnSampling:
    """The sampling of the model in a folder; `names` are those it goes by.

    A value that is not valid is left out, with a notice. Raises ModelError for a file that is not JSON.
    """
    name = next(iter(names), folder.name)
    data = read_json(folder / FILE, name) if (folder / FILE).is_file() else {}
    values: dict[str, Any] = {}
    notices = []
    for key in OWN:
        raw = data.get(key)
        if raw is None:
            continue
        try:
            values[key] = _value(key, raw)
        except RangeError as error:
            error.rename({error.setting: key})
            notices.append(f"{FILE} of {visible(name)}: {error.message}, so it is ignored")
    samples, ends = data.get("do_sample"), data.get("eos_token_id")
    if samples is False or values.get("temperature") == 0:
        says = "do_sample: false" if samples is False else "temperature: 0"
        values["temperature"] = 0.0
        greedy = "so without --temperature the likeliest token is always taken"
        notices.append(f"{FILE} of {visible(name)} says {says}, {greedy}")
    elif samples not in (None, True):
        notices.append(f"{FILE} of {visible(name)}: do_sample must be true or false, so it is ignored")
    if any(type(end) is not int for end in (ends if isinstance(ends, list) else [ends]) if end is not None):
        what = "eos_token_id must be a token id or a list of them, so what is not one is ignored"
        notices.append(f"{FILE} of {visible(name)}: {what}")
    if values:
        return OwnSampling(Sampling(**values), FILE, tuple(notices))
    return _measured(names, tuple(notices))


def from_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of generation_config.json for what the metadata of a GGUF file say about sampling."""
    return {name: metadata[key] for key, name in _METADATA.items() if key in metadata}


def _measured(names: Collection[str], notices: tuple[str, ...]) -> OwnSampling:
    for part, values in MEASURED.items():
        pattern = re.compile(rf"(?<![a-z0-9]){part}(?![a-z0-9])")
        if any(pattern.search(last_part(name).casefold()) for name in names):
            return OwnSampling(values, TABLE, notices)
    return OwnSampling(notices=notices)


def _value(key: str, raw: Any) -> float | int:
    """The value as `Sampling` takes it. Raises RangeError, with the name of the flag."""
    if key == "top_k" and isinstance(raw, int | float) and raw == -1:
        return 0  # vLLM and others write -1 for off
    one = next(option for option in options_of(Sampling) if option.key == key)
    if one.kind is int and isinstance(raw, float) and raw.is_integer():
        raw = int(raw)
    built: Sampling = build(Sampling, {key: raw})
    value: float | int = getattr(built, key)
    return float(value) if one.kind is float else value
