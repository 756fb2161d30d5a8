"""The config file: location, keys, and errors with file, line and key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mpg_cli.cli.option_table import keys
from mpg_cli.config import paths as folders
from mpg_cli.config.file import Config, load_config
from mpg_cli.config.precedence import Sources
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
    assert load_config(keys()).values == {}
    (tmp_path / "mpg").mkdir()
    file = written(tmp_path / "mpg", "max-tokens: 64\n")
    assert load_config(keys()).values == {"max_tokens": 64}
    assert load_config(keys()).file == file


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
    loaded = load_config(keys(), written(tmp_path, text))
    assert loaded.values == expected
    assert isinstance(loaded.values["temperature"], float)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n"])
def test_empty_file_sets_nothing(tmp_path: Path, text: str) -> None:
    assert load_config(keys(), written(tmp_path, text)).values == {}


@pytest.mark.parametrize(
    "text, error",
    [
        ("tempreature: 1", "1: tempreature: unknown option; did you mean temperature?"),
        ("max_tokens: 1", "1: max_tokens: unknown option; did you mean max-tokens?"),
        ("# c\nmax-tokens: many", "2: max-tokens: must be a whole number, not text"),
        ("max-tokens: 1.5", "1: max-tokens: must be a whole number, not 1.5"),
        ("max-tokens: true", "1: max-tokens: must be a whole number, not true or false"),
        ("max-tokens: 0", "1: max-tokens: 0 must be at least 1"),
        ("temperature: hot", "1: temperature: must be a number, not text"),
        ("temperature: -1", "1: temperature: -1 must be 0 or more"),
        ("top-p: 1.5", "1: top-p: 1.5 must be above 0 and at most 1"),
        ("stats: no", "1: stats: must be true or false, not text"),
        ("stats: 1", "1: stats: must be true or false, not a number"),
        ("model: 7", "1: model: must be text, not a number; put it in quotes"),
        ("model:", "1: model: must be text, not nothing; put it in quotes"),
        ("model: ''", "1: model: is empty; remove the key"),
        ("rule: exakt", "1: rule: unknown rule 'exakt' (choose from exact, threshold, block)"),
        ("device: gpu", "1: device: unknown device 'gpu' (choose from auto, cuda, cuda:N, mps, cpu)"),
        ("chunk-size: -1", "1: chunk-size: -1 must be between 0 and 64"),
        ("chunk-size: true", "1: chunk-size: must be text, not true or false; put it in quotes"),
        ("drafter: none\nthreshold: fixed", "2: threshold: 'fixed' is not a threshold"),
        ("stop: [1]", "1: stop: must be text or a list of texts, not a number"),
        ("stop-token-id: [1, x]", "1: stop-token-id: must be a whole number or a list of them, not text"),
        ("stop-token-id: -1", "1: stop-token-id: -1 is not a token id"),
        ("logit-bias: [5:1, x]", "1: logit-bias: 'x' is not ID:BIAS"),
        ("persona: INTJ++", "1: persona: a persona is missing before +"),
        ("samples: 3", "1: samples: is a command-line option only"),
        ("output: x", "1: output: is a command-line option only"),
        ("stop: ''", "1: stop: is empty; remove the key"),
        ("stop: []", "1: stop: must be text or a list of texts, not a list"),
        ("seed: 1\nseed: 2", "2: seed: duplicate key, first in line 1"),
        ("model: &m x", "1: model: anchors (&m) are not allowed"),
        ('model: "\\e[31m"', "1: model: the control character U+001B is not allowed in text"),
        ("generate:\n  seed: 1", "1: generate: unknown option"),
        ("seed: 1\n---\nseed: 2", "3: a config file must be a single document"),
        ("- seed", "1: a document must be a mapping of keys to values"),
    ],
)
def test_mistake_names_file_line_and_key(tmp_path: Path, text: str, error: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        load_config(keys(), file)
    assert caught.value.message.startswith(f"{file}:{error}")
    assert type(caught.value) is UsageError
    assert caught.value.exit_code == ExitCode.USAGE


def test_all_mistakes_are_one_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(keys(), written(tmp_path, "seed: x\ntop-k: y\nmodel: fine\n"))
    assert caught.value.message.count("\n") == 1


def test_each_of_several_mistakes_keeps_its_hint(tmp_path: Path) -> None:
    file = written(tmp_path, "top-p: 3\nseed: x\npersona: INTJ:x\n")
    with pytest.raises(UsageError) as caught:
        load_config(keys(), file)
    assert caught.value.message.splitlines() == [
        f"{file}:1: top-p: 3 must be above 0 and at most 1; 1 turns it off",
        f"{file}:2: seed: must be a whole number, not text",
        f"{file}:3: persona: the weight of INTJ cannot start with 'x'",
        "  INTJ:x",
        "       ^",
        "  a weight is a plain decimal such as 1, 0.5 or -0.5",
    ]
    with pytest.raises(UsageError) as caught:
        load_config(keys(), written(tmp_path, "top-p: 3\n"))
    assert caught.value.hint == "1 turns it off"


def test_every_key_is_a_flag_of_a_command() -> None:
    import typer.main

    from mpg_cli.cli.app import app

    commands: Any = typer.main.get_command(app)
    parameters = [parameter for command in commands.commands.values() for parameter in command.params]
    flags = {flag for parameter in parameters for flag in parameter.opts}
    assert {f"--{name}" for name in keys()} <= flags


def test_a_variable_of_an_option_that_repeats_holds_several_values() -> None:
    environ = {
        "MPG_LOGIT_BIAS": "198:-5,50256:-100",
        "MPG_STOP_TOKEN_ID": "2,3\n4",
        "MPG_PERSONA_DIR": f"mine{os.pathsep}my folder",
        "MPG_STOP": "END, at last\n###",
        "MPG_MODEL": "a,b",
    }
    sources = Sources(keys(), Config(Path("config.yaml"), {"stop": ["x"], "seed": 1}), environ)
    assert sources.value("logit-bias") == (["198:-5", "50256:-100"], "MPG_LOGIT_BIAS")
    assert sources.value("stop-token-id") == (["2", "3", "4"], "MPG_STOP_TOKEN_ID")
    assert sources.value("persona-dir") == (["mine", "my folder"], "MPG_PERSONA_DIR")
    assert sources.value("stop") == (["END, at last", "###"], "MPG_STOP")
    assert sources.value("model") == ("a,b", "MPG_MODEL")
    assert sources.value("seed") == (1, "config.yaml")
    assert sources.value("top-p") == (None, "")
