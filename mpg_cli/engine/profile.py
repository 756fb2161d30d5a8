"""Profiles: the drafter and the chunk sizes that `mpg tune` found for a blend on this machine.

`--drafter auto` and `--chunk-size auto` read them.

A profile is a JSON file in the cache folder, named by the hash of what it depends on. One that is damaged or
that other versions wrote is ignored with a notice.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mpg_cli.config.paths import cache_dir
from mpg_cli.errors import MpgError
from mpg_cli.io.files import write_atomic
from mpg_cli.io.text import visible
from mpg_cli.sampling.params import DRAFTERS, MAX_CANDIDATES, MAX_CHUNK

SCHEMA = 1
Key = Mapping[str, Any]  # what a profile depends on, as JSON


@dataclass(frozen=True)
class Choice:
    """A drafter and a number of candidates with the chunk size that is fastest for them (0: token by token).

    Speeds are tokens/s, `measured` where it was run; the bias figures are those of the threshold rule, and
    `effect` is what all personas together added to the log-probability of a token.
    """

    drafter: str
    candidates: int
    chunk_size: int
    acceptance: float | None
    predicted: float
    measured: float | None = None
    kappa: float | None = None
    bias_bound: float | None = None
    effect: float | None = None
    allowed: bool = True  # the bias bound is within the limit


@dataclass(frozen=True)
class Profile:
    """What was found; `choices` in falling order of speed, token-by-token decoding among them."""

    key: Key
    versions: Mapping[str, str]
    choices: tuple[Choice, ...]
    best: int
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # tokens/s predicted for 0, 1, …

    @property
    def drafter(self) -> str | None:
        """The fastest drafter that was run, `none` for token-by-token decoding; None if none was.

        A further model is not meant: it is loaded where it is asked for.
        """
        found = (c for c in self.choices if c.allowed and c.measured and not c.drafter.startswith("model:"))
        return next((choice.drafter for choice in found), None)

    def chunk_size(self, drafter: str, candidates: int) -> int | None:
        """gamma for a drafter and a number of candidates; None where they were not tuned.

        0 where token-by-token decoding was faster, or where the bias is more than was allowed.
        """
        speed = next((choice.measured for choice in self.choices if choice.drafter == "none"), None)
        for choice in self.choices:
            if (choice.drafter, choice.candidates) == (drafter, candidates):
                slower = (choice.measured or choice.predicted) < (speed or 0.0)
                return choice.chunk_size if choice.allowed and not slower else 0
        return None

    def as_json(self) -> dict[str, Any]:
        """The file's content."""
        return {"schema": SCHEMA, **asdict(self)}


def profile_file(key: Key) -> Path:
    """Where the profile of a key is, if there is one."""
    text = json.dumps(key, sort_keys=True, ensure_ascii=True)
    return cache_dir() / "profiles" / f"{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}.json"


def read_profile(key: Key, versions: Mapping[str, str]) -> tuple[Profile | None, str | None]:
    """The profile of a key, or None and, where there is one that cannot be used, why."""
    file = profile_file(key)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None, None
    except (OSError, UnicodeDecodeError):
        return None, f"the profile {file.name} cannot be read; mpg tune makes it anew"
    try:
        profile = _parse(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None, f"the profile {file.name} is damaged and ignored; mpg tune makes it anew"
    if dict(profile.key) != json.loads(json.dumps(key)) or dict(profile.versions) != dict(versions):
        return None, f"the profile {file.name} is of other versions and ignored; mpg tune makes it anew"
    return profile, None


def write_profile(profile: Profile) -> Path:
    """Write a profile, whole or not at all. Raises MpgError where that cannot be."""
    file = profile_file(profile.key)
    write_atomic(
        file,
        json.dumps(profile.as_json(), indent=1),
        make_folder=True,
        error=MpgError,
        what=f"the profile {visible(str(file))}",
        hint="set XDG_CACHE_HOME to a folder that can be written",
    )
    return file


def _parse(data: Any) -> Profile:
    if data["schema"] != SCHEMA:
        raise ValueError("another schema")
    choices = tuple(Choice(**choice) for choice in data["choices"])
    drafters = {*DRAFTERS} - {"auto"} | {*(f"persona:{name}" for name, *_ in data["key"]["experts"])}
    for choice in choices:
        known = choice.drafter in drafters or choice.drafter.startswith("model:")
        speeds = (choice.predicted, 0.0 if choice.measured is None else choice.measured)
        sizes = ((choice.chunk_size, 0, MAX_CHUNK), (choice.candidates, 1, MAX_CANDIDATES))
        counts = all(_is_count(*size) for size in sizes)
        if not (known and counts and all(map(_is_speed, speeds)) and type(choice.allowed) is bool):
            raise ValueError("a choice is wrong")
    if not _is_count(data["best"], 0, len(choices) - 1):
        raise ValueError("no such choice")
    curves = {str(name): tuple(map(float, curve)) for name, curve in data["curves"].items()}
    return Profile(dict(data["key"]), dict(data["versions"]), choices, data["best"], curves)


def _is_speed(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf


def _is_count(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high
