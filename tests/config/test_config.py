"""The config file: where it is, what it may say, and that its mistakes name file, line and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mpg_cli.config import paths as folders
from mpg_cli.config.file import OPTIONS, load_config
from mpg_cli.errors import ExitCode, UsageError


def written(folder: Path, text: str) -> Path:
    file = folder / "config.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_folders_follow_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert folders.config_dir() == Path("/home/me/.config/mpg")
    assert folders.cache_dir() == Path("/home/me/.cache/mpg")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/xdg/config")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg/cache")
    assert folders.config_file() == Path("/xdg/config/mpg/config.yaml")
    assert folders.persona_dir() == Path("/xdg/config/mpg/personas")
    assert folders.cache_dir() == Path("/xdg/cache/mpg")


def test_default_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert load_config().values == {}
    (tmp_path / "mpg").mkdir()
    file = written(tmp_path / "mpg", "max-tokens: 64\n")
    assert load_config().values == {"max_tokens": 64}
    assert load_config().file == file


def test_values_are_those_of_the_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    text = """\
model: ~/models/small
device: cuda:1
persona: INTJ+pirate
stop: [END, "\\n"]
chunk-size: 8
threshold: 0.9
temperature: 1
top-p: 0.95
drafter: persona:pirate
stats: false
"""
    expected: dict[str, Any] = {
        "model": "/home/me/models/small",
        "device": "cuda:1",
        "persona": ["INTJ+pirate"],
        "stop": ["END", "\n"],
        "chunk_size": "8",
        "threshold": "0.9",
        "temperature": 1.0,
        "top_p": 0.95,
        "drafter": "persona:pirate",
        "stats": False,
    }
    loaded = load_config(written(tmp_path, text))
    assert loaded.values == expected
    assert isinstance(loaded.values["temperature"], float)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n"])
def test_empty_file_sets_nothing(tmp_path: Path, text: str) -> None:
    assert load_config(written(tmp_path, text)).values == {}


@pytest.mark.parametrize(
    "text, error",
    [
        ("tempreature: 1", "1: tempreature: unknown option; did you mean temperature?"),
        ("max_tokens: 1", "1: max_tokens: unknown option; did you mean max-tokens?"),
        ("# c\nmax-tokens: many", "2: max-tokens: must be a whole number, not text"),
        ("max-tokens: 1.5", "1: max-tokens: must be a whole number, not 1.5"),
        ("max-tokens: true", "1: max-tokens: must be a whole number, not true or false"),
        ("max-tokens: 0", "1: max-tokens: must be at least 1"),
        ("temperature: hot", "1: temperature: must be a number, not text"),
        ("temperature: -1", "1: temperature: must be at least 0"),
        ("top-p: 1.5", "1: top-p: must be between 0 and 1"),
        ("stats: no", "1: stats: must be true or false, not text"),
        ("stats: 1", "1: stats: must be true or false, not a number"),
        ("model: 7", "1: model: must be text, not a number; put it in quotes"),
        ("model:", "1: model: must be text, not nothing; put it in quotes"),
        ("model: ''", "1: model: is empty; leave the key out"),
        ("rule: exakt", "1: rule: must be exact, threshold, block, not 'exakt'; did you mean exact?"),
        ("device: gpu", "1: device: 'gpu' is not a value of this option"),
        ("chunk-size: -1", "1: chunk-size: '-1' is not a value of this option"),
        ("chunk-size: true", "1: chunk-size: must be text, not true or false; put it in quotes"),
        ("drafter: none\nthreshold: fixed", "2: threshold: 'fixed' is not a value of this option"),
        ("stop: [1]", "1: stop: must be text or a list of texts, not a list"),
        ("stop: []", "1: stop: must be text or a list of texts, not a list"),
        ("seed: 1\nseed: 2", "2: seed: this key stands twice, first in line 1"),
        ("model: &m x", "1: model: anchors (&m) are not allowed"),
        ('model: "\\e[31m"', "1: model: the control character U+001B is not allowed in text"),
        ("generate:\n  seed: 1", "1: generate: unknown option"),
        ("seed: 1\n---\nseed: 2", "3: a config file is one document"),
        ("- seed", "1: a document must be a mapping of keys to values"),
    ],
)
def test_mistake_names_file_line_and_key(tmp_path: Path, text: str, error: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        load_config(file)
    assert caught.value.message.startswith(f"{file}:{error}")
    assert type(caught.value) is UsageError
    assert caught.value.exit_code == ExitCode.USAGE


def test_all_mistakes_are_one_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(written(tmp_path, "seed: x\ntop-k: y\nmodel: fine\n"))
    assert caught.value.message.count("\n") == 1


def test_every_option_is_a_flag_of_a_command() -> None:
    import typer.main

    from mpg_cli.cli.app import app

    commands: Any = typer.main.get_command(app)
    parameters = [parameter for command in commands.commands.values() for parameter in command.params]
    flags = {flag for parameter in parameters for flag in parameter.opts}
    assert {f"--{name}" for name in OPTIONS} <= flags
