"""Profiles: the drafter and the chunk sizes that `mpg tune` found for a blend on this machine.

`--drafter auto` and `--chunk-size auto` use them. A profile is a JSON file in the cache folder, named by the
hash of its key. Damaged profiles and those of other versions are ignored with a notice.
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
Key = Mapping[str, Any]  # everything that a profile depends on, as JSON


@dataclass(frozen=True)
class Choice:
    """A drafter and a number of candidates with their fastest chunk size (0: token by token).

    Speeds are in tokens/s, `measured` if it was run. `kappa` and `bias_bound` are those of the threshold
    rule; `effect` is the mean log-ratio contribution of all personas together to a token.
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
    """Result of a tuning run; `choices` by falling speed, token-by-token decoding among them."""

    key: Key
    versions: Mapping[str, str]
    choices: tuple[Choice, ...]
    best: int
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # tokens/s predicted for 0, 1, …

    @property
    def drafter(self) -> str | None:
        """The fastest measured drafter, `none` for token-by-token decoding; None if none was measured.

        Drafting models are excluded: only an explicit --drafter loads one.
        """
        found = (c for c in self.choices if c.allowed and c.measured and not c.drafter.startswith("model:"))
        return next((choice.drafter for choice in found), None)

    def chunk_size(self, drafter: str, candidates: int) -> int | None:
        """gamma for a drafter and a number of candidates; None where they were not tuned.

        0 where token-by-token decoding was faster, or where the bias exceeds its limit.
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
    """Path of the profile of a key."""
    text = json.dumps(key, sort_keys=True, ensure_ascii=True)
    return cache_dir() / "profiles" / f"{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}.json"


def read_profile(key: Key, versions: Mapping[str, str]) -> tuple[Profile | None, str | None]:
    """The profile of a key, or None with a notice if its file is not usable."""
    file = profile_file(key)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None, None
    except (OSError, UnicodeDecodeError):
        return None, f"the profile {file.name} cannot be read; run mpg tune again"
    try:
        profile = _parse(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None, f"the profile {file.name} is damaged and ignored; run mpg tune again"
    if dict(profile.key) != json.loads(json.dumps(key)) or dict(profile.versions) != dict(versions):
        return None, f"the profile {file.name} was made by other versions and is ignored; run mpg tune again"
    return profile, None


def write_profile(profile: Profile) -> Path:
    """Write a profile atomically. Raises MpgError where the file cannot be written."""
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
            raise ValueError("invalid choice")
    if not _is_count(data["best"], 0, len(choices) - 1):
        raise ValueError("no such choice")
    curves = {str(name): tuple(map(float, curve)) for name, curve in data["curves"].items()}
    return Profile(dict(data["key"]), dict(data["versions"]), choices, data["best"], curves)


def _is_speed(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf


def _is_count(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high
