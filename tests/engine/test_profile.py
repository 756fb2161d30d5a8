"""Profiles on disk: written ones are read back, damaged ones are ignored."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.engine.profile import Choice, Profile, profile_file, read_profile, write_profile
from mpg_cli.errors import MpgError

KEY = {"model": "m", "experts": [["ärr", 1.0]], "rule": "exact"}
VERSIONS = {"mpg": "1"}
PROFILE = Profile(
    KEY,
    VERSIONS,
    (
        Choice("merged", 1, 5, 0.9, 200.0, 190.0),
        Choice("none", 1, 0, None, 100.0, 101.0),
        Choice("reference", 4, 7, 0.5, 90.0, 180.0, bias_bound=0.5, allowed=False),
        Choice("reference", 1, 2, 0.5, 90.0, 80.0),
    ),
    best=0,
    curves={"merged": (100.0, 150.0)},
)


def test_a_profile_is_read_as_it_was_written() -> None:
    assert read_profile(KEY, VERSIONS) == (None, None)
    file = write_profile(PROFILE)
    assert read_profile(KEY, VERSIONS) == (PROFILE, None)
    assert list(file.parent.iterdir()) == [file]


def test_another_key_has_another_file() -> None:
    write_profile(PROFILE)
    assert read_profile(KEY | {"rule": "block"}, VERSIONS) == (None, None)


def test_a_choice_over_the_bias_limit_or_slower_than_token_by_token_is_token_by_token() -> None:
    assert PROFILE.chunk_size("merged", 1) == 5
    assert PROFILE.chunk_size("reference", 4) == 0
    assert PROFILE.chunk_size("reference", 1) == 0
    assert PROFILE.chunk_size("merged", 4) is None


def test_the_drafter_is_the_fastest_that_is_allowed_and_ran() -> None:
    token_by_token, merged = PROFILE.choices[1], PROFILE.choices[0]
    assert PROFILE.drafter == "merged"
    slow = replace(PROFILE, choices=(token_by_token, merged))
    assert slow.drafter == "none"
    others = (
        replace(merged, drafter="model:small"),
        replace(merged, drafter="folded", allowed=False),
        replace(merged, drafter="reference", measured=None),
        replace(merged, drafter="persona:ärr"),
        token_by_token,
    )
    assert replace(PROFILE, choices=others).drafter == "persona:ärr"
    assert replace(PROFILE, choices=()).drafter is None


def test_other_versions_are_stale() -> None:
    write_profile(PROFILE)
    profile, notice = read_profile(KEY, {"mpg": "2"})
    assert profile is None
    assert "other versions" in (notice or "")


def _changed(**changes: Any) -> str:
    return json.dumps(PROFILE.as_json() | changes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '"x"',
        _changed(schema=2),
        _changed(choices=[]),
        _changed(choices=[{"drafter": "merged"}]),
        _changed(choices=[vars(Choice("merged", 1, 999, None, 1.0))]),
        _changed(choices=[vars(Choice("persona:nobody", 1, 1, None, 1.0))]),
        _changed(choices=[vars(Choice("auto", 1, 1, None, 1.0))]),
        _changed(choices=[vars(Choice("merged", 1, 1, None, 1.0, "fast"))]),  # type: ignore[arg-type]
        _changed(choices=[vars(Choice("merged", 1, 1, None, float("nan")))]),
        _changed(choices=[vars(Choice("merged", 1, 1, None, 1.0, allowed=1))]),  # type: ignore[arg-type]
        _changed(choices=[vars(Choice("merged", 0, 1, None, 1.0))]),
        _changed(curves={"merged": [10**400]}),
        _changed(key=None),
        "[" * 100_000,
        _changed(best=4),
        _changed(best=True),
        _changed(curves=[1]),
        _changed(curves={"merged": ["x"]}),
        "\ufffd",
    ],
)
def test_a_damaged_profile_is_ignored_with_a_notice(text: str) -> None:
    write_profile(PROFILE).write_text(text, encoding="utf-8")
    profile, notice = read_profile(KEY, VERSIONS)
    assert profile is None
    assert "ignored" in (notice or "")


def test_a_profile_that_is_no_text_is_ignored() -> None:
    write_profile(PROFILE).write_bytes(b"\xff\xfe\x00")
    profile, notice = read_profile(KEY, VERSIONS)
    assert profile is None
    assert "cannot be read" in (notice or "")


def test_a_cache_that_cannot_be_written_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(MpgError, match="cannot be written"):
        write_profile(PROFILE)
    assert profile_file(KEY).parent == tmp_path / "cache" / "mpg" / "profiles"
